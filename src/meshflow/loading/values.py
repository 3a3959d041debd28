"""Values on their way from PostgreSQL to RAW: how they are selected, and which ones don't fit the contract."""

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from meshflow.loading.contract import Column

ARRAY, COMPOSITE = "A", "C"
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


def expression(column: Column, type_: str, category: str) -> str:
    """SQL for a column of the source, whose type `type_` is of `category`, in a type that has an Arrow type."""
    name = quoted(column.name)
    if column.type.this == exp.DType.VARCHAR:
        if type_ == "inet":
            return f"abbrev({name})"  # the text of a single address would end in /32
        # As JSON, arrays and rows are readable for both warehouses. A char(n) loses its padding.
        return f"to_json({name})::text" if category in {ARRAY, COMPOSITE} else f"{name}::text"
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


def convert(column: Column, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """The same values in the contract's type, exactly, and which of them don't fit; None if all do.

    ADBC returns NUMERIC as text, and timestamps with a zone.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if not column.is_decimal:
        return _within_limits(column, values.cast(column.arrow))
    try:
        return values.cast(column.arrow), None
    except pa.ArrowInvalid:  # one by one: few batches have such a value
        fitting = [text and _decimal(text, *column.precision) for text in values.to_pylist()]
        typed = pa.array(fitting, pa.string()).cast(column.arrow)
        return typed, pc.and_(pc.is_null(typed), pc.is_valid(values))


def _within_limits(column: Column, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    kind = column.type.this
    if kind in LIMITS:
        lowest, highest = LIMITS[kind]
        numbers = values.view(pa.int32() if kind == exp.DType.DATE else pa.int64())
        found = pc.min_max(numbers)
        if (found["min"].as_py() or lowest) >= lowest and (found["max"].as_py() or highest) <= highest:
            return values, None
        unfit = pc.or_(pc.less(numbers, lowest), pc.greater(numbers, highest))
    elif kind == exp.DType.DOUBLE:
        unfit = pc.invert(pc.is_finite(values))
    elif kind in MAX_BYTES:
        if values.nbytes <= MAX_BYTES[kind]:
            return values, None
        unfit = pc.greater(pc.binary_length(values), MAX_BYTES[kind])
    else:
        return values, None
    unfit = pc.fill_null(unfit, fill_value=False)
    return pc.if_else(unfit, pa.scalar(None, values.type), values), unfit if pc.any(unfit).as_py() else None


def _decimal(text: str, precision: int, scale: int) -> str | None:
    """A text of NUMERIC without zeros at its end, which Arrow would count as digits; None if it doesn't fit."""
    if not text.lstrip("-")[0].isdigit():  # NaN, Infinity
        return None
    trimmed = text.rstrip("0").rstrip(".") if "." in text else text
    integer, _, fraction = trimmed.lstrip("-").partition(".")
    return trimmed if len(fraction) <= scale and len(integer.lstrip("0")) <= precision - scale else None
