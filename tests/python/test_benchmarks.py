"""Benchmarks measure what they say: loader and limit leave the same rows. Never how fast."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

STEPS = {
    "load_limit": 20_000,
    "load": 20_000,
    "increment_limit": 200,
    "increment": 200,
    "large_load_limit": 40_000,
    "large_load": 40_000,
    "large_refresh": 40_000,
}
"""Rows that each step reads in the smoke run."""
FIGURES = {"what", "limit", "rows", "checksum", "seconds", "seconds_with_imports", "peak_mb"}


@pytest.fixture(scope="module")
def landing(project: Path) -> Path:
    return project / "benchmarks" / "landing"


@pytest.fixture(scope="module")
def kept(project: Path) -> dict[str, Any]:
    """The results that the README shows."""
    results: dict[str, Any] = json.loads((project / "benchmarks" / "results" / "landing.json").read_text())
    return results


def module(file: Path) -> ModuleType:
    """Import a script's module."""
    spec = spec_from_file_location(f"benchmark_{file.stem}", file)
    assert spec
    assert spec.loader
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_loader_reads_and_leaves_the_same_rows_as_the_limit(landing: Path, kept: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, landing / "run.py", "--smoke"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    steps = results["steps"]
    assert {name: step["rows"] for name, step in steps.items()} == STEPS
    checksums = {name: step["checksum"] for name, step in steps.items()}
    assert checksums["load"] == checksums["load_limit"]
    assert checksums["increment"] == checksums["increment_limit"]
    assert checksums["large_load"] == checksums["large_refresh"] == checksums["large_load_limit"]
    assert len(set(checksums.values())) == 3, "the increment or the larger load changed nothing"
    assert all(set(step) == FIGURES for step in steps.values())
    assert _keys(results) == _keys(kept)


def _keys(results: dict[str, Any]) -> dict[str, Any]:
    """Names without values."""
    return {name: _keys(value) if isinstance(value, dict) else None for name, value in results.items()}


@pytest.mark.parametrize(
    ("rows", "is_equal"),
    [
        ("SELECT 2 AS id, 'b' AS name, 1 AS _landed_at UNION ALL SELECT 1, 'a', 2", True),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _landed_at", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _landed_at UNION ALL SELECT 2, 'c', 1", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _landed_at UNION ALL SELECT 2, NULL, 1", False),
        ("SELECT 1::BIGINT AS id, 'a' AS name, 1 AS _landed_at UNION ALL SELECT 2, 'b', 1", False),
    ],
    ids=["another order and moment", "a row less", "another value", "a value less", "another type"],
)
def test_checksum_is_equal_for_equal_rows_only(landing: Path, tmp_path: Path, rows: str, is_equal: bool) -> None:
    checksum = module(landing / "warehouse.py").checksum
    two = "SELECT 1 AS id, 'a' AS name, 1 AS _landed_at UNION ALL SELECT 2, 'b', 1"
    assert (checksum(_warehouse(tmp_path / "one", two)) == checksum(_warehouse(tmp_path / "other", rows))) == is_equal


def _warehouse(folder: Path, rows: str) -> Path:
    folder.mkdir()
    with duckdb.connect(folder / "landed_raw.duckdb") as connection:
        connection.execute("CREATE SCHEMA retail")
        connection.execute(f"CREATE TABLE retail.sales AS {rows}")
    return folder


def test_readme_shows_the_results_that_were_measured(landing: Path, kept: dict[str, Any]) -> None:
    assert module(landing / "report.py").table(kept) in (landing / "README.md").read_text()
