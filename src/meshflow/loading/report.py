"""The output of loads and reconciliations: progress and a summary on the console, or newline-delimited JSON."""

import json
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from meshflow.loading.contract import Table
from meshflow.loading.load_log import Load
from meshflow.loading.reader import Cursor
from meshflow.loading.reconcile import Reconciliation
from meshflow.terminal import grid, show


class ConsoleReporter:
    """Progress on standard error, a summary table on standard output."""

    def __init__(self) -> None:
        self.rejections: dict[str, str] = {}
        """The reasons by table."""
        self._errors = Console(stderr=True, soft_wrap=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TextColumn("{task.completed:>12,.0f} rows", justify="right"),
            TextColumn("{task.fields[rate]:>10,.0f} rows/s", justify="right"),
            TimeElapsedColumn(),
            console=self._errors,
            disable=not self._errors.is_terminal,
        )
        self._tasks: dict[Table, TaskID] = {}
        figures = ("rows", "deleted", "seconds", "rows/s")
        self._summary = grid("table", "cursor", *figures, "result", right=figures)
        counts = ("source", "RAW", "days mismatched", "missing in RAW", "missing in source", "marked deleted")
        self._comparison = grid("table", *counts, right=counts)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        for summary in (self._summary, self._comparison):
            if summary.row_count:
                show(summary)

    def waiting(self, message: str) -> None:
        self._errors.print(message, highlight=False, markup=False)

    def warned(self, message: str) -> None:
        self._errors.print(f"Warning: {message}", highlight=False, markup=False)

    def locked(self, holder: str) -> None:
        self._errors.print(f"Nothing done: another load holds the lock, {holder}", highlight=False, markup=False)

    def started(self, table: Table, cursor: Cursor) -> None:  # noqa: ARG002 - the summary shows it
        self._tasks[table] = self._progress.add_task(str(table), total=None, rate=0.0)

    def rows(self, table: Table, count: int) -> None:
        elapsed = self._elapsed(table)
        self._progress.update(self._tasks[table], completed=count, rate=count / elapsed if elapsed else 0.0)

    def new_column(self, table: Table, name: str, type_: str) -> None:
        self._errors.print(_new_column(table, name, type_), highlight=False, markup=False)

    def finished(self, load: Load) -> None:
        elapsed = self._elapsed(load.table)
        rate = load.rows / elapsed if elapsed else 0.0
        self._progress.update(self._tasks[load.table], total=load.rows, completed=load.rows, rate=rate)
        self._summary.add_row(
            str(load.table),
            load.cursor.name,
            f"{load.rows:,}",
            f"{load.deletions.marked:,}",
            f"{elapsed:.1f}",
            f"{rate:,.0f}",
            "loaded",
        )

    def _elapsed(self, table: Table) -> float:
        """Seconds since the table's start. By id: a removed task leaves no gap in the list of tasks."""
        tasks = {task.id: task for task in self._progress.tasks}
        return tasks[self._tasks[table]].elapsed or 0.0

    def rejected(self, table: Table, message: str) -> None:
        self.rejections[str(table)] = message
        if table in self._tasks:
            self._progress.remove_task(self._tasks[table])
        self._summary.add_row(str(table), *[""] * 5, "rejected")
        self._errors.print(f"Error: {message}", highlight=False, markup=False)

    def reconciled(self, result: Reconciliation, marked: int) -> None:
        counts = _counts(result)
        self._comparison.add_row(str(result.table), *(f"{count:,}" for count in counts.values()), f"{marked:,}")
        for advice in _advice(result):
            self._errors.print(advice, highlight=False, markup=False)


class JsonReporter:
    """One JSON object per event and line on standard output: `event`, `at` (UTC) and the details."""

    def __init__(self) -> None:
        self.rejections: dict[str, str] = {}
        """The reasons by table."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, click.ClickException):
            self._write("failed", message=error.message)

    def waiting(self, message: str) -> None:
        self._write("waiting", message=message)

    def warned(self, message: str) -> None:
        self._write("warning", message=message)

    def locked(self, holder: str) -> None:
        self._write("locked", holder=holder)

    def started(self, table: Table, cursor: Cursor) -> None:
        self._write("started", table=str(table), rows_since=str(cursor))

    def rows(self, table: Table, count: int) -> None:
        pass  # a log needs the result only

    def new_column(self, table: Table, name: str, type_: str) -> None:
        self._write("new_column", table=str(table), column=name, type=type_, message=_new_column(table, name, type_))

    def finished(self, load: Load) -> None:
        self._write(
            "loaded",
            table=str(load.table),
            rows=load.rows,
            deleted=load.deletions.marked,
            started_at=load.started_at,
            finished_at=load.finished_at,
            rows_since=str(load.cursor),
        )

    def rejected(self, table: Table, message: str) -> None:
        self.rejections[str(table)] = message
        self._write("rejected", table=str(table), message=message)

    def reconciled(self, result: Reconciliation, marked: int) -> None:
        self._write("reconciled", table=str(result.table), **_counts(result), marked=marked, advice=_advice(result))

    def _write(self, event: str, **details: object) -> None:
        click.echo(json.dumps({"event": event, "at": datetime.now(UTC), **details}, default=_to_json))


def _to_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _new_column(table: Table, name: str, type_: str) -> str:
    return (
        f"{table} has a new column, {name} ({type_}), which isn't loaded. To load it with its past values, add it to "
        f"the columns of raw.{table} in {table.file} and to models/raw/{table.schema}/{table.name}.sql"
    )


def _counts(result: Reconciliation) -> dict[str, int]:
    return {
        "source_rows": sum(day.source.active for day in result.days),
        "raw_rows": sum(day.raw.active for day in result.days),
        "differing_days": len(result.differing),
        "missing_in_raw": sum(day.missing_in_raw for day in result.days),
        "missing_in_source": sum(day.missing_in_source for day in result.days),
    }


def _advice(result: Reconciliation) -> list[str]:
    """Remedies for the days that differ, with the command."""
    table, advice = result.table, []
    if missing_in_source := result.missing_in_source.num_rows:
        advice.append(
            f"{table}: {missing_in_source:,} rows of RAW are missing in the source; "
            f"`meshflow reconcile --repair` marks them as deleted"
        )
    if days := [day.date for day in result.differing if day.missing_in_raw or not day.missing_in_source]:
        dates = [str(day) for day in days if day]
        which = f" of {len(dates)} days ({', '.join(dates[:3])} …)" if dates else ""
        advice.append(
            f"{table}: rows{which} differ from the source; `meshflow load --full-refresh --only {table}` loads them"
        )
    return advice
