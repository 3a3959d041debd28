"""Measure CLI latency: start-up, lint, unit tests and a plan without changes, by size of the project.

The project as it is, and grown by copies of its own models and unit tests, on sample rows. The results go to
benchmarks/results/commands.json and, as a table, to the README in this folder.
"""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from commands import project
from commands.report import table
from process import Run, machine, now, run, summarize_runs, versions
from report import publish

CACHE = ".cache"
BUILD = ("plan", "dev", "--auto-apply", "--no-prompts", "--skip-tests", "--execution-time")


@dataclass(frozen=True)
class Settings:
    copies: tuple[int, ...] = (1, 4, 20)
    """Of each model: 51, 204 and 1,020 models."""
    tested: int = 4
    """Unit tests run on up to so many copies. SQLMesh opens a DuckDB for each test before the first begins."""
    repeat: int = 3
    """Repetitions of each step."""


SMOKE = Settings(copies=(1,), tested=0, repeat=1)


class Step(NamedTuple):
    """A command that is measured."""

    name: str
    what: str
    function: str
    arguments: tuple[str, ...] = ()
    output: str = ""
    """Required end of its output; with another one, something else was measured."""


@click.command()
@click.option("--copies", multiple=True, type=int, default=Settings.copies, show_default=True, help="Of each model.")
@click.option("--tested", default=Settings.tested, show_default=True, help="Run unit tests on up to so many copies.")
@click.option("--repeat", default=Settings.repeat, show_default=True, help="Repetitions of each step.")
@click.option(
    "--smoke", is_flag=True, help="The project as it is, once, without unit tests; the results are only printed."
)
def commands(*, smoke: bool, copies: tuple[int, ...], tested: int, repeat: int) -> None:
    """Measure start-up, load, lint, unit tests and a plan without changes."""
    publish("commands", measure(SMOKE if smoke else Settings(copies, tested, repeat)), table, smoke=smoke)


def measure(settings: Settings) -> dict[str, Any]:
    """Run every step on every size. Raises click.ClickException if one fails or prints another output."""
    started, circumstances = now(), machine()
    # One execution time for all plans: an hour later there would be an interval to process.
    execution_time = f"{datetime.now(UTC):%Y-%m-%d %H:00:00}"
    sizes = []
    for copies in settings.copies:
        with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
            sizes.append(_size(Path(folder), copies, execution_time, settings))
    return {
        "date": started,
        "machine": circumstances,
        "versions": versions("sqlmesh", "sqlglot", "duckdb"),
        "settings": asdict(settings),
        "sizes": sizes,
    }


def _size(folder: Path, copies: int, execution_time: str, settings: Settings) -> dict[str, Any]:
    models, tests = project.write(folder, copies)
    plan = ("plan", "dev", "--execution-time", execution_time)
    loaded = f"{models} models, {tests} tests"
    planned = "No changes to plan: project files match the `dev` environment**"
    passed = f"Successfully Ran `{tests}` Tests Against `duckdb`**"
    steps = [
        Step("start", "start-up: imports alone", "nothing"),
        Step("load_cold", "load the project, cold cache", "load", output=loaded),
        Step("load", "load the project", "load", output=loaded),
        Step("lint", "`sqlmesh lint`", "command", ("lint",)),
        Step("plan", "`sqlmesh plan dev --skip-tests`, no changes", "command", (*plan, "--skip-tests"), planned),
    ]
    if copies <= settings.tested:
        steps += [
            Step("test", "`sqlmesh test`", "command", ("test",), passed),
            Step("plan_tested", "`sqlmesh plan dev`, no changes", "command", plan, planned),
        ]
    _run(
        Step("build", f"build {models:,} models", "command", (*BUILD, execution_time), "Virtual layer updated"), folder
    )
    runs: dict[str, list[Run]] = {step.name: [] for step in steps}
    # The steps change nothing, so their repetitions are interleaved: other work on the machine affects all alike.
    for _ in range(settings.repeat):
        for step in steps:
            if step.name == "load_cold":
                shutil.rmtree(folder / CACHE)
            runs[step.name].append(_run(step, folder))
    return {
        "models": models,
        "tests": tests,
        "steps": {step.name: _figures(step, runs[step.name]) for step in steps},
    }


def _run(step: Step, folder: Path) -> Run:
    # The gateway is set here, not by the environment of this process.
    done = run(
        f"commands.cli:{step.function}", *step.arguments, environment={"SQLMESH_GATEWAY": "local"}, folder=folder
    )
    click.echo(f"{step.what}: {done.wall_seconds:.1f} s, {done.peak_mb:,.0f} MB", err=True)
    if not done.result["output"].endswith(step.output):
        raise click.ClickException(f"{step.what} must print '{step.output}' but printed '{done.result['output']}'")
    return done


def _figures(step: Step, runs: list[Run]) -> dict[str, Any]:
    return {"what": step.what, "statements": runs[0].result["statements"], **summarize_runs(runs)}
