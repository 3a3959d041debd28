"""Loads into Snowflake: dlt's destination and the real connector, against the emulator."""

from pathlib import Path

from applications import Applications
from conftest import load, opened, write
from emulated import Snowflake

from meshflow.landing.contract import contract, landed
from meshflow.landing.reconcile import reconcile_all
from meshflow.landing.report import Machines


def test_loads_land_every_row_as_it_is_in_the_applications(
    snowflake: Snowflake, applications: Applications, data: Path
) -> None:
    load(applications, data)
    write(applications, seed=2)
    applications.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 1")
    load(applications, data)
    load(applications, data, full=True)
    for table in landed(contract()):
        columns = ", ".join(column.name for column in table.read)
        key = ", ".join(table.key)
        there = snowflake.query(f"SELECT {columns} FROM RAW.{table} ORDER BY {key}")
        here = applications.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")
        assert there == [tuple(v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for v in row) for row in here]
    with opened(applications, data) as held:
        assert reconcile_all(held, Machines(), repair=False)
