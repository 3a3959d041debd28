"""The output of `meshflow generate`: progress while it writes, and a summary."""

from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from meshflow.source.traffic import RowCounts


class TrafficReporter:
    """Progress on standard error, if it is a terminal; one summary line on standard output."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._total, self._batches = RowCounts(), 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.fields[batches]:,} batches {task.completed:>12,.0f} rows {task.fields[rate]:>10,.0f} rows/s"
            ),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, batches=0, rate=0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        total = self._total
        click.echo(
            f"{self._batches:,} batches committed: {total.sales:,} order lines, {total.students:,} students, "
            f"{total.courses:,} courses, {total.enrollments:,} enrollments; {total.corrected:,} rows corrected, "
            f"{total.cancelled:,} cancelled; {total.faulty:,} new rows with a synthetic fault"
        )

    def committed(self, written: RowCounts) -> None:
        self._total, self._batches = self._total + written, self._batches + 1
        elapsed = self._progress.tasks[self._task].elapsed or 0
        rate = self._total.rows / elapsed if elapsed else 0.0
        self._progress.update(self._task, completed=self._total.rows, batches=self._batches, rate=rate)
