"""meshflow, dbt and the baseline build equal tables at every stage, with as many statements as published.

One run of the benchmark on 100,000 order lines: a build, three hours, the run after midnight, a branch, its promotion.
Times are not tested.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import benchmark_results
import duckdb
import pytest
from lifecycle.contents import checksums
from lifecycle.run import statement_counts
from lifecycle.statement_counts import count_statements

STEPS = [
    "build/baseline", "build/meshflow", "build/dbt", "hour/baseline", "hour/meshflow", "hour/dbt",
    "day/baseline", "day/meshflow", "day/dbt", "unchanged/meshflow",
    "branch/meshflow", "branch/dbt_modified", "branch/dbt",
    "promotion/meshflow", "promotion/dbt_modified", "promotion/dbt",
]  # fmt: skip


@pytest.fixture(scope="module")
def results(project: Path) -> dict[str, Any]:
    """Results of the smoke run, which fails if the tables of two variants differ."""
    done = subprocess.run(
        [sys.executable, project / "benchmarks" / "run.py", "lifecycle", "--smoke"],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def published(project: Path) -> dict[str, Any]:
    return benchmark_results.published(project / "benchmarks", "statements")


def test_every_step_runs_and_all_variants_build_equal_tables(results: dict[str, Any]) -> None:
    assert list(results["steps"]) == [f"100000/{step}" for step in STEPS]


@pytest.mark.parametrize("step", [step for step in STEPS if step.endswith(("/meshflow", "/baseline"))])
def test_step_has_the_published_counts_of_statements_and_rows_written(
    step: str, results: dict[str, Any], published: dict[str, Any]
) -> None:
    """After an intended change of the counts: run `benchmarks/run.py lifecycle --count`, and review the difference."""
    assert statement_counts(results["steps"])[f"100000/{step}"] == published[f"100000/{step}"]


@pytest.mark.parametrize("step", ["unchanged", "branch", "promotion"])
def test_a_plan_that_changes_no_table_writes_no_rows(step: str, results: dict[str, Any]) -> None:
    """The branch changes a mart. A mart is a view."""
    assert results["steps"][f"100000/{step}/meshflow"]["rows_written"]["median"] == 0


def test_views_are_audited_after_midnight_only(results: dict[str, Any]) -> None:
    hour, day = (results["steps"][f"100000/{case}/meshflow"]["statements"]["median"] for case in ("hour", "day"))
    assert hour < day / 1.5


ROWS = "(1, 'a', 1.5), (2, 'b', NULL)"


@pytest.mark.parametrize(
    ("columns", "rows", "is_equal"),
    [
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(2, 'b', NULL), (1, 'a', 1.5)", True),
        ("ID BIGINT, NAME VARCHAR, AMOUNT DECIMAL(18, 2), other INT", "(1, 'a', 1.5, 7), (2, 'b', NULL, 8)", True),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', 1.5)", False),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', 1.51), (2, 'b', NULL)", False),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', NULL), (2, 'b', 1.5)", False),
        ("id INT, name VARCHAR, amount DECIMAL(18, 2)", ROWS, False),
    ],
    ids=[
        "another order",
        "a column that the model doesn't have",
        "a row less",
        "a cent more",
        "values swapped",
        "another type",
    ],
)
def test_checksums_are_equal_for_equal_rows_only(tmp_path: Path, columns: str, rows: str, is_equal: bool) -> None:
    one = _warehouse(tmp_path / "one", "id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", ROWS)
    assert (_checksums(one) == _checksums(_warehouse(tmp_path / "other", columns, rows))) == is_equal


def _warehouse(folder: Path, columns: str, rows: str) -> Path:
    folder.mkdir()
    duckdb.connect(folder / "live_raw.duckdb").close()
    with duckdb.connect(folder / "analytics.duckdb") as connection:
        connection.execute("CREATE SCHEMA retail")
        connection.execute(f"CREATE TABLE retail.fct_sales ({columns})")
        connection.execute(f"INSERT INTO retail.fct_sales VALUES {rows}")
    listed = {"table": "retail.fct_sales", "columns": {"id": "", "name": "", "amount": ""}}
    (folder / "rendered.json").write_text(json.dumps([listed, {"table": "staging.stg_sales", "columns": {}}]))
    return folder


def _checksums(folder: Path) -> dict[str, list[int | str]]:
    return checksums(str(folder / "analytics.duckdb"), "analytics", str(folder / "rendered.json"))


def test_statements_and_rows_written_are_counted_for_every_client(tmp_path: Path) -> None:
    with count_statements() as counts:
        connection = duckdb.connect(tmp_path / "counted.duckdb")
        cursor = connection.cursor()
        for statement, rows in (
            ("CREATE TABLE one AS SELECT range AS id FROM range(10)", 10),
            ("/* of a tool */ INSERT INTO one SELECT 10", 1),
            ("UPDATE one SET id = id + 1 WHERE id < 3", 3),
            ("DELETE FROM one WHERE id = 9", 1),
            ("CREATE TABLE empty (id INT)", 0),
            ("CREATE VIEW two AS SELECT count(*) AS n FROM one", 0),
            ("SELECT 5 AS Count", 0),
        ):
            before = counts.rows_written
            cursor.execute(statement)
            assert counts.rows_written - before == rows, statement
        assert cursor.fetchall() == [(5,)]
        assert counts.statements == 7
        assert counts.duckdb_seconds > 0
    with pytest.raises(duckdb.ConnectionException):
        connection.execute("SELECT 1")
