"""Benchmarks compare equal work, and their READMEs show the published results. Times are not tested."""

import subprocess
from importlib import import_module
from pathlib import Path

import click
import duckdb
import pytest
from benchmark_results import published
from lifecycle.baseline import MEMORY
from lifecycle.report import Target, fingerprint, targets
from sqlmesh.core.config.connection import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.utils import yaml

from meshflow.loading.contract import contract


@pytest.mark.parametrize("name", ["commands", "loading", "lifecycle", "recording", "setup", "since", "traffic"])
def test_readme_shows_the_published_results(benchmarks: Path, name: str) -> None:
    table = import_module(f"{name}.report").table(published(benchmarks, name))
    assert f"<!-- results -->\n{table}<!-- /results -->" in (benchmarks / name / "README.md").read_text()


def test_plot_shows_the_published_results(benchmarks: Path) -> None:
    assert fingerprint(published(benchmarks, "lifecycle")) in (benchmarks / "lifecycle" / "seconds.svg").read_text()


def test_published_targets_follow_from_the_published_steps(benchmarks: Path) -> None:
    results = published(benchmarks, "lifecycle")
    assert results["targets"] == targets(results["steps"])


@pytest.mark.parametrize(
    ("value", "is_minimum", "outcome"),
    [
        (1.5, False, "met"),
        (1.51, False, "**missed**"),
        (1.5, True, "met"),
        (1.49, True, "**missed**"),
        (None, False, "not measured"),
        (None, True, "not measured"),
    ],
)
def test_target_is_missed_beyond_its_bound(value: float | None, is_minimum: bool, outcome: str) -> None:
    assert Target("a ratio", value, 1.5, is_minimum=is_minimum).outcome == outcome


def test_all_variants_have_the_same_memory_limit_and_threads(benchmarks: Path, warehouse: Context) -> None:
    sqlmesh = warehouse.config.gateways["local"].connection
    assert isinstance(sqlmesh, DuckDBConnectionConfig)
    dbt = yaml.load(benchmarks / "dbt/profiles.yml")["meshflow"]["outputs"]["prod"]
    assert sqlmesh.connector_config["memory_limit"] == dbt["config_options"]["memory_limit"] == MEMORY
    assert sqlmesh.concurrent_tasks == dbt["threads"] == 1


def test_copies_of_a_project_pass_its_linter_and_read_only_each_other(
    benchmarks: Path, warehouse: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tests = import_module("commands.project").write(tmp_path / "two", 2)
    monkeypatch.chdir(tmp_path / "two")
    context = Context(paths=".", gateway="local")
    copied = {model.fqn: model for model in context.models.values() if not model.kind.is_external}
    originals = [model for model in warehouse.models.values() if not model.kind.is_external]
    shared = {name for name, model in copied.items() if model.name.startswith("intermediate.int_sources__")}
    assert len(copied) == models == 2 * len(originals) - len(shared)
    assert len(context.select_tests()) == tests == 2 * len(warehouse.select_tests())
    assert context.lint_models(raise_on_error=False) == []
    second = {model.fqn for model in context.models.values() if model.name.endswith("_2")}
    assert len(second) == len(originals) - len(shared)
    common = shared | {context.get_model("run_log.events").fqn}
    assert all(model.depends_on - common <= second for model in context.models.values() if model.fqn in second)
    assert all(model.depends_on.isdisjoint(second) for model in context.models.values() if model.fqn not in second)


def test_commit_without_gateway_live_is_an_error(
    benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("since.run")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "config.yaml").write_text("gateways:\n  local:\n")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "First")):
        subprocess.run(["git", *command], cwd=repository, check=True)  # noqa: S607
    monkeypatch.setattr(module, "PROJECT", repository)
    with pytest.raises(click.ClickException, match="Commit HEAD has no gateway `live`"):
        module.check_out("HEAD", tmp_path / "checkout")


@pytest.mark.parametrize(
    ("rows", "is_equal"),
    [
        ("SELECT 2 AS id, 'b' AS name, 1 AS _loaded_at UNION ALL SELECT 1, 'a', 2", True),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, 'c', 1", False),
        ("SELECT 1 AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, NULL, 1", False),
        ("SELECT 1::BIGINT AS id, 'a' AS name, 1 AS _loaded_at UNION ALL SELECT 2, 'b', 1", False),
    ],
    ids=["another order and load time", "a row less", "another value", "a value less", "another type"],
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
        "another type and another column",
        "with a time zone",
        "no column without values",
        "another value",
        "a value less",
        "a column less",
    ],
)
def test_values_are_compared_independently_of_their_types(
    benchmarks: Path, tmp_path: Path, changed: dict[str, str | None], is_equal: bool
) -> None:
    values = import_module("loading.warehouse").values
    known = {"price": "1.50", "city": "'Toronto'", "updated_at": "TIMESTAMP '2026-11-01 10:00:00'"}
    row = {
        column.name: f"{known.get(column.name, 'NULL')}::{column.type.sql('duckdb')}"
        for column in contract()["retail.sales"].source_columns
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
