"""meshflow, dbt and the limit leave equal rows at every stage of a warehouse's life, and ask no more than noted.

One run of the benchmark on 100,000 order lines: a build, three hours, a branch, its promotion. Never how fast.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lifecycle.contents import checksums
from lifecycle.counted import counted
from lifecycle.run import statements

STEPS = [
    "build/limit", "build/ours", "build/dbt", "hour/limit", "hour/ours", "hour/dbt", "unchanged/ours",
    "branch/ours", "branch/dbt, what changed", "branch/dbt",
    "promotion/ours", "promotion/dbt, what changed", "promotion/dbt",
]  # fmt: skip


@pytest.fixture(scope="module")
def results(project: Path) -> dict[str, Any]:
    """Of the smoke run. It fails where two sides differ, naming the tables."""
    done = subprocess.run(
        [sys.executable, project / "benchmarks" / "run.py", "lifecycle", "--smoke"],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def noted(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "benchmarks" / "results" / "statements.json").read_text())
    return found


def test_every_step_runs_and_leaves_what_the_others_leave(results: dict[str, Any]) -> None:
    assert list(results["steps"]) == [f"100000/{step}" for step in STEPS]


@pytest.mark.parametrize("step", [step for step in STEPS if step.endswith(("/ours", "/limit"))])
def test_a_step_takes_as_many_statements_and_rows_as_noted(
    step: str, results: dict[str, Any], noted: dict[str, Any]
) -> None:
    """After a change that means to ask more or less: `benchmarks/run.py lifecycle --count`, and review what changed."""
    assert statements(results["steps"])[f"100000/{step}"] == noted[f"100000/{step}"]


def test_a_promotion_writes_no_row_and_a_branch_no_more_than_its_marts(results: dict[str, Any]) -> None:
    def written(step: str) -> float:
        rows: float = results["steps"][f"100000/{step}"]["rows_written"]["median"]
        return rows

    assert written("promotion/ours") == written("unchanged/ours") == 0
    assert 0 < written("branch/ours") < 100


ROWS = "(1, 'a', 1.5), (2, 'b', NULL)"


@pytest.mark.parametrize(
    ("columns", "rows", "is_equal"),
    [
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(2, 'b', NULL), (1, 'a', 1.5)", True),
        ("ID BIGINT, NAME VARCHAR, AMOUNT DECIMAL(18, 2), dbt_scd_id INT", "(1, 'a', 1.5, 7), (2, 'b', NULL, 8)", True),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', 1.5)", False),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', 1.51), (2, 'b', NULL)", False),
        ("id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", "(1, 'a', NULL), (2, 'b', 1.5)", False),
        ("id INT, name VARCHAR, amount DECIMAL(18, 2)", ROWS, False),
    ],
    ids=["another order", "columns of a tool's own", "a row less", "a cent more", "values swapped", "another type"],
)
def test_contents_are_equal_for_equal_rows_only(tmp_path: Path, columns: str, rows: str, is_equal: bool) -> None:
    one = _warehouse(tmp_path / "one", "id BIGINT, name VARCHAR, amount DECIMAL(18, 2)", ROWS)
    assert (_checksums(one) == _checksums(_warehouse(tmp_path / "other", columns, rows))) == is_equal


def _warehouse(folder: Path, columns: str, rows: str) -> Path:
    folder.mkdir()
    duckdb.connect(folder / "live_raw.duckdb").close()
    with duckdb.connect(folder / "analytics.duckdb") as connection:
        connection.execute("CREATE SCHEMA retail")
        connection.execute(f"CREATE TABLE retail.fct_sales ({columns})")
        connection.execute(f"INSERT INTO retail.fct_sales VALUES {rows}")
    listed = {"table": "retail.fct_sales", "columns": {"id": "", "name": "", "amount": "", "valid_from": ""}}
    (folder / "rendered.json").write_text(json.dumps([listed, {"table": "staging.stg_sales", "columns": {}}]))
    return folder


def _checksums(folder: Path) -> dict[str, list[int | str]]:
    return checksums(str(folder / "analytics.duckdb"), "analytics", str(folder / "rendered.json"))


def test_statements_and_rows_written_are_counted_whatever_writes_them(tmp_path: Path) -> None:
    with counted() as counts:
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
