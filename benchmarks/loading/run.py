"""Measure the loader against the baseline.

Starts a PostgreSQL of its own, fills retail.sales, and runs each step in a fresh process. The results go to
benchmarks/results/loading.json and, as a table, to the README in this folder.
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
from process import Run, machine, now, run, summarize, versions
from report import publish

from meshflow.postgres import connect
from meshflow.source.server import Server

LIBRARIES = ("dlt", "duckdb", "adbc-driver-postgresql", "pyarrow", "psycopg")


@dataclass(frozen=True)
class Settings:
    small: int = 100_000
    """Rows of the load that dlt's tutorial runs too; a million would take it minutes."""
    rows: int = 1_000_000
    large: int = 4_000_000
    changed: int = 10_000
    """Rows of the incremental load."""
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
    """The step whose warehouse this one starts from; None for an empty one."""
    baseline: str | None = None
    """The baseline step that loads the same rows."""
    compared: str = "checksum"
    """Function of loading.warehouse whose result has to equal the baseline's."""


class Outcome(NamedTuple):
    run: Run
    checksum: int
    """Of the rows in the warehouse after the step."""


Outcomes = dict[str, list[Outcome]]
"""By name of the step, one for each repetition."""

SMALL = (
    Step("small_load_baseline", "small full load: baseline", "baseline", "load"),
    Step("small_load", "small full load", "loader", "load", baseline="small_load_baseline"),
    Step(
        "tutorial",
        "small full load: dlt's tutorial",
        "tutorial",
        "load",
        baseline="small_load_baseline",
        compared="values",
    ),
)
LOADS = (
    Step("load_baseline", "full load: baseline", "baseline", "load"),
    Step("load", "full load", "loader", "load", baseline="load_baseline"),
)
INCREMENTS = (
    Step("increment_baseline", "incremental load: baseline", "baseline", "merge", start="load_baseline"),
    Step("increment", "incremental load by updated_at", "loader", "load", start="load", baseline="increment_baseline"),
)
WITHOUT_INDEX = (
    Step("increment_xmin", "incremental load by xmin", "loader", "load", start="load", baseline="increment_baseline"),
)
LARGE = (
    Step("large_load_baseline", "large full load: baseline", "baseline", "load"),
    Step("large_load", "large full load", "loader", "load", baseline="large_load_baseline"),
    Step("large_refresh", "large full refresh", "loader", "refresh", "large_load", baseline="large_load_baseline"),
)


@click.command()
@click.option("--small", default=Settings.small, show_default=True, help="Rows of the load by dlt's tutorial.")
@click.option("--rows", default=Settings.rows, show_default=True, help="Rows of the full load.")
@click.option("--large", default=Settings.large, show_default=True, help="Rows of the large loads.")
@click.option("--changed", default=Settings.changed, show_default=True, help="Rows of the incremental load.")
@click.option("--repeat", default=Settings.repeat, show_default=True, help="Repetitions of each step.")
@click.option("--smoke", is_flag=True, help="Few rows, once; the results are only printed.")
def loading(*, smoke: bool, **settings: int) -> None:
    """Measure the loader against the baseline."""
    publish("loading", measure(SMOKE if smoke else Settings(**settings)), table, smoke=smoke)


def measure(settings: Settings) -> dict[str, Any]:
    """Run every step. Raises click.ClickException if one fails, or loads other rows than its baseline."""
    started, circumstances = now(), machine()
    outcomes: Outcomes = {}
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder, _sources(Path(folder)) as environment:
        server = _server_version(environment)
        for write, rows, steps in (
            ("fill", settings.small, SMALL),
            ("fill", settings.rows, LOADS),
            ("change", settings.changed, INCREMENTS),
            ("drop_index", settings.changed, WITHOUT_INDEX),
            ("fill", settings.large, LARGE),
        ):
            written = run(f"loading.source:{write}", rows, environment=environment)
            click.echo(f"{write} {rows:,} rows: {written.seconds:.0f} s", err=True)
            _run_interleaved(steps, settings.repeat, Path(folder), environment, outcomes)
    steps = (*SMALL, *LOADS, *INCREMENTS, *WITHOUT_INDEX, *LARGE)
    figures = {step.name: _figures(step, outcomes[step.name]) for step in steps}
    return {
        "date": started,
        "machine": circumstances,
        "versions": {"PostgreSQL": server, **versions(*LIBRARIES)},
        "settings": asdict(settings),
        "steps": figures,
        "targets": [
            {
                "what": "Full load, seconds without imports: loader ÷ baseline",
                "ratio": _ratio(figures, "seconds", "load", "load_baseline"),
                "at_most": 1.3,
            },
            {
                "what": "Incremental load by updated_at, seconds without imports: loader ÷ baseline",
                "ratio": _ratio(figures, "seconds", "increment", "increment_baseline"),
                "at_most": 3.0,
            },
            {
                "what": f"Peak memory of a full load: {settings.large:,} rows ÷ {settings.rows:,} rows",
                "ratio": _ratio(figures, "peak_mb", "large_load", "load"),
                "at_most": 1.15,
            },
        ],
    }


@contextmanager
def _sources(home: Path) -> Iterator[dict[str, str]]:
    """Start a temporary PostgreSQL with empty tables; yields environment variables with its URLs."""
    server = Server(home / "postgres")
    try:
        server.up()
        yield {"MESHFLOW_SOURCE_URL": server.url("source"), "MESHFLOW_LOADER_URL": server.url("loader")}
    finally:
        server.down()


def _server_version(environment: dict[str, str]) -> str:
    with closing(connect(environment["MESHFLOW_LOADER_URL"])) as connection:
        return connection.info.parameter_status("server_version") or ""


def _run_interleaved(
    steps: tuple[Step, ...], times: int, home: Path, environment: dict[str, str], outcomes: Outcomes
) -> None:
    """Run all `steps`, then all of them again: other work on the machine affects each of them alike.

    Adds their `outcomes`. The last warehouse of a step stays in `home`, where other steps start from it.
    """
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
            outcomes.setdefault(step.name, []).append(outcome)
            imports = f"{done.import_seconds:.2f} s of imports"
            click.echo(f"{step.what}: {done.seconds:.2f} s and {imports}, {done.peak_mb:.0f} MB", err=True)
            if step.baseline:
                _require_equal(step, outcome, outcomes[step.baseline][-1])


def _require_equal(step: Step, outcome: Outcome, baseline: Outcome) -> None:
    if outcome.run.result != baseline.run.result:
        raise click.ClickException(f"{step.what}: {outcome.run.result:,} rows read, baseline {baseline.run.result:,}")
    if outcome.checksum != baseline.checksum:
        raise click.ClickException(f"{step.what}: rows or types in the warehouse differ from those of the baseline")


def _figures(step: Step, outcomes: list[Outcome]) -> dict[str, Any]:
    runs = [outcome.run for outcome in outcomes]
    return {
        "what": step.what,
        "baseline": step.baseline,
        "rows": runs[0].result,
        "checksum": outcomes[0].checksum,
        "seconds": summarize([run.seconds for run in runs]),
        "seconds_with_imports": summarize([run.import_seconds + run.seconds for run in runs]),
        "peak_mb": summarize([run.peak_mb for run in runs]),
    }


def _ratio(figures: dict[str, Any], figure: str, step: str, other: str) -> float:
    return float(round(figures[step][figure]["median"] / figures[other][figure]["median"], 3))
