"""What `meshflow generate` tells while it writes, and at the end."""

from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from meshflow.source.traffic import Written


class Counter:
    """A progress display on standard error, if that is a terminal; one line with the sum on standard output."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._sum, self._batches = Written(), 0
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
        written = self._sum
        click.echo(
            f"{self._batches:,} batches committed: {written.sales:,} order lines, {written.students:,} students, "
            f"{written.courses:,} courses, {written.enrollments:,} enrollments; {written.corrected:,} rows corrected, "
            f"{written.cancelled:,} cancelled; {written.faulty:,} of the new rows faulty or odd on purpose"
        )

    def add(self, written: Written) -> None:
        self._sum, self._batches = self._sum + written, self._batches + 1
        elapsed = self._progress.tasks[self._task].elapsed or 0
        rate = self._sum.rows / elapsed if elapsed else 0.0
        self._progress.update(self._task, completed=self._sum.rows, batches=self._batches, rate=rate)
