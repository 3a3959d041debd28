"""`meshflow reconcile` finds differences that loads can't see, on a real PostgreSQL and a real DuckDB."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from loads import backdate
from sources import SourceDatabase

from meshflow.cli import main
from meshflow.source.server import Server

AWKWARD = "E'Zo\\u00eb | ~ ''quoted''\\n'"
Meshflow = Callable[..., Result]


@pytest.fixture
def meshflow(source: SourceDatabase, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Meshflow:
    """The command in a new folder, with a source database with some rows."""
    (tmp_path / "external_models").symlink_to(project / "external_models")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    source.execute(
        f"INSERT INTO edtech.students (first_name, last_name, enrollment_date, date_of_birth) "
        f"SELECT CASE WHEN i % 3 > 0 THEN {AWKWARD} END, '', DATE '2024-02-29' + i, DATE '0866-10-14' + i "
        "FROM generate_series(1, 10) AS i"
    )
    source.execute(
        "INSERT INTO retail.sales (order_id, product_id, quantity, price, discount, order_date_at, deleted_at) "
        "SELECT i, 1, i, i / 100.0, 0.0001, '1969-12-31 23:59:59.999999+02', CASE WHEN i = 7 THEN now() END "
        "FROM generate_series(1, 20) AS i"
    )
    backdate(source, "edtech.students", "retail.sales")  # or each load reads them again, and repairs RAW

    def run(*arguments: str) -> Result:
        return CliRunner(env=source.environment).invoke(main, arguments, catch_exceptions=False)

    return run


def compared(result: Result) -> dict[str, dict[str, Any]]:
    """The results by table."""
    events = [json.loads(line) for line in result.stdout.splitlines()]
    return {event["table"]: event for event in events if event["event"] == "reconciled"}


def change_raw(statement: str) -> None:
    """Damage RAW: it no longer has what the loads have written."""
    with duckdb.connect("data/live_raw.duckdb") as connection:
        connection.execute(statement)


def raw(statement: str) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect("data/live_raw.duckdb", read_only=True)) as connection:
        return connection.execute(statement).fetchall()


def test_loaded_tables_are_equal_for_all_kinds_of_values(meshflow: Meshflow) -> None:
    result = meshflow("reconcile", "--json")
    assert result.exit_code == 0
    found = compared(result)
    assert set(found) == {"edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales"}
    assert (found["retail.sales"]["source_rows"], found["retail.sales"]["raw_rows"]) == (19, 19)
    assert found["edtech.courses"]["source_rows"] == 0
    assert not any(table["differing_days"] or table["advice"] for table in found.values())


def test_rows_written_since_the_last_load_are_loaded_first(meshflow: Meshflow, source: SourceDatabase) -> None:
    meshflow("load")
    source.execute("UPDATE edtech.students SET email = 'new@example.org'")
    assert meshflow("reconcile").exit_code == 0
    assert raw("SELECT DISTINCT email FROM edtech.students") == [("new@example.org",)]


def test_hard_deleted_rows_that_loads_leave_are_found_and_repair_marks_them(
    meshflow: Meshflow, source: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    meshflow("load")
    monkeypatch.setattr("meshflow.loading.contract.MAX_COMPARED_ROWS", 1)
    source.execute("DELETE FROM edtech.students WHERE student_id IN (2, 3)")
    found = meshflow("reconcile", "--json")
    assert found.exit_code == 1
    students = compared(found)["edtech.students"]
    assert (students["missing_in_source"], students["missing_in_raw"], students["marked"]) == (2, 0, 0)
    assert "`meshflow reconcile --repair`" in students["advice"][0]
    assert raw("SELECT COUNT(*) FROM edtech.students WHERE _deleted_at IS NOT NULL") == [(0,)]

    repaired = meshflow("reconcile", "--repair", "--json")
    assert repaired.exit_code == 0
    assert compared(repaired)["edtech.students"]["marked"] == 2
    marked = raw(
        "SELECT student_id, _deleted_at = _loaded_at FROM edtech.students WHERE _deleted_at IS NOT NULL ORDER BY 1"
    )
    assert marked == [(2, True), (3, True)]
    assert raw("SELECT MAX(_loaded_at) = (SELECT MAX(started_at) FROM loader.loads) FROM edtech.students") == [(True,)]

    again = compared(meshflow("reconcile", "--repair", "--json"))["edtech.students"]
    assert (again["missing_in_source"], again["marked"], again["differing_days"]) == (0, 0, 0)


def test_a_value_that_differs_is_found_and_the_advice_repairs_it(meshflow: Meshflow) -> None:
    meshflow("load")
    change_raw("UPDATE retail.sales SET price = price + 0.01 WHERE order_id = 5")
    found = meshflow("reconcile", "--json")
    assert found.exit_code == 1
    sales = compared(found)["retail.sales"]
    assert (sales["differing_days"], sales["missing_in_source"], sales["missing_in_raw"]) == (1, 0, 0)
    (advice,) = sales["advice"]
    command = advice.split("`")[1].removeprefix("meshflow ").split()
    assert meshflow(*command).exit_code == 0
    assert meshflow("reconcile").exit_code == 0


@pytest.mark.parametrize(
    ("loaded", "written"),
    [(("a|b", "c"), ("a", "b|c")), (("a", None), ("a", "~")), (("1:a", "b"), ("1", "a1:b")), (("", "a"), ("a", ""))],
)
def test_text_that_moves_from_one_column_to_the_next_is_found(
    meshflow: Meshflow, source: SourceDatabase, loaded: tuple[str | None, ...], written: tuple[str | None, ...]
) -> None:
    before, after = (
        f"({', '.join('NULL' if text is None else repr(text) for text in row)})" for row in (loaded, written)
    )
    source.execute(f"UPDATE edtech.students SET (first_name, last_name) = {before} WHERE student_id = 1")
    backdate(source, "edtech.students")
    meshflow("load")
    change_raw(f"UPDATE edtech.students SET (first_name, last_name) = {after} WHERE student_id = 1")
    assert compared(meshflow("reconcile", "--json"))["edtech.students"]["differing_days"] == 1


@pytest.mark.usefixtures("meshflow")
def test_text_of_a_database_in_another_encoding_is_equal(postgres: Server) -> None:
    source = SourceDatabase.new(postgres, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    source.execute("INSERT INTO edtech.students (first_name) VALUES ('Zo' || chr(233))")
    result = CliRunner(env=source.environment).invoke(main, ["reconcile", "--json"])
    assert result.exit_code == 0, result.output
    assert compared(result)["edtech.students"]["source_rows"] == 1
    assert raw("SELECT first_name FROM edtech.students") == [("Zoé",)]


def test_a_repair_is_a_load_that_brings_rows_and_does_not_move_the_cursor(
    meshflow: Meshflow, source: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    meshflow("load")
    monkeypatch.setattr("meshflow.loading.contract.MAX_COMPARED_ROWS", 1)
    source.execute("DELETE FROM edtech.students WHERE student_id = 2")
    meshflow("reconcile", "--repair")
    load, repair = raw(
        "SELECT started_at, row_count, rows_since, storage, files, snapshot_xmin, snapshot_next_id, snapshot_taken_at "
        "FROM loader.loads WHERE table_name = 'students' ORDER BY started_at DESC LIMIT 2"
    )[::-1]
    assert repair[0] > load[0]
    assert repair[1:] == (1, *load[2:])
    assert raw("SELECT DISTINCT _loaded_at FROM edtech.students WHERE student_id = 2") == [(repair[0],)]


def test_days_and_checksums_are_recorded_for_the_warehouse(
    meshflow: Meshflow, source: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshflow.loading.contract.MAX_COMPARED_ROWS", 1)
    source.execute("ALTER TABLE retail.sales DISABLE TRIGGER USER")
    source.execute("UPDATE retail.sales SET updated_at = '2026-03-01 23:59:59.999999+00' WHERE order_id <= 4")
    source.execute("UPDATE retail.sales SET updated_at = '2026-03-02 00:30:00+02' WHERE order_id = 4")
    meshflow("reconcile")
    source.execute("DELETE FROM retail.sales WHERE order_id = 2")
    meshflow("reconcile")
    days = raw(
        "SELECT source_count, raw_count, source_checksum = raw_checksum, missing_in_raw_count, missing_in_source_count "
        "FROM loader.reconciliations "
        "WHERE source_table = 'retail.sales' AND updated_date = '2026-03-01' ORDER BY ALL DESC"
    )
    assert days == [(4, 4, True, 0, 0), (3, 4, False, 0, 1)]


def test_a_table_that_cannot_be_loaded_is_not_compared_and_the_others_are(
    meshflow: Meshflow, source: SourceDatabase
) -> None:
    source.execute("ALTER TABLE edtech.students DROP COLUMN email")
    result = meshflow("reconcile", "--json")
    assert result.exit_code == 1
    assert set(compared(result)) == {"edtech.courses", "edtech.enrollments", "retail.sales"}
    assert "column email is gone" in result.stdout
