"""Prod executes the checkout: code planted in SQLMesh's state stops what uses it, named, and is never evaluated.

Each test first shows that SQLMesh itself executes what is planted.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from sqlglot import exp
from sqlmesh.core.context import Context, ExecutionContext
from sqlmesh.core.environment import EnvironmentStatements
from sqlmesh.core.macros import RuntimeStage
from sqlmesh.core.model.kind import ModelKindName
from sqlmesh.core.renderer import BaseExpressionRenderer
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot, SnapshotFingerprint, SnapshotId
from sqlmesh.core.snapshot.definition import SnapshotTableCleanupTask
from sqlmesh.core.state_sync import EngineAdapterStateSync
from sqlmesh.core.state_sync.common import ExpiredBatchRange, ExpiredSnapshotBatch, LimitBoundary, RowBoundary
from sqlmesh.migrations import v0085_deterministic_repr
from workspace import Workspace

from meshflow.audit import audit
from meshflow.ci.prod import apply, drop_expired, export_state
from meshflow.ci.run import run_prod, summary
from meshflow.names import table_name
from meshflow.project import open_project
from meshflow.state import Foreign, Project, require_same_data

Json = dict[str, Any]

STUDENT, STAGING, COURSE, MART = "PII.STUDENT", "STAGING.STG_RETAIL__SALES", "EDTECH.DIM_COURSE", "RETAIL.FCT_SALES"


@pytest.fixture(scope="module")
def prod(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with prod. Its state is in the same DuckDB file."""
    workspace = built.clone(tmp_path_factory.mktemp("prod"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHFLOW_DATA", str(workspace.data))
        with closing(open_project("local", path=workspace.path)) as project:
            yield project


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that a payload creates."""
    return tmp_path / "executed"


def payload(marker: Path) -> str:
    """A Python expression."""
    return f"__import__('pathlib').Path('{marker}').touch()"


def quoted(marker: Path) -> str:
    """A SQL identifier that SQLMesh's macros evaluate as Python."""
    return f"""NOT "x' + str({payload(marker)}) + '\""""


def plant(project: Context, name: str, change: Callable[[Json], object]) -> None:
    """Change the node of a model in the state, as somebody with the password of its database can."""
    table, where = "sqlmesh._snapshots", f"""name LIKE '%"{name.replace(".", '"."')}"'"""
    [(text,)] = project.engine_adapter.fetchall(f"SELECT snapshot FROM {table} WHERE {where}")
    snapshot = json.loads(text)
    change(snapshot["node"])
    planted = json.dumps(snapshot).replace("'", "''")
    project.engine_adapter.execute(f"UPDATE {table} SET snapshot = '{planted}' WHERE {where}")


def insert(project: Context, name: str, change: Callable[[Json], object], columns: Json | None = None) -> None:
    """Insert a row as the role of pull requests can: a changed copy of a model's, under another identifier."""
    where = f"""name LIKE '%"{name.replace(".", '"."')}"'"""
    [(text,)] = project.engine_adapter.fetchall(f"SELECT snapshot FROM sqlmesh._snapshots WHERE {where}")
    snapshot = json.loads(text)
    change(snapshot)
    snapshot["fingerprint"]["metadata_hash"] = "1"
    planted = {
        "identifier": SnapshotFingerprint(**snapshot["fingerprint"]).to_identifier(),
        "snapshot": json.dumps(snapshot),
        "fingerprint": json.dumps(snapshot["fingerprint"]),
    } | (columns or {})
    replaced = ", ".join(f"{exp.convert(value).sql('duckdb')} AS {column}" for column, value in planted.items())
    project.engine_adapter.execute(
        f"INSERT INTO sqlmesh._snapshots BY NAME SELECT * REPLACE ({replaced}) FROM sqlmesh._snapshots WHERE {where}"
    )
    forget(project)


@pytest.fixture
def restored(prod: Project) -> Iterator[Project]:
    """`prod`, whose state is as before after the test."""
    tables = ("_snapshots", "_environments", "_environment_statements", "_intervals", "_versions")
    kept = [(f"sqlmesh.{table}", f"main.kept{table}") for table in tables]
    for table, copy in kept:
        prod.engine_adapter.execute(f"CREATE TABLE {copy} AS SELECT * FROM {table}")
    yield prod
    for table, copy in kept:
        prod.engine_adapter.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {copy}")
        prod.engine_adapter.execute(f"DROP TABLE {copy}")
    forget(prod)


def forget(project: Context) -> None:
    """Read the state again, as a new process does."""
    project._state_sync = None  # noqa: SLF001


def evaluate(snapshot: Snapshot, project: Context) -> None:
    """All that a plan and a run evaluate of a model, without a statement."""
    model = snapshot.model
    with suppress(Exception):
        model.render_query()
    for render in (model.render_pre_statements, model.render_post_statements, model.render_on_virtual_update):
        with suppress(Exception):
            render(runtime_stage=RuntimeStage.EVALUATING)
    for render in (model.render_physical_properties, model.render_session_properties):
        with suppress(Exception):
            render()
    for one, arguments in model.audits_with_args:
        with suppress(Exception):
            model.render_audit_query(one, **arguments)
    with suppress(Exception):
        context = ExecutionContext(project.engine_adapter, {}, DeployabilityIndex.all_deployable())
        snapshot.check_ready_intervals([(0, 3_600_000)], context)


def evaluate_as_sqlmesh(project: Context, name: str, folder: Path) -> None:
    """All that SQLMesh evaluates of a model as the state has it."""
    state = EngineAdapterStateSync(project.engine_adapter, schema="sqlmesh", cache_dir=folder)
    for snapshot in state.get_snapshots([snapshot_id(project, name)]).values():
        evaluate(snapshot, project)


def snapshot_id(project: Context, name: str) -> SnapshotId:
    """Of the version of a model that is in prod."""
    environment = project.state_reader.get_environment("prod")
    return next(one.snapshot_id for one in environment.snapshots if one.name.replace('"', "").endswith(name))


PLANTED: dict[str, tuple[str, Callable[[Json, Path], object]]] = {
    "macro": (STUDENT, lambda node, marker: prepend(node, "mask", marker)),
    "signal": (STAGING, lambda node, marker: prepend(node, "source_loaded", marker)),
    "variable": (
        COURSE,
        lambda node, marker: node["python_env"]["__sqlmesh__vars__"].update(payload=payload(marker)),
    ),
    "query": (
        MART,
        lambda node, marker: node["query"].update(sql=f"SELECT @IF({quoted(marker)}, 1, 2) AS order_id"),
    ),
    "query instead of a seed": (
        "SHARED.REF_PROVINCE",
        lambda node, marker: replace_by_query(node, f"SELECT @IF({quoted(marker)}, 1, 2) AS province"),
    ),
    "audit argument": (
        MART,
        lambda node, marker: node["audits"].append(
            ["accepted_range", {"column": "order_id", "min_v": "0", "inclusive": quoted(marker)}]
        ),
    ),
    "audit query": (
        MART,
        lambda node, marker: node["audit_definitions"]["relationships"]["query"].update(
            sql=f"SELECT @IF({quoted(marker)}, 1, 2)"
        ),
    ),
    "post-statement": (
        MART,
        lambda node, marker: node["post_statements"].append({"sql": f"@IF({quoted(marker)}, SELECT 1, SELECT 2)"}),
    ),
    "virtual statement": (
        MART,
        lambda node, marker: node["on_virtual_update"].append({"sql": f"@IF({quoted(marker)}, SELECT 1, SELECT 2)"}),
    ),
    "macro that hashing executes": (MART, lambda node, marker: render_columns(node, marker, by_macro=True)),
    "query that hashing renders": (MART, lambda node, marker: render_columns(node, marker, by_macro=False)),
    "session property": (
        MART,
        lambda node, marker: node.update(session_properties=f"('query_tag' = @IF({quoted(marker)}, 'a', 'b'))"),
    ),
}
"""By what is planted: the model, and how."""


def render_columns(node: Json, marker: Path, *, by_macro: bool) -> None:
    """Hashing partitions reads the types of columns, which are those of the rendered query if the model has none."""
    node["kind"] = {"name": "INCREMENTAL_BY_TIME_RANGE", "time_column": {"column": "at", "format": "%Y-%m-%d"}}
    node.pop("columns", None)
    node["partitioned_by"] = []
    node["query"] = {"sql": "SELECT @planted() AS at" if by_macro else f"SELECT @IF({quoted(marker)}, 1, 2) AS at"}
    code = f"{payload(marker)}\ndef planted(evaluator):\n    return 1"
    executable = {"payload": code, "kind": "definition", "name": "planted", "path": "x.py"}
    node["python_env"] = {"planted": executable} if by_macro else {}


def prepend(node: Json, function: str, marker: Path) -> None:
    executable = node["python_env"][function]
    executable["payload"] = f"{payload(marker)}\n{executable['payload']}"


def unprepend(node: Json, function: str) -> None:
    executable = node["python_env"][function]
    executable["payload"] = executable["payload"].split("\n", 1)[1]


def replace_by_query(node: Json, query: str) -> None:
    kept = {name: node[name] for name in ("name", "default_catalog", "dialect", "columns")}
    node.clear()
    node.update(kept, source_type="sql", kind={"name": "VIEW"}, query={"sql": query})


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_code_stops_with_the_name_of_its_model_and_is_not_executed(
    kind: str, restored: Project, marker: Path, tmp_path: Path
) -> None:
    name, change = PLANTED[kind]
    plant(restored, name, lambda node: change(node, marker))
    evaluate_as_sqlmesh(restored, name, tmp_path / "cache")
    assert marker.exists(), "SQLMesh itself executes it"
    marker.unlink()
    forget(restored)
    with pytest.raises(click.ClickException, match=rf"differs from the checkout at {name.lower()}, though"):
        restored.state_reader.get_snapshots([snapshot_id(restored, name)])
    assert not marker.exists()


@pytest.mark.parametrize("by_macro", [True, False])
@pytest.mark.parametrize("name", [MART, COURSE])
def test_a_row_that_the_role_of_pull_requests_inserts_is_not_executed_by_a_run(
    name: str, *, by_macro: bool, restored: Project, marker: Path
) -> None:
    """Another row of prod's version, which a run compares with the checkout."""
    insert(restored, name, lambda snapshot: render_columns(snapshot["node"], marker, by_macro=by_macro))
    for command in (lambda: run_prod(restored.path, "local"), lambda: apply(restored.path, "local", no_gaps=False)):
        with pytest.raises(click.ClickException, match=rf"differs from the checkout at {name.lower()}, though"):
            command()
    assert not marker.exists()


DETAILS: dict[str, Json] = {
    "CUSTOM": {"materialization": "replace_by_key"},
    "INCREMENTAL_BY_TIME_RANGE": {"time_column": {"column": "at"}},
    "INCREMENTAL_BY_UNIQUE_KEY": {"unique_key": ["at"]},
    "SCD_TYPE_2": {"unique_key": ["at"]},
    "SCD_TYPE_2_BY_TIME": {"unique_key": ["at"]},
    "SCD_TYPE_2_BY_COLUMN": {"unique_key": ["at"], "columns": ["at"]},
}
"""What a kind requires."""
KINDS = sorted(set(ModelKindName) - {"EXTERNAL", "SEED", "DBT_CUSTOM", "MANAGED"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_no_kind_is_rendered_to_compare_it(
    kind: ModelKindName, restored: Project, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(node: Json) -> None:
        render_columns(node, marker, by_macro=False)
        node["partitioned_by"] = ['"AT"'] if kind is ModelKindName.INCREMENTAL_BY_PARTITION else []
        node["kind"] = {"name": kind.value} | DETAILS.get(kind.value, {})

    insert(restored, MART, lambda snapshot: change(snapshot["node"]))
    plant(restored, COURSE, change)
    forget(restored)
    rendered = []
    render = BaseExpressionRenderer._render  # noqa: SLF001

    def recording(self: Any, *arguments: Any, **options: Any) -> Any:
        rendered.append(self._expression.sql())
        return render(self, *arguments, **options)

    monkeypatch.setattr(BaseExpressionRenderer, "_render", recording)
    with pytest.raises(click.ClickException, match=r"differs from the checkout at edtech\.dim_course, though"):
        restored.state_reader.get_snapshots([snapshot_id(restored, COURSE)])
    with pytest.raises(click.ClickException, match=r"differs from the checkout at .*retail\.fct_sales, though"):
        require_same_data(restored)
    assert not [sql for sql in rendered if str(marker) in sql]


def test_a_run_a_plan_and_audits_stop_and_continue_once_the_state_is_restored_from_its_export(
    restored: Project, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, export = restored.path, tmp_path / "state.json"
    monkeypatch.chdir(path)
    export_state(export, "local")
    plant(restored, STUDENT, lambda node: prepend(node, "mask", marker))
    commands = [
        lambda: run_prod(path, "local"), lambda: apply(path, "local", no_gaps=False), lambda: audit("local"),
    ]  # fmt: skip
    for command in commands:
        with pytest.raises(click.ClickException, match=r"differs from the checkout at pii\.student, though"):
            command()
    # Neither of them compares models, and neither evaluates one.
    drop_expired("local")
    export_state(tmp_path / "planted.json", "local")
    assert str(marker) in (tmp_path / "planted.json").read_text()
    assert not marker.exists()
    open_project("local", load=False).import_state(export, clear=True, confirm=False)
    for command in commands:
        command()
    assert not marker.exists()


def test_every_model_of_prod_is_the_object_that_the_checkout_loaded(prod: Project) -> None:
    snapshots = prod.prod().values()
    assert len(snapshots) > 50
    assert all(snapshot.node is prod.nodes[snapshot.name] for snapshot in snapshots)


def test_what_the_fingerprint_leaves_out_is_the_checkouts(restored: Project, marker: Path, tmp_path: Path) -> None:
    """SQLMesh doesn't hash the defaults of an audit: a change of main's wouldn't reach prod, an attacker's would."""

    def change(node: Json) -> None:
        node["audit_definitions"]["totals_reconcile"]["defaults"] = {"against_measures": f"@IF({quoted(marker)}, 1, 2)"}

    city = "RETAIL.RPT_NET_REVENUE_BY_CITY"
    plant(restored, city, change)
    evaluate_as_sqlmesh(restored, city, tmp_path / "cache")
    assert marker.exists(), "SQLMesh itself executes it"
    marker.unlink()
    forget(restored)
    for snapshot in restored.state_reader.get_snapshots([snapshot_id(restored, city)]).values():
        evaluate(snapshot, restored)
    assert not marker.exists()


def test_a_planted_statement_of_the_environment_is_not_executed_and_counts_as_a_change(
    restored: Project, marker: Path
) -> None:
    statement = f"@IF({quoted(marker)}, SELECT 1, SELECT 2)"
    planted = EnvironmentStatements(before_all=[statement], after_all=[], python_env={})
    with suppress(Exception):
        planted.render_before_all("duckdb")
    assert marker.exists(), "SQLMesh itself executes it"
    marker.unlink()
    restored.state_sync.state_sync.state_sync.environment_state.update_environment_statements(
        "prod", restored.state_reader.get_environment("prod").plan_id, [planted]
    )
    assert restored.plan_builder("prod", skip_tests=True, skip_linter=True).build().has_changes
    restored.engine_adapter.execute("""DELETE FROM sqlmesh._intervals WHERE name LIKE '%"DIM_PRODUCT"'""")
    assert restored.run("prod", skip_janitor=True).is_success
    assert not marker.exists()


def test_a_state_without_a_version_is_not_migrated_which_would_evaluate_it(restored: Project, marker: Path) -> None:
    assert "eval(" in inspect.getsource(v0085_deterministic_repr)
    plant(restored, COURSE, lambda node: node["python_env"]["__sqlmesh__vars__"].update(payload=payload(marker)))
    restored.engine_adapter.execute("DELETE FROM sqlmesh._versions")
    forget(restored)
    with pytest.raises(click.ClickException, match="has models but no version"):
        restored.prod()
    assert not marker.exists()


def test_a_version_that_the_checkout_does_not_have_is_replaced_and_never_evaluated(
    built: Workspace, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a merge by hand. The history keeps its rows: a rebuild would begin it today."""
    workspace = built.clone(tmp_path / "lagging")
    monkeypatch.setenv("MESHFLOW_DATA", str(workspace.data))
    history, name = "models/intermediate/int_edtech__student_versions.sql", "INTERMEDIATE.INT_EDTECH__STUDENT_VERSIONS"
    workspace.edit(history, "One row per", "One stored row per")
    project = open_project("local", path=workspace.path)
    plant(project, name, lambda node: prepend(node, "since", marker))
    evaluate_as_sqlmesh(project, name, tmp_path / "cache")
    assert marker.exists(), "SQLMesh itself executes it"
    marker.unlink()
    [snapshot] = project.state_reader.get_snapshots([snapshot_id(project, name)]).values()
    evaluate(snapshot, project)
    assert isinstance(snapshot.node, Foreign)
    project.engine_adapter.execute(f"DELETE FROM {snapshot.table_name()} WHERE student_id > 5")
    with pytest.raises(click.ClickException, match=rf"^Prod isn't the checkout at {name.lower()}:"):
        project.prod()
    project.close()
    # It has the version of the checkout's, so prod would show its rows.
    with pytest.raises(click.ClickException, match=rf"differs .* at history.hist_student, {name.lower()}, though"):
        run_prod(workspace.path, "local")
    project = open_project("local", path=workspace.path)
    plant(project, name, lambda node: unprepend(node, "since"))
    project.close()
    outcome = run_prod(workspace.path, "local")
    assert name.lower() in outcome.drifted
    assert not outcome.failure
    project = open_project("local", path=workspace.path)
    count = f"SELECT COUNT(DISTINCT student_id), (SELECT COUNT(*) FROM EDTECH.DIM_STUDENT) FROM {name}"
    [(rows, rebuilt)] = project.engine_adapter.fetchall(count)
    # In the next hour, the run has appended a version.
    assert 5 <= rows <= 6 < rebuilt
    assert not marker.exists()


def test_the_janitor_drops_tables_of_development_whose_model_prod_shows(
    prod: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    [info] = [one.table_info for one in prod.prod().values() if one.name.endswith('"RETAIL"."DIM_PRODUCT"')]
    tasks = [SnapshotTableCleanupTask(snapshot=info, dev_table_only=dev_only) for dev_only in (True, False)]
    end = LimitBoundary(batch_size=1)
    start = RowBoundary(updated_ts=0, name="", identifier="")
    batch = ExpiredSnapshotBatch(
        expired_snapshot_ids=set(), cleanup_tasks=tasks, batch_range=ExpiredBatchRange(start=start, end=end)
    )
    monkeypatch.setattr(EngineAdapterStateSync, "get_expired_snapshots", lambda *_, **__: batch)
    found = prod.state_sync.get_expired_snapshots(current_ts=0, batch_range=batch.batch_range)
    assert [one.dev_table_only for one in found.cleanup_tasks] == [True]


SPELLINGS: dict[str, Json] = {
    "with a line feed": {"version": "{}\n"},
    "with spaces": {"version": " {} "},
    "of development with a line feed": {"dev_version": "{}\n"},
    "under the name of development": {"dev_version": "{}", "dev_table_suffix": ""},
    "quoted": {"version": '"{}"'},
}


@pytest.mark.parametrize("columns", ["as planted", "other"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_its_name_makes_the_janitor_drop_a_table_of_prod(
    spelling: str, columns: str, restored: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLMesh reads a name again before it drops the table, without blanks around it."""
    [info] = [one.table_info for one in restored.prod().values() if one.name.endswith('"RETAIL"."DIM_PRODUCT"')]
    planted = {key: text.format(info.version) for key, text in SPELLINGS[spelling].items()}
    row = {key: planted[key] if columns == "as planted" else "1" for key in planted if key != "dev_table_suffix"}
    insert(
        restored, "RETAIL.DIM_PRODUCT", lambda snapshot: snapshot.update(planted), row | {"updated_ts": 0, "ttl_ms": 1}
    )
    monkeypatch.chdir(restored.path)
    drop_expired("local")
    assert restored.engine_adapter.table_exists(info.table_name())
    left = "SELECT COUNT(*) FROM sqlmesh._snapshots WHERE updated_ts = 0"
    assert restored.engine_adapter.fetchone(left) == (0,), "the row is gone, and stops no later janitor"


@pytest.mark.parametrize("planted", ["table of prod", "view of prod", "raw table"])
def test_a_planted_model_makes_the_janitor_drop_nothing_of_others(
    restored: Project, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role of pull requests may insert models, and such a row says what its table is called."""
    [(text,)] = restored.engine_adapter.fetchall(
        """SELECT snapshot FROM sqlmesh._snapshots WHERE name LIKE '%"RETAIL"."DIM_PRODUCT"'"""
    )
    snapshot = json.loads(text)
    table = f"RETAIL__DIM_PRODUCT__{snapshot['version']}"
    catalog, schema, kept = {
        "table of prod": ("ANALYTICS", "SQLMESH_RETAIL", table),
        "view of prod": ("ANALYTICS", "RETAIL", f"BYSTANDER__{snapshot['version']}"),
        "raw table": ("RAW", "SQLMESH_RETAIL", f"BYSTANDER__{snapshot['version']}"),
    }[planted]
    if planted != "table of prod":
        restored.engine_adapter.execute(f"CREATE SCHEMA IF NOT EXISTS {catalog}.{schema}")
        restored.engine_adapter.execute(f"CREATE TABLE {catalog}.{schema}.{kept} AS SELECT 1 AS one")
    name = f'"{catalog}"."HARMLESS"."{kept.rpartition("__")[0]}"'
    snapshot |= {"name": name, "physical_schema": schema, "table_naming_convention": "table_only", "parents": []}
    planted_text = json.dumps(snapshot).replace("'", "''")
    restored.engine_adapter.execute(
        "INSERT INTO sqlmesh._snapshots BY NAME "
        f"SELECT * REPLACE ('{name}' AS name, '{planted_text}' AS snapshot, 0 AS updated_ts, 1 AS ttl_ms) "
        'FROM sqlmesh._snapshots WHERE name LIKE \'%"RETAIL"."DIM_PRODUCT"\''
    )
    monkeypatch.chdir(restored.path)
    drop_expired("local")
    assert restored.engine_adapter.table_exists(f"{catalog}.{schema}.{kept}")
    left = "SELECT COUNT(*) FROM sqlmesh._snapshots WHERE name LIKE '%HARMLESS%'"
    assert restored.engine_adapter.fetchone(left) == (0,), "the row is gone, and stops no later janitor"


HARMLESS = '"ANALYTICS"."HARMLESS"."X"'
EXPIRED = {"name": HARMLESS, "updated_ts": 0, "ttl_ms": 1}


def of_unknown_materialization(snapshot: Json) -> None:
    snapshot |= {"name": HARMLESS, "physical_schema": "SQLMESH_X", "parents": []}
    snapshot["node"]["kind"] = {"name": "CUSTOM", "materialization": "unknown"}


def harmless(**changed: object) -> Callable[[Json], None]:
    return lambda snapshot: snapshot.update({"name": HARMLESS, "parents": []} | changed)


ROWS: dict[str, tuple[Callable[[Json], None], Json]] = {
    "unreadable": (harmless(), {"snapshot": "{}"}),
    "no JSON": (harmless(), {"snapshot": "["}),
    "a list": (harmless(), {"snapshot": "[]"}),
    "of an unknown materialization": (of_unknown_materialization, {}),
    "without a version": (harmless(version=None, change_category=None), {}),
    "with a name that is none": (harmless(name='HARMLESS."X'), {"name": 'HARMLESS."X'}),
    "with another name": (harmless(name='"ANALYTICS"."OTHER"."X"'), {}),
    "with a schema that is none": (harmless(physical_schema='SQLMESH_"X'), {}),
    "of an external model": (harmless(name="ANALYTICS", kind_name="EXTERNAL"), {"name": "ANALYTICS"}),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_planted_row_stops_neither_the_janitor_nor_the_export(
    row: str, restored: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(restored.path)
    change, columns = ROWS[row]
    insert(restored, MART, change, EXPIRED | columns)
    export_state(tmp_path / "state.json", "local")
    drop_expired("local")
    left = "SELECT COUNT(*) FROM sqlmesh._snapshots WHERE updated_ts = 0"
    assert restored.engine_adapter.fetchone(left) == (0,)


ENVIRONMENTS: dict[str, Json] = {
    "without models": {"snapshots": "[{}]"},
    "of a number": {"snapshots": "5"},
    "of no JSON": {"snapshots": "["},
    "of models that are none": {"snapshots": '[{"name": 1}]'},
    "of other models before": {"previous_finalized_snapshots": "[{}]"},
    "of promoted models without a name": {"promoted_snapshot_ids": "[{}]"},
    "with another kind of suffix": {"suffix_target": "x"},
    "without a plan": {"plan_id": None},
    "with a table that is none": {"snapshots": "PHYSICAL"},
}


@pytest.mark.parametrize("expired", [True, False])
@pytest.mark.parametrize("row", ENVIRONMENTS)
def test_a_planted_environment_stops_neither_the_janitor_nor_the_export_nor_a_plan(
    row: str, *, expired: bool, restored: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"name": "pr_1", "expiration_ts": 1 if expired else None} | ENVIRONMENTS[row]
    if columns.get("snapshots") == "PHYSICAL":
        [(text,)] = restored.engine_adapter.fetchall("SELECT snapshots FROM sqlmesh._environments WHERE name = 'prod'")
        columns["snapshots"] = json.dumps([one | {"name": 'A."B'} for one in json.loads(text)])
    replaced = ", ".join(f"{exp.convert(value).sql('duckdb')} AS {column}" for column, value in columns.items())
    restored.engine_adapter.execute(
        f"INSERT INTO sqlmesh._environments BY NAME SELECT * REPLACE ({replaced}) FROM sqlmesh._environments"
    )
    with chdir(restored.path):
        export_state(tmp_path / "state.json", "local")
        drop_expired("local")
    assert list(json.loads((tmp_path / "state.json").read_text())["environments"]) == ["prod"]
    forget(restored)
    assert restored.state_reader.get_environment("pr_1") is None
    assert "The state's row of environment pr_1 can't be read" in caplog.text
    restored.plan_builder("prod", skip_tests=True, skip_linter=True).build()
    left = restored.engine_adapter.fetchone("SELECT COUNT(*) FROM sqlmesh._environments WHERE name = 'pr_1'")
    assert left == (0 if expired else 1,)


@pytest.mark.parametrize("statements", ["[", "5", "[{}]"])
def test_planted_statements_of_an_environment_do_not_stop_the_export(
    statements: str, restored: Project, tmp_path: Path
) -> None:
    restored.engine_adapter.execute(
        "INSERT INTO sqlmesh._environments BY NAME SELECT * REPLACE ('pr_1' AS name) FROM sqlmesh._environments"
    )
    restored.engine_adapter.execute(f"INSERT INTO sqlmesh._environment_statements VALUES ('pr_1', 'x', '{statements}')")
    with chdir(restored.path):
        export_state(tmp_path / "state.json", "local")
    assert json.loads((tmp_path / "state.json").read_text())["environments"]["pr_1"]["statements"] == []


def test_an_unreadable_row_of_prods_environment_is_not_left_out(restored: Project) -> None:
    """Its tables would count as unused."""
    restored.engine_adapter.execute("UPDATE sqlmesh._environments SET snapshots = '[{}]'")
    forget(restored)
    with pytest.raises(ValueError, match="SnapshotTableInfo"):
        restored.state_reader.get_environments()


def test_a_janitor_that_fails_fails_no_run_and_is_reported(
    restored: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    insert(restored, MART, of_unknown_materialization, EXPIRED | {"fingerprint": "{}"})
    restored.engine_adapter.execute("""DELETE FROM sqlmesh._intervals WHERE name LIKE '%"DIM_PRODUCT"'""")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outcome = run_prod(restored.path, "local")
    assert not outcome.failure
    assert [table_name(name) for name in outcome.record.models] == ["retail.dim_product"]
    assert "Expired tables were not dropped: ValidationError. Full text: " in summary(outcome)
    assert "::warning::Expired tables were not dropped" in capsys.readouterr().out


def test_an_unreadable_row_of_a_version_of_prod_is_named(restored: Project) -> None:
    insert(restored, MART, lambda _: None, {"snapshot": "{}"})
    with pytest.raises(click.ClickException, match=r"differs from the checkout at retail\.fct_sales, though"):
        run_prod(restored.path, "local")
