"""Measure builds, hours, branches and promotions beside dbt and beside the limit."""

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
from process import PROJECT, Run, copy_project, machine, now, run, spread, spreads, versions
from report import publish

from meshflow.source.server import Server

STATEMENTS = PROJECT / "benchmarks" / "results" / "statements.json"
PEER = "benchmarks/dbt"
PEER_PYTHON = PROJECT / ".venv-dbt" / "bin" / "python"
HOURS = 3
AHEAD = timedelta(hours=5)
DELAY = 20
"""Seconds after the hour at which a load starts, and for which it lasts."""
MART = "models/retail/rpt_net_revenue_by_city.sql"
"""What the branch changes. Two reports stand on it."""
CHANGE = ("SUM(days.order_count)::INT AS order_count", "(SUM(days.order_count) + 0)::INT AS order_count")
SMOKE = 100_000

Runs = dict[str, list[Run]]
"""By step, '10000000/hour/dbt', in the order in which they ran."""


@click.command()
@click.option("--sales", "sizes", multiple=True, type=int, default=(1_000_000, 10_000_000), show_default=True)
@click.option("--repeat", default=3, show_default=True, help=f"Times that a life is gone through; above {SIZE:,} once.")
@click.option("--smoke", is_flag=True, help="Few rows, once; the results are printed and not kept.")
@click.option("--count", is_flag=True, help=f"As --smoke, and note in {STATEMENTS.name} what each step asks.")
@click.option("--home", type=click.Path(path_type=Path), help="Where databases are made; a temporary folder otherwise.")
def lifecycle(*, sizes: tuple[int, ...], repeat: int, smoke: bool, count: bool, home: Path | None) -> None:
    """Build, an hour, a branch, a promotion: beside dbt and beside the limit."""
    started, circumstances = now(), machine()
    libraries = {**versions("sqlmesh", "sqlglot", "duckdb"), **_peer_versions()}
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
        # Equal results come first: the whole of it on few rows, before anything is measured.
        runs |= _lives(Path(folder), SMOKE, 1)
        if smoke:
            found = results(SMOKE)
            publish("lifecycle", found, table, smoke=True)
            if count:
                STATEMENTS.write_text(json.dumps(statements(found["steps"]), indent=2) + "\n")
            return
        for number, size in enumerate(sizes, start=1):
            runs |= _lives(Path(folder), size, repeat if size <= SIZE else 1)
            # After each: who stops before the largest keeps the others.
            found = results(*sizes[:number])
            publish("lifecycle", found, table, smoke=False)
            plot(found)


def _lives(folder: Path, sales: int, times: int) -> Runs:
    runs: Runs = {}
    for turn in range(times):
        for name, done in _life(folder / "life", sales, turn):
            runs.setdefault(name, []).append(done)
    return runs


@dataclass(frozen=True)
class Life:
    """A warehouse of one size on each side."""

    home: Path
    sales: int
    state: dict[str, str]
    moments: list[int]
    """Until when SQLMesh's intervals go, in seconds since 1970: the build's, then each hour's."""

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
        """Note for the limit what the project's models do in each of the moments."""
        run(
            "lifecycle.render:render",
            self.rendered,
            *self.moments,
            environment=self.environment,
            folder=self.project,
        )

    def limit(self, step: str, *arguments: object) -> Run:
        return run(f"lifecycle.baseline:{step}", self.data, self.rendered, *arguments, environment={})

    def ours(self, step: str, *arguments: object) -> Run:
        return run(f"lifecycle.{step}", *arguments, environment=self.environment, folder=self.project)

    def peer(self, step: str, *arguments: object) -> Run:
        environment = {
            "MESHFLOW_DATA": str(self.data),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "DBT_LOG_PATH": str(self.home / "dbt_log"),
        }
        return run(
            f"lifecycle.dbt_project:{step}",
            *arguments,
            environment=environment,
            folder=self.project / PEER,
            python=PEER_PYTHON,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"MESHFLOW_DATA": str(self.data), **self.state}

    def contents(self, side: str) -> dict[str, list[int | str]]:
        """By table, what tells its rows and types from others: lifecycle.contents.checksums."""
        database = self.data / f"{side}_analytics.duckdb"
        name = database.stem if side == "dbt" else "ANALYTICS"
        found: dict[str, list[int | str]] = run(
            "lifecycle.contents:checksums", database, name, self.rendered, environment={}
        ).result
        return found

    def require_equal(self, *sides: str) -> None:
        """Raises click.ClickException with the tables that differ."""
        first, *others = map(self.contents, sides)
        for side, other in zip(sides[1:], others, strict=True):
            if differing := [
                f"{table} {first[table][0]}/{other[table][0]}" for table in first if first[table] != other[table]
            ]:
                raise click.ClickException(f"{sides[0]} and {side} differ in {', '.join(differing)}")


@contextmanager
def begin(home: Path, sales: int) -> Iterator[Life]:
    """Rows, a copy of the project, an empty state."""
    shutil.rmtree(home, ignore_errors=True)
    server = Server(home / "postgres")
    built = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    # Later than now, whatever the build takes: what is due before that, SQLMesh has done by then.
    hours = [built + AHEAD + timedelta(hours=hour) for hour in range(HOURS)]
    moments = [int(moment.timestamp()) for moment in (built, *hours)]
    (home / "data").mkdir(parents=True)
    try:
        server.up()
        life = Life(home, sales, server.state, moments)
        copy_project(life.project)
        pin(life.project)
        took = run("lifecycle.rows:build", life.data, sales, moments[0] + DELAY, environment={})
        click.echo(f"{sales:,} sales: {took.seconds:.0f} s", err=True)
        life.render()
        yield life
    finally:
        server.down()
        shutil.rmtree(home, ignore_errors=True)


def pin(project: Path) -> None:
    """Every hour, as in production; ages and statuses as of the day at which the rows end, as on every side."""
    edit(project / "config.yaml", "cadence: '*/5 * * * *'", "as_of_date: '2026-11-01'")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if text.count(old) != 1:
        raise click.ClickException(f"{file.name} no longer holds '{old}' once: the benchmark changes it")
    file.write_text(text.replace(old, new))


def _life(home: Path, sales: int, turn: int) -> Iterator[tuple[str, Run]]:
    with begin(home, sales) as life:
        life.peer("parse")

        def step(name: str, done: Run) -> tuple[str, Run]:
            click.echo(
                f"{sales:,} {name}: {done.seconds:.2f} s, {done.wall_seconds:.2f} s with start-up, "
                f"{done.cpu_seconds:.2f} s of processors, {done.peak_mb:.0f} MB, "
                f"{done.result['statements']} statements, {done.result['rows_written']:,} rows written",
                err=True,
            )
            return f"{sales}/{name}", done

        build = {
            "limit": partial(life.limit, "build"),
            "ours": partial(life.ours, "ours:plan", "prod"),
            "dbt": partial(life.peer, "build", "prod"),
        }
        for side, work in _in_turn(build, turn):
            yield step(f"build/{side}", work())
        life.require_equal("limit", "live", "dbt")
        for hour in range(1, HOURS + 1):
            moment = life.moments[hour] + 2 * DELAY
            run("lifecycle.rows:change", life.data, sales, hour, life.moments[hour] + DELAY, environment={})
            following = {
                "limit": partial(life.limit, "hour", hour),
                "ours": partial(life.ours, "ours:run", moment),
                "dbt": build["dbt"],
            }
            for side, work in _in_turn(following, turn + hour - 1):
                yield step(f"hour/{side}", work())
            life.require_equal("limit", "live", "dbt")
        # At one moment: a plan after the next hour has begun would also catch up with that.
        yield step("unchanged/ours", life.ours("ours:plan", "prod", moment))
        before = life.home / "before"
        shutil.copytree(life.home / "target", before)
        edit(life.project / MART, *CHANGE)
        edit(life.project / PEER / MART, *map(str.lower, CHANGE))
        yield step("branch/ours", life.ours("ours:plan", "dev", moment))
        changed = ("--select", "state:modified+", "--state", str(before))
        yield step("branch/dbt, what changed", life.peer("build", "dev", *changed, "--defer"))
        yield step("branch/dbt", life.peer("build", "dev"))
        yield step("promotion/ours", life.ours("ours:plan", "prod", moment))
        yield step("promotion/dbt, what changed", life.peer("build", "prod", *changed))
        yield step("promotion/dbt", life.peer("build", "prod"))
        life.require_equal("live", "dbt")


def _in_turn(sides: dict[str, partial[Run]], turn: int) -> deque[tuple[str, partial[Run]]]:
    """Another one first each time: who builds 10 million lines last is some 2 s faster, whichever it is."""
    order = deque(sides.items())
    order.rotate(-turn)
    return order


def statements(steps: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Statements and rows written, by step: what an engine is asked to do, and the same on every machine."""
    counted = ("statements", "rows_written")
    return {name: {count: figures[count]["all"] for count in counted} for name, figures in steps.items()}


def _figures(runs: list[Run]) -> dict[str, Any]:
    counts = {
        count: spread([done.result[count] for done in runs])
        for count in ("duckdb_seconds", "statements", "rows_written")
    }
    parts = {"parts": runs[-1].result["parts"]} if "parts" in runs[-1].result else {}
    return {**spreads(runs), **counts, **parts}


def _peer_versions() -> dict[str, str]:
    """Raises click.ClickException if dbt isn't installed."""
    if not PEER_PYTHON.exists():
        environment = PEER_PYTHON.parents[1].name
        raise click.ClickException(f"There is no dbt in {environment}: `make {environment}/installed` installs it")
    command = "from importlib.metadata import version; print(version('dbt-core'), version('dbt-duckdb'))"
    done = subprocess.run([PEER_PYTHON, "-c", command], capture_output=True, text=True, check=True)  # noqa: S603
    return dict(zip(("dbt-core", "dbt-duckdb"), done.stdout.split(), strict=True))
