"""Each benchmark runs on few rows, and its results are compared. Times are not tested."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_results import published
from sqlmesh.core.context import Context

STEPS = {
    "small_load_baseline": 10_000,
    "small_load": 10_000,
    "tutorial": 10_000,
    "load_baseline": 20_000,
    "load": 20_000,
    "increment_baseline": 200,
    "increment": 200,
    "increment_xmin": 200,
    "large_load_baseline": 40_000,
    "large_load": 40_000,
    "large_refresh": 40_000,
}
"""Rows that each step of benchmark loading reads in the smoke run."""


def smoke(benchmarks: Path, name: str, *arguments: str) -> dict[str, Any]:
    """Results that a benchmark prints in a smoke run."""
    done = subprocess.run(
        [sys.executable, benchmarks / "run.py", name, *arguments, "--smoke"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def keys(results: Any) -> Any:
    """Keys without values; of a list, those of its first element."""
    if isinstance(results, list) and results:
        return keys(results[0])
    return {name: keys(value) for name, value in results.items()} if isinstance(results, dict) else None


def test_loaders_read_and_write_the_same_rows_as_the_baseline(benchmarks: Path) -> None:
    results = smoke(benchmarks, "loading")
    steps = results["steps"]
    assert {name: step["rows"] for name, step in steps.items()} == STEPS
    checksums = {name: step["checksum"] for name, step in steps.items()}
    assert checksums["small_load"] == checksums["tutorial"] == checksums["small_load_baseline"]
    assert checksums["load"] == checksums["load_baseline"]
    assert checksums["increment"] == checksums["increment_xmin"] == checksums["increment_baseline"]
    assert checksums["large_load"] == checksums["large_refresh"] == checksums["large_load_baseline"]
    assert len(set(checksums.values())) == 4, "an increment or a larger load changed nothing"
    assert keys(results) == keys(published(benchmarks, "loading"))


def test_traffic_is_compared_with_rows_made_one_at_a_time(benchmarks: Path) -> None:
    results = smoke(benchmarks, "traffic")
    rows = {name: step["rows"] for name, step in results["steps"].items()}
    assert rows["generated"] == rows["generated_year"] == 2_000
    assert rows["executemany"] == rows["insert"] == 200
    assert all(rows[name] >= 2_000 for name in ("large", "large_year", "small")), "fewer rows than order lines"
    assert keys(results) == keys(published(benchmarks, "traffic"))


def test_recording_is_measured_in_recorded_plans_and_runs(benchmarks: Path) -> None:
    results = smoke(benchmarks, "recording")
    assert {name: len(step["share"]["all"]) for name, step in results["steps"].items()} == {"plan": 1, "run": 3}
    assert all(0 < share < 1 for step in results["steps"].values() for share in step["share"]["all"])
    assert keys(results) == keys(published(benchmarks, "recording"))


def test_models_are_compared_with_those_of_a_commit(benchmarks: Path, warehouse: Context) -> None:
    results = smoke(benchmarks, "since", "HEAD")
    run_log = warehouse.get_model("run_log.events").fqn
    left_out = {run_log, *warehouse.dag.downstream(run_log)}
    tables = [model.fully_qualified_table for name, model in warehouse.models.items() if name not in left_out]
    assert results["tables"] == sum(table.catalog != "RAW" and table.db != "STAGING" for table in tables)
    assert set(results["steps"]) == set(published(benchmarks, "since")["steps"])
    assert all(step["parts"] for step in results["steps"].values())


def test_unknown_commit_is_an_error(benchmarks: Path) -> None:
    with pytest.raises(AssertionError, match="Commit nowhere is not in this history"):
        smoke(benchmarks, "since", "nowhere")


def test_commands_are_measured_on_the_project_as_it_is(benchmarks: Path, warehouse: Context) -> None:
    results = smoke(benchmarks, "commands")
    [size] = results["sizes"]
    models = [model for model in warehouse.models.values() if not model.kind.is_external]
    assert (size["models"], size["tests"]) == (len(models), len(warehouse.select_tests()))
    assert size["steps"]["plan"]["statements"] > 0, "a plan queries the tables of dev in DuckDB"
    expected = published(benchmarks, "commands")
    assert set(size["steps"]) <= set(expected["sizes"][0]["steps"])
    assert keys(size["steps"]["plan"]) == keys(expected["sizes"][0]["steps"]["plan"])


def test_fresh_clone_is_compared_with_one_of_a_commit(benchmarks: Path) -> None:
    results = smoke(benchmarks, "setup", "HEAD")
    [(step, seconds)] = results["seconds"].items()
    assert set(seconds) == {"before", "now"}
    assert step in published(benchmarks, "setup")["seconds"]
