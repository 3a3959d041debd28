"""The end-to-end demo, from two live sources to figures. Every command is printed before it runs."""

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
"""The `cadence` of gateway `live` in config.yaml."""

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
    """A figure and the name of the province or course it belongs to."""

    label: str
    value: Decimal


def demo() -> None:
    """Run the demo in the project's folder. It may run again after ten minutes.

    Raises click.ClickException at the first command that fails.
    """
    settings.data()
    _print_step("Two source systems start and write their first transactions")
    _run("meshflow", "source", "up")
    if settings.own_server():
        _run("meshflow", "source", "install-demo")
    _require_no_recent_load()
    _run("meshflow", "generate", "--sales", "20000", "--days", "60")
    written_at = datetime.now(UTC)
    minutes = INTERVAL.seconds // 60
    _print_step(
        "Their rows are loaded. A second load finds nothing new.\n"
        f"SQLMesh processes an interval of {minutes} minutes once it has ended. To avoid a wait,\n"
        f"these two loads are dated {2 * minutes} and {minutes} minutes back."
    )
    # The second load would reread rows that were written less than LAG before the first.
    time.sleep(max(0.0, (written_at + LAG - datetime.now(UTC)).total_seconds()))
    _load(datetime.now(UTC) - 2 * INTERVAL)
    built_from = _load(datetime.now(UTC) - INTERVAL)

    _print_step("The warehouse is built")
    _run("meshflow", "plan", "prod", "--gateway", "live", "--auto-apply", "--skip-tests")
    before = {question: figures(question) for question in (PROVINCES, COURSES)}

    _print_step("The sources write more transactions, corrections and cancellations")
    _run("meshflow", "generate", "--sales", "400", "--every", "1", "--batches", "3")

    _print_step("Only new and changed rows are loaded, and only affected keys are recomputed")
    _run("meshflow", "load")
    _run("meshflow", "run", "prod", "--gateway", "live")
    compare("Net revenue by province, USD", before[PROVINCES], figures(PROVINCES))
    compare("Enrollments by course", before[COURSES], figures(COURSES))
    _print_new_lines(built_from)
    _print_step("Stop the sources with `meshflow source down`, or continue: `meshflow generate --every 3`")


def _require_no_recent_load() -> None:
    """Raises click.ClickException if another load started in the last ten minutes: the demo's loads are dated back."""
    if not (raw := settings.data() / "live_raw.duckdb").exists():
        return
    with closing(duckdb.connect(str(raw), read_only=True)) as connection:
        [(last,)] = connection.execute("SELECT MAX(started_at) FROM loader.loads").fetchall()
    if last and (possible_at := last.replace(tzinfo=UTC) + 2 * INTERVAL) > datetime.now(UTC):
        raise click.ClickException(
            f"The newest load started at {last:%H:%M} UTC, and the demo dates its first load ten minutes back. "
            f"Run the demo after {possible_at:%H:%M} UTC, or continue with `meshflow generate` and `meshflow load`"
        )


def _load(at: datetime) -> datetime:
    """Run `meshflow load`, dated `at`; return the start time in the load log."""
    click.secho(f"\n$ meshflow load   # dated {at:%H:%M:%S} UTC", bold=True)
    with (
        ConsoleReporter() as reporter,
        session(settings.loader_url(), "live", settings.data(), 60, reporter, at=at) as opened,
    ):
        if opened is None or not load_tables(opened, reporter):
            raise click.ClickException("The load failed: see above, then run `make demo` again")
        return opened.started_at


def _run(*command: str) -> None:
    click.secho(f"\n$ {' '.join(command)}", bold=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    status = subprocess.run(command, check=False, env=environment).returncode  # noqa: S603 - commands of this file
    if status:
        raise click.ClickException(f"`{' '.join(command)}` failed: see above, then run `make demo` again")


def _query(query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{settings.data()}/live_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        return connection.execute(query, parameters).fetchall()


def figures(query: str) -> dict[str, Figure]:
    """The figures of `query` by key, because two courses may share a name."""
    return {str(key): Figure(str(label), Decimal(value or 0)) for key, label, value in _query(query)}


def compare(title: str, before: Mapping[str, Figure], after: Mapping[str, Figure]) -> None:
    """Print the ten figures that changed most."""
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


def _print_new_lines(built_from: datetime) -> None:
    """Print how many order lines were loaded after the load that started at `built_from`.

    Raises click.ClickException if all of them were, or none.
    """
    query = "SELECT COUNT(*) FILTER (WHERE _loaded_at > ?), COUNT(*) FROM retail.fct_sales"
    [(new, lines)] = _query(query, built_from.replace(tzinfo=None))
    _print_step(f"{new:,} of {lines:,} order lines are new or corrected since the warehouse was built")
    if not 0 < new < lines:
        raise click.ClickException(
            "An incremental load should load some order lines, not all or none: please report this"
        )


def _print_step(text: str) -> None:
    click.secho(f"\n{text}", fg="cyan")
