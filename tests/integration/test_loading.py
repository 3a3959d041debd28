"""Loads into Snowflake: dlt's destination and the real connector, against the emulator."""

from pathlib import Path

from conftest import load, opened, write
from emulated import Snowflake
from sources import Sources

from meshflow.loading.contract import contract, source_tables
from meshflow.loading.reconcile import reconcile_all
from meshflow.loading.report import JsonReporter


def test_loads_load_every_row_as_it_is_in_the_sources(snowflake: Snowflake, sources: Sources, data: Path) -> None:
    load(sources, data)
    write(sources, seed=2)
    sources.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 1")
    load(sources, data)
    load(sources, data, full=True)
    for table in source_tables(contract()):
        columns = ", ".join(column.name for column in table.read)
        key = ", ".join(table.key)
        there = snowflake.query(f"SELECT {columns} FROM RAW.{table} ORDER BY {key}")
        here = sources.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")
        assert there == [tuple(v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for v in row) for row in here]
    with opened(sources, data) as held:
        assert reconcile_all(held, JsonReporter(), repair=False)
