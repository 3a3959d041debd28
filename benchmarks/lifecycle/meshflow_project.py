"""Variant meshflow: the `sqlmesh` commands of this project, run in process, on gateway `live`."""

from dataclasses import asdict
from datetime import UTC, datetime

from lifecycle.statement_counts import count_statements
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context


def plan(environment: str, execution_time: int) -> dict[str, int]:
    """Run `sqlmesh plan` as of `execution_time`, in seconds since 1970. No unit tests: the dbt project has none."""
    arguments = ["--gateway", "live", "plan", environment, "--auto-apply", "--no-prompts", "--skip-tests"]
    arguments += ["--execution-time", datetime.fromtimestamp(execution_time, UTC).isoformat()]
    with count_statements() as counts:
        cli(arguments, standalone_mode=False)
    return asdict(counts)


def run(execution_time: int) -> dict[str, int]:
    """Do what `sqlmesh run prod` does, as of `execution_time`, in seconds since 1970; the command has no such option.

    Like the command it reads SQLMesh's state and doesn't load the project.
    """
    at = datetime.fromtimestamp(execution_time, UTC)
    with count_statements() as counts:
        status = Context(paths=".", gateway="live", load=False).run("prod", end=at, execution_time=at)
    if not status.is_success:
        raise RuntimeError(f"sqlmesh run: {status.name}")
    return asdict(counts)
