"""Lints a pull request and runs its unit tests, in one process without keys and without a token.

It reads sample data of the repository only, so unlike a build's, its errors may be shown.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from unittest import TestCase

import click
from rich.console import Console
from sqlmesh.core.console import configure_console
from sqlmesh.core.context import Context
from sqlmesh.core.test import ModelTextTestResult
from sqlmesh.utils.errors import SQLMeshError

from meshflow.ci.result import FailedTest, TestResult, Violation, write
from meshflow.names import table_name

MAX_DETAIL_CHARACTERS = 5_000
"""Rows that a failed test expected and got. All of them are in the log."""


def lint_and_test(path: Path, output: Path) -> None:
    """Lint the project at `path`, run its unit tests, and write the result to `output`.

    Raises click.ClickException if either fails.
    """
    configure_console()
    result = evaluate(path)
    write(result, output)
    if not result.has_succeeded:
        raise click.ClickException(result.failure or "Lint or unit tests have failed")


def evaluate(path: Path) -> TestResult:
    """Run both, whatever the first one finds."""
    try:
        context = Context(paths=str(path))
        violations = [
            Violation(table_name(one.model.name), one.rule.name, one.violation_msg, one.violation_type == "error")
            for one in context.lint_models(raise_on_error=False)
        ]
        tested = context.test()
    except SQLMeshError as error:
        return TestResult(failure=" ".join(str(error).split())[:MAX_DETAIL_CHARACTERS])
    return TestResult(tested.testsRun, list(_failed(tested)), violations)


def _failed(result: ModelTextTestResult) -> Iterator[FailedTest]:
    for (case, _), tables in zip_longest(result.failures, result.failure_tables):
        yield FailedTest(_test_name(case), _as_text(tables or ()))
    for case, text in result.errors:
        yield FailedTest(_test_name(case), text[:MAX_DETAIL_CHARACTERS])


def _test_name(case: TestCase) -> str:
    """The name of a unit test, also for one of its CTEs."""
    return str(getattr(getattr(case, "test_case", case), "test_name", case))


def _as_text(tables: Iterable[object]) -> str:
    output = io.StringIO()
    Console(file=output, width=100, no_color=True).print(*tables, sep="\n")
    return output.getvalue().strip()[:MAX_DETAIL_CHARACTERS]
