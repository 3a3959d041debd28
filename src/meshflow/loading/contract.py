"""The contract of a load: tables, keys and columns in external_models/*.yaml, which SQLMesh reads too."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from sqlglot import exp
from sqlglot.errors import ParseError

LOADED_AT = "_loaded_at"
"""A column of loaded tables that the source doesn't have: when the load that wrote the row began, UTC."""
DELETED_AT = "_deleted_at"
"""The other one: when the load began that found the row missing in the source, UTC. NULL while the source has it."""

ARROW_TYPES = {
    exp.DType.BIGINT: pa.int64(),
    exp.DType.INT: pa.int32(),
    exp.DType.DOUBLE: pa.float64(),
    exp.DType.VARCHAR: pa.string(),
    exp.DType.BINARY: pa.binary(),
    exp.DType.DATE: pa.date32(),
    exp.DType.TIME: pa.time64("us"),
    exp.DType.TIMESTAMPNTZ: pa.timestamp("us"),
    exp.DType.BOOLEAN: pa.bool_(),
}
DLT_TYPES: dict[exp.DType, dict[str, Any]] = {
    exp.DType.BIGINT: {"data_type": "bigint"},
    exp.DType.INT: {"data_type": "bigint", "precision": 32},
    exp.DType.DOUBLE: {"data_type": "double"},
    exp.DType.VARCHAR: {"data_type": "text"},
    exp.DType.BINARY: {"data_type": "binary"},
    exp.DType.DATE: {"data_type": "date"},
    exp.DType.TIME: {"data_type": "time"},
    exp.DType.TIMESTAMPNTZ: {"data_type": "timestamp", "timezone": False},
    exp.DType.BOOLEAN: {"data_type": "bool"},
}
POSTGRES_TYPES = {
    exp.DType.BIGINT: r"bigint|integer|smallint",
    exp.DType.INT: r"integer|smallint",
    exp.DType.DOUBLE: r"double precision|real",
    exp.DType.VARCHAR: r".+",  # any type has a text
    exp.DType.BINARY: r"bytea",
    exp.DType.DATE: r"date",
    exp.DType.TIME: r"time(\(\d\))? without time zone",
    exp.DType.TIMESTAMPNTZ: r"timestamp(\(\d\))? with(out)? time zone",
    exp.DType.BOOLEAN: r"boolean",
}
"""Patterns of PostgreSQL's types, as format_type() prints them, whose values fit, except a few such as infinity."""

MAX_ROWS = 100_000
"""`max_rows` of a table without a key, whose rows a change replaces."""
MAX_COMPARED_ROWS = 5_000_000
"""`max_rows` of a table with a key. Its keys are read from source and RAW in 8 s and 0.5 GB."""

RESERVED_SCHEMAS = frozenset({"information_schema", "live_raw", "loader", "pg_catalog", "system", "temp"})
"""Schemas that RAW can't have for a source: the loader's own, those of the engines, and a database of DuckDB."""
STAGING = "{}$staging"
"""The schema of RAW with the staging tables of a schema."""
RESERVED_TABLES = frozenset({"_dlt_loads", "_dlt_version"})
"""dlt's own tables in each schema."""

MAX_PRECISION = 38
INTEGER_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}


@dataclass(frozen=True)
class Column:
    name: str
    type: exp.DataType

    @property
    def arrow(self) -> pa.DataType:
        return pa.decimal128(*self.precision) if self.is_decimal else ARROW_TYPES[self.type.this]

    @property
    def hint(self) -> dict[str, Any]:
        """The column as dlt declares it."""
        if self.is_decimal:
            precision, scale = self.precision
            return {"data_type": "decimal", "precision": precision, "scale": scale, "nullable": True}
        return {**DLT_TYPES[self.type.this], "nullable": True}

    def accepts(self, postgres_type: str) -> bool:
        """Whether values of a PostgreSQL type, such as 'numeric(18,2)', fit into this column."""
        if not self.is_decimal:
            return bool(re.fullmatch(POSTGRES_TYPES[self.type.this], postgres_type))
        precision, scale = self.precision
        if postgres_type in INTEGER_DIGITS:
            return INTEGER_DIGITS[postgres_type] <= precision - scale
        numeric = re.fullmatch(r"numeric(?:\((\d+),(-?\d+)\))?", postgres_type)
        if not numeric:
            return False
        if numeric[1] is None or int(numeric[1]) > MAX_PRECISION:
            return True  # no type of the contract has all its values: each row is checked
        return int(numeric[2]) <= scale and int(numeric[1]) - int(numeric[2]) <= precision - scale

    @property
    def is_decimal(self) -> bool:
        return bool(self.type.this == exp.DType.DECIMAL)

    @property
    def precision(self) -> tuple[int, int]:
        precision, *scale = (int(parameter.name) for parameter in self.type.expressions)
        return precision, scale[0] if scale else 0


@dataclass(frozen=True)
class Table:
    """A table of RAW. `schema` is as in the source, such as 'retail', or 'loader' for the loader's own tables."""

    schema: str
    name: str
    key: tuple[str, ...]
    """Empty if no columns are unique. Then each load with a change replaces all rows."""
    columns: tuple[Column, ...]
    file: Path
    max_rows: int
    """The size up to which loads read all rows to find a change: of a table without a key, which larger isn't loaded;
    or the keys, to find the rows that are gone."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @cached_property
    def arrow(self) -> pa.Schema:
        return pa.schema([(column.name, column.arrow) for column in self.columns])

    @property
    def hints(self) -> dict[str, dict[str, Any]]:
        return {column.name: column.hint for column in self.columns}

    @property
    def source_columns(self) -> tuple[Column, ...]:
        """The columns that exist in the source."""
        return tuple(column for column in self.columns if column.name not in {LOADED_AT, DELETED_AT})

    def time(self, name: str) -> Column | None:
        """The source's column `name`, such as 'updated_at' or updatedAt, if it is a time or a date."""
        kinds = {exp.DType.TIMESTAMPNTZ, exp.DType.DATE}
        times = (column for column in self.source_columns if column.type.this in kinds)
        return next((column for column in times if snake_case(column.name) == name), None)


def contract(project: Path = Path()) -> dict[str, Table]:
    """The tables of the contract by name, such as 'retail.sales', in the order of the files.

    Raises click.ClickException if the files are missing or define a table that can't be loaded.
    """
    folder = project / "external_models"
    tables = {}
    for file in sorted(folder.glob("*.yaml")):
        for entry in read_entries(file):
            if exp.to_table(entry["name"]).catalog.lower() == "raw":  # run_log.events is not the loader's
                table = _table(entry, file)
                tables[str(table)] = table
    if not tables:
        raise click.ClickException(f"No contract in {folder.resolve()}: run meshflow in the folder of config.yaml")
    return tables


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The entries of a file of the contract. Raises click.ClickException if it is no YAML or has none."""
    try:
        entries: list[dict[str, Any]] | None = YAML(typ="safe").load(file)
    except YAMLError as error:
        raise click.ClickException(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not entries:
        raise click.ClickException(f"{file} has no table, which SQLMesh can't read: delete the file")
    return entries


def reserved(schema: str, name: str) -> str | None:
    """Why RAW can't have the table `name` of a source's `schema`; None if it can."""
    if schema.lower() in RESERVED_SCHEMAS or "$" in schema:
        return f"RAW can't have the schema {schema} of a source"
    if name.lower() in RESERVED_TABLES:
        return f"each schema of RAW has a table {name} of dlt's"
    return None


def source_tables(tables: dict[str, Table]) -> list[Table]:
    """The tables of the contract that are loaded from a source, without the loader's own."""
    return [table for table in tables.values() if LOADED_AT in table.arrow.names]


def snake_case(name: str) -> str:
    """`name` as the models write it: createdAt becomes created_at."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _table(entry: dict[str, Any], file: Path) -> Table:
    name = exp.to_table(entry["name"])
    if LOADED_AT in (entry.get("columns") or {}) and (clash := reserved(name.db, name.name)):
        raise click.ClickException(f"{file}: {clash}; load a view that names it otherwise")
    key = tuple(re.findall(r"\w+", entry.get("grain", "")))
    columns = []
    for column, type_ in (entry.get("columns") or {}).items():
        try:
            data_type = exp.DataType.build(type_, dialect="snowflake")
        except ParseError:
            data_type = exp.DataType(this=exp.DType.UNKNOWN)
        if data_type.this not in {*ARROW_TYPES, exp.DType.DECIMAL}:
            supported = ", ".join(sorted(kind.name for kind in {*ARROW_TYPES, exp.DType.DECIMAL}))
            raise click.ClickException(
                f"{file}: {entry['name']}.{column} is {type_}, which can't be loaded; use {supported}"
            )
        columns.append(Column(column, data_type))
    if unknown := set(key) - {column.name for column in columns}:
        raise click.ClickException(
            f"{file}: {entry['name']} has no column {', '.join(sorted(unknown))}, which is in its grain"
        )
    if not columns:
        raise click.ClickException(f"{file}: {entry['name']} has no columns")
    max_rows = entry.get("physical_properties", {}).get("max_rows", MAX_COMPARED_ROWS if key else MAX_ROWS)
    return Table(name.db, name.name, key, tuple(columns), file, int(max_rows))
