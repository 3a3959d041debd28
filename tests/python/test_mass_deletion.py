"""A mass deletion stops its source before any table is written: real sources and loads, plans and runs on DuckDB."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from loads import SOURCE_TABLES, LoadPipeline, backdate
from sources import SourceDatabase, new_state
from sqlmesh.core.context import Context
from sqlmesh.utils.errors import NodeAuditsErrors
from workspace import Workspace, plan

from meshflow.source.server import Server

STUDENTS = 120
INTERVAL = timedelta(minutes=5)


class Warehouse:
    """A live warehouse whose prod has been built from STUDENTS students, each with an enrollment, and as many sales."""

    def __init__(self, workspace: Workspace, source: SourceDatabase) -> None:
        self.workspace, self.source = workspace, source
        self.loads = LoadPipeline(source, workspace.root)
        keys = f"FROM generate_series(1, {STUDENTS}) AS i"
        source.execute("INSERT INTO edtech.courses (course_id, course_name, credits) VALUES (1, 'Logic', 3)")
        source.execute("UPDATE edtech.courses SET start_date = '2026-01-01', end_date = '2026-12-31'")
        source.execute(
            f"INSERT INTO edtech.students (first_name, enrollment_date) SELECT 'Ada ' || i, '2026-01-01' {keys}"
        )
        source.execute(
            f"INSERT INTO edtech.enrollments (student_id, course_id, enrollment_date) SELECT i, 1, '2026-02-01' {keys}"
        )
        source.execute(
            "INSERT INTO retail.sales (order_id, product_id, customer_id, quantity, price, discount, order_date_at) "
            f"SELECT i, 1, 1, 1, 9.99, 0, '2026-02-01' {keys}"
        )
        backdate(source, *SOURCE_TABLES, by="9 months")
        # Ten days before the deletions: in the first week, rows count by their own times.
        self.clock = datetime.now(UTC) - timedelta(days=10)
        self.load()
        self.clock += timedelta(days=10) - INTERVAL
        self.load()
        with closing(self.context()) as context:
            plan(context, "prod")

    def context(self) -> Context:
        return self.workspace.context("live")

    def load(self) -> None:
        assert self.loads.load(at=self.clock).complete

    def run(self, after: timedelta = 2 * INTERVAL) -> list[tuple[str, str]]:
        """Load and run so much later. Returns the models and audits that failed."""
        self.clock += after
        self.load()
        failures: list[Exception] = []
        with closing(self.context()) as context:
            context.console.log_failed_models = failures.extend  # type: ignore[method-assign]
            status = context.run("prod", end=self.clock, execution_time=self.clock, skip_janitor=True)
        assert status.is_success == (not failures)
        causes = [failure.__cause__ for failure in failures]
        assert all(isinstance(cause, NodeAuditsErrors) for cause in causes), causes
        return [(error.model_name, error.audit_name) for cause in causes for error in cause.errors]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(duckdb.connect()) as connection:
            connection.execute(f"ATTACH '{self.workspace.data}/live_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
            connection.execute("USE ANALYTICS")
            return connection.execute(query).fetchall()


@pytest.fixture
def warehouse(
    built: Workspace, postgres: Server, source: SourceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Warehouse:
    workspace = built.clone(tmp_path, new_state(postgres), data=False)
    monkeypatch.chdir(workspace.path)
    return Warehouse(workspace, source)


EDTECH = """
    SELECT (SELECT COUNT(*) FROM edtech.dim_student), (SELECT COUNT(*) FROM edtech.fct_enrollment),
      (SELECT COUNT(*) FROM history.hist_student WHERE valid_to IS NULL),
      (SELECT COUNT(*) FROM intermediate.int_edtech__students_validated WHERE is_deleted)
"""
CAUGHT = [("staging.stg_edtech__students", "max_deletion_rate")]
SALES = "SELECT COUNT(*) FROM retail.fct_sales"


def test_hard_deleted_rows_stop_their_source_for_a_week_or_until_a_reviewed_change(warehouse: Warehouse) -> None:
    before = (STUDENTS, STUDENTS, STUDENTS, 0)
    assert warehouse.rows(EDTECH) == [before]
    warehouse.source.execute("DELETE FROM edtech.students WHERE student_id > 10")
    warehouse.source.execute("DELETE FROM retail.sales WHERE order_id = 1")
    warehouse.clock += INTERVAL
    warehouse.load()

    assert warehouse.run() == CAUGHT
    assert warehouse.rows(EDTECH) == [before], "every table and view keeps its rows"
    assert warehouse.rows(SALES) == [(STUDENTS - 1,)], "the other source goes on"

    warehouse.source.execute("UPDATE edtech.students SET last_name = 'Lovelace' WHERE student_id = 1")
    assert warehouse.run(timedelta(days=6)) == CAUGHT
    assert warehouse.rows(EDTECH) == [before]

    warehouse.workspace.edit("models/staging/stg_edtech__students.sql", "max_rate := 0.2", "max_rate := 1")
    with closing(warehouse.context()) as context:
        plan(context, "prod")
    assert warehouse.run() == []
    assert warehouse.rows(EDTECH) == [(10, 10, 10, STUDENTS - 10)]


def test_a_week_of_loads_after_the_deletions_their_source_goes_on(warehouse: Warehouse) -> None:
    warehouse.source.execute("DELETE FROM edtech.students WHERE student_id > 10")
    warehouse.clock += INTERVAL
    warehouse.load()
    assert warehouse.run() == CAUGHT
    warehouse.source.execute("UPDATE edtech.students SET last_name = 'Lovelace' WHERE student_id = 1")
    assert warehouse.run(timedelta(days=8)) == []
    assert warehouse.rows(EDTECH) == [(10, 10, 10, STUDENTS - 10)]
