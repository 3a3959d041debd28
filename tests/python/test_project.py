"""The project as a unit: unit tests, README, contracts, cadence, locks and example queries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlglot import exp, parse_one
from sqlmesh.core.context import Context
from sqlmesh.core.node import IntervalUnit
from workspace import Workspace, plan

from meshflow.cli import main

SQLMESH = Path(sys.executable).with_name("sqlmesh")
CREATE_TABLE = re.compile(r"^CREATE TABLE .*?^\)", re.DOTALL | re.MULTILINE)
MAKE_DEV = re.compile(r"^```console\n\$ make dev\n(.*?)```", re.DOTALL | re.MULTILINE)
LOADED = {f"staging.stg_{table}" for table in ("edtech__students", "edtech__courses", "edtech__enrollments")}
LOADED.add("staging.stg_retail__sales")
"""Views whose audit stops a run before it writes what has been loaded."""
STORED_DAILY = {"ops.row_reconciliation", "ops.source_reconciliation", "staging.stg_loader__rejected_rows"}
"""Tables that read every row."""
FILE = re.compile(r"[Ww]rite `(?P<path>[\w./]+)`[^\n]*\n\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def test_the_unit_tests_of_all_models_pass(built: Workspace, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path, data=False)
    environment = os.environ | workspace.environment
    done = subprocess.run(
        [SQLMESH, "test"], cwd=workspace.path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"Successfully Ran `\d{3,}` Tests", done.stdout), done.stdout


def test_the_model_of_the_guide_passes_all_rules_and_its_test(project: Path, built: Workspace, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path, data=False)
    files = {
        match["path"]: match["text"]
        for match in FILE.finditer((project / "docs/guides/add-a-model.md").read_text(encoding="utf-8"))
    }
    assert [Path(path).suffix for path in files] == [".sql", ".yaml"]
    for path, text in files.items():
        (workspace.path / path).write_text(text, encoding="utf-8")

    context = workspace.context()
    context.lint_models()
    result = context.test(tests=[str(workspace.path / path) for path in files if path.endswith(".yaml")])
    assert result.testsRun == 1
    assert result.wasSuccessful()


def test_models_readme_lists_every_table(project: Path) -> None:
    page = (project / "models/README.md").read_text(encoding="utf-8")
    for file in (project / "models").rglob("*.sql"):
        shorter = {
            file.stem[index:] for index in range(len(file.stem)) if file.stem[index] == "_"
        }  # `__courses`, `_by_state`
        forms = {file.stem, f".{file.stem}", f"raw.{file.parent.name}.{file.stem}", *shorter}
        assert any(f"`{form}`" in page for form in forms), f"models/README.md doesn't name {file.stem}"


def raw_tables(context: Context) -> dict[str, list[tuple[str, str]]]:
    """Names and types of the columns, in their order, by table."""
    return {
        model.name: [(name, type_.sql("snowflake")) for name, type_ in model.columns_to_types_or_raise.items()]
        for model in context.models.values()
        if model.name.startswith("raw.")
    }


def test_the_sample_has_the_columns_of_the_loaded_tables(warehouse: Context, live_project: Context) -> None:
    contracts = raw_tables(live_project)
    del contracts["raw.loader.loads"]  # only the signal reads it, and the sample needs no signal
    assert raw_tables(warehouse) == contracts


def test_a_loaded_table_has_the_columns_and_the_key_of_the_source(project: Path, live_project: Context) -> None:
    schema = (project / "src/meshflow/source/schema.sql").read_text(encoding="utf-8")
    in_source = {}
    for statement in CREATE_TABLE.findall(schema):
        table = parse_one(statement, dialect="postgres")
        columns = list(table.find_all(exp.ColumnDef))
        composite = table.find(exp.PrimaryKey)
        key = composite.expressions if composite else [c for c in columns if c.find(exp.PrimaryKeyColumnConstraint)]
        in_source[f"raw.{table.this.this.sql()}"] = [c.name for c in columns], [c.name for c in key]

    loaded = {}
    for model in live_project.models.values():
        if model.name.startswith("raw.") and not model.name.startswith("raw.loader."):
            *columns, deleted_at, loaded_at = [name.lower() for name in model.columns_to_types_or_raise]
            assert (deleted_at, loaded_at) == ("_deleted_at", "_loaded_at"), model.name
            (grain,) = model.grains
            loaded[model.name] = columns, [column.name for column in grain.find_all(exp.Column)]
    assert loaded == in_source


@pytest.mark.parametrize(("gateway", "interval"), [("local", IntervalUnit.HOUR), ("live", IntervalUnit.FIVE_MINUTE)])
def test_tables_and_loaded_rows_are_due_at_the_cadence_of_the_gateway_and_the_rest_once_a_day(
    gateway: str, interval: IntervalUnit, warehouse: Context, live_project: Context
) -> None:
    context = {"local": warehouse, "live": live_project}[gateway]
    units = {model.name: model.interval_unit for model in context.models.values() if not model.kind.is_external}
    daily = {name for name in units if context.get_model(name).kind.is_view} - LOADED | STORED_DAILY
    assert units == {name: IntervalUnit.DAY if name in daily else interval for name in units}


def test_only_views_read_the_clock_so_no_run_is_needed_at_midnight(live_project: Context) -> None:
    """Without the variable as_of_date, which the gateway `local` sets."""
    dated = {
        model.name: model.kind.is_view
        for model in live_project.models.values()
        if model.is_sql and model.render_query_or_raise().find(exp.CurrentTimestamp)
    }
    assert {"edtech.dim_course", "edtech.dim_student", "ops.table_freshness"} <= set(dated)
    assert all(dated.values()), dated


@pytest.mark.parametrize("name", [path.stem for path in (Path(__file__).parents[2] / "requirements").glob("*.lock")])
def test_locks_are_hashed_and_name_no_index(project: Path, name: str) -> None:
    lock = (project / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    requirements = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", lock, re.MULTILINE)
    hashed = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==.*\\\n    --hash=sha256:", lock, re.MULTILINE)
    assert requirements
    assert len(hashed) == len(requirements)
    assert "://" not in lock
    assert "--index" not in lock
    assert "snowpark" not in lock


def test_examples_query_the_named_environment(
    project: Path, built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = built.clone(tmp_path)
    monkeypatch.chdir(workspace.path)
    context = workspace.context()
    plan(context, "dev")
    context.close()

    result = CliRunner(env=workspace.environment).invoke(main, ["examples", "dev"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.count("FROM ") == 4
    [block] = MAKE_DEV.findall((project / "README.md").read_text(encoding="utf-8"))
    example = block.split("\n…\n")[2].rstrip("…\n")
    assert example in re.sub(r" +$", "", result.output, flags=re.MULTILINE), "as README shows it"
    assert "retail__dev.fct_sales" in result.output
    assert "Yet to Start" in result.output

    unknown = CliRunner(env=workspace.environment).invoke(main, ["examples", "nope"])
    assert unknown.exit_code == 1
    assert "There is no environment 'nope'" in unknown.output
    assert "dev" in unknown.output

    context = workspace.context()
    context.engine_adapter.drop_schema("RETAIL__DEV", cascade=True)
    context.close()
    without_views = CliRunner(env=workspace.environment).invoke(main, ["examples", "Dev"])
    assert without_views.exit_code == 1
    error = r"Error: Environment dev can't be queried: DuckDB: .*`sqlmesh plan dev`.*\n"
    assert re.fullmatch(error, without_views.stderr)
