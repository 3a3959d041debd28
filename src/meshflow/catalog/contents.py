"""The contents of the catalog: a SQLMesh project as plain data."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlglot import Dialect, TokenType, exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.optimizer.qualify import qualify
from sqlmesh.core import constants as c
from sqlmesh.core.audit import Audit as SQLMeshAudit
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import find_tables, normalize_model_name
from sqlmesh.core.model import Model as SQLMeshModel
from sqlmesh.core.model import SCDType2ByColumnKind, SCDType2ByTimeKind
from sqlmesh.utils import yaml
from sqlmesh.utils.errors import SQLMeshError

from meshflow.catalog.exposures import Exposure, exposures
from meshflow.catalog.lineage import (
    CONDITIONAL,
    DIRECT,
    TRANSFORMATION,
    UNKNOWN,
    WINDOW,
    Input,
    Inputs,
    Lineage,
    used_as,
)
from meshflow.catalog.operations import Operations
from meshflow.catalog.profile import Profile
from meshflow.catalog.repository import files_address

ENGINES = {"duckdb": "DuckDB", "postgres": "PostgreSQL", "bigquery": "BigQuery", "mysql": "MySQL", "tsql": "SQL Server"}
"""Names of dialects that aren't the capitalised dialect."""
NAMES = {TokenType.VAR, TokenType.IDENTIFIER}
"""Tokens that may be the name of a column."""
SETTINGS = ("unique_key", "partitioned_by", "columns", "time_column", "materialization", "materialization_properties")
"""Settings of a model's kind that are shown. SQLMesh adds a dozen defaults, which aren't."""


@dataclass(frozen=True)
class Upstream:
    """A column of a model that a query reads, and what it does with it."""

    model: str
    column: str
    transformations: list[str]
    """OpenLineage's, sorted: see meshflow.catalog.lineage."""

    @property
    def is_direct(self) -> bool:
        """Whether its value reaches the output."""
        return not set(DIRECT).isdisjoint(self.transformations)


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """In the project's dialect; empty if SQLMesh can't infer it."""
    description: str
    upstream: list[Upstream]
    """What its expression reads. `Model.rows_upstream` affects it too, and isn't repeated here."""
    set_by_sqlmesh: str = ""
    """How SQLMesh sets a column that isn't in the query, of a history (SCD type 2)."""
    line: int = 0
    """Where the model's file has it, counted from 1; 0 if that isn't known."""
    is_untraced: bool = False
    """Whether its upstream columns are unknown, all or some. `Model.lineage_problem` is about all columns."""


@dataclass(frozen=True)
class Audit:
    name: str
    arguments: dict[str, str]
    blocking: bool
    query: str
    """As in the file of the audit, without arguments."""
    upstream: list[str]
    """Tables that it reads, but for the model itself."""


@dataclass(frozen=True)
class UnitTest:
    name: str
    file: str
    text: str
    """YAML, as in the file."""


@dataclass(frozen=True)
class Contract:
    """The declaration of a raw table that the loader fills; on other gateways it may be a seed."""

    file: str
    gateways: list[str]
    grain: str
    columns: dict[str, str]
    """Types by column, as in the file."""


@dataclass(frozen=True)
class Model:
    name: str
    """As in its MODEL header, 'retail.dim_product'; the part before the last dot is the schema."""
    database: str
    """SQLMesh's default catalog unless the name has another."""
    kind: str
    settings: list[str]
    """Of the kind, 'unique_key (order_id)'."""
    description: str
    owner: str
    cron: str
    start: str
    grain: list[str]
    references: list[str]
    tags: list[str]
    file: str
    """Relative to the project's folder."""
    upstream: list[str]
    """Models that its query, or its Python, reads."""
    declared_dependencies: list[str]
    """Models that its header names and neither the query nor an audit reads; SQLMesh processes them before it too."""
    columns: list[Column]
    rows_upstream: list[Upstream]
    """What the query filters, joins, groups and sorts by. It decides about rows, so it affects every column."""
    has_untraced_rows: bool
    """Whether the query also filters, joins, groups or sorts by columns that are unknown."""
    lineage_problem: str
    """Why the upstream columns are unknown; empty if they are known, but for untraced ones."""
    audits: list[Audit]
    tests: list[UnitTest]
    definition: str
    """The text of the file."""
    rendered: dict[str, str]
    """The query by engine; empty for tables without a query."""
    contract: Contract | None


@dataclass(frozen=True)
class Synonyms:
    """Words that people search for instead of the project's."""

    word: str
    synonyms: list[str]


@dataclass(frozen=True)
class Catalog:
    project: str
    """The variable `project` of config.yaml, else SQLMesh's setting of that name, else the folder's name."""
    built_at: datetime
    """UTC; SQL is rendered for a run at this time."""
    interval: tuple[datetime, datetime]
    """The interval that SQL of incremental models is rendered for: the previous day, UTC, end exclusive."""
    gateways: dict[str, str]
    """By engine, the gateway that SQL was rendered for."""
    unconfigured_gateways: list[str]
    """Those that config.yaml lacks: rendered with the project's variables and the gateway's name only."""
    models: list[Model]
    """Sorted by name."""
    glossary: list[Synonyms] = field(default_factory=list)
    """Of the table below "## Synonyms" in docs/glossary.md, for the search."""
    exposures: list[Exposure] = field(default_factory=list)
    """What reads the models and is none."""
    files_address: str = ""
    """The address that a file's name is appended to; empty if the files aren't on the web."""
    operations: Operations | None = None
    """What runs have recorded; None if the catalog is built without a warehouse."""
    profile: Profile | None = None
    """Of the tables that dashboards read; None if the catalog is built without it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; timestamps in ISO 8601."""
        return {
            **asdict(self),
            "built_at": self.built_at.isoformat(),
            "interval": [bound.isoformat() for bound in self.interval],
        }


def display_name(name: str) -> str:
    """A column's name in lower case, unless it is quoted: Snowflake's dialect turns unquoted names into capitals."""
    return name.lower() if name.isupper() else name


class Reader:
    """Reads a loaded project, without queries to an engine."""

    def __init__(self, context: Context, execution_time: datetime) -> None:
        """`execution_time`, UTC, is that of the run that SQL is rendered for."""
        self.context = context
        self.execution_time = execution_time
        midnight = execution_time.replace(hour=0, minute=0, second=0, microsecond=0)
        self.interval = (midnight - timedelta(days=1), midnight)
        self.gateway = context.gateway or context.config.default_gateway_name
        self.gateways = self._gateways()
        """By dialect, the gateway that SQL is rendered for."""
        self.folder = context.path.resolve()
        self.columns = {fqn: list(model.columns_to_types or {}) for fqn, model in context.models.items()}
        """Names of columns by model."""
        self.contracts = dict(self._contracts())
        self.tests: dict[str, list[UnitTest]] = defaultdict(list)
        for test in context.select_tests():
            self.tests[self._fqn(test.model_name)].append(
                UnitTest(test.test_name, self._relative(test.path), _test_text(test.path, test.test_name))
            )

    def catalog(self) -> Catalog:
        """Raise sqlmesh.utils.errors.SQLMeshError if a model can't be rendered."""
        config = self.context.config
        return Catalog(
            project=config.variables.get("project") or config.project or self.folder.name,
            built_at=self.execution_time,
            interval=self.interval,
            gateways={_engine(dialect): gateway for dialect, gateway in self.gateways.items()},
            unconfigured_gateways=[gateway for gateway in self.gateways.values() if gateway not in config.gateways],
            models=sorted((self._model(model) for model in self.context.models.values()), key=lambda model: model.name),
            glossary=list(_synonyms(self.folder / "docs" / "glossary.md")),
            exposures=list(exposures(self.folder)),
            files_address=files_address(self.folder),
        )

    def _model(self, model: SQLMeshModel) -> Model:
        query = self._query(model)
        tables = {exp.table_name(table, identify=True) for table in query.find_all(exp.Table)} if query else set()
        depends_on = model.depends_on or set()
        read = depends_on & tables if query else depends_on
        audits = [
            (audit, arguments, self._audited(model, audit, arguments)) for audit, arguments in model.audits_with_args
        ]
        audited = set[str]().union(*(found for _, _, found in audits))
        descriptions = model.column_descriptions or {}
        upstream, rows_upstream, lineage_problem = self._lineage(model, query)
        untraced = {name for name, inputs in upstream.items() if inputs & UNKNOWN}
        history = _history_columns(model)
        file = model._path  # noqa: SLF001 - has no public name
        definition = _text(file) if file else ""
        lines = _lines(definition, model.dialect) if model.is_sql else {}
        return Model(
            name=model.name,
            database=display_name(model.fully_qualified_table.catalog),
            kind=model.kind.name,
            settings=[
                f"{setting.name} {to_sql(setting.args['value'])}"
                for setting in model.kind.to_expression(dialect=model.dialect).expressions
                if setting.name in SETTINGS
            ],
            description=model.description or "",
            owner=model.owner or "",
            cron=model.cron,
            start=str(model.start or ""),
            grain=[to_sql(grain) for grain in model.grains],
            references=[to_sql(reference) for reference in model.references],
            tags=model.tags,
            file=self._relative(file) if file else "",
            upstream=sorted(self._name(fqn) for fqn in read),
            declared_dependencies=sorted(self._name(fqn) for fqn in depends_on - read - audited),
            columns=[
                Column(
                    display_name(name),
                    "" if type_.is_type(exp.DType.UNKNOWN) else type_.sql(dialect=model.dialect),
                    descriptions.get(name, ""),
                    self._upstream(upstream.get(name, ())),
                    history.get(name, ""),
                    lines.get(name.lower(), 0),
                    name in untraced,
                )
                for name, type_ in (model.columns_to_types or {}).items()
            ],
            rows_upstream=self._upstream(rows_upstream),
            has_untraced_rows=bool(rows_upstream & UNKNOWN),
            lineage_problem=lineage_problem,
            audits=[
                Audit(
                    audit.name,
                    {name: to_sql(value) for name, value in arguments.items() if name != "blocking"},
                    arguments["blocking"] == exp.true() if "blocking" in arguments else audit.blocking,
                    audit.query.sql(dialect=audit.dialect, pretty=True),
                    sorted(self._name(fqn) for fqn in found),
                )
                for audit, arguments, found in audits
            ],
            tests=self.tests[model.fqn],
            definition=definition,
            rendered={_engine(dialect): self._rendered(model, query, dialect) for dialect in self.gateways}
            if query
            else {},
            contract=self.contracts.get(model.fqn),
        )

    def _audited(self, model: SQLMeshModel, audit: SQLMeshAudit, arguments: dict[str, Any]) -> set[str]:
        """The tables that an audit reads; none if it can't be rendered without an engine."""
        try:
            query = model.render_audit_query(audit, execution_time=self.execution_time, **arguments)
        except SQLMeshError:
            return set()
        tables = find_tables(query, default_catalog=self.context.default_catalog, dialect=model.dialect)
        return tables - {model.fqn}

    def _query(self, model: SQLMeshModel, **variables: Any) -> exp.Query | None:
        """The query as the engine executes it, except for table names; None for models without a SQL query."""
        if model.is_seed or not model.is_sql:
            return None
        start, end = self.interval
        return model.render_query(
            start=start,
            end=end - timedelta(microseconds=1),
            execution_time=self.execution_time,
            variables=variables,
        )

    def _gateways(self) -> dict[str, str]:
        """The current gateway, the first one of each other engine, and one for the project's dialect in any case."""
        config = self.context.config
        names = [self.gateway, *(config.gateways if isinstance(config.gateways, dict) else ())]
        gateways: dict[str, str] = {}
        for name in names:
            gateways.setdefault(config.get_connection(name).DIALECT, name)
        dialect = self.context.default_dialect
        return gateways if not dialect or dialect in gateways else {**gateways, dialect: dialect}

    def _rendered(self, model: SQLMeshModel, query: exp.Query, dialect: str) -> str:
        gateway = self.gateways[dialect]
        # SQLMesh records the variables that a model uses: one without any is the same on every gateway.
        if gateway != self.gateway and c.SQLMESH_VARS in model.python_env:
            query = self._query(model, **self._variables(gateway)) or query
        return query.sql(dialect=dialect, pretty=True)

    def _variables(self, gateway: str) -> dict[str, Any]:
        """The variables of a gateway, instead of those of the current gateway."""
        config = self.context.config
        unset = dict.fromkeys(config.gateways[self.gateway].variables)
        own = config.gateways[gateway].variables if gateway in config.gateways else {}
        return {**unset, **config.variables, **own, c.GATEWAY: gateway}

    def _lineage(self, model: SQLMeshModel, query: exp.Query | None) -> tuple[dict[str, Inputs], Inputs, str]:
        """The inputs of each column and of the rows, or why they are unknown. Rendered queries are qualified."""
        nothing: Inputs = frozenset()
        if not query:
            problem = "" if model.is_seed or model.kind.is_external else "A Python model: its columns can't be traced."
            return {}, nothing, problem
        names = model.columns_to_types or {}
        try:
            lineage = Lineage(self._qualified(model, query), self.columns)
            columns = {name: self._column_inputs(model, lineage, name) for name in names}
        except (SqlglotError, ValueError, RecursionError) as error:  # hundreds of UNIONs
            return {}, nothing, f"SQLGlot can't trace the columns of this query: {error}"
        return {**columns, **_history_inputs(model, columns)}, lineage.rows, ""

    def _qualified(self, model: SQLMeshModel, query: exp.Query) -> exp.Query:
        """The query with tables for its columns, and its names as the engine has them.

        SQLMesh leaves it as it is written if the columns of a table aren't known, or one is ambiguous.
        """
        if all(identifier.quoted for identifier in query.find_all(exp.Identifier)):
            return query
        return qualify(
            query.copy(),
            dialect=model.dialect,
            catalog=self.context.default_catalog,
            schema=model.mapping_schema,
            validate_qualify_columns=False,
        )

    def _column_inputs(self, model: SQLMeshModel, lineage: Lineage, name: str) -> Inputs:
        """By the name in the header of a model, or as the engine has it."""
        engine_name = normalize_identifiers(exp.to_identifier(name), dialect=model.dialect).name
        return lineage.column(name if name in lineage.columns else engine_name)

    def _upstream(self, inputs: Iterable[Input]) -> list[Upstream]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for table, column, transformation in inputs:
            if table and column != "*":  # COUNT(orders.*)
                found[self._name(table), display_name(column)].add(transformation)
        return [Upstream(*column, sorted(transformations)) for column, transformations in sorted(found.items())]

    def _contracts(self) -> Iterator[tuple[str, Contract]]:
        """External models by name, from the files that SQLMesh reads, for every gateway."""
        gateways: dict[str, list[str]] = defaultdict(list)
        contracts = {}
        single = [self.folder / name for name in (c.EXTERNAL_MODELS_YAML, c.EXTERNAL_MODELS_DEPRECATED_YAML)]
        files = [
            *[file for file in single if file.exists()][:1],
            *sorted((self.folder / c.EXTERNAL_MODELS).rglob("*.yaml")),
        ]
        for file in files:
            for entry in yaml.load(file, raise_if_empty=False, render_jinja=False):
                fqn = self._fqn(entry["name"])
                gateways[fqn] += [entry["gateway"]] if "gateway" in entry else []
                contracts[fqn] = (self._relative(file), str(entry.get("grain", "")), dict(entry.get("columns", {})))
        for fqn, (file_name, grain, columns) in contracts.items():
            yield fqn, Contract(file_name, gateways[fqn], grain, columns)

    def _fqn(self, name: str) -> str:
        return normalize_model_name(name, self.context.default_catalog, self.context.default_dialect)

    def _name(self, fqn: str) -> str:
        model = self.context.models.get(fqn)
        return model.name if model else display_name(fqn.replace('"', ""))

    def _relative(self, path: Path) -> str:
        path = path.resolve()
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name


def _history_columns(model: SQLMeshModel) -> dict[str, str]:
    """How SQLMesh sets the columns of a history that aren't in its query, by name."""
    kind = model.kind
    if isinstance(kind, SCDType2ByTimeKind):
        time = display_name(kind.updated_at_name.name)
        begins = f"a version begins at its {time}"
    elif isinstance(kind, SCDType2ByColumnKind):
        columns = kind.columns if isinstance(kind.columns, list) else []
        names = ", ".join(display_name(column.alias_or_name) for column in columns) or "any column"
        begins = f"a version begins with the run that finds a change of {names}"
    else:
        return {}
    return {
        kind.valid_from_name.name: f"Set by SQLMesh: {begins}.",
        kind.valid_to_name.name: f"Set by SQLMesh: when the key's next version begins; {begins}. NULL in the newest.",
    }


def _history_inputs(model: SQLMeshModel, columns: dict[str, Inputs]) -> dict[str, Inputs]:
    """The inputs of those columns: they compare the versions of a key."""
    kind = model.kind
    if not isinstance(kind, (SCDType2ByTimeKind, SCDType2ByColumnKind)):
        return {}
    keys = {column.name for key in kind.unique_key for column in key.find_all(exp.Column)}
    if isinstance(kind, SCDType2ByTimeKind):
        versions, use = {kind.updated_at_name.name}, TRANSFORMATION
    else:
        tracked = kind.columns if isinstance(kind.columns, list) else []
        versions, use = {column.alias_or_name for column in tracked} or columns.keys() - keys, CONDITIONAL
    begins = used_as(use, (columns[name] for name in versions & columns.keys()))
    ends = begins | used_as(WINDOW, (columns[name] for name in keys & columns.keys()))
    return {kind.valid_from_name.name: begins, kind.valid_to_name.name: ends}


def to_sql(expression: exp.Expr) -> str:
    """SQL of a MODEL header, with display names."""
    return expression.transform(
        lambda node: exp.to_identifier(display_name(node.name)) if isinstance(node, exp.Identifier) else node
    ).sql(dialect="snowflake")


def _lines(definition: str, dialect: str) -> dict[str, int]:
    """The line on which a name is last in the text, by name in lower case: of a column, the query's own SELECT."""
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(definition)
    except SqlglotError:
        return {}
    return {token.text.lower(): token.line for token in tokens if token.token_type in NAMES}


def _synonyms(glossary: Path) -> Iterator[Synonyms]:
    """The rows `| word | synonym, synonym |` of the section; none if there is no such file."""
    section = _text(glossary).partition("\n## Synonyms\n")[2].partition("\n## ")[0] if glossary.exists() else ""
    for word, others in re.findall(r"^\|([^|]+)\|([^|]+)\|\s*$", section, re.MULTILINE)[2:]:
        yield Synonyms(word.strip(), [other.strip() for other in others.split(",")])


def _engine(dialect: str) -> str:
    return ENGINES.get(dialect, dialect.capitalize())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} can't be read: save it as UTF-8") from None


def _test_text(path: Path, name: str) -> str:
    """The text of a unit test: from its name to the next line that isn't indented."""
    found = re.search(rf"^(['\"]?){re.escape(name)}\1\s*:.*?(?=^\S|\Z)", _text(path), re.MULTILINE | re.DOTALL)
    return (found[0] if found else _text(path)).rstrip()
