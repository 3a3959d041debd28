"""Benchmarks measure what they say, and their READMEs show what was measured. Never how fast."""

from importlib import import_module
from pathlib import Path

import duckdb
import pytest
from benchmarked import kept
from lifecycle.limit import MEMORY
from lifecycle.report import Target, fingerprint, targets
from sqlmesh.core.config.connection import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.utils import yaml

from meshflow.loading.contract import contract


@pytest.mark.parametrize("name", ["commands", "loading", "lifecycle", "setup", "since", "traffic"])
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
    peer = yaml.load(benchmarks / "dbt/profiles.yml")["meshflow"]["outputs"]["prod"]
    assert ours.connector_config["memory_limit"] == peer["config_options"]["memory_limit"] == MEMORY
    assert ours.concurrent_tasks == peer["threads"] == 1


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
        ("SELECT 2 AS id, 'b' AS name, 1 AS _loaded_at UNION ALL SELECT 1, 'a', 2", True),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, 'c', 1", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, NULL, 1", False),
        ("SELECT 1::BIGINT AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, 'b', 1", False),
    ],
    ids=["another order and moment", "a row less", "another value", "a value less", "another type"],
)
def test_checksum_is_equal_for_equal_rows_only(benchmarks: Path, tmp_path: Path, rows: str, is_equal: bool) -> None:
    checksum = import_module("loading.warehouse").checksum
    two = "SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, 'b', 1"
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
    values = import_module("loading.warehouse").values
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
    with duckdb.connect(folder / "live_raw.duckdb") as connection:
        connection.execute("CREATE SCHEMA retail")
        connection.execute(f"CREATE TABLE retail.sales AS {rows}")
    return folder
