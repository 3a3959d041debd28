"""meshflow: the commands as people type them, in process, on gateway `live`."""

from dataclasses import asdict
from datetime import UTC, datetime

from lifecycle.counted import counted
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context


def plan(environment: str, moment: int | None = None) -> dict[str, int]:
    """`sqlmesh plan`, as if it were `moment`. Without unit tests, which dbt's side doesn't have either."""
    arguments = ["--gateway", "live", "plan", environment, "--auto-apply", "--no-prompts", "--skip-tests"]
    if moment is not None:
        arguments += ["--execution-time", datetime.fromtimestamp(moment, UTC).isoformat()]
    with counted() as counts:
        cli(arguments, standalone_mode=False)
    return asdict(counts)


def run(moment: int) -> dict[str, int]:
    """`sqlmesh run prod`, as if it were `moment`, in seconds since 1970: the command itself can't be told.

    As the command does, from SQLMesh's state and without loading the project.
    """
    at = datetime.fromtimestamp(moment, UTC)
    with counted() as counts:
        status = Context(paths=".", gateway="live", load=False).run("prod", end=at, execution_time=at)
    if not status.is_success:
        raise RuntimeError(f"sqlmesh run: {status.name}")
    return asdict(counts)
