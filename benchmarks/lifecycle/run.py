"""Measure builds, hourly runs, branches and promotions against dbt and the baseline."""

import json
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
from lifecycle.report import SIZE, plot, table, targets
from lifecycle.rows import CHANGED
from process import PROJECT, Run, copy_project, machine, now, run, summarize, summarize_runs, versions
from report import publish

from meshflow.source.server import Server

STATEMENTS = PROJECT / "benchmarks" / "results" / "statements.json"
DBT_PROJECT = "benchmarks/dbt"
DBT_PYTHON = PROJECT / ".venv-dbt" / "bin" / "python"
HOURS = 3
"""Hourly runs of a scenario."""
FIRST_HOUR = timedelta(hours=5)
"""From the start of the build until the first hour; longer than any build, so that no hour is due too early."""
LOAD_DELAY = 20
"""Seconds from the hour until a load starts; a load takes as long."""
MART = "models/retail/rpt_net_revenue_by_city.sql"
"""The model that the branch changes. Two reports read it."""
CHANGE = ("SUM(days.order_count)::INT AS order_count", "(SUM(days.order_count) + 0)::INT AS order_count")
DATABASES = {"baseline": "baseline_analytics", "meshflow": "live_analytics", "dbt": "dbt_analytics"}
"""Names of the files of the warehouses, by variant."""
SMOKE_SALES = 100_000

Runs = dict[str, list[Run]]
"""By step, such as '10000000/hour/dbt', in the order in which they ran."""


@click.command()
@click.option("--sales", "sizes", multiple=True, type=int, default=(1_000_000, 10_000_000), show_default=True)
@click.option("--repeat", default=3, show_default=True, help=f"Repetitions; above {SIZE:,} once.")
@click.option("--smoke", is_flag=True, help="Few rows, once; the results are only printed.")
@click.option("--count", is_flag=True, help=f"As --smoke; also write the counts of each step to {STATEMENTS.name}.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder for the databases; a temporary one by default.")
def lifecycle(*, sizes: tuple[int, ...], repeat: int, smoke: bool, count: bool, home: Path | None) -> None:
    """Measure a build, hourly runs, a branch and its promotion against dbt and the baseline."""
    started, circumstances = now(), machine()
    libraries = {**versions("sqlmesh", "sqlglot", "duckdb"), **_dbt_versions()}
    smoke = smoke or count
    runs: Runs = {}

    def results(*sizes: int) -> dict[str, Any]:
        steps = {name: _figures(done) for name, done in runs.items()}
        return {
            "date": started,
            "machine": circumstances,
            "versions": libraries,
            "settings": {"sizes": sizes, "repeat": repeat, "once_above": SIZE, "hours": HOURS, "changed": CHANGED},
            "steps": steps,
            "targets": targets(steps),
        }

    with tempfile.TemporaryDirectory(prefix="meshflow-", dir=home) as folder:
        # Results are compared on few rows before anything is measured.
        runs |= _repeat(Path(folder), SMOKE_SALES, 1)
        if smoke:
            found = results(SMOKE_SALES)
            publish("lifecycle", found, table, smoke=True)
            if count:
                STATEMENTS.write_text(json.dumps(statement_counts(found["steps"]), indent=2) + "\n")
            return
        for number, size in enumerate(sizes, start=1):
            runs |= _repeat(Path(folder), size, repeat if size <= SIZE else 1)
            # After each size, so that the results are there if a larger one is interrupted.
            found = results(*sizes[:number])
            publish("lifecycle", found, table, smoke=False)
            plot(found)


def _repeat(folder: Path, sales: int, times: int) -> Runs:
    runs: Runs = {}
    for repetition in range(times):
        for name, done in _measure(folder / "scenario", sales, repetition):
            runs.setdefault(name, []).append(done)
    return runs


@dataclass(frozen=True)
class Scenario:
    """Warehouses of one size, one of each variant, that read the same loaded rows."""

    home: Path
    sales: int
    state: dict[str, str]
    """Environment variables of SQLMesh's state."""
    interval_ends: list[int]
    """In seconds since 1970: the end of the build's interval, then of each hour's."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def rendered(self) -> Path:
        return self.home / "rendered.json"

    def render(self) -> None:
        """Write the queries and audits of each interval to a file, for the baseline."""
        run(
            "lifecycle.render:render",
            self.rendered,
            *self.interval_ends,
            environment=self.environment,
            folder=self.project,
        )

    def baseline(self, step: str, *arguments: object) -> Run:
        return run(f"lifecycle.baseline:{step}", self.data, self.rendered, *arguments, environment={})

    def meshflow(self, step: str, *arguments: object) -> Run:
        return run(f"lifecycle.meshflow_project:{step}", *arguments, environment=self.environment, folder=self.project)

    def dbt(self, step: str, *arguments: object) -> Run:
        environment = {
            "MESHFLOW_DATA": str(self.data),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "DBT_LOG_PATH": str(self.home / "dbt_log"),
        }
        return run(
            f"lifecycle.dbt_project:{step}",
            *arguments,
            environment=environment,
            folder=self.project / DBT_PROJECT,
            python=DBT_PYTHON,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"MESHFLOW_DATA": str(self.data), **self.state}

    def contents(self, variant: str) -> dict[str, list[int | str]]:
        """Rows and checksum of each table: lifecycle.contents.checksums."""
        database = self.data / f"{DATABASES[variant]}.duckdb"
        name = database.stem if variant == "dbt" else "ANALYTICS"
        found: dict[str, list[int | str]] = run(
            "lifecycle.contents:checksums", database, name, self.rendered, environment={}
        ).result
        return found

    def require_equal(self, *variants: str) -> None:
        """Raises click.ClickException with the tables that differ."""
        first, *others = map(self.contents, variants)
        for variant, other in zip(variants[1:], others, strict=True):
            if differing := [
                f"{table} {first[table][0]}/{other[table][0]}" for table in first if first[table] != other[table]
            ]:
                raise click.ClickException(f"{variants[0]} and {variant} differ in {', '.join(differing)}")


@contextmanager
def prepare(home: Path, sales: int) -> Iterator[Scenario]:
    """Load rows, copy the project and create an empty state."""
    shutil.rmtree(home, ignore_errors=True)
    server = Server(home / "postgres")
    built = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [built + FIRST_HOUR + timedelta(hours=hour) for hour in range(HOURS)]
    interval_ends = [int(end.timestamp()) for end in (built, *hours)]
    (home / "data").mkdir(parents=True)
    try:
        server.up()
        scenario = Scenario(home, sales, server.state, interval_ends)
        copy_project(scenario.project)
        pin(scenario.project)
        done = run("lifecycle.rows:build", scenario.data, sales, interval_ends[0] + LOAD_DELAY, environment={})
        click.echo(f"{sales:,} sales: {done.seconds:.0f} s", err=True)
        scenario.render()
        yield scenario
    finally:
        server.down()
        shutil.rmtree(home, ignore_errors=True)


def pin(project: Path) -> None:
    """Run gateway `live` hourly, as production does, with ages and statuses as of TODAY, like every variant."""
    edit(project / "config.yaml", "cadence: '*/5 * * * *'", "as_of_date: '2026-11-01'")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if text.count(old) != 1:
        raise click.ClickException(f"{file} must contain '{old}' exactly once, because the benchmark replaces it")
    file.write_text(text.replace(old, new))


def _measure(home: Path, sales: int, repetition: int) -> Iterator[tuple[str, Run]]:
    with prepare(home, sales) as scenario:
        scenario.dbt("parse")

        def step(name: str, done: Run) -> tuple[str, Run]:
            click.echo(
                f"{sales:,} {name}: {done.seconds:.2f} s, {done.wall_seconds:.2f} s with start-up, "
                f"{done.cpu_seconds:.2f} CPU seconds, {done.peak_mb:.0f} MB, "
                f"{done.result['statements']} statements, {done.result['rows_written']:,} rows written",
                err=True,
            )
            return f"{sales}/{name}", done

        build = {
            "baseline": partial(scenario.baseline, "build"),
            "meshflow": partial(scenario.meshflow, "plan", "prod"),
            "dbt": partial(scenario.dbt, "build", "prod"),
        }
        for variant, run_step in _rotated(build, repetition):
            yield step(f"build/{variant}", run_step())
        scenario.require_equal("baseline", "meshflow", "dbt")
        for hour in range(1, HOURS + 1):
            loaded_at = scenario.interval_ends[hour] + LOAD_DELAY
            execution_time = loaded_at + LOAD_DELAY
            run("lifecycle.rows:change", scenario.data, sales, hour, loaded_at, environment={})
            hourly = {
                "baseline": partial(scenario.baseline, "hour", hour),
                "meshflow": partial(scenario.meshflow, "run", execution_time),
                "dbt": build["dbt"],
            }
            for variant, run_step in _rotated(hourly, repetition + hour - 1):
                yield step(f"hour/{variant}", run_step())
            scenario.require_equal("baseline", "meshflow", "dbt")
        # With one execution time: after the next hour has begun, a plan would process its interval too.
        yield step("unchanged/meshflow", scenario.meshflow("plan", "prod", execution_time))
        before = scenario.home / "before"
        shutil.copytree(scenario.home / "target", before)
        edit(scenario.project / MART, *CHANGE)
        edit(scenario.project / DBT_PROJECT / MART, *map(str.lower, CHANGE))
        yield step("branch/meshflow", scenario.meshflow("plan", "dev", execution_time))
        modified = ("--select", "state:modified+", "--state", str(before))
        yield step("branch/dbt_modified", scenario.dbt("build", "dev", *modified, "--defer"))
        yield step("branch/dbt", scenario.dbt("build", "dev"))
        yield step("promotion/meshflow", scenario.meshflow("plan", "prod", execution_time))
        yield step("promotion/dbt_modified", scenario.dbt("build", "prod", *modified))
        yield step("promotion/dbt", scenario.dbt("build", "prod"))
        scenario.require_equal("meshflow", "dbt")


def _rotated(variants: dict[str, partial[Run]], turn: int) -> deque[tuple[str, partial[Run]]]:
    """Variants, each turn another one first: the last to build 10 million lines is some 2 s faster, whichever it is."""
    order = deque(variants.items())
    order.rotate(-turn)
    return order


def statement_counts(steps: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Statements and rows written, by step: equal on every machine."""
    counts = ("statements", "rows_written")
    return {name: {count: figures[count]["all"] for count in counts} for name, figures in steps.items()}


def _figures(runs: list[Run]) -> dict[str, Any]:
    counts = {
        count: summarize([done.result[count] for done in runs])
        for count in ("duckdb_seconds", "statements", "rows_written")
    }
    parts = {"parts": runs[-1].result["parts"]} if "parts" in runs[-1].result else {}
    return {**summarize_runs(runs), **counts, **parts}


def _dbt_versions() -> dict[str, str]:
    """Raises click.ClickException if dbt isn't installed."""
    if not DBT_PYTHON.exists():
        environment = DBT_PYTHON.parents[1].name
        raise click.ClickException(f"dbt is not installed in {environment}. Run `make {environment}/installed`")
    command = "from importlib.metadata import version; print(version('dbt-core'), version('dbt-duckdb'))"
    done = subprocess.run([DBT_PYTHON, "-c", command], capture_output=True, text=True, check=True)  # noqa: S603
    return dict(zip(("dbt-core", "dbt-duckdb"), done.stdout.split(), strict=True))
