"""Results of the jobs that evaluate a pull request, as JSON for the job that has a token to report them.

The change could have written any of it: `meshflow.ci.report` reads nothing else from those jobs, and reads it as data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import click
from pydantic import Field, TypeAdapter, ValidationError

Result = TypeVar("Result")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Step = Literal["load", "plan", "budget", "build", "compare"]

MAX_BYTES = 1_000_000
"""Largest file that is read. The largest comment has 65,536 characters."""


def environment_name(number: int) -> str:
    """The environment of pull request `number`."""
    return f"pr_{number}"


@dataclass(frozen=True)
class Violation:
    """A rule of the linter that a model violates."""

    model: str
    rule: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class FailedTest:
    """A unit test that failed, and the rows that it expected and got: sample data of the repository."""

    name: str
    detail: str


@dataclass(frozen=True)
class TestResult:
    """Lint and unit tests. `failure` is why the project could not be loaded, or empty."""

    __test__ = False  # no test of pytest

    tests: Count = 0
    failed: Sequence[FailedTest] = ()
    violations: Sequence[Violation] = ()
    failure: str = ""

    @property
    def has_succeeded(self) -> bool:
        return not (self.failure or self.failed or any(one.is_error for one in self.violations))


@dataclass(frozen=True)
class Backfill:
    """What a plan builds of one model. `intervals` is 1 for kinds that are not incremental."""

    model: str
    kind: str
    intervals: Count


@dataclass(frozen=True)
class Limits:
    """Models and intervals that a pull request may build without the label over-budget."""

    models: Count
    intervals: Count


@dataclass(frozen=True)
class Change:
    """A model that the plan for prod changes, and the category of its new version, such as `breaking`."""

    model: str
    how: Literal["added", "removed", "directly modified", "indirectly modified", "metadata only"]
    category: str = ""


@dataclass(frozen=True)
class Definition:
    """The unified diff of a model: header, audits, query and virtual statements. Empty if only code differs."""

    model: str
    diff: str


@dataclass(frozen=True)
class MaskChange:
    """A column that is masked in prod and isn't any more, or a new one derived without a mask from a personal one."""

    model: str
    column: str
    exists: bool
    """Whether the changed model has the column."""
    is_derived: bool = False


@dataclass(frozen=True)
class Finding:
    """An audit that found rows."""

    model: str
    audit: str
    checks: str
    rows: Count
    is_blocking: bool


@dataclass(frozen=True)
class Failure:
    """Why there is no new environment, or no comparison: the step, and descriptions of errors without their texts."""

    step: Step
    errors: Sequence[str] = ()
    skipped: Sequence[str] = ()
    """Models that were not built, because they read what failed."""


@dataclass(frozen=True)
class Numbers:
    """Sum and number of non-NULL values of a numeric column, in prod and in the environment."""

    column: str
    sums: tuple[str, str]
    values: tuple[Count, Count]


@dataclass(frozen=True)
class Difference:
    """Row counts of a model: in prod, in the environment, `added`, `removed` and `changed`, matched by grain.

    `columns` is the number of changed rows per column. Columns that are new, removed or retyped aren't compared.
    If several rows have the same key, `is_unique` is false, and only `prod_rows` and `environment_rows` are valid.
    `numbers` are the numeric columns whose sum or NULL rate differs.
    """

    model: str
    prod_rows: Count
    environment_rows: Count
    added: Count
    removed: Count
    changed: Count
    columns: dict[str, Count]
    added_columns: tuple[str, ...]
    removed_columns: tuple[str, ...]
    retyped_columns: tuple[str, ...]
    is_unique: bool
    numbers: Sequence[Numbers] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the two tables are equal, as far as they can be compared."""
        schema = self.added_columns or self.removed_columns or self.retyped_columns
        return self.is_unique and not (self.added or self.removed or self.changed or schema)


@dataclass(frozen=True)
class Processed:
    """All rows loaded before are shown by a model, in prod and in the environment, UTC."""

    model: str
    prod_until: datetime
    environment_until: datetime


@dataclass(frozen=True)
class Comparison:
    """The differences, skipped models with the reason, and the model that the two have processed most differently."""

    differences: list[Difference]
    skipped: dict[str, str]
    processed: Processed | None


@dataclass(frozen=True)
class Page:
    """A dashboard page and the changed tables, or tables downstream of them, that it reads."""

    title: str
    tables: Sequence[str]


@dataclass(frozen=True)
class BuildResult:
    """An environment compared with prod, or the `failure`. Whatever was not reached has its default."""

    environment: str
    limits: Limits | None = None
    backfills: Sequence[Backfill] = ()
    """What had to be built."""
    is_allowed: bool = False
    """Whether it is more than `limits`, and the label over-budget allows it."""
    exists: bool = False
    """Whether the environment exists. None is made for a pull request that changes no model."""
    failure: Failure | None = None
    changes: Sequence[Change] = ()
    definitions: Sequence[Definition] = ()
    masks: Sequence[MaskChange] = ()
    audits: Count = 0
    """Audits run."""
    findings: Sequence[Finding] = ()
    statements: Count = 0
    """Statements that the build sent to the warehouse."""
    seconds: float = 0
    comparison: Comparison | None = None
    downstream: Sequence[str] = ()
    pages: Sequence[Page] = ()
    query: str = ""
    """Reads a changed model in the environment."""


@dataclass(frozen=True)
class Results:
    """What the jobs have written; None for a job that has written nothing, or nothing valid."""

    test: TestResult | None = None
    build: BuildResult | None = None


def write(result: TestResult | BuildResult, file: Path) -> None:
    file.write_bytes(TypeAdapter(type(result)).dump_json(result))


def read(folder: Path) -> Results:
    """The results in `test.json` and `build.json`. A file that is missing, too large or invalid is no result."""
    return Results(_read(TestResult, folder / "test.json"), _read(BuildResult, folder / "build.json"))


def _read(kind: type[Result], file: Path) -> Result | None:
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        return TypeAdapter(kind).validate_json(file.read_bytes())
    except ValidationError:
        click.echo(f"{file.name} is not a valid result", err=True)
        return None
