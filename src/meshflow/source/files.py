"""The files of a new source table: contract, models, unit tests and reject reasons. They contain no row of the source.

SQLMesh evaluates these files, and they contain names and comments of the source. So only plain names are accepted, and
comments lose what SQLMesh would evaluate.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import click
from sqlglot import exp
from sqlmesh.core.dialect import format_model_expressions, parse

from meshflow.loading.contract import reserved, snake_case
from meshflow.source.tables import UNLIMITED_NUMERIC, SourceColumn, SourceTable

RESERVED = frozenset({
    "account", "all", "alter", "and", "any", "as", "between", "by", "case", "cast", "check", "column", "connect",
    "connect_by_root", "connection", "constraint", "create", "cross", "current", "current_date", "current_time",
    "current_timestamp", "current_user", "database", "delete", "describe", "distinct", "drop", "else", "exclude",
    "exists", "false", "fetch", "following", "for", "from", "full", "glob", "grant", "group", "gscluster", "having",
    "if", "ilike", "in", "increment", "inner", "insert", "intersect", "into", "is", "issue", "join", "lateral", "left",
    "like", "limit", "localtime", "localtimestamp", "match_recognize", "minus", "natural", "not", "notnull", "null",
    "of", "offset", "on", "or", "order", "organization", "out", "outer", "partitioned_by", "qualify", "regexp",
    "returning", "revoke", "right", "rlike", "rollback", "row", "rows", "sample", "schema", "select", "set", "some",
    "start", "table", "tablesample", "then", "to", "top", "trigger", "true", "try_cast", "uncache", "union", "unique",
    "update", "using", "values", "view", "when", "whenever", "where", "window", "with", "xor",
})  # fmt: skip
"""Words that need quotes as a column's name in Snowflake, or that SQLMesh can't read without them."""

OWN_COLUMNS = frozenset({"is_deleted", "latest_loaded_at", "recency_rank", "reject_reasons"})
"""Columns that the models add."""

CONTRACT_HEADER = """\
# The contract of the tables that the loader writes: columns as in the source, and as the grain the key of its merge.
"""
SECOND_GATEWAY = "# The same on Snowflake: SQLMesh needs an entry per gateway.\n"

LOADERS_COLUMNS = ("_deleted_at", "_loaded_at")

DESCRIPTIONS = {
    "created_at": "When the source first wrote the row, UTC",
    "updated_at": "When the source last wrote the row, UTC",
    "deleted_at": "When the source soft-deleted the row, UTC; NULL while the row is active",
    "_deleted_at": "Start of the load that found the row missing in the source, UTC; NULL while the source has it",
    "_loaded_at": "Start of the load that wrote the row, UTC",
    "recency_rank": "1 for the newest row of a key, then 2, 3 …",
    "reject_reasons": "Comma-separated reject reasons, NULL if the row is accepted",
}

SAMPLES: dict[str, tuple[str, str, str]] = {
    "BIGINT": ("text", "'101'", "101"),
    "INT": ("text", "'7'", "7"),
    "BOOLEAN": ("text", "'true'", "true"),
    "DATE": ("timestamp", "'2026-11-01 23:59:59'", "2026-11-01"),
    "TIME": ("text", "'23:59:59'", "'23:59:59'"),
    "TIMESTAMPNTZ": ("text", "'2026-11-01T01:30:00'", "'2026-11-01 01:30:00'"),
    "DOUBLE": ("text", "'1.5'", "1.5"),
    "VARCHAR": ("text", "any text", "any text"),
}
"""By type, for unit tests: another type, a value of it in YAML, and the same value after the cast."""

TIME_SAMPLES = {"DATE": "'2026-11-01 23:59:59'", "TIMESTAMPNTZ": "'2026-11-01 01:30:00'"}
"""The value of SAMPLES, cast to TIMESTAMPNTZ."""

NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""A name that means the same in SQL, YAML, CSV and a path. It needs no quotes in SQL, unless it is reserved."""

YAML_WORDS = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})


@dataclass(frozen=True)
class Column:
    """A column of RAW, and how the staging model names it."""

    source: SourceColumn
    staged: str

    @property
    def name(self) -> str:
        """In SQL."""
        return _quoted(self.source.name)

    @property
    def type(self) -> str:
        return self.source.type

    @property
    def description(self) -> str:
        if comment := _plain(self.source.comment):
            return comment
        if self.type == "TIMESTAMPNTZ" and self.staged in DESCRIPTIONS:
            return DESCRIPTIONS[self.staged]
        words = self.staged.strip("_").replace("_", " ")
        return f"{words[:1].upper()}{words[1:]}, as in the source"


@dataclass(frozen=True)
class NewTable:
    """A source table, and the names of its models. Raises click.ClickException if the source's names can't be used."""

    table: SourceTable

    def __post_init__(self) -> None:
        table, remedy = self.table, "rename it, or add a view that names it otherwise"
        for name in (table.schema, table.name, *(column.name for column in table.columns)):
            if not re.fullmatch(NAME, name):
                raise click.ClickException(
                    f"{table}: the name {name!r} has other characters than ASCII letters, digits and _; {remedy}"
                )
        if clash := reserved(table.schema, table.name):
            raise click.ClickException(f"{table}: {clash}; {remedy}")
        if not table.columns:
            raise click.ClickException(f"{table}: it has no columns")
        names = Counter([*LOADERS_COLUMNS, *(column.name.lower() for column in table.columns)])
        if twice := [name for name, count in names.items() if count > 1]:
            raise click.ClickException(f"{table}: RAW, which has no case, would have {twice[0]} twice; {remedy}")

    @cached_property
    def columns(self) -> list[Column]:
        """In the order of the source."""
        taken: set[str] = {*OWN_COLUMNS, *LOADERS_COLUMNS}
        columns = []
        for column in self.table.columns:
            name = snake_case(column.name)
            # updated_at and deleted_at are times of every staging model.
            is_time = column.type in {"DATE", "TIMESTAMPNTZ"} and column.name not in self.table.key
            # A deleted_at that is NOT NULL has a value in active rows too, such as 9999-12-31.
            usable = {"updated_at": is_time, "deleted_at": is_time and not column.is_required}
            if name in RESERVED or not usable.get(name, True):
                name += "_"
            while name in taken:
                name += "_"
            taken.add(name)
            columns.append(Column(column, name))
        return columns

    @property
    def key(self) -> list[Column]:
        return [next(column for column in self.columns if column.source.name == name) for name in self.table.key]

    @property
    def required(self) -> list[Column]:
        """The other columns that are NOT NULL."""
        return [column for column in self.described if column.source.is_required and column not in self.key]

    @property
    def described(self) -> list[Column]:
        """All columns but the two times that the staging model has for every table."""
        return [column for column in self.columns if column.staged not in {"updated_at", "deleted_at"}]

    def time(self, name: str) -> Column | None:
        """The column updated_at or deleted_at, if the source has it."""
        return next((column for column in self.columns if column.staged == name), None)

    @property
    def entity(self) -> str:
        return entity(str(self.table))

    @property
    def tag(self) -> str:
        schema = self.table.schema.lower()
        return f'"{schema}"' if schema in RESERVED else schema

    @property
    def raw(self) -> str:
        """In SQL. The contract has the source's name."""
        return f"raw.{_quoted(self.table.schema)}.{_quoted(self.table.name)}"

    @property
    def staging(self) -> str:
        return f"staging.stg_{self.entity}"

    @property
    def validated(self) -> str:
        return f"intermediate.int_{self.entity}_validated"

    @property
    def quarantine(self) -> str:
        return f"quarantine.{rejected_name(str(self.table))}"

    @property
    def comment(self) -> str:
        text = _plain(self.table.comment)
        return f" {text}{'' if text.endswith('.') else '.'}" if text else ""

    @property
    def reasons(self) -> dict[str, tuple[str, str, str]]:
        """By reject reason: its condition, what it means, and the remedy."""
        has_key = " AND ".join(f"NOT {column.staged} IS NULL" for column in self.key)
        complete = "Complete it in the source."
        return {
            **{
                f"missing_{column.staged}": (f"{column.staged} IS NULL", "The row has no key.", complete)
                for column in self.key
            },
            "duplicate_key": (
                f"recency_rank > 1 AND {has_key}",
                "A newer row has the same key.",
                "Delete or renumber the older row in the source.",
            ),
            **{
                f"missing_{column.staged}": (f"{column.staged} IS NULL", f"{column.staged} is missing.", complete)
                for column in self.required
            },
        }


def entity(name: str) -> str:
    """`shop.orders` in the names of models: shop__orders. macros/sources.py forms it in the same way."""
    return name.replace(".", "__").lower()


def rejected_name(name: str) -> str:
    """The table of the schema `quarantine` with the rejected rows of `shop.orders`: shop_orders."""
    return name.replace(".", "_").lower()


def new_files(new: NewTable) -> Iterator[tuple[str, str]]:
    schema, name = new.table.schema, new.table.name
    yield f"seeds/{schema}/{name}.csv", _csv_line(column.source.name for column in _raw_columns(new))
    yield f"models/raw/{schema}/{name}.sql", _raw_model(new)
    yield f"models/staging/stg_{new.entity}.sql", _staging_model(new)
    yield f"tests/models/staging/test_stg_{new.entity}.yaml", _staging_test(new)
    if new.key:
        yield f"models/intermediate/int_{new.entity}_validated.sql", _validated_model(new)
        yield f"tests/models/intermediate/test_int_{new.entity}_validated.yaml", _validated_test(new)
        quarantine = new.quarantine.split(".")[1]
        yield f"models/quarantine/{quarantine}.sql", _quarantine_model(new)
        yield f"tests/models/quarantine/test_{quarantine}.yaml", _quarantine_test(new)


def _raw_columns(new: NewTable) -> list[Column]:
    return [
        *new.columns,
        *(Column(SourceColumn(name, "timestamp with time zone", is_required=False), name) for name in LOADERS_COLUMNS),
    ]


def with_contract(text: str, new: NewTable) -> str:
    """A file of the contract, or an empty text, with the entries of the table."""
    anchor = new.table.name  # in snake case, userName and user_name would be one
    key = ", ".join(f'"{name}"' if name.lower() in RESERVED else name for name in new.table.key)
    lines = [
        f"- &{anchor}",
        f"  name: raw.{new.table}",
        "  gateway: live",
        f"  description: {_yaml(f'One row per row of {new.table} in the source, as loaded.{new.comment}')}",
        *([f"  grain: {_yaml(f'({key})' if len(new.key) > 1 else key)}"] if key else []),
        "  columns:",
    ]
    for column in _raw_columns(new):
        # Values with more digits can't be loaded.
        note = f"  # {column.source.postgres_type} in the source" if column.type == UNLIMITED_NUMERIC else ""
        lines.append(f"    {_yaml(column.source.name)}: {column.type}{note}")
    before, _, aliases = (text or CONTRACT_HEADER).partition(SECOND_GATEWAY)
    gap = "\n" if text else ""
    entry = "\n".join(lines)
    return f"{before.rstrip()}\n{gap}{entry}\n\n{SECOND_GATEWAY}{aliases}- {{<<: *{anchor}, gateway: snowflake}}\n"


def with_reasons(text: str, new: NewTable) -> str:
    if not new.key:
        return text
    lines = [_csv_line([str(new.table), reason, *why]) for reason, (_, *why) in new.reasons.items()]
    return f"{text.rstrip()}\n" + "".join(line for line in lines if line not in text)


def with_readme_rows(text: str, new: NewTable) -> str:
    """With a row in the section of each layer."""
    rows = {
        "raw": f"| `raw.{new.table}` | row of the source | seed on `local`; elsewhere `meshflow load` |",
        "staging": f"| `stg_{new.entity}` | loaded row, renamed and typed | {'view' if new.key else 'full refresh'} |",
    }
    if new.key:
        rows["intermediate"] = f"| `int_{new.entity}_validated` | loaded row, with its validation | affected keys |"
        rows["quarantine"] = (
            f"| `{new.quarantine.split('.')[1]}` | rejected row, its key and all reject reasons | view |"
        )
    for layer, row in rows.items():
        if row not in text:
            # Behind the last row of the section.
            section = rf"(\| \*\*{layer}\*\*.*\n(?:\| (?!\*\*).*\n)*)"
            text = re.sub(section, rf"\g<1>{row}\n", text)
    return text


def _raw_model(new: NewTable) -> str:
    columns = _raw_columns(new)
    description = _literal(
        f"One row per row of {new.table} in the source, as loaded.{new.comment} Sample rows, written by hand. "
        "On the other gateways the loader writes this table."
    )
    return _sql(f"""
        MODEL (
          name {new.raw},
          kind SEED (path '$root/seeds/{new.table.schema}/{new.table.name}.csv'),
          owner data_platform,
          cron @cadence,
          tags ({new.tag}, raw),
          description {description},
          columns ({", ".join(f"{column.name} {column.type}" for column in columns)}),
          column_descriptions ({", ".join(f"{column.name} = {_literal(column.description)}" for column in columns)}),
          enabled @IF(@gateway = 'local', TRUE, FALSE)
        );
    """)


def _staging_model(new: NewTable) -> str:
    if new.key:
        kind, audits = "VIEW", "audits (max_deletion_rate(max_rate := 0.2))"
        reader = f"{new.validated} validates the rows."
    else:
        kind, audits = "FULL", ""
        reader = "The source has no key, so rows may repeat. Stored: readers of a copy of the warehouse lack RAW."
    description = _literal(f"One row per loaded row of {new.table}, with renamed and cast columns. {reader}")
    projections = [
        f"{column.name}::{column.type} AS {column.staged}, /* {column.description} */" for column in new.described
    ]
    updated, deleted = new.time("updated_at"), new.time("deleted_at")
    if updated:
        value, note = updated.name, DESCRIPTIONS["updated_at"]
    else:
        value, note = "NULL", "When the source last wrote the row: it does not record this, so always NULL"
    projections.append(f"{value}::TIMESTAMPNTZ AS updated_at, /* {note} */")
    if deleted:
        value = f"COALESCE({deleted.name}::TIMESTAMPNTZ, _deleted_at)"
        found = "the source soft-deleted the row, or a load found it missing there"
    else:
        value, found = "_deleted_at", "a load found the row missing in the source"
    projections.append(f"{value}::TIMESTAMPNTZ AS deleted_at, /* When {found}, UTC; NULL while the row is active */")
    projections.append(f"_loaded_at::TIMESTAMPNTZ AS _loaded_at /* {DESCRIPTIONS['_loaded_at']} */")
    return _sql(f"""
        MODEL (
          name {new.staging},
          kind {kind},
          owner data_platform,
          cron @cadence,
          tags ({new.tag}, staging),
          description {description},
          signals (source_loaded(source := '{new.table.schema}', gateway := @gateway)),
          {audits}
        );
        SELECT {" ".join(projections)}
        FROM {new.raw}
    """)


def _validated_model(new: NewTable) -> str:
    description = _literal(
        f"One row per loaded row of {new.table}, with its validation result. Of several rows with one key the newest "
        f"has recency_rank 1, and the others are rejected. {new.quarantine} shows the rejected rows. Refresh: "
        "incremental (affected keys). A full refresh would hide rows that have disappeared from RAW."
    )
    first, key = new.key[0].staged, ", ".join(column.staged for column in new.key)
    others = [column for column in new.described if column not in new.key]
    reasons = ", ".join(f"{reason} := {condition}" for reason, (condition, *_) in new.reasons.items())
    return _sql(f"""
        MODEL (
          name {new.validated},
          kind CUSTOM (materialization 'replace_by_key', materialization_properties (key = {first})),
          owner data_platform,
          cron @cadence,
          grain ({key}, recency_rank),
          tags ({new.tag}, intermediate),
          description {description},
          signals (parents_processed()),
          audits (
            unique_combination_of_columns(columns := ({key}, recency_rank), condition := _loaded_at >= @start_dtntz),
            row_counts_reconcile(
              against := {new.staging}, key := {f"({key})" if len(new.key) > 1 else key}, since := @start_dtntz
            )
          )
        );
        WITH affected AS (
          SELECT {first} FROM {new.staging} WHERE _loaded_at >= @since()
        ), loaded AS (
          SELECT * FROM {new.staging} WHERE @is_affected({first})
          UNION ALL
          SELECT * FROM {new.staging} WHERE {first} IS NULL
        ), ranked AS (
          SELECT
            *,
            ROW_NUMBER() OVER (
              PARTITION BY {key} ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, deleted_at NULLS FIRST
            ) AS recency_rank,
            MAX(_loaded_at) OVER (PARTITION BY {key}) AS latest_loaded_at
          FROM loaded
        )
        SELECT
          {_described(new.key)}
          recency_rank::INT AS recency_rank, /* {DESCRIPTIONS["recency_rank"]} */
          {_described(others)}
          NOT deleted_at IS NULL AS is_deleted, /* Whether the row is soft-deleted */
          deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC */
          @reject_reasons({reasons})::VARCHAR AS reject_reasons, /* {DESCRIPTIONS["reject_reasons"]} */
          updated_at, /* {DESCRIPTIONS["updated_at"]} */
          latest_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
        FROM ranked
    """)


def _quarantine_model(new: NewTable) -> str:
    """With no column that may name a person: nobody has said yet which do."""
    description = _literal(
        f"One row per rejected row of {new.table}. Answers: which rows are missing from the marts? Why, and since "
        "when? ops.ref_reject_reason describes each reason and its remedy. Look up other columns in the source."
    )
    return _sql(f"""
        MODEL (
          name {new.quarantine},
          kind VIEW,
          owner data_platform,
          cron '@daily',
          grain ({", ".join(column.staged for column in new.key)}, recency_rank),
          tags ({new.tag}, quarantine),
          description {description}
        );
        SELECT
          {_described(new.key)}
          recency_rank, /* {DESCRIPTIONS["recency_rank"]} */
          reject_reasons, /* Comma-separated reject reasons */
          is_deleted, /* Whether the row is soft-deleted */
          updated_at, /* {DESCRIPTIONS["updated_at"]} */
          _loaded_at /* Start of the newest load that affected the row, UTC */
        FROM {new.validated}
        WHERE NOT reject_reasons IS NULL
    """)


def _described(columns: Iterable[Column]) -> str:
    return " ".join(f"{column.staged}, /* {column.description} */" for column in columns)


def _staging_test(new: NewTable) -> str:
    """Every type but BINARY, of which YAML has no values."""
    given = [
        (column, *sample)
        for column in _raw_columns(new)
        if column.source.name != "_deleted_at" and (sample := _sample(column.type))
    ]
    types = [f"{_yaml(column.source.name)}: {type_}" for column, type_, _, _ in given if column.type != "VARCHAR"]
    values = [f"{_yaml(column.source.name)}: {value}" for column, _, value, _ in given]
    results = [f"{column.staged}: {result}" for column, _, _, result in given if column in new.described]
    for name in ("updated_at", "deleted_at"):
        time = new.time(name)
        results.append(f"{name}: {TIME_SAMPLES[time.type] if time else 'null'}")
    results.append(f"_loaded_at: {TIME_SAMPLES['TIMESTAMPNTZ']}")
    return f"""\
test_{new.entity}_columns_are_cast_in_staging:
  model: {new.staging}
  inputs:
    {new.raw}:
      columns:
        {_lines(types, 8)}
      rows:
        - {_lines(values, 10)}
  outputs:
    query:
      partial: true
      rows:
        - {_lines(results, 10)}
"""


def _validated_test(new: NewTable) -> str:
    key = {column.staged: _typed_sample(column.type) for column in new.key}
    required = {column.staged: _typed_sample(column.type) for column in new.required}
    faulty = [f"missing_{name}" for name in required]
    first, times = new.key[0].staged, {"updated_at": "'2026-11-01 01:00:00'", "_loaded_at": "'2026-11-01 02:00:00'"}
    rows = [
        {**key, **required, **times},
        {**key, **times, "updated_at": "'2026-11-01 00:30:00'"},
        {**key, **required, first: "null", **times},
    ]
    reasons = ["null", f"'{', '.join(['duplicate_key', *faulty])}'", f"missing_{first}"]
    given = "\n".join(f"        - {_flow(row)}" for row in rows)
    results = "\n".join(
        f"        - {_flow({'recency_rank': rank, 'reject_reasons': reason})}"
        for rank, reason in zip((1, 2, 1), reasons, strict=True)
    )
    return f"""\
test_each_fault_of_{new.entity}_has_its_reject_reason:
  model: {new.validated}
  inputs:
    {new.staging}:
      rows:
{given}
  outputs:
    query:
      partial: true
      rows:
{results}
"""


def _quarantine_test(new: NewTable) -> str:
    key = {column.staged: _typed_sample(column.type) for column in new.key if column.type != "BINARY"}
    rejected = {**key, "recency_rank": 2, "reject_reasons": "duplicate_key", "is_deleted": "false"}
    return f"""\
test_only_rejected_{new.entity}_are_shown:
  model: {new.quarantine}
  inputs:
    {new.validated}:
      rows:
        - {_flow(rejected)}
        - {_flow({**key, "recency_rank": 1, "is_deleted": "false"})}
  outputs:
    query:
      partial: true
      rows:
        - {_flow(rejected)}
"""


def _sample(type_: str) -> tuple[str, str, str] | None:
    """As in SAMPLES; None for BINARY."""
    if type_.startswith("DECIMAL"):
        value = "7" if type_.endswith(" 0)") else "0.5"
        return "text", f"'{value}'", value
    return SAMPLES.get(type_)


def _typed_sample(type_: str) -> str:
    sample = _sample(type_)
    return sample[2] if sample else "any bytes"


def _flow(row: Mapping[str, object]) -> str:
    return f"{{{', '.join(f'{name}: {value}' for name, value in row.items())}}}"


def _lines(lines: Iterable[str], indent: int) -> str:
    return f"\n{' ' * indent}".join(lines)


def _sql(text: str) -> str:
    """In the format of `sqlmesh format`."""
    return format_model_expressions(parse(text, default_dialect="snowflake"), "snowflake") + "\n"


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql("snowflake")


def _quoted(name: str) -> str:
    """With quotes if it is reserved. RAW has no case, so it is then in capitals, as Snowflake stores it."""
    return f'"{name.upper()}"' if name.lower() in RESERVED else name


def _yaml(text: str) -> str:
    is_plain = re.fullmatch(r"[A-Za-z_(][\w ,.()-]*", text) and text.lower() not in YAML_WORDS
    return text if is_plain else json.dumps(text)


def _csv_line(values: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(comment: str | None) -> str:
    """A comment on one line, without what SQLMesh evaluates in SQL and YAML."""
    return " ".join(re.sub(r"[@{}*\\`\x00-\x1f]|jinja", " ", comment or "", flags=re.IGNORECASE).split())
