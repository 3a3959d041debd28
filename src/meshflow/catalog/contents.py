"""What the catalog says: a SQLMesh project as plain data."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer import build_scope
from sqlmesh.core import constants as c
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import normalize_model_name
from sqlmesh.core.model import Model as SQLMeshModel
from sqlmesh.utils import yaml

ENGINES = {"DuckDB": "duckdb", "Snowflake": "snowflake"}
"""What SQL is rendered for: engines by name, with SQLGlot's name of their dialect."""
SETTINGS = ("unique_key", "partitioned_by", "columns", "time_column")
"""What a model's kind is shown with: what someone decided for it. SQLMesh adds a dozen defaults."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """In the project's dialect; empty if only the engine will know."""
    description: str
    sources: list[tuple[str, str]]
    """(model, column) that its values are computed from, one step up. Filters and joins don't count."""


@dataclass(frozen=True)
class Audit:
    name: str
    arguments: dict[str, str]
    blocking: bool
    query: str
    """As written, without the arguments."""


@dataclass(frozen=True)
class UnitTest:
    name: str
    file: str
    text: str
    """As written, YAML."""


@dataclass(frozen=True)
class Contract:
    """What has to load, whichever way the table is filled here."""

    file: str
    gateways: list[str]
    grain: str
    columns: dict[str, str]
    """Types by column, as written."""


@dataclass(frozen=True)
class Model:
    name: str
    """As its MODEL header writes it, 'retail.dim_product'; what stands before the last dot is the schema."""
    kind: str
    settings: list[str]
    """Of the kind, 'unique_key (ROW(order_id, product_id))'."""
    description: str
    owner: str
    cron: str
    start: str
    grain: list[str]
    references: list[str]
    tags: list[str]
    file: str
    """Below the project's folder."""
    reads: list[str]
    """Models that its query reads."""
    waits_for: list[str]
    """Models that are processed before it although its query doesn't read them: its audits do."""
    columns: list[Column]
    untraced: str
    """Why the sources of its columns aren't known; empty if they are."""
    audits: list[Audit]
    tests: list[UnitTest]
    written: str
    """The text of the file."""
    rendered: dict[str, str]
    """The query by engine; empty for tables that no query fills."""
    contract: Contract | None


@dataclass(frozen=True)
class Catalog:
    project: str
    at: datetime
    """When it was built, UTC; SQL is rendered for a run at this time."""
    interval: tuple[datetime, datetime]
    """What SQL of incremental models is rendered for: the whole day before, UTC, its end exclusive."""
    gateways: dict[str, str]
    """By engine, the gateway that SQL was rendered for."""
    unconfigured: list[str]
    """Of those, gateways that don't exist here: rendered with the project's variables and the gateway's name alone."""
    models: list[Model]
    """By name."""

    def plain(self) -> dict[str, Any]:
        """In values that JSON knows; times as ISO 8601."""
        return {
            **asdict(self),
            "at": self.at.isoformat(),
            "interval": [bound.isoformat() for bound in self.interval],
        }


def display_name(name: str) -> str:
    """A column as people write it: Snowflake's dialect turns what isn't quoted into capitals."""
    return name.lower() if name.isupper() else name


class Reader:
    """Reads a loaded project; asks no engine."""

    def __init__(self, context: Context, at: datetime) -> None:
        """`at`, UTC, is the time of the run that SQL is rendered for."""
        self.context = context
        self.at = at
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        self.interval = (midnight - timedelta(days=1), midnight)
        here = context.gateway or context.config.default_gateway_name
        self.gateways = {"DuckDB": "local" if here == "snowflake" else here, "Snowflake": "snowflake"}
        self.here = here
        self.folder = context.path.resolve()
        self.contracts = dict(self._contracts())
        self.tests: dict[str, list[UnitTest]] = defaultdict(list)
        for test in context.select_tests():
            self.tests[self._fqn(test.model_name)].append(
                UnitTest(test.test_name, self._below(test.path), _test(test.path, test.test_name))
            )

    def catalog(self) -> Catalog:
        """Raise sqlmesh.utils.errors.SQLMeshError if a model can't be rendered."""
        config = self.context.config
        return Catalog(
            project=config.project or self.folder.name,
            at=self.at,
            interval=self.interval,
            gateways=self.gateways,
            unconfigured=[gateway for gateway in self.gateways.values() if gateway not in config.gateways],
            models=sorted((self._model(model) for model in self.context.models.values()), key=lambda model: model.name),
        )

    def _model(self, model: SQLMeshModel) -> Model:
        query = self._query(model)
        read = {exp.table_name(table, identify=True) for table in query.find_all(exp.Table)} if query else set()
        depends_on = model.depends_on or set()
        descriptions = model.column_descriptions or {}
        sources, untraced = self._sources(model, query)
        file = model._path  # noqa: SLF001 - has no public name
        return Model(
            name=model.name,
            kind=model.kind.name,
            settings=[
                f"{setting.name} {_written(setting.args['value'])}"
                for setting in model.kind.to_expression(dialect=model.dialect).expressions
                if setting.name in SETTINGS
            ],
            description=model.description or "",
            owner=model.owner or "",
            cron=model.cron,
            start=str(model.start or ""),
            grain=[_written(grain) for grain in model.grains],
            references=[_written(reference) for reference in model.references],
            tags=model.tags,
            file=self._below(file) if file else "",
            reads=sorted(self._name(fqn) for fqn in depends_on & read),
            waits_for=sorted(self._name(fqn) for fqn in depends_on - read),
            columns=[
                Column(
                    display_name(name),
                    "" if type_.is_type(exp.DType.UNKNOWN) else type_.sql(dialect=model.dialect),
                    descriptions.get(name, ""),
                    sorted(sources.get(name, ())),
                )
                for name, type_ in (model.columns_to_types or {}).items()
            ],
            untraced=untraced,
            audits=[
                Audit(
                    audit.name,
                    {name: _written(value) for name, value in arguments.items() if name != "blocking"},
                    arguments["blocking"] == exp.true() if "blocking" in arguments else audit.blocking,
                    audit.query.sql(dialect=audit.dialect, pretty=True),
                )
                for audit, arguments in model.audits_with_args
            ],
            tests=self.tests[model.fqn],
            written=_text(file) if file else "",
            rendered={engine: self._rendered(model, query, engine) for engine in ENGINES} if query else {},
            contract=self.contracts.get(model.fqn),
        )

    def _query(self, model: SQLMeshModel, **variables: Any) -> exp.Query | None:
        """The query as the engine gets it but for the names of tables; None if only a run could render it."""
        if model.is_seed or not model.is_sql:
            return None
        start, end = self.interval
        return model.render_query(
            start=start, end=end - timedelta(microseconds=1), execution_time=self.at, variables=variables
        )

    def _rendered(self, model: SQLMeshModel, query: exp.Query, engine: str) -> str:
        gateway = self.gateways[engine]
        # SQLMesh notes the variables that a model depends on: one without any is the same on every gateway.
        if gateway != self.here and c.SQLMESH_VARS in model.python_env:
            query = self._query(model, **self._variables(gateway)) or query
        return query.sql(dialect=ENGINES[engine], pretty=True)

    def _variables(self, gateway: str) -> dict[str, Any]:
        """What a gateway sets, in place of what the gateway here has set."""
        config = self.context.config
        unset = dict.fromkeys(config.gateways[self.here].variables)
        own = config.gateways[gateway].variables if gateway in config.gateways else {}
        return {**unset, **config.variables, **own, c.GATEWAY: gateway}

    def _sources(self, model: SQLMeshModel, query: exp.Query | None) -> tuple[dict[str, set[tuple[str, str]]], str]:
        """The sources of each column, or why they aren't known. The rendered query is qualified already."""
        if not query:
            return {}, "" if model.is_seed or model.kind.is_external else "Written in Python: columns can't be traced."
        try:
            # All columns at once: they share what they go through, 50 models take 0.1 s.
            roots = lineage(
                None, query, scope=build_scope(query), trim_selects=False, copy=False, dialect=model.dialect
            )
        except (SqlglotError, ValueError) as error:
            return {}, f"SQLGlot can't trace the columns of this query: {error}"
        return {
            column: {
                (
                    self._name(exp.table_name(node.expression, identify=True)),
                    display_name(exp.to_column(node.name).name),
                )
                for node in root.walk()
                if isinstance(node.expression, exp.Table) and node.name != "*"
            }
            for column, root in roots.items()
        }, ""

    def _contracts(self) -> Iterator[tuple[str, Contract]]:
        """The files that SQLMesh takes external models from, read whichever gateway they are for."""
        gateways: dict[str, list[str]] = defaultdict(list)
        contracts = {}
        for file in [self.folder / c.EXTERNAL_MODELS_YAML, *sorted((self.folder / c.EXTERNAL_MODELS).glob("*.yaml"))]:
            for entry in yaml.load(file) if file.exists() else []:
                fqn = self._fqn(entry["name"])
                gateways[fqn] += [entry["gateway"]] if "gateway" in entry else []
                contracts[fqn] = (self._below(file), str(entry.get("grain", "")), dict(entry.get("columns", {})))
        for fqn, (below, grain, columns) in contracts.items():
            yield fqn, Contract(below, gateways[fqn], grain, columns)

    def _fqn(self, name: str) -> str:
        return normalize_model_name(name, self.context.default_catalog, self.context.default_dialect)

    def _name(self, fqn: str) -> str:
        model = self.context.models.get(fqn)
        return model.name if model else display_name(fqn.replace('"', ""))

    def _below(self, path: Path) -> str:
        path = path.resolve()
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name


def _written(expression: exp.Expr) -> str:
    """SQL of a header, with identifiers as people write them."""
    return expression.transform(
        lambda node: exp.to_identifier(display_name(node.name)) if isinstance(node, exp.Identifier) else node
    ).sql(dialect="snowflake")


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _test(path: Path, name: str) -> str:
    """A unit test as written: from its name to the next line that isn't indented."""
    found = re.search(rf"^(['\"]?){re.escape(name)}\1\s*:.*?(?=^\S|\Z)", _text(path), re.MULTILINE | re.DOTALL)
    return (found[0] if found else _text(path)).rstrip()
