"""What YAML of unit tests and external models may contain without a reader, by key.

SQLMesh parses arguments of audits and variables as SQL and evaluates them. Rows of unit tests are data.
"""

import datetime as dt
import re
from typing import Any

import sqlglot
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from sqlglot import exp
from sqlmesh.utils.yaml import YAML

from meshflow.ci.declarative_sql import (
    NAME,
    STRING,
    HeldError,
    Names,
    require_argument,
    require_argument_name,
    require_query,
)

MAX_DEPTH = 20
MAX_ALIASES = 200
MAX_NODES = 100_000

TABLE_NAME = re.compile(r'"?\w+"?(\."?\w+"?){0,2}', re.ASCII)
COLUMN_NAME = re.compile(r'"?[\w $#-]+"?')
COLUMN_TYPE = re.compile(
    r"[A-Za-z]\w*( ?\(\d+(, ?\d+)?\))?(( with| without| local)?( local)? time zone)?", re.IGNORECASE
)

EXTERNAL_MODEL = {
    *("name", "gateway", "description", "owner", "tags", "grain", "grains", "references"),
    *("columns", "column_descriptions", "audits"),
}
UNIT_TEST = {"model", "description", "vars", "inputs", "outputs"}
OUTPUTS = {"query", "ctes", "partial"}
ROWS = {"rows", "columns", "format", "query", "partial"}
"""Not `path`: SQLMesh renders that file as Jinja. Not `csv_settings`, which are arguments of a Python function."""


def require_external_models(text: str, names: Names) -> None:
    """Raise HeldError if a file of external_models/ sets more than the contract of tables."""
    for table in _list(_load(text)):
        _require_keys(table, EXTERNAL_MODEL)
        _require_text(table.get("name"), TABLE_NAME)
        for key in ("gateway", "owner"):
            _require_text(table.get(key, "x"), NAME)
        for tag in _list(table.get("tags", [])):
            _require_text(tag, NAME)
        for key in ("grain", "grains", "references"):
            for reference in _list_or_one(table.get(key, [])):
                _require_expression(reference, names)
        _require_columns(table.get("columns", {}))
        for name, description in _mapping(table.get("column_descriptions", {})).items():
            _require_text(name, COLUMN_NAME)
            _require_text(description, None)
        for audit in _list(table.get("audits", [])):
            _require_text(_mapping(audit).get("name"), NAME)
            for name, value in audit.items():
                require_argument_name(name)
                _require_expression(value, names)


def require_unit_tests(text: str) -> None:
    """Raise HeldError if a file of tests/models/ contains more than tables, rows and safe variables."""
    for name, test in _mapping(_load(text)).items():
        _require_text(name, NAME)
        _require_keys(test, UNIT_TEST)
        _require_text(test.get("model"), TABLE_NAME)
        for variable, value in _mapping(test.get("vars") or {}).items():
            _require_text(variable, NAME)
            if isinstance(value, str):
                _require_text(value, STRING)
            _require_scalar(value)
        for table, rows in _mapping(test.get("inputs") or {}).items():
            _require_text(table, TABLE_NAME)
            _require_rows(rows)
        outputs = test.get("outputs") or {}
        _require_keys(outputs, OUTPUTS)
        if "query" in outputs:
            _require_rows(outputs["query"])
        for cte, rows in _mapping(outputs.get("ctes") or {}).items():
            _require_text(cte, TABLE_NAME)
            _require_rows(rows)


def _require_rows(table: Any) -> None:
    if not isinstance(table, dict):
        table = {"rows": table}
    _require_keys(table, ROWS)
    _require_columns(table.get("columns", {}))
    if table.get("format", "yaml") not in {"csv", "yaml"}:
        raise HeldError("has rows in an unknown format")
    if "query" in table:
        _require_duckdb_query(table["query"])
    rows = table.get("rows") or []
    if isinstance(rows, str):
        _require_text(rows.strip().split("\n", 1)[0], re.compile(r"[\w $#,-]*"))
    else:
        for row in _list(rows):
            for column in _mapping(row):
                _require_text(column, COLUMN_NAME)


def _require_duckdb_query(text: Any) -> None:
    """A query that makes rows. It runs on DuckDB in a job without keys."""
    _require_text(text, None)
    statements = sqlglot.parse(text, dialect="duckdb")
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise HeldError("contains a statement that is no query")
    require_query(statements[0], Names())


def _require_columns(columns: Any) -> None:
    for name, column_type in _mapping(columns).items():
        _require_text(name, COLUMN_NAME)
        _require_text(column_type, COLUMN_TYPE)


def _require_expression(value: Any, names: Names) -> None:
    if isinstance(value, str):
        # Without a dialect, as SQLMesh parses it.
        require_argument(sqlglot.parse_one(value), names)
    _require_scalar(value)


def _load(text: str) -> Any:
    """The content of a YAML file. Raises HeldError if its aliases or its depth could exhaust the memory."""
    depth = aliases = 0
    for event in YAML().parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        aliases += isinstance(event, AliasEvent)
        if depth > MAX_DEPTH or aliases > MAX_ALIASES:
            raise HeldError(f"has more than {MAX_DEPTH} levels or {MAX_ALIASES} aliases")
        if getattr(event, "tag", None):
            raise HeldError("contains a YAML tag")
    if _count(YAML().compose(text), {}) > MAX_NODES:
        raise HeldError(f"has more than {MAX_NODES:,} values")
    return YAML().load(text)


def _count(node: Node | None, known: dict[int, int]) -> int:
    """Nodes of a document with its aliases expanded. An alias within its own anchor counts as too many."""
    if node is None:
        return 0
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1
        children: list[Node] = []
        if isinstance(node, MappingNode):
            children = [one for pair in node.value for one in pair]
        elif isinstance(node, SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_count(child, known) for child in children)
    return known[id(node)]


def _require_keys(mapping: Any, allowed: set[str]) -> None:
    if unknown := _mapping(mapping).keys() - allowed:
        raise HeldError(f"sets {min(map(str, unknown))[:60]}")


def _require_text(value: Any, pattern: re.Pattern[str] | None) -> None:
    if not isinstance(value, str) or not (pattern is None or pattern.fullmatch(value)):
        raise HeldError(f"contains {str(value)[:60]!r}, where SQLMesh expects a name")


def _require_scalar(value: Any) -> None:
    if not isinstance(value, (str, int, float, bool, dt.date, type(None))):
        raise HeldError("contains a list or a mapping where SQLMesh expects one value")


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise HeldError("lacks a mapping that SQLMesh expects")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise HeldError("lacks a list that SQLMesh expects")
    return value


def _list_or_one(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
