"""Rows of RAW that are missing in the source: their number, then their keys, then the column `_deleted_at`.

A load has merged or rejected every row that its snapshot sees and earlier ones have missed. So RAW has all keys of the
source but the rejected ones, and equal numbers of rows prove that it has no others.
"""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from meshflow.loading.contract import DELETED_AT, LOADED_AT, Table
from meshflow.loading.destination import Destination, values
from meshflow.loading.reader import Reader, TableError
from meshflow.loading.rejections import Rejections
from meshflow.loading.values import key_texts

MARKED_AT_ONCE = 4_000
"""Keys per statement. Snowflake allows 16,384, and 1 MB."""


@dataclass(frozen=True)
class Deletions:
    """Rows of RAW that are missing in the source: those marked by this load, and those that stay unmarked."""

    marked: int = 0
    unmarked: int = 0


def find_deleted(
    reader: Reader, destination: Destination, table: Table, rejections: Rejections, in_raw: int
) -> tuple[pa.Table, int]:
    """The keys of RAW's rows that are missing in the source or rejected, and how many keys of such rows aren't known.

    `in_raw` is the number of rows in RAW. Keys of a table with more than `max_rows` aren't compared. Raises TableError
    if RAW misses rows.
    """
    raw = f"FROM {destination.quoted(table.schema, table.name)} WHERE {DELETED_AT} IS NULL"
    in_source = reader.count(table)
    surplus = in_raw + len(rejections.keys) - in_source
    none = table.arrow.empty_table().select(table.key)
    if surplus == 0:
        return none, 0
    unknown: set[str] = set()
    if rejections.keys:
        unfit = reader.unfit_keys(table)
        rejections.forget_all_but(unfit)
        unknown = unfit - rejections.keys
        surplus = in_raw + len(rejections.keys) - in_source
    if surplus >= 0 and not unknown and max(in_raw, in_source) > table.max_rows:
        return none, surplus
    key = list(table.key)
    source_keys = reader.keys(table)
    if rejections.keys:
        texts = key_texts(source_keys, table.key)
        source_keys = source_keys.filter(pa.array([text not in rejections.keys for text in texts], pa.bool_()))
    raw_keys = destination.arrow(f"SELECT {', '.join(map(destination.quoted, key))} {raw}")
    raw_keys = raw_keys.rename_columns(key).cast(source_keys.schema)  # Snowflake returns integers as decimals
    if missing := source_keys.join(raw_keys, key, join_type="left anti").num_rows + len(unknown):
        raise TableError(
            f"{table}: {missing:,} rows of the source are missing in RAW; "
            f"`meshflow load --full-refresh --only {table}` loads them"
        )
    deleted = raw_keys.join(source_keys, key, join_type="left anti")
    if surplus != deleted.num_rows:
        raise TableError(
            f"{table}: RAW has {in_raw - deleted.num_rows:,} rows for {in_source - len(rejections.keys):,} of the "
            f"source, although all keys are equal; `meshflow load --full-refresh --only {table}` corrects it, unless "
            f"the source has keys that are equal in RAW: then name other columns as the grain in {table.file}"
        )
    return deleted, 0


def mark(reader: Reader, destination: Destination, table: Table, keys: pa.Table, at: datetime) -> None:
    """Set `_deleted_at` and `_loaded_at` of the rows with these keys.

    `_loaded_at` stays if the source had soft-deleted the row before: its purge deletes nothing that models show.
    """
    name = destination.quoted(table.schema, table.name)
    time = loaded_at = f"CAST('{at.replace(tzinfo=None)}' AS TIMESTAMP)"
    if soft_deleted := reader.soft_delete(table):
        loaded_at = (
            f"CASE WHEN {name}.{destination.quoted(soft_deleted.name)} IS NULL THEN {time} ELSE {name}.{LOADED_AT} END"
        )
    columns = [destination.quoted(column) for column in table.key]
    condition = " AND ".join(f"{name}.{column} = missing.{column}" for column in columns)
    for batch in keys.to_batches(MARKED_AT_ONCE):
        rows = [tuple(row[column] for column in table.key) for row in batch.to_pylist()]
        placeholders, parameters = values(rows)
        destination.query(
            f"UPDATE {name} SET {DELETED_AT} = {time}, {LOADED_AT} = {loaded_at} "  # noqa: S608 - names from the contract
            f"FROM ({placeholders}) AS missing ({', '.join(columns)}) WHERE {condition}",
            *parameters,
        )
