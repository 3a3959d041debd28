"""Measures `make ci-long`: a push until its checks are green, `/deploy` until prod and main agree, documents only.

pytest collects this file only if it is named. It asserts results and no times: those depend on the machine.
"""

# ruff: noqa: T201 - `make ci-long` shows what is printed

import os
import resource
import time
from collections.abc import Callable
from datetime import datetime

from act import Run, RunningWorkflow
from changes import renamed_courses, renamed_courses_in_test
from conftest import Actions
from fake_github import FakeGitHub, PullRequest
from warehouse import Warehouse

LISTED_SECONDS = 0.5
"""A step that takes less is not listed."""


def test_speed(actions: Actions, github: FakeGitHub, warehouse: Warehouse) -> None:
    print(f"\n{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the start")
    note = opened(github, "documents", {"docs/note.md": "A note\n"})
    run = measured("Documents only", lambda: actions.pull(note))
    assert run.jobs == dict.fromkeys(("admit", "report"), "success"), run

    pull = opened(github, "courses", renamed_courses(github) | renamed_courses_in_test(github))
    run = measured("Push to green", lambda: actions.pull(pull))
    assert run.jobs == dict.fromkeys(("admit", "test", "environment", "report"), "success"), run

    github.review(pull, "bob", "APPROVED")
    github.check(pull.head_sha, "ok")
    run = measured("/deploy to done", lambda: actions.comment(pull, "ann"))
    assert run.jobs == dict.fromkeys(("gate", "deploy", "rebuild"), "success"), run
    assert pull.merged


def opened(github: FakeGitHub, branch: str, files: dict[str, str | None]) -> PullRequest:
    github.push(branch, files, author="ann")
    return github.open_pull(branch, author="ann")


def measured(what: str, start: Callable[[], RunningWorkflow]) -> Run:
    """Run a workflow, and print its seconds. Its processor time depends less on what else the machine does.

    It leaves out the servers that stand in for GitHub, Snowflake and the state.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = start().wait()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\n{what}: {wall:.0f} s, {cpu:.0f} s of processor time")
    for job, steps in seconds_by_step(run).items():
        listed = [f"{name} {seconds:.1f}" for name, seconds in steps.items() if seconds >= LISTED_SECONDS]
        print(f"  {run.names[job]}: {sum(steps.values()):.1f} s, ended after {end(run, job)} s ({', '.join(listed)})")
    return run


def end(run: Run, job: str) -> int:
    """Seconds from the first entry of the log to the last one of a job."""
    times = [(datetime.fromisoformat(event["time"]), event.get("jobID")) for event in run.events if "time" in event]
    return int((max(at for at, of in times if of == job) - min(at for at, _ in times)).total_seconds())


def seconds_by_step(run: Run) -> dict[str, dict[str, float]]:
    """Seconds of each step, by job and by name of the step."""
    found: dict[str, dict[str, float]] = {}
    for event in run.events:
        if event.get("stage") == "Main" and "stepResult" in event and len(event["stepID"]) == 1:
            steps = found.setdefault(event["jobID"], {})
            name = event["step"].splitlines()[0].partition("@")[0]
            steps[name] = steps.get(name, 0) + event["executionTime"] / 1e9
    return found
