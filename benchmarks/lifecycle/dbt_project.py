"""dbt: the commands as people type them, in process, in the project below benchmarks/dbt."""

from dataclasses import asdict

from dbt.cli.main import dbtRunner
from lifecycle.counted import counted


class DbtFailedError(Exception):
    """What dbt said last."""


def build(target: str, *arguments: str) -> dict[str, int]:
    """Models, snapshots, seeds and tests in the order of their dependencies; `target` is prod or dev."""
    return _command("build", "--target", target, *arguments)


def parse() -> dict[str, int]:
    """Read the project, and remember it for the commands that follow."""
    return _command("parse", "--target", "prod")


def _command(*arguments: str) -> dict[str, int]:
    with counted() as counts:
        done = dbtRunner().invoke([*arguments, "--vars", "{as_of_date: 2026-11-01}"])
    if not done.success:
        raise DbtFailedError(f"dbt {arguments[0]}: {done.exception or 'see its log'}")
    return asdict(counts)
