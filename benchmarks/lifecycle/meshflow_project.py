"""Variant meshflow: the `sqlmesh` commands of this project, run in process, on gateway `live`."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from time import perf_counter
from typing import Any
from unittest.mock import patch

from lifecycle.statement_counts import count_statements
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context

from meshflow.runs import Record, RecordedContext, RunLog


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


def recorded(step: str, execution_time: int) -> dict[str, float]:
    """Do what `meshflow plan prod` or `meshflow run prod` does, and return the seconds that recording took of it."""
    at, seconds = datetime.fromtimestamp(execution_time, UTC), 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal seconds
            started = perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                seconds += perf_counter() - started

        return call

    recording = {RunLog: ("begin", "end"), Record: ("computed", "timed", "audited", "ended")}
    timers = [patch.object(part, name, timed(getattr(part, name))) for part in recording for name in recording[part]]
    with count_statements() as counts:
        context = RecordedContext(paths=".", gateway="live", load=step == "plan")
        context.engine_adapter.fetchone("SELECT 1")  # a run opens its connection, recorded or not
        for timer in timers:
            timer.start()
        if step == "plan":
            context.plan("prod", auto_apply=True, no_prompts=True, skip_tests=True, execution_time=at)
        elif not context.run("prod", end=at, execution_time=at).is_success:
            raise RuntimeError("meshflow run failed")
        if not context.engine_adapter.fetchone("SELECT COUNT(*) FROM run_log.events WHERE event = 'ended'"):
            raise RuntimeError(f"meshflow {step} left no record")
        patch.stopall()
    return {"recording_seconds": seconds, **asdict(counts)}
