"""Values on their way from PostgreSQL to RAW: how they are selected, and which ones don't fit the contract."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from meshflow.loading.contract import MAX_PRECISION, Column, Table

ARRAY, COMPOSITE, NUMERIC = "A", "C", "N"
"""Categories of types in pg_type.typcategory."""

MAX_BYTES = {exp.DType.VARCHAR: 16 * 2**20, exp.DType.BINARY: 8 * 2**20}
"""Snowflake's limits of a VARCHAR and a BINARY without a length."""

# Years 1 to 9999, which all engines and Python have. ADBC returns infinity, and times after Arrow's last year, 294246,
# as earlier ones than the first.
LIMITS = {
    exp.DType.DATE: (-719_162, 2_932_896),  # days since 1970
    exp.DType.TIMESTAMPNTZ: (-62_135_596_800_000_000, 253_402_300_799_999_999),  # microseconds since 1970
    exp.DType.TIME: (0, 86_399_999_999),  # microseconds; PostgreSQL has 24:00:00 too
}
FAULTS = {
    exp.DType.DATE: "is infinite or outside years 1 to 9999",
    exp.DType.TIMESTAMPNTZ: "is infinite or outside years 1 to 9999",
    exp.DType.TIME: "is 24:00:00",
    exp.DType.DOUBLE: "is NaN or infinite",
    exp.DType.VARCHAR: "has more than 16 MB",
    exp.DType.BINARY: "has more than 8 MB",
}

FITS = {
    exp.DType.DATE: "{0} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'",
    exp.DType.TIMESTAMPNTZ: "{0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'",
    exp.DType.TIME: "{0} < '24:00'",
    exp.DType.DECIMAL: "ABS({0}) < 1e{digits} AND {0} = ROUND({0}, {scale})",
    exp.DType.DOUBLE: "{0} NOT IN ('NaN', 'Infinity', '-Infinity')",
    exp.DType.VARCHAR: f"OCTET_LENGTH(CONVERT_TO({{0}}, 'UTF8')) <= {MAX_BYTES[exp.DType.VARCHAR]}",
    exp.DType.BINARY: f"OCTET_LENGTH({{0}}) <= {MAX_BYTES[exp.DType.BINARY]}",
}
"""By type, whether PostgreSQL's value fits the contract. The loader decides it by the values it has read."""

Unfit = Mapping[Column, pa.Array]
"""Of rows, by column: the texts of the values that don't fit the contract; null where the value does."""


def expression(column: Column, type_: str, category: str, *, is_key: bool) -> str:
    """SQL for a column of the source, whose type `type_` is of `category`, in a type that has an Arrow type."""
    name = quoted(column.name)
    if column.type.this == exp.DType.VARCHAR:
        if type_ == "inet":
            return f"abbrev({name})"  # the text of a single address would end in /32
        if type_.startswith("reg") and category == NUMERIC:
            return f"{name}::oid::text"  # the name of what it refers to changes without the row
        if type_ in {"money", "money[]"}:
            # Its own text has the currency and separators of lc_monetary, which a session may set otherwise.
            name = f"{name}::{type_.replace('money', 'numeric')}"
        # As JSON, arrays and rows are readable for both warehouses. Keys need the bounds of arrays, which it lacks.
        is_json = category in {ARRAY, COMPOSITE} and not is_key
        return f"to_json({name})::text" if is_json else f"{name}::text"  # a char(n) loses its padding
    if column.is_decimal:
        return f"{name}::numeric"
    return f"{name}::float8" if type_ == "real" else name


def quoted(name: str) -> str:
    """A name of PostgreSQL in SQL."""
    return '"' + name.replace('"', '""') + '"'


def fault(column: Column) -> str:
    """What is said of a value that doesn't fit."""
    if column.is_decimal:
        precision, scale = column.precision
        return f"{column.name} is NaN, infinite, or no DECIMAL({precision}, {scale})"
    return f"{column.name} {FAULTS[column.type.this]}"


def fitting(table: Table, values: Mapping[str, str]) -> str:
    """SQL for whether all values of a row in PostgreSQL fit the contract; NULL does. `values`: SQL of each column."""
    conditions = []
    for column in table.source_columns:
        if template := FITS.get(column.type.this):
            precision, scale = column.precision if column.is_decimal else (0, 0)
            condition = template.format(values[column.name], digits=precision - scale, scale=scale)
            conditions.append(f"({condition}) IS NOT FALSE")
    return " AND ".join(conditions) or "true"


def key_texts(rows: pa.RecordBatch | pa.Table, key: Sequence[str], unfit: Unfit | None = None) -> list[str]:
    """The key of each row as JSON: a list of texts. Empty if the table has none."""
    if not key:
        return [""] * rows.num_rows
    texts = {column.name: values.to_pylist() for column, values in (unfit or {}).items()}
    columns = [
        [other if value is None else str(value) for value, other in zip(values, others, strict=True)]
        for values, others in ((rows.column(name).to_pylist(), texts.get(name, [None] * rows.num_rows)) for name in key)
    ]
    return [json.dumps(values) for values in zip(*columns, strict=True)]


def convert(column: Column, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """The same values in the contract's type, exactly; and the texts of those that don't fit, None if all do.

    ADBC returns NUMERIC as text, and timestamps with a zone.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if not column.is_decimal:
        return _within_limits(column, values.cast(column.arrow))
    precision, scale = column.precision
    # With more digits than a decimal128 has, Arrow's cast makes another number, without an error.
    if (pc.max(pc.utf8_length(values)).as_py() or 0) <= MAX_PRECISION - scale:
        with suppress(pa.ArrowInvalid):
            return values.cast(column.arrow), None
    # One by one: few batches have such a value.
    typed = pa.array([text and _decimal(text, precision, scale) for text in values.to_pylist()], pa.string())
    typed = typed.cast(column.arrow)
    return typed, pc.if_else(pc.is_null(typed), values, None) if typed.null_count > values.null_count else None


def _within_limits(column: Column, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    kind = column.type.this
    if kind in LIMITS:
        lowest, highest = LIMITS[kind]
        texts = numbers = values.view(pa.int32() if kind == exp.DType.DATE else pa.int64())
        found = pc.min_max(numbers)
        if (found["min"].as_py() or lowest) >= lowest and (found["max"].as_py() or highest) <= highest:
            return values, None
        unfit = pc.or_(pc.less(numbers, lowest), pc.greater(numbers, highest))
    elif kind == exp.DType.DOUBLE:
        texts, unfit = values, pc.invert(pc.is_finite(values))
    elif kind in MAX_BYTES:
        if values.nbytes <= MAX_BYTES[kind]:
            return values, None
        # PostgreSQL has no key of that size, so that no text is needed.
        texts, unfit = pc.binary_length(values), pc.greater(pc.binary_length(values), MAX_BYTES[kind])
    else:
        return values, None
    unfit = pc.fill_null(unfit, fill_value=False)
    if not pc.any(unfit).as_py():
        return values, None
    return pc.if_else(unfit, None, values), pc.if_else(unfit, texts.cast(pa.string()), None)


def _decimal(text: str, precision: int, scale: int) -> str | None:
    """A text of NUMERIC without zeros at its end, which Arrow would count as digits; None if it doesn't fit."""
    if not text.lstrip("-")[0].isdigit():  # NaN, Infinity
        return None
    trimmed = text.rstrip("0").rstrip(".") if "." in text else text
    integer, _, fraction = trimmed.lstrip("-").partition(".")
    return trimmed if len(fraction) <= scale and len(integer.lstrip("0")) <= precision - scale else None
