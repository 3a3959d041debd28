"""Every query of the loader, reconciliation, dashboards, diff and examples on empty tables, on both engines.

Drivers return empty results in different shapes. The queries are found in the code, so a new one is tested as well.
Instead of models, views with the same columns and without rows are read. The pages' libraries are mocked, because only
the queries in their modules are needed.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from emulated import Keys, Snowflake
from sources import SourceDatabase, new_state
from sqlglot import exp, parse_one
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context, ExecutionContext
from sqlmesh.core.engine_adapter import EngineAdapter
from sqlmesh.core.model import Model
from sqlmesh.utils.date import to_timestamp
from workspace import Workspace

from meshflow.ci.diff import comparison_query
from meshflow.examples import QUESTIONS
from meshflow.freshness import LOADED
from meshflow.loading.contract import contract
from meshflow.loading.deletions import find_deleted
from meshflow.loading.destination import Destination
from meshflow.loading.load import Session, load_tables, session
from meshflow.loading.reader import TableError
from meshflow.loading.reconcile import reconcile, reconcile_all
from meshflow.loading.rejections import Rejections
from meshflow.loading.report import JsonReporter
from meshflow.serve import ENVIRONMENTS, Query, SnapshotWarehouse, Warehouse, environments
from meshflow.serve import Snowflake as Production
from meshflow.source.server import Server

ROOT = Path(__file__).parents[2]
GATEWAYS = ("live", "snowflake")
DAY = date(2026, 11, 10)
PAGES = ("data_quality", "edtech", "retail", "runs", "status")

ONLY_ON_DUCKDB = {"_load"}
"""Functions with a query that DuckDB alone needs: its memory limit."""


def querying_functions(path: Path) -> set[str]:
    """The functions of a module that use the result of a query on RAW."""
    tree, found = ast.parse(path.read_text()), set[str]()
    destination = "self" if path.stem == "destination" else r"((self|session)\.)?_?destination"
    pattern = rf"{destination}\.(query|arrow)"
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        ignored = {node.value for node in ast.walk(function) if isinstance(node, ast.Expr)}
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and node not in ignored):
            if re.fullmatch(pattern, ast.unparse(call.func)):
                found.add(function.name)
    return found


@contextmanager
def recorded(shapes: dict[str, int]) -> Iterator[None]:
    """Count by calling function, while the block runs, its queries on RAW that returned no rows."""

    def recording(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            frame = inspect.currentframe()
            assert frame
            assert frame.f_back
            name = frame.f_back.f_code.co_name
            result = method(*arguments)
            shapes[name] = shapes.get(name, 0) + (len(result) == 0)
            return result

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in ("query", "arrow"):
            patch.setattr(Destination, name, recording(getattr(Destination, name)))
        yield


@pytest.fixture
def empty(postgres: Server) -> SourceDatabase:
    """The two source systems without rows."""
    return SourceDatabase.new(postgres)


@contextmanager
def loading(source: SourceDatabase, gateway: str, data: Path) -> Iterator[Session]:
    with session(source.loader_url, gateway, data, 0, JsonReporter()) as opened:
        assert opened
        yield opened


@pytest.fixture(scope="module", params=GATEWAYS)
def gateway(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gateway's databases and the loader's working files."""
    return tmp_path_factory.mktemp(gateway)


def test_every_query_of_the_loader_and_reconciliation_may_return_no_rows(
    gateway: str, snowflake: Snowflake, empty: SourceDatabase, folder: Path
) -> None:
    results: dict[str, int] = {}
    with recorded(results):
        with loading(empty, gateway, folder) as opened:
            assert reconcile_all(opened, JsonReporter(), repair=True)
        empty.execute("INSERT INTO edtech.courses (course_id, course_name) VALUES (1, 'Only one')")
        with loading(empty, gateway, folder) as opened:
            opened.destination.query("DELETE FROM loader.loads")
            assert load_tables(opened, JsonReporter())
            opened.destination.query("DELETE FROM edtech.courses")
            [course] = [table for table in opened.tables if str(table) == "edtech.courses"]
            [day] = reconcile(opened, course).differing
            assert (day.source.active, day.raw.active, day.missing_in_raw) == (1, 0, 1)
            rejections = Rejections(opened.destination, course, set(), all_rows=False)
            with pytest.raises(TableError, match="1 rows of the source are missing in RAW"):
                find_deleted(opened.reader, opened.destination, course, rejections, in_raw=0)
        with loading(empty, gateway, folder) as opened:
            assert load_tables(opened, JsonReporter()), "the next load reads it again"
    written = {name for path in (ROOT / "src/meshflow/loading").glob("*.py") for name in querying_functions(path)}
    assert written - results.keys() == (ONLY_ON_DUCKDB if gateway == "snowflake" else set())
    empties = {name for name, count in results.items() if count}
    assert empties >= {"_read", "read_rejected_keys", "find_deleted", "reconcile"}


@dataclass(frozen=True)
class EmptyWarehouse:
    """A warehouse in which every model is a view without rows."""

    engine: EngineAdapter
    dashboards: Warehouse


@pytest.fixture(scope="module")
def context(
    project: Path, postgres: Server, snowflake: Snowflake, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Context]:
    """The project, as an administrator: on Snowflake TRANSFORMER couldn't create the load log."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHFLOW_SNOWFLAKE_USER", "SNOWDDL")
        patch.setenv("MESHFLOW_SNOWFLAKE_ROLE", "SNOWDDL_ADMIN")
        patch.setenv("MESHFLOW_SNOWFLAKE_PRIVATE_KEY", snowflake.keys.private("SNOWDDL"))
        with closing(workspace.context("snowflake")) as context:
            yield context


@pytest.fixture(scope="module")
def warehouses(
    context: Context, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, EmptyWarehouse]]:
    """By gateway."""
    data = tmp_path_factory.mktemp("data")
    create_empty_views(context, context.engine_adapter)
    # Snapshots are taken of a file that no process has open.
    with closing(duckdb_adapter(str(data / "live_analytics.duckdb"))) as adapter:
        create_empty_views(context, adapter)
    with pytest.MonkeyPatch.context() as patch, closing(duckdb_adapter(":memory:")) as adapter:
        create_empty_views(context, adapter)
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_USER", "DASHBOARDS")
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY", keys.private("DASHBOARDS"))
        yield {
            "live": EmptyWarehouse(adapter, SnapshotWarehouse("live", data)),
            "snowflake": EmptyWarehouse(context.engine_adapter, Production()),
        }


def duckdb_adapter(path: str) -> EngineAdapter:
    return DuckDBConnectionConfig(catalogs={"ANALYTICS": path, "RAW": ":memory:"}).create_engine_adapter()


def create_empty_views(context: Context, adapter: EngineAdapter) -> None:
    views = [exp.to_table(model.fqn, dialect="snowflake") for model in models(context)]
    for schema in {view.db for view in views}:
        adapter.create_schema(exp.table_(schema, catalog="ANALYTICS", quoted=True))
    for view, model in zip(views, models(context), strict=True):
        columns = [exp.cast(exp.null(), type_).as_(name, quoted=True) for name, type_ in columns_of(model).items()]
        adapter.create_view(view, exp.select(*columns).where(exp.false()))


def models(context: Context) -> list[Model]:
    return [model for model in context.models.values() if not model.kind.is_external]


def columns_of(model: Model) -> dict[str, exp.DataType]:
    return model.columns_to_types_or_raise


def dashboard_queries() -> dict[str, Query]:
    """Every query in the modules of the pages, with a value for each parameter, and every saved one."""
    saved = (ROOT / "dashboards" / "queries").glob("*.sql")
    found = {"environments": ENVIRONMENTS} | {file.stem: Query(file.read_text(encoding="utf-8")) for file in saved}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("streamlit", "altair", "panel", "period"):
            patch.setitem(sys.modules, name, MagicMock())
        patch.syspath_prepend(str(ROOT / "dashboards"))
        for page in PAGES:
            for name, value in vars(importlib.import_module(page)).items():
                for sql in value.values() if isinstance(value, dict) else [value]:
                    text = sql.sql if isinstance(sql, Query) else sql
                    if isinstance(text, str) and re.match(r"\s*SELECT\s", text):
                        found[f"{page} {name} {len(found)}"] = Query(text, parameters(text))
            del sys.modules[page]
        del sys.modules["charts"]  # it has the mocked libraries
    return found


def parameters(sql: str) -> tuple[object, ...]:
    """A date for each `?`; a number for a year and for the days by which a period is shifted, a text for a name."""
    before = [sql[: match.start()] for match in re.finditer(r"\?", sql)]
    names = r"(environment = |run_id = |status = 'running', |AS shift, )$"
    kinds = {names: "prod", r"(year = |, )$": 2026}
    return tuple(next((value for end, value in kinds.items() if re.search(end, text)), DAY) for text in before)


def test_every_query_of_the_dashboards_returns_the_same_for_empty_tables(
    warehouses: dict[str, EmptyWarehouse],
) -> None:
    queries = dashboard_queries()
    assert len(queries) > 20
    for name, query in queries.items():
        frames = [one.dashboards.run(one.dashboards.now(), "prod", query) for one in warehouses.values()]
        if query is ENVIRONMENTS:
            assert [environments(frame) for frame in frames] == [["prod"], ["prod"]]
            continue
        # A snapshot has only the columns that the pages read.
        on_duckdb, on_snowflake = (frame[list(frames[0])].astype(object).to_numpy().tolist() for frame in frames)
        assert on_duckdb == on_snowflake, name


def test_the_diff_of_every_empty_model_has_no_row(context: Context, warehouses: dict[str, EmptyWarehouse]) -> None:
    compared = 0
    for model in models(context):
        if not model.grains:
            continue
        keys = [column.name.upper() for column in model.grains[0].find_all(exp.Column)]
        values = [column for column in columns_of(model) if column not in keys]
        view = exp.to_table(model.fqn, dialect="snowflake")
        query = comparison_query(view, view, keys, values)
        for gateway, one in warehouses.items():
            [row] = one.engine.fetchall(query, quote_identifiers=True)
            assert set(map(int, row)) == {0}, (model.name, gateway)
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("question", QUESTIONS)
def test_example_queries_return_nothing_for_empty_tables(question: str, warehouses: dict[str, EmptyWarehouse]) -> None:
    for one in warehouses.values():
        one.engine.execute(parse_one(QUESTIONS[question], dialect="snowflake"))
        assert [column[0].upper() for column in one.engine.cursor.description]
        assert one.engine.cursor.fetchall() in ([], ())


def test_an_empty_load_log_holds_every_interval_back(context: Context, warehouses: dict[str, EmptyWarehouse]) -> None:
    """The queries of the signals and of `meshflow freshness`."""
    hour = (to_timestamp(datetime(2026, 11, 10, 10, tzinfo=UTC)), to_timestamp(datetime(2026, 11, 10, 11, tzinfo=UTC)))
    for one in warehouses.values():
        create_load_log(one.engine)
        assert not list(one.engine.fetchall(LOADED.format(catalog="RAW.")))
        called = set[str]()
        for snapshot in context.snapshots.values():
            signals = dict(snapshot.model.signals) if snapshot.is_model else {}
            if signals.keys() & {"source_loaded", "reconciled"}:
                assert snapshot.check_ready_intervals([hour], ExecutionContext(one.engine, context.snapshots)) == []
                called |= signals.keys()
        assert called >= {"source_loaded", "reconciled"}


def create_load_log(engine: EngineAdapter) -> None:
    for table in contract().values():
        if table.schema == "loader":
            engine.create_schema(f"RAW.{table.schema.upper()}")
            columns = {column.name.upper(): column.type for column in table.columns}
            engine.create_table(exp.to_table(f"RAW.{table}".upper()), columns)
            engine.execute(f"DELETE FROM RAW.{table}")  # of the other tests
