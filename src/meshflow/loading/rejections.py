"""Rows of a source with a value that no column of RAW can have: their keys and reasons, in RAW.LOADER.REJECTED_ROWS."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from meshflow.loading.contract import Table
from meshflow.loading.destination import Destination, values
from meshflow.loading.reader import TableError
from meshflow.loading.values import Unfit, fault, key_texts

MAX_REJECTED = 10_000
"""Rows of a table. With more, its contract is wrong."""

BATCH = 1_000
"""Rows in a statement. Snowflake allows 16,384 values in one."""


def read_rejected_keys(destination: Destination) -> dict[str, set[str]]:
    """The keys of the rows that earlier loads have rejected, by table, such as 'retail.sales'."""
    keys: dict[str, set[str]] = {}
    for table, key in destination.query("SELECT source_table, row_key FROM loader.rejected_rows"):
        keys.setdefault(table, set()).add(key)
    return keys


class Rejections:
    """The rejected rows of a table: those of this load, and those of earlier ones until they are read again."""

    def __init__(self, destination: Destination, table: Table, stored: set[str], *, all_rows: bool) -> None:
        """`stored`: the keys of those that earlier loads have rejected. `all_rows`: whether this one reads all rows."""
        self._destination, self._table, self._stored = destination, table, stored
        self._reasons: dict[str, str] = {}
        self._faults: set[str] = set()
        self._pending = set() if all_rows else stored.copy()

    @property
    def earlier_count(self) -> int:
        """The number of rows that earlier loads have rejected."""
        return len(self._stored)

    @property
    def keys(self) -> set[str]:
        """Those of the rows that are in the source and not in RAW."""
        return self._pending | self._reasons.keys()

    def sort_out(self, batch: pa.RecordBatch, unfit: Unfit) -> pa.RecordBatch:
        """Keep the rows of `batch` with a value that doesn't fit, and return the others.

        Raises TableError if there are too many.
        """
        if self._pending:
            self._pending.difference_update(key_texts(batch, self._table.key, unfit))
        if not unfit:
            return batch
        is_rejected = pa.array([False] * batch.num_rows, pa.bool_())
        for texts in unfit.values():
            is_rejected = pc.or_(is_rejected, pc.is_valid(texts))
        self._faults.update(map(fault, unfit))
        numbers = pc.indices_nonzero(is_rejected)
        rejected = {column: texts.take(numbers) for column, texts in unfit.items()}
        for number, key in enumerate(key_texts(batch.take(numbers), self._table.key, rejected)):
            name = key or f"row {len(self._reasons) + 1}"
            columns = [column.name.lower() for column, texts in rejected.items() if texts[number].is_valid]
            self._reasons[name] = ", ".join(f"unloadable_{column}" for column in columns)
        if len(self._reasons) > MAX_REJECTED:
            raise TableError(
                f"{self._table}: more than {MAX_REJECTED:,} rows don't fit {self._table.file}: "
                f"{'; '.join(sorted(self._faults))}. Change the type"
            )
        return batch.filter(pc.invert(is_rejected))

    def forget_all_but(self, keys: set[str]) -> None:
        """Forget rejected rows of earlier loads that the source doesn't have any more."""
        self._pending &= keys

    def save(self, at: datetime) -> None:
        """Write the changes, as of the load that began `at`. If it dies, the next load reads these rows again."""
        table, time = str(self._table), at.replace(tzinfo=None)
        for keys in _batches(sorted(self._stored - self._pending)):
            self._destination.query(
                "DELETE FROM loader.rejected_rows WHERE source_table = %s "  # noqa: S608 - placeholders
                f"AND row_key IN ({', '.join(['%s'] * len(keys))})",
                *(table, *keys),
            )
        for rows in _batches(list(self._reasons.items())):
            placeholders, parameters = values([(table, key, reasons, time) for key, reasons in rows])
            self._destination.query(
                f"INSERT INTO loader.rejected_rows (source_table, row_key, reject_reasons, rejected_at) {placeholders}",
                *parameters,
            )

    def summary(self) -> str | None:
        """How many rows this load has rejected and why, without their values; None if it hasn't rejected any."""
        if not self._reasons:
            return None
        return (
            f"{self._table}: {len(self._reasons):,} rows don't fit {self._table.file} and aren't loaded: "
            f"{'; '.join(sorted(self._faults))}. raw.loader.rejected_rows has their keys"
        )


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
