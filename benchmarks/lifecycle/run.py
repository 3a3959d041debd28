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
"""Hourly runs of a scenario. The run after them is the first after midnight, UTC, when daily models are due too."""
LOAD_DELAY = 20
"""Seconds from the hour until a load starts; a load takes as long."""
MART = "models/retail/rpt_net_revenue_by_city.sql"
"""The model that the branch changes."""
CHANGE = ("COUNT(DISTINCT sales.order_id)::INT", "(COUNT(DISTINCT sales.order_id) + 0)::INT")
HOURLY = ("--exclude", "tag:daily")
"""What dbt builds in an hourly run: benchmarks/dbt/README.md."""
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
    """In seconds since 1970: the end of the build's interval, of each hour's, and of the day's last."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def benchmarks(self) -> Path:
        """The project's own: those of another commit can build its kinds of models."""
        return self.project / "benchmarks"

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
            benchmarks=self.benchmarks,
        )

    def baseline(self, step: str, *arguments: object) -> Run:
        return run(
            f"lifecycle.baseline:{step}",
            self.data,
            self.rendered,
            *arguments,
            environment={},
            benchmarks=self.benchmarks,
        )

    def meshflow(self, step: str, *arguments: object, interval: int) -> Run:
        """Run a step soon after the load that followed an interval: 0 is the build's, 1 that of the first hour."""
        return run(
            f"lifecycle.meshflow_project:{step}",
            *arguments,
            self.interval_ends[interval] + 2 * LOAD_DELAY,
            environment=self.environment,
            folder=self.project,
        )

    def dbt(self, step: str, *arguments: object) -> Run:
        folder = self.project / DBT_PROJECT
        environment = {
            "MESHFLOW_DATA": str(self.data),
            # Those of a developer who works on the dbt project are set to another copy.
            "DBT_PROJECT_DIR": str(folder),
            "DBT_PROFILES_DIR": str(folder),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "DBT_LOG_PATH": str(self.home / "dbt_log"),
        }
        return run(
            f"lifecycle.dbt_project:{step}",
            *arguments,
            environment=environment,
            folder=folder,
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
    # In the future, so that SQLMesh finds every interval due. From midnight: the same are due at any time of day.
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    ends = [midnight + timedelta(hours=hour) for hour in (*range(HOURS + 1), 24)]
    interval_ends = [int(end.timestamp()) for end in ends]
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
            "meshflow": partial(scenario.meshflow, "plan", "prod", interval=0),
            "dbt": partial(scenario.dbt, "build", "prod"),
        }
        for variant, run_step in _rotated(build, repetition):
            yield step(f"build/{variant}", run_step())
        scenario.require_equal("baseline", "meshflow", "dbt")
        for hour in range(1, HOURS + 2):
            case, selection = ("hour", HOURLY) if hour <= HOURS else ("day", ())
            loaded_at = scenario.interval_ends[hour] + LOAD_DELAY
            run("lifecycle.rows:change", scenario.data, sales, hour, loaded_at, environment={})
            if case == "day":
                run("lifecycle.rows:reconcile", scenario.data, loaded_at, environment={})
            hourly = {
                "baseline": partial(scenario.baseline, "hour", hour),
                "meshflow": partial(scenario.meshflow, "run", interval=hour),
                "dbt": partial(scenario.dbt, "build", "prod", *selection),
            }
            for variant, run_step in _rotated(hourly, repetition + hour - 1):
                yield step(f"{case}/{variant}", run_step())
            scenario.require_equal("baseline", "meshflow", "dbt")
        # With one execution time: after the next hour has begun, a plan would process its interval too.
        plan = partial(scenario.meshflow, "plan", interval=HOURS + 1)
        yield step("unchanged/meshflow", plan("prod"))
        before = scenario.home / "before"
        shutil.copytree(scenario.home / "target", before)
        edit(scenario.project / MART, *CHANGE)
        edit(scenario.project / DBT_PROJECT / MART, *map(str.lower, CHANGE))
        yield step("branch/meshflow", plan("dev"))
        modified = ("--select", "state:modified+", "--state", str(before))
        yield step("branch/dbt_modified", scenario.dbt("build", "dev", *modified, "--defer"))
        yield step("branch/dbt", scenario.dbt("build", "dev"))
        yield step("promotion/meshflow", plan("prod"))
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
