"""Variant dbt: the `dbt` commands of the project in benchmarks/dbt, run in process."""

from dataclasses import asdict

from dbt.cli.main import dbtRunner
from lifecycle.statement_counts import count_statements


class DbtFailedError(Exception):
    """A dbt command failed; contains its exception."""


def build(target: str, *arguments: str) -> dict[str, int]:
    """Build models, seeds and tests in the order of their dependencies; `target` is prod or dev."""
    return _command("build", "--target", target, *arguments)


def parse() -> dict[str, int]:
    """Parse the project; the commands that follow reuse the result."""
    return _command("parse", "--target", "prod")


def _command(*arguments: str) -> dict[str, int]:
    with count_statements() as counts:
        done = dbtRunner().invoke([*arguments, "--vars", "{as_of_date: 2026-11-01}"])
    if not done.success:
        raise DbtFailedError(f"dbt {arguments[0]}: {done.exception or 'see its log'}")
    return asdict(counts)
