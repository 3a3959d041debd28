"""An oracle for the statements of a build: SQLMesh's own adapter for Snowflake, whose connection records them."""

import re
from contextlib import suppress
from typing import Any
from unittest.mock import MagicMock

from sqlglot import Dialect, TokenType, exp, parse_one
from sqlglot.errors import SqlglotError
from sqlmesh.core.engine_adapter.shared import DataObject
from sqlmesh.core.engine_adapter.snowflake import SnowflakeEngineAdapter
from sqlmesh.core.environment import EnvironmentNamingInfo
from sqlmesh.core.model import Model
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot, SnapshotChangeCategory, SnapshotEvaluator

QUERIES = (exp.Query, exp.Transaction, exp.Commit, exp.Rollback)
CHANGING = (exp.Insert, exp.Merge, exp.Delete, exp.Update, exp.Alter, exp.Comment, exp.Drop, exp.TruncateTable)
COMMENTS = re.compile("ALTER (TABLE|VIEW) .* ALTER COLUMN .* COMMENT ")
QUOTED = {TokenType.STRING, TokenType.IDENTIFIER}


class Account(SnowflakeEngineAdapter):
    """An account that has no tables yet."""

    types: dict[str, exp.DataType]

    def _get_data_objects(self, *_: Any, **__: Any) -> list[DataObject]:
        return []

    def columns(self, *_: Any, **__: Any) -> dict[str, exp.DataType]:
        """Of the model's table once it exists."""
        return self.types

    def table_exists(self, *_: Any, **__: Any) -> bool:
        return False


def statements_of(model: Model) -> tuple[list[str], list[exp.Table]]:
    """What SQLMesh sends to create, fill twice and promote a model, and the table and the view that are its own."""
    sent: list[str] = []
    cursor = MagicMock()
    cursor.execute.side_effect = lambda sql, *_, **__: sent.append(sql)
    cursor.fetchall.return_value, cursor.fetchone.return_value = [], None
    connection = MagicMock()
    connection.cursor.return_value = cursor
    Account.types = model.columns_to_types or {}
    account = Account(lambda *_, **__: connection, dialect="snowflake", default_catalog="ANALYTICS")
    snapshot = Snapshot.from_node(model, nodes={model.fqn: model})
    snapshot.categorize_as(SnapshotChangeCategory.BREAKING)
    evaluator, prod = SnapshotEvaluator(account), EnvironmentNamingInfo(name="prod")
    deployable = DeployabilityIndex.all_deployable()
    with suppress(Exception):  # what can't be rendered isn't sent
        evaluator.create([snapshot], {snapshot.snapshot_id: snapshot}, deployable)
    for day in ("2026-11-01", "2026-11-02"):
        with suppress(Exception):
            evaluator.evaluate(
                snapshot, start=day, end=day, execution_time=day, snapshots={snapshot.name: snapshot},
                deployability_index=deployable, target_table_exists=bool(snapshot.intervals),
            )  # fmt: skip
        with suppress(Exception):
            snapshot.add_interval(day, day)
    with suppress(Exception):
        evaluator.promote([snapshot], prod, deployable, snapshots={snapshot.snapshot_id: snapshot})
    return sent, [exp.to_table(snapshot.table_name()), snapshot.qualified_view_name.table_for_environment(prod)]


def foreign_statements(model: Model) -> list[str]:
    """The statements of a build that are more than a query, and not only for the model's own table and view."""
    sent, own = statements_of(model)
    return [sql for sql in sent if not _is_own(sql, own)]


def _is_own(sql: str, own: list[exp.Table]) -> bool:
    try:
        statement = parse_one(sql, dialect="snowflake")
    except SqlglotError:
        return False
    # SQLMesh sends no comment: it would hide what SQLMesh has written after it.
    if any(token.comments for token in tokens(sql)) or statement.args.get("clone"):
        return False
    target = statement.find(exp.Table) or exp.Table()
    if is_comment := COMMENTS.match(sql):  # which SQLGlot can't parse
        target = exp.table_(*[token.text for token in tokens(sql)][6:1:-2])
    if isinstance(statement, exp.Create) and statement.kind == "SCHEMA":
        return any(_schema(target) == _schema(table) for table in own)
    # A temporary table is called after the one that it replaces.
    is_own = any(_schema(target) == _schema(table) and table.name.upper() in target.name.upper() for table in own)
    is_change = isinstance(statement, (exp.Create, *CHANGING)) or is_comment
    return isinstance(statement, QUERIES) or bool(is_change and is_own)


def _schema(table: exp.Table) -> tuple[str, str]:
    return table.catalog.upper(), table.db.upper()


def is_raw(text: str, sql: str) -> bool:
    """Whether a word of the text is in a statement, and neither in a string nor in quotes."""
    return any(token.token_type not in QUOTED and token.text.lower() in text.split() for token in tokens(sql))


def tokens(sql: str) -> list[Any]:
    return Dialect.get_or_raise("snowflake").tokenize(sql)
