"""Benchmarks measure what they say, and their READMEs show what was measured. Never how fast."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lifecycle.limit import MEMORY
from lifecycle.report import Target, fingerprint, targets
from sqlmesh.core.config.connection import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.utils import yaml

from meshflow.landing.contract import contract

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
"""Rows that each step of benchmark landing reads in the smoke run."""


@pytest.fixture
def benchmarks(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their folder; they are run in the project's."""
    monkeypatch.chdir(project)
    return project / "benchmarks"


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


def kept(benchmarks: Path, name: str) -> dict[str, Any]:
    """The results that the README shows."""
    results: dict[str, Any] = json.loads((benchmarks / "results" / f"{name}.json").read_text())
    return results


def keys(results: Any) -> Any:
    """Names without values; of lists, those of the first element."""
    if isinstance(results, list) and results:
        return keys(results[0])
    return {name: keys(value) for name, value in results.items()} if isinstance(results, dict) else None


@pytest.mark.parametrize("name", ["commands", "landing", "lifecycle", "since", "traffic"])
def test_readme_shows_the_results_that_were_measured(benchmarks: Path, name: str) -> None:
    table = import_module(f"{name}.report").table(kept(benchmarks, name))
    assert f"<!-- results -->\n{table}<!-- /results -->" in (benchmarks / name / "README.md").read_text()


def test_plot_is_of_the_results_that_were_measured(benchmarks: Path) -> None:
    assert fingerprint(kept(benchmarks, "lifecycle")) in (benchmarks / "lifecycle" / "seconds.svg").read_text()


def test_every_promise_is_reported_as_what_came_of_it(benchmarks: Path) -> None:
    results = kept(benchmarks, "lifecycle")
    assert results["targets"] == targets(results["steps"])


@pytest.mark.parametrize(
    ("value", "is_least", "outcome"),
    [
        (1.5, False, "met"),
        (1.51, False, "**missed**"),
        (1.5, True, "met"),
        (1.49, True, "**missed**"),
        (None, False, "not measured"),
        (None, True, "not measured"),
    ],
)
def test_a_promise_is_missed_beyond_its_bound(value: float | None, is_least: bool, outcome: str) -> None:
    assert Target("a ratio", value, 1.5, is_least=is_least).outcome == outcome


def test_every_side_may_use_as_much_memory_and_as_many_threads(benchmarks: Path, warehouse: Context) -> None:
    ours = warehouse.config.gateways["local"].connection
    assert isinstance(ours, DuckDBConnectionConfig)
    peer = yaml.load(benchmarks / "peers/dbt/profiles.yml")["meshflow"]["outputs"]["prod"]
    assert ours.connector_config["memory_limit"] == peer["config_options"]["memory_limit"] == MEMORY
    assert ours.concurrent_tasks == peer["threads"] == 1


def test_loaders_read_and_leave_the_same_rows_as_the_limit(benchmarks: Path) -> None:
    results = smoke(benchmarks, "landing")
    steps = results["steps"]
    assert {name: step["rows"] for name, step in steps.items()} == STEPS
    checksums = {name: step["checksum"] for name, step in steps.items()}
    assert checksums["small_load"] == checksums["tutorial"] == checksums["small_load_limit"]
    assert checksums["load"] == checksums["load_limit"]
    assert checksums["increment"] == checksums["increment_limit"]
    assert checksums["large_load"] == checksums["large_refresh"] == checksums["large_load_limit"]
    assert len(set(checksums.values())) == 4, "an increment or a larger load changed nothing"
    assert keys(results) == keys(kept(benchmarks, "landing"))


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


def test_copies_of_a_project_hold_its_rules_and_read_only_each_other(
    benchmarks: Path, warehouse: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tests = import_module("commands.project").write(tmp_path / "two", 2)
    monkeypatch.chdir(tmp_path / "two")
    context = Context(paths=".", gateway="local")
    assert len(context.models) == models == 2 * len(warehouse.models)
    assert len(context.select_tests()) == tests == 2 * len(warehouse.select_tests())
    assert context.lint_models(raise_on_error=False) == []
    second = {model.fqn for model in context.models.values() if model.name.endswith("_2")}
    assert len(second) == len(warehouse.models)
    assert all(model.depends_on <= second for model in context.models.values() if model.fqn in second)
    assert all(model.depends_on.isdisjoint(second) for model in context.models.values() if model.fqn not in second)


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
def test_checksum_is_equal_for_equal_rows_only(benchmarks: Path, tmp_path: Path, rows: str, is_equal: bool) -> None:
    checksum = import_module("landing.warehouse").checksum
    two = "SELECT 1 AS id, 'a' AS name, 1 AS _landed_at UNION ALL SELECT 2, 'b', 1"
    assert (checksum(_warehouse(tmp_path / "one", two)) == checksum(_warehouse(tmp_path / "other", rows))) == is_equal


@pytest.mark.parametrize(
    ("changed", "is_equal"),
    [
        ({"price": "1.50::DECIMAL(38, 9)", "_dlt_id": "'x'"}, True),
        ({"updated_at": "TIMESTAMPTZ '2026-11-01 10:00:00+00'"}, True),
        ({"deleted_at": None}, True),
        ({"price": "1.51"}, False),
        ({"city": "NULL"}, False),
        ({"city": None}, False),
    ],
    ids=[
        "other type and column",
        "with a time zone",
        "no column without values",
        "another value",
        "a value less",
        "a column less",
    ],
)
def test_values_are_compared_whatever_their_types(
    benchmarks: Path, tmp_path: Path, changed: dict[str, str | None], is_equal: bool
) -> None:
    values = import_module("landing.warehouse").values
    known = {"price": "1.50", "city": "'Toronto'", "updated_at": "TIMESTAMP '2026-11-01 10:00:00'"}
    row = {
        column.name: f"{known.get(column.name, 'NULL')}::{column.type.sql('duckdb')}"
        for column in contract()["retail.sales"].read
    }
    one, other = (
        _warehouse(
            tmp_path / name, f"SELECT {', '.join(f'{value} AS {column}' for column, value in of.items() if value)}"
        )
        for name, of in {"one": row, "other": row | changed}.items()
    )
    assert (values(one) == values(other)) == is_equal


def _warehouse(folder: Path, rows: str) -> Path:
    folder.mkdir()
    with duckdb.connect(folder / "landed_raw.duckdb") as connection:
        connection.execute("CREATE SCHEMA retail")
        connection.execute(f"CREATE TABLE retail.sales AS {rows}")
    return folder
