"""Each benchmark runs, on few rows, and what it leaves is compared; never how fast."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarked import kept
from sqlmesh.core.context import Context

STEPS = {
    "small_load_limit": 10_000,
    "small_load": 10_000,
    "tutorial": 10_000,
    "load_limit": 20_000,
    "load": 20_000,
    "increment_limit": 200,
    "increment": 200,
    "large_load_limit": 40_000,
    "large_load": 40_000,
    "large_refresh": 40_000,
}
"""Rows that each step of benchmark loading reads in the smoke run."""


def smoke(benchmarks: Path, name: str, *arguments: str) -> dict[str, Any]:
    """What a benchmark prints when it measures next to nothing, once."""
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
    """Names without values; of lists, those of the first element."""
    if isinstance(results, list) and results:
        return keys(results[0])
    return {name: keys(value) for name, value in results.items()} if isinstance(results, dict) else None


def test_loaders_read_and_leave_the_same_rows_as_the_limit(benchmarks: Path) -> None:
    results = smoke(benchmarks, "loading")
    steps = results["steps"]
    assert {name: step["rows"] for name, step in steps.items()} == STEPS
    checksums = {name: step["checksum"] for name, step in steps.items()}
    assert checksums["small_load"] == checksums["tutorial"] == checksums["small_load_limit"]
    assert checksums["load"] == checksums["load_limit"]
    assert checksums["increment"] == checksums["increment_limit"]
    assert checksums["large_load"] == checksums["large_refresh"] == checksums["large_load_limit"]
    assert len(set(checksums.values())) == 4, "an increment or a larger load changed nothing"
    assert keys(results) == keys(kept(benchmarks, "loading"))


def test_traffic_is_measured_beside_the_recipe(benchmarks: Path) -> None:
    results = smoke(benchmarks, "traffic")
    rows = {name: step["rows"] for name, step in results["steps"].items()}
    assert rows["generated"] == rows["generated_year"] == 2_000
    assert rows["recipe_many"] == rows["recipe"] == 200
    assert all(rows[name] >= 2_000 for name in ("large", "large_year", "small")), "fewer rows than order lines"
    assert keys(results) == keys(kept(benchmarks, "traffic"))


def test_models_are_measured_beside_those_of_a_commit(benchmarks: Path) -> None:
    results = smoke(benchmarks, "since", "HEAD")
    assert results["tables"] == kept(benchmarks, "since")["tables"]
    assert set(results["steps"]) == set(kept(benchmarks, "since")["steps"])
    assert all(step["parts"] for step in results["steps"].values())


def test_models_of_an_unknown_commit_are_said_to_be_missing(benchmarks: Path) -> None:
    with pytest.raises(AssertionError, match="Commit nowhere is not in the history here"):
        smoke(benchmarks, "since", "nowhere")


def test_commands_are_measured_on_the_project_as_it_is(benchmarks: Path, warehouse: Context) -> None:
    results = smoke(benchmarks, "commands")
    [size] = results["sizes"]
    assert (size["models"], size["tests"]) == (len(warehouse.models), len(warehouse.select_tests()))
    assert size["steps"]["plan"]["statements"] > 0, "a plan asks DuckDB what stands in dev"
    of_kept = kept(benchmarks, "commands")
    assert set(size["steps"]) <= set(of_kept["sizes"][0]["steps"])
    assert keys(size["steps"]["plan"]) == keys(of_kept["sizes"][0]["steps"]["plan"])


def test_a_fresh_clone_is_measured_beside_one_of_a_commit(benchmarks: Path) -> None:
    results = smoke(benchmarks, "setup", "HEAD")
    [(step, seconds)] = results["seconds"].items()
    assert set(seconds) == {"before", "now"}
    assert step in kept(benchmarks, "setup")["seconds"]
