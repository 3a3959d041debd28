"""Seed files match the columns and types that their models declare."""

import csv
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from io import StringIO
from pathlib import Path

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SeedModel
from sqlmesh.utils.errors import ConfigError

PROJECT = Path(__file__).parents[1]
MAX_FAULTS_REPORTED = 5

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
DOUBLE = re.compile(rf"{NUMBER.pattern}([eE][+-]?[0-9]+)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")


class SeedMatchesFile(Rule):
    """The file of a seed has exactly the declared columns, and every value has the type of its column.

    SQLMesh itself detects a missing column or a wrong value only during the build, and leaves tables without an
    environment behind. It accepts an extra column or a short line without a message.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if not isinstance(model, SeedModel):
            return None
        path = model.seed_path.resolve()
        name = path.relative_to(self.context.path.resolve())
        columns = {column.lower(): type_ for column, type_ in (model.columns_to_types or {}).items()}
        faults = list(malformed(path)) or list(mismatched(path, columns))
        violations = [self.violation(f"{name} {fault}") for fault in faults[:MAX_FAULTS_REPORTED]]
        if len(faults) > MAX_FAULTS_REPORTED:
            violations.append(self.violation(f"{name}: {len(faults) - MAX_FAULTS_REPORTED} more faults like these"))
        return violations


def malformed(path: Path) -> Iterator[str]:
    """Why a file is not a valid CSV table; each fault begins with its line number."""
    begin = 1
    try:
        reader = csv.reader(_text(path), strict=True)
        header = next(reader, [])
        if not header:
            yield "line 1: the column names are missing"
            return
        for name in sorted({name for name in header if header.count(name) > 1}):
            yield f"line 1, column {name}: the name occurs {header.count(name)} times"
        begin = reader.line_num + 1
        for row in reader:
            if 0 < len(row) < len(header):
                yield f"line {begin}, column {header[len(row)]}: the line ends after {len(row)} of {len(header)} values"
            elif len(row) > len(header):
                surplus = ",".join(row[len(header) :])
                yield (
                    f"line {begin}, after column {header[-1]}: '{surplus}' is one value too many, "
                    "quote a value that contains a comma"
                )
            begin = reader.line_num + 1
    except UnicodeDecodeError as error:
        begin = path.read_bytes()[: error.start].count(b"\n") + 1
        yield f"line {begin}: {error.object[error.start : error.end]!r} is not UTF-8, save the file as UTF-8"
    except csv.Error as error:
        yield f"line {begin}: a quote is not closed, or is inside a value ({error})"


def mismatched(path: Path, columns: dict[str, exp.DataType]) -> Iterator[str]:
    """Where a well-formed file differs from the declared columns."""
    reader = csv.reader(_text(path), strict=True)
    names = [name.lower() for name in next(reader)]
    for name in columns:
        if name not in names:
            yield f"line 1, column {name}: is missing, but the model declares it"
    for name in names:
        if name not in columns:
            yield f"line 1, column {name}: is unknown, the model does not declare it"

    checks = [
        (position, name, columns[name].sql(dialect="snowflake"), _check(columns[name]))
        for position, name in enumerate(names)
        if name in columns
    ]
    begin = reader.line_num + 1
    for row in reader:
        for position, name, type_, fits in checks if row else ():
            if row[position] and not fits(row[position]):
                article = "an" if type_.startswith("I") else "a"
                yield f"line {begin}, column {name}: '{row[position]}' is not {article} {type_}"
        begin = reader.line_num + 1


def _text(path: Path) -> StringIO:
    return StringIO(path.read_bytes().decode(), newline="")


def _is_integer(value: str, bits: int) -> bool:
    return bool(INTEGER.fullmatch(value)) and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)


def _is_decimal(value: str, precision: int, scale: int) -> bool:
    if not NUMBER.fullmatch(value):
        return False
    units = Decimal(value).scaleb(scale)
    return units == units.to_integral_value() and abs(units) < 10**precision


def _is_time(value: str, pattern: re.Pattern[str], parse: Callable[[str], date | time]) -> bool:
    if not pattern.fullmatch(value):
        return False
    try:
        parse(value)
    except ValueError:
        return False
    return True


# INT has 32 bits on DuckDB; on Snowflake every integer has 38 digits.
CHECKS: dict[str, Callable[[str], bool]] = {
    "BIGINT": partial(_is_integer, bits=64),
    "BOOLEAN": {"true", "false"}.__contains__,
    "DATE": partial(_is_time, pattern=DATE, parse=date.fromisoformat),
    "DOUBLE": lambda value: bool(DOUBLE.fullmatch(value)),
    "INT": partial(_is_integer, bits=32),
    "TIME": partial(_is_time, pattern=TIME, parse=time.fromisoformat),
    "TIMESTAMPNTZ": partial(_is_time, pattern=TIMESTAMP, parse=datetime.fromisoformat),
    "VARCHAR": lambda _: True,
}


def _check(type_: exp.DataType) -> Callable[[str], bool]:
    """A function that returns whether a text is a value of the type on both engines. Other types accept no text."""
    if type_.is_type("DECIMAL") and type_.expressions:
        precision, scale = (int(parameter.name) for parameter in type_.expressions)
        return partial(_is_decimal, precision=precision, scale=scale)
    return CHECKS.get(type_.this.name, lambda _: False)


# SQLMesh parses every seed right after importing the linter's rules, and stops at a malformed one with a message that
# names neither file nor column. So malformed files are reported here, before that.
for _path in sorted(PROJECT.glob("seeds/**/*.csv")):
    if _fault := next(malformed(_path), None):
        raise ConfigError(f"{_path.relative_to(PROJECT)} {_fault}")
