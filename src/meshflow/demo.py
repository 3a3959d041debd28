"""The whole way from two live applications to figures, with every command shown before it runs."""

import os
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import duckdb
from rich.console import Console
from rich.table import Table

from meshflow import settings

INTERVAL = timedelta(minutes=5)
"""Of gateway `landed`, see `cadence` in config.yaml."""

PROVINCES = """
    SELECT country || ', ' || province, SUM(net_revenue_amount) FROM retail.rpt_net_revenue_by_state
    GROUP BY country, province
"""
COURSES = """
    SELECT courses.course_name, COUNT(enrollments.enrollment_id) FROM edtech.dim_course AS courses
    LEFT JOIN edtech.fct_enrollment AS enrollments ON enrollments.course_id = courses.course_id
    GROUP BY courses.course_id, courses.course_name
"""


def demo() -> None:
    """Run the demo in the project's folder; it may be run again.

    Raises click.ClickException at the first command that fails.
    """
    _say("Two applications start, and do business for the first time")
    _run("meshflow", "source", "up")
    _run("meshflow", "generate", "--sales", "20000", "--days", "60")
    _say("What they hold is landed, and the warehouse is built from it")
    _run("meshflow", "land")
    planned_at = datetime.now(UTC)
    _run("sqlmesh", "--gateway", "landed", "plan", "prod", "--auto-apply", "--skip-tests")
    before = {question: _figures(question) for question in (PROVINCES, COURSES)}

    closes = _end_of_interval(planned_at)
    seconds = max(2, int((closes - datetime.now(UTC)).total_seconds()))
    _say(f"Business goes on, corrections and cancellations too, until the five minutes close at {closes:%H:%M} UTC")
    _run("meshflow", "generate", "--sales", "400", "--every", "2", "--batches", str(seconds // 2 + 1))
    time.sleep(max(0.0, (closes - datetime.now(UTC)).total_seconds()))

    _say("Only what is new is landed, and only what it touches is computed again")
    _run("meshflow", "land")
    _run("sqlmesh", "--gateway", "landed", "run", "prod")
    after = {question: _figures(question) for question in (PROVINCES, COURSES)}
    _compare("Net revenue by province, USD", before[PROVINCES], after[PROVINCES])
    _compare("Enrollments by course", before[COURSES], after[COURSES])
    _say("Stop the applications with `meshflow source down`, or go on: `meshflow generate --every 3`")


def _end_of_interval(moment: datetime) -> datetime:
    start = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return start + ((moment - start) // INTERVAL + 1) * INTERVAL


def _run(*command: str) -> None:
    click.secho(f"\n$ {' '.join(command)}", bold=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    status = subprocess.run(command, check=False, env=environment).returncode  # noqa: S603 - commands of this file
    if status:
        raise click.ClickException(f"`{' '.join(command)}` failed, see above; `make demo` may be run again")


def _figures(query: str) -> dict[str, float]:
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{settings.data()}/landed_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        return {name: figure or 0 for name, figure in connection.execute(query).fetchall()}


def _compare(title: str, before: dict[str, float], after: dict[str, float]) -> None:
    """The ten that changed most."""
    table = Table("", "before", "after", "change", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    changes = {name: figure - before.get(name, 0) for name, figure in after.items()}
    for name in sorted(changes, key=lambda name: (-abs(changes[name]), name))[:10]:
        table.add_row(name, f"{before.get(name, 0):,}", f"{after[name]:,}", f"{changes[name]:+,}")
    Console().print("", table)


def _say(text: str) -> None:
    click.secho(f"\n{text}", fg="cyan")
