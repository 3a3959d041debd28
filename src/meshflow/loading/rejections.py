"""Rows of a source with a value that no column of RAW can have: their keys and reasons, in RAW.LOADER.REJECTED_ROWS."""

import json
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from meshflow.loading.contract import Column, Table
from meshflow.loading.destination import Destination
from meshflow.loading.reader import TableError
from meshflow.loading.values import fault

MAX_REJECTED = 10_000
"""Rows of a table. With more, its contract is wrong."""


class Rejections:
    """The rejected rows of a table: those of this load, and those of earlier ones until they are read again."""

    def __init__(self, destination: Destination, table: Table, *, all_rows: bool) -> None:
        """`all_rows`: whether this load reads all of them."""
        self._destination, self._table = destination, table
        rows = destination.query("SELECT row_key FROM loader.rejected_rows WHERE source_table = %s", str(table))
        self._stored = {key for (key,) in rows}
        self._reasons: dict[str, str] = {}
        self._faults: set[str] = set()
        self._pending = set() if all_rows else self._stored.copy()

    @property
    def earlier_count(self) -> int:
        """The number of rows that earlier loads have rejected."""
        return len(self._stored)

    @property
    def keys(self) -> set[str]:
        """Those of the rows that are in the source and not in RAW."""
        return self._pending | self._reasons.keys()

    def sort_out(self, batch: pa.RecordBatch, unfit: Mapping[Column, pa.Array]) -> pa.RecordBatch:
        """Keep the rows of `batch` with a value that doesn't fit, and return the others. `unfit`: which, by column.

        Raises TableError if there are too many.
        """
        if self._pending:
            self._pending.difference_update(row_keys(batch, self._table))
        if not unfit:
            return batch
        is_rejected = pa.array([False] * batch.num_rows)
        for mask in unfit.values():
            is_rejected = pc.or_(is_rejected, mask)
        self._faults.update(map(fault, unfit))
        numbers = pc.indices_nonzero(is_rejected)
        for number, key in zip(numbers.to_pylist(), row_keys(batch.take(numbers), self._table), strict=True):
            name = key or f"row {len(self._reasons) + 1}"
            columns = [column.name.lower() for column, mask in unfit.items() if mask[number].as_py()]
            self._reasons[name] = ", ".join(f"unloadable_{column}" for column in columns)
        if len(self._reasons) > MAX_REJECTED:
            raise TableError(
                f"{self._table}: more than {MAX_REJECTED:,} rows don't fit {self._table.file}: "
                f"{'; '.join(sorted(self._faults))}. Change the type"
            )
        return batch.filter(pc.invert(is_rejected))

    def forget_all_but(self, keys: set[str]) -> None:
        """Forget rejected rows that aren't in the source any more."""
        # A part of a key that doesn't fit is null: whether the source has the row isn't known until it is read again.
        self._pending = {key for key in self._pending if key in keys or None in json.loads(key)}

    def save(self, at: datetime) -> None:
        """Write the changes, as of the load that began `at`. If it dies, the next load reads these rows again."""
        table, time = str(self._table), at.replace(tzinfo=None)
        for key in self._stored - self._pending:
            self._destination.query(
                "DELETE FROM loader.rejected_rows WHERE source_table = %s AND row_key = %s", table, key
            )
        for key, reasons in self._reasons.items():
            self._destination.query(
                "INSERT INTO loader.rejected_rows (source_table, row_key, reject_reasons, rejected_at) "
                "VALUES (%s, %s, %s, %s)",
                table, key, reasons, time,
            )  # fmt: skip

    def summary(self) -> str | None:
        """How many rows this load has rejected and why, without their values; None if it hasn't rejected any."""
        if not self._reasons:
            return None
        return (
            f"{self._table}: {len(self._reasons):,} rows don't fit {self._table.file} and aren't loaded: "
            f"{'; '.join(sorted(self._faults))}. raw.loader.rejected_rows has their keys"
        )


def row_keys(rows: pa.RecordBatch | pa.Table, table: Table) -> list[str]:
    """The key of each row as JSON: a list of texts."""
    if not table.key:
        return [""] * rows.num_rows
    columns = [rows.column(name).to_pylist() for name in table.key]
    return [json.dumps([value if value is None else str(value) for value in key]) for key in zip(*columns, strict=True)]
