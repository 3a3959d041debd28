"""The whole way from two live sources to figures, with every command shown before it runs."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import duckdb

from meshflow import settings
from meshflow.loading.load import load_tables, session
from meshflow.loading.reader import LAG
from meshflow.loading.report import ConsoleReporter
from meshflow.terminal import grid, show

INTERVAL = timedelta(minutes=5)
"""Of gateway `live`, see `cadence` in config.yaml."""

PROVINCES = """
    SELECT country || '|' || province, country || ', ' || province, SUM(net_revenue_amount)
    FROM retail.rpt_net_revenue_by_state GROUP BY ALL
"""
COURSES = """
    SELECT courses.course_id::TEXT, courses.course_name, COUNT(enrollments.enrollment_id)
    FROM edtech.dim_course AS courses
    LEFT JOIN edtech.fct_enrollment AS enrollments ON enrollments.course_id = courses.course_id
    GROUP BY ALL
"""


@dataclass(frozen=True)
class Figure:
    """A figure, and what people call what it is about."""

    label: str
    value: Decimal


def demo() -> None:
    """Run the demo in the project's folder; it may be run again ten minutes later.

    Raises click.ClickException at the first command that fails.
    """
    _say("Two sources start, and do business for the first time")
    _run("meshflow", "source", "up")
    _require_past()
    _run("meshflow", "generate", "--sales", "20000", "--days", "60")
    written_at = datetime.now(UTC)
    minutes = INTERVAL.seconds // 60
    _say(
        "What they hold is loaded. A second load finds nothing new.\n"
        f"SQLMesh processes an interval of {minutes} minutes once it has ended. So that nobody has to wait,\n"
        f"these two loads are dated {2 * minutes} and {minutes} minutes back."
    )
    # The second load would read again what was written less than LAG before the first.
    time.sleep(max(0.0, (written_at + LAG - datetime.now(UTC)).total_seconds()))
    _load(datetime.now(UTC) - 2 * INTERVAL)
    built_from = _load(datetime.now(UTC) - INTERVAL)

    _say("The warehouse is built")
    _run("sqlmesh", "--gateway", "live", "plan", "prod", "--auto-apply", "--skip-tests")
    before = {question: figures(question) for question in (PROVINCES, COURSES)}

    _say("Business goes on, with corrections and cancellations")
    _run("meshflow", "generate", "--sales", "400", "--every", "1", "--batches", "3")

    _say("Only what is new is loaded, and only what it touches is computed again")
    _run("meshflow", "load")
    _run("sqlmesh", "--gateway", "live", "run", "prod")
    compare("Net revenue by province, USD", before[PROVINCES], figures(PROVINCES))
    compare("Enrollments by course", before[COURSES], figures(COURSES))
    _say_what_is_new(built_from)
    _say("Stop the sources with `meshflow source down`, or go on: `meshflow generate --every 3`")


def _require_past() -> None:
    """Raises click.ClickException if a load can't be dated back, because another one has begun since."""
    if not (raw := settings.data() / "live_raw.duckdb").exists():
        return
    with closing(duckdb.connect(str(raw), read_only=True)) as connection:
        [(last,)] = connection.execute("SELECT MAX(started_at) FROM loader.loads").fetchall()
    if last and (free_at := last.replace(tzinfo=UTC) + 2 * INTERVAL) > datetime.now(UTC):
        raise click.ClickException(
            f"The newest load is of {last:%H:%M} UTC, and the demo dates its first one ten minutes back: run it again "
            f"after {free_at:%H:%M} UTC, or go on with `meshflow generate`, `meshflow load`"
        )


def _load(at: datetime) -> datetime:
    """`meshflow load` as if it were `at`; returns when the load is taken to have started."""
    click.secho(f"\n$ meshflow load   # dated {at:%H:%M:%S} UTC", bold=True)
    with (
        ConsoleReporter() as reporter,
        session(settings.loader_url(), "live", settings.data(), 60, reporter, at=at) as held,
    ):
        if held is None or not load_tables(held, reporter):
            raise click.ClickException("The sources' rows haven't loaded, see above; `make demo` may be run again")
        return held.started_at


def _run(*command: str) -> None:
    click.secho(f"\n$ {' '.join(command)}", bold=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    status = subprocess.run(command, check=False, env=environment).returncode  # noqa: S603 - commands of this file
    if status:
        raise click.ClickException(f"`{' '.join(command)}` failed, see above; `make demo` may be run again")


def _query(query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{settings.data()}/live_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        return connection.execute(query, parameters).fetchall()


def figures(query: str) -> dict[str, Figure]:
    """Figures by the key of what they are about: two courses may share a name."""
    return {str(key): Figure(str(label), Decimal(value or 0)) for key, label, value in _query(query)}


def compare(title: str, before: Mapping[str, Figure], after: Mapping[str, Figure]) -> None:
    """The ten that changed most."""
    table = grid("", "before", "after", "change", right={"before", "after", "change"}, title=title)
    nothing = Figure("", Decimal(0))
    changes = {
        key: after.get(key, nothing).value - before.get(key, nothing).value for key in before.keys() | after.keys()
    }
    for key in sorted(changes, key=lambda key: (-abs(changes[key]), key))[:10]:
        was, now = before.get(key, nothing), after.get(key, nothing)
        table.add_row(now.label or was.label, f"{was.value:,}", f"{now.value:,}", f"{changes[key]:+,}")
    click.echo()
    show(table)


def _say_what_is_new(built_from: datetime) -> None:
    """How many lines have loaded after the load that started at `built_from`.

    Raises click.ClickException if it is all of them, or none.
    """
    query = "SELECT COUNT(*) FILTER (WHERE _loaded_at > ?), COUNT(*) FROM retail.fct_sales"
    [(new, lines)] = _query(query, built_from.replace(tzinfo=None))
    _say(f"Of {lines:,} order lines {new:,} are new or corrected since the warehouse was built")
    if not 0 < new < lines:
        raise click.ClickException("That is not what an incremental load brings: please report it")


def _say(text: str) -> None:
    click.secho(f"\n{text}", fg="cyan")
