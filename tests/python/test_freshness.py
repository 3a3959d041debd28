"""How far an environment is processed: which tables count, and what counts while the sources stand still."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmesh.core.context import Context
from sqlmesh.utils.date import to_timestamp
from workspace import Workspace

from meshflow.freshness import moving_tables, processed_until

NINE, TEN, ELEVEN = (datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (9, 10, 11))


def test_only_tables_that_every_run_with_new_rows_writes_can_be_late(live_project: Context) -> None:
    """Not views, daily tables, nor reference data: a minimum must not include what never moves."""
    tables = moving_tables(live_project.snapshots)
    found = {snapshot.name.replace('"', "").lower(): sources for snapshot, sources in tables.items()}
    assert found == {
        "analytics.intermediate.int_edtech__students_validated": {"edtech"},
        "analytics.intermediate.int_edtech__courses_validated": {"edtech"},
        "analytics.intermediate.int_edtech__enrollments_ranked": {"edtech"},
        "analytics.intermediate.int_edtech__student_versions": {"edtech"},
        "analytics.intermediate.int_edtech__course_versions": {"edtech"},
        "analytics.intermediate.int_retail__sales_validated": {"retail"},
        "analytics.intermediate.int_retail__sales_aggregated": {"retail"},
        "analytics.intermediate.int_retail__customers_derived": {"retail"},
        "analytics.intermediate.int_retail__customer_versions": {"retail"},
    }


@pytest.mark.parametrize(
    ("newest_load", "newest_load_with_rows", "until"),
    [
        (ELEVEN, NINE, ELEVEN),  # nothing to process since ten
        (ELEVEN, None, ELEVEN),
        (ELEVEN, TEN, TEN),  # rows wait
        (ELEVEN, ELEVEN, TEN),
        (NINE, NINE, TEN),  # loads have stopped
    ],
)
def test_a_table_without_waiting_rows_is_processed_until_the_newest_load(
    newest_load: datetime, newest_load_with_rows: datetime | None, until: datetime
) -> None:
    intervals = [(to_timestamp(NINE), to_timestamp(TEN))]
    assert processed_until(intervals, [(newest_load, newest_load_with_rows)]) == until


def test_the_source_that_is_furthest_behind_counts() -> None:
    intervals = [(to_timestamp(NINE), to_timestamp(TEN))]
    assert processed_until(intervals, [(ELEVEN, NINE), (TEN, NINE)]) == TEN
    assert processed_until(intervals, [(ELEVEN, NINE), (ELEVEN, TEN)]) == TEN


def test_the_sample_is_processed_until_the_last_run(built: Workspace, tmp_path: Path) -> None:
    """It has no load log, and SQLMesh keeps its state in the same DuckDB."""
    workspace = built.clone(tmp_path)
    done = subprocess.run(
        [Path(sys.executable).with_name("meshflow"), "freshness", "--gateway", "local", "--after", "24"],
        cwd=workspace.path, env=workspace.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("prod is processed until "), done.stdout
