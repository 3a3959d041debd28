"""Measure the loader against the lower limit.

Starts a PostgreSQL of its own, fills retail.sales, and runs each step in a fresh process. The results go to
benchmarks/results/loading.json and, as a table, to the README beside this file.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
from loading.report import table
from process import Run, machine, now, run, spread, versions
from report import publish

from meshflow.postgres import connect
from meshflow.source.server import Server

LIBRARIES = ("dlt", "duckdb", "adbc-driver-postgresql", "pyarrow", "psycopg")


@dataclass(frozen=True)
class Settings:
    small: int = 100_000
    """Rows that dlt's tutorial loads too: of a million it takes minutes."""
    rows: int = 1_000_000
    large: int = 4_000_000
    changed: int = 10_000
    """Rows of the increment."""
    repeat: int = 3
    """Repetitions of each step."""


SMOKE = Settings(small=10_000, rows=20_000, large=40_000, changed=200, repeat=1)


class Step(NamedTuple):
    """One way from the source to the warehouse."""

    name: str
    what: str
    module: str
    function: str
    start: str | None = None
    """The step from whose warehouse this one starts; None: from nothing."""
    limit: str | None = None
    """The step that does no more than has to be done, and leaves the same rows."""
    compared: str = "checksum"
    """What of its rows has to equal the limit's checksum: a function of load.warehouse."""


class Outcome(NamedTuple):
    run: Run
    checksum: int
    """Of the rows that it left in the warehouse."""


Outcomes = dict[str, list[Outcome]]
"""Of each step, by name, one for each repetition."""

SMALL = (
    Step("small_load_limit", "small full load: the limit", "limit", "load"),
    Step("small_load", "small full load", "loader", "load", limit="small_load_limit"),
    Step("tutorial", "the same as in dlt's tutorial", "tutorial", "load", limit="small_load_limit", compared="values"),
)
LOADS = (
    Step("load_limit", "full load: the limit", "limit", "load"),
    Step("load", "full load", "loader", "load", limit="load_limit"),
)
INCREMENTS = (
    Step("increment_limit", "increment: the limit", "limit", "merge", start="load_limit"),
    Step("increment", "increment", "loader", "load", start="load", limit="increment_limit"),
)
LARGE = (
    Step("large_load_limit", "large full load: the limit", "limit", "load"),
    Step("large_load", "large full load", "loader", "load", limit="large_load_limit"),
    Step("large_refresh", "`--full-refresh` of that", "loader", "refresh", "large_load", limit="large_load_limit"),
)


@click.command()
@click.option("--small", default=Settings.small, show_default=True, help="Rows of the load beside dlt's tutorial.")
@click.option("--rows", default=Settings.rows, show_default=True, help="Rows of the full load.")
@click.option("--large", default=Settings.large, show_default=True, help="Rows of the large loads.")
@click.option("--changed", default=Settings.changed, show_default=True, help="Rows of the increment.")
@click.option("--repeat", default=Settings.repeat, show_default=True, help="Repetitions of each step.")
@click.option("--smoke", is_flag=True, help="Few rows, once; the results are printed and not kept.")
def loading(*, smoke: bool, **settings: int) -> None:
    """Measure the loader against the lower limit."""
    publish("loading", measure(SMOKE if smoke else Settings(**settings)), table, smoke=smoke)


def measure(settings: Settings) -> dict[str, Any]:
    """Run every step. Raises click.ClickException if one fails, or leaves other rows than its limit."""
    started, circumstances = now(), machine()
    outcomes: Outcomes = {}
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder, _sources(Path(folder)) as environment:
        server = _server_version(environment)
        for write, rows, steps in (
            ("fill", settings.small, SMALL),
            ("fill", settings.rows, LOADS),
            ("change", settings.changed, INCREMENTS),
            ("fill", settings.large, LARGE),
        ):
            written = run(f"loading.source:{write}", rows, environment=environment)
            click.echo(f"{write} {rows:,} rows: {written.seconds:.0f} s", err=True)
            outcomes |= _in_turn(steps, settings.repeat, Path(folder), environment)
    figures = {step.name: _figures(step, outcomes[step.name]) for step in (*SMALL, *LOADS, *INCREMENTS, *LARGE)}
    return {
        "date": started,
        "machine": circumstances,
        "versions": {"PostgreSQL": server, **versions(*LIBRARIES)},
        "settings": asdict(settings),
        "steps": figures,
        "targets": [
            {
                "what": "Full load, seconds without imports: times the limit's",
                "ratio": _ratio(figures, "seconds", "load", "load_limit"),
                "at_most": 2.0,
            },
            {
                "what": f"Peak memory of a full load of {settings.large:,} rows: times that of {settings.rows:,}",
                "ratio": _ratio(figures, "peak_mb", "large_load", "load"),
                "at_most": 1.15,
            },
        ],
    }


@contextmanager
def _sources(home: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL of our own with empty tables; gives the environment variables that say where."""
    server = Server(home / "postgres")
    try:
        server.up()
        yield {"MESHFLOW_SOURCE_URL": server.url("source"), "MESHFLOW_LOADER_URL": server.url("loader")}
    finally:
        server.down()


def _server_version(environment: dict[str, str]) -> str:
    with closing(connect(environment["MESHFLOW_LOADER_URL"])) as connection:
        return connection.info.parameter_status("server_version") or ""


def _in_turn(steps: tuple[Step, ...], times: int, home: Path, environment: dict[str, str]) -> Outcomes:
    """Run `steps`, then all of them again: whatever else the machine does meets each of them alike.

    The warehouse that a step leaves last stays in `home`, for others to start from.
    """
    outcomes: Outcomes = {step.name: [] for step in steps}
    for _ in range(times):
        for step in steps:
            data = home / step.name
            shutil.rmtree(data, ignore_errors=True)
            if step.start:
                shutil.copytree(home / step.start, data)
            else:
                data.mkdir()
            done = run(f"loading.{step.module}:{step.function}", data, environment=environment)
            outcome = Outcome(done, run(f"loading.warehouse:{step.compared}", data, environment=environment).result)
            outcomes[step.name].append(outcome)
            imports = f"{done.import_seconds:.2f} s of imports"
            click.echo(f"{step.what}: {done.seconds:.2f} s and {imports}, {done.peak_mb:.0f} MB", err=True)
            if step.baseline:
                _require_equal(step, outcome, outcomes[step.limit][-1])
    return outcomes


def _require_equal(step: Step, outcome: Outcome, limit: Outcome) -> None:
    if outcome.run.result != limit.run.result:
        raise click.ClickException(f"{step.what} read {outcome.run.result:,} rows, the limit {limit.run.result:,}")
    if outcome.checksum != limit.checksum:
        raise click.ClickException(f"{step.what} left other rows or types in the warehouse than the limit")


def _figures(step: Step, outcomes: list[Outcome]) -> dict[str, Any]:
    runs = [outcome.run for outcome in outcomes]
    return {
        "what": step.what,
        "limit": step.limit,
        "rows": runs[0].result,
        "checksum": outcomes[0].checksum,
        "seconds": spread([run.seconds for run in runs]),
        "seconds_with_imports": spread([run.import_seconds + run.seconds for run in runs]),
        "peak_mb": spread([run.peak_mb for run in runs]),
    }


def _ratio(figures: dict[str, Any], figure: str, step: str, other: str) -> float:
    return float(round(figures[step][figure]["median"] / figures[other][figure]["median"], 3))
