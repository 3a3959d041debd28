"""Loads into Snowflake: dlt's destination and the real connector, against the emulator."""

import re
from pathlib import Path

from conftest import load, open_session, write
from emulated import Snowflake
from sources import SourceDatabase

from meshflow.loading.contract import contract, source_tables
from meshflow.loading.reconcile import reconcile_all
from meshflow.loading.report import JsonReporter


def test_loads_copy_every_row_as_it_is_in_the_sources(
    snowflake: Snowflake, sources: SourceDatabase, data: Path
) -> None:
    load(sources, data)
    write(sources, seed=2)
    sources.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 1")
    load(sources, data)
    load(sources, data, full=True)
    for table in source_tables(contract()):
        columns = ", ".join(column.name for column in table.source_columns)
        key = ", ".join(table.key)
        in_raw = snowflake.query(f"SELECT {columns} FROM RAW.{table} ORDER BY {key}")
        in_source = sources.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")
        assert in_raw == [
            tuple(v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for v in row) for row in in_source
        ]
    with open_session(sources, data) as opened:
        assert reconcile_all(opened, JsonReporter(), repair=False)


def test_staging_tables_keep_no_copy_of_their_rows(snowflake: Snowflake, sources: SourceDatabase, data: Path) -> None:
    """Checks the statements, because the emulator has neither Time Travel nor Fail-safe.

    Tables of a transient schema have no Fail-safe, and those of one without retention no Time Travel.
    """
    load(sources, data, full=True)
    created = [sql for sql in snowflake.statements("LOADER") if re.match(r"CREATE .*SCHEMA .*STAGING", sql)]
    assert {re.findall(r'"([^"]+)"', sql)[-1] for sql in created} >= {"EDTECH$STAGING", "RETAIL$STAGING"}
    assert all(re.fullmatch(r"CREATE TRANSIENT SCHEMA .* DATA_RETENTION_TIME_IN_DAYS = 0", sql) for sql in created)


def test_rows_are_replaced_in_one_transaction(snowflake: Snowflake, sources: SourceDatabase, data: Path) -> None:
    """Otherwise a load that dies in between leaves a table without the rows that it has deleted."""
    load(sources, data)
    sources.execute("UPDATE edtech.enrollments SET student_id = student_id")
    with snowflake.sent("LOADER") as statements:
        load(sources, data)
    [merge] = [number for number, one in enumerate(statements) if one.startswith('DELETE FROM "EDTECH"."ENROLLMENTS"')]
    assert 'INSERT INTO "EDTECH"."ENROLLMENTS"' in statements[merge]
    assert (statements[merge - 1], statements[merge + 1]) == ("BEGIN", "COMMIT")
