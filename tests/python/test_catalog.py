"""The catalog says what the project says. How it looks in a browser: tests/browser/test_catalog.py."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from sqlglot import exp, parse_one
from sqlmesh.core.context import Context
from sqlmesh.core.lineage import column_dependencies
from workspace import Workspace

from meshflow.catalog.contents import Catalog, Model, Reader, display_name
from meshflow.catalog.site import ASSETS, page, server, write
from meshflow.cli import main

AT = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
"""Later than the as_of_date of gateway `local`, 2026-11-01."""


@pytest.fixture(scope="module")
def context(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    context = built.clone(tmp_path_factory.mktemp("catalog"), data=False).context()
    yield context
    context.close()


@pytest.fixture(scope="module")
def catalog(context: Context) -> Catalog:
    return Reader(context, AT).catalog()


@pytest.fixture(scope="module")
def html(catalog: Catalog) -> str:
    return page(catalog)


def model(catalog: Catalog, name: str) -> Model:
    return next(model for model in catalog.models if model.name == name)


def sources(catalog: Catalog, name: str, column: str) -> set[tuple[str, str]]:
    return next(set(found.sources) for found in model(catalog, name).columns if found.name == column)


def origins(catalog: Catalog, name: str, column: str) -> set[tuple[str, str]]:
    """The columns that nothing computes, at the far end of a column's lineage."""
    above = sources(catalog, name, column)
    return set().union(*(origins(catalog, *source) for source in above)) if above else {(name, column)}


def small(root: Path, *models: str, config: str = "", other: str = "") -> Catalog:
    """The catalog of a project with these models."""
    (root / "models").mkdir(parents=True)
    (root / "config.yaml").write_text(
        config or "gateways: {local: {connection: {type: duckdb}}}\nmodel_defaults: {dialect: snowflake}\n"
    )
    for number, text in enumerate(models):
        (root / "models" / f"{number}.sql").write_text(text)
    if other:
        (root / "models" / "other.py").write_text(other)
    return Reader(Context(paths=str(root)), AT).catalog()


def test_every_model_of_the_project_is_in_it_with_every_column(context: Context, catalog: Catalog) -> None:
    assert {found.name: [column.name for column in found.columns] for found in catalog.models} == {
        found.name: [display_name(name) for name in found.columns_to_types] for found in context.models.values()
    }
    assert [found.name for found in catalog.models] == sorted(found.name for found in catalog.models)


def test_every_column_that_a_query_writes_is_typed_and_described(catalog: Catalog) -> None:
    for found in catalog.models:
        for column in found.columns:
            assert column.type, f"{found.name}.{column.name}"
            assert column.description or column.name in {"valid_from", "valid_to"}, f"{found.name}.{column.name}"


def test_lineage_is_what_sqlmesh_says_of_each_column_alone(context: Context, catalog: Catalog) -> None:
    for found in catalog.models:
        if not found.rendered:
            continue
        written = {
            display_name(select.alias_or_name): select.alias_or_name
            for select in context.get_model(found.name).render_query().selects
        }
        for column in found.columns:
            if column.name not in written:
                assert column.sources == []  # SQLMesh itself fills valid_from and valid_to
                continue
            expected = column_dependencies(context, found.name, exp.column(written[column.name], quoted=True))
            assert column.sources == sorted(
                (context.models[parent].name, display_name(name))
                for parent, names in expected.items()
                for name in names
            ), f"{found.name}.{column.name}"


def test_net_revenue_comes_from_loaded_prices_quantities_and_discounts(catalog: Catalog) -> None:
    loaded = origins(catalog, "retail.rpt_net_revenue_by_city", "net_revenue_amount")
    assert {("raw.retail.sales", column) for column in ("price", "quantity", "discount")} <= loaded


def test_a_count_of_rows_comes_from_no_column(catalog: Catalog) -> None:
    assert sources(catalog, "ops.table_freshness", "row_count") == set()


def test_what_a_query_reads_is_told_from_what_its_audits_wait_for(catalog: Catalog) -> None:
    sales = model(catalog, "retail.fct_sales")
    assert sales.reads == ["intermediate.int_retail__sales_priced"]
    assert sales.waits_for == ["retail.dim_customer", "retail.dim_product", "shared.dim_location"]


def test_a_header_is_told_as_written(catalog: Catalog) -> None:
    priced = model(catalog, "intermediate.int_retail__sales_priced")
    assert (priced.kind, priced.settings) == ("INCREMENTAL_BY_UNIQUE_KEY", ["unique_key (ROW(order_id, product_id))"])
    assert (priced.grain, priced.cron, priced.start) == (["(order_id, product_id)"], "@hourly", "2026-10-25")
    assert priced.file == "models/intermediate/int_retail__sales_priced.sql"
    assert model(catalog, "retail.fct_sales").references == ["customer_id", "product_id", "location_id"]


def test_audits_stand_there_with_their_arguments_and_whether_they_stop_a_run(catalog: Catalog) -> None:
    audits = {audit.name: audit for audit in model(catalog, "intermediate.int_retail__sales_priced").audits}
    assert audits["odd_rows"].arguments == {"flag": "is_free AND _loaded_at >= @start_dtntz"}
    assert not audits["odd_rows"].blocking
    assert audits["unique_combination_of_columns"].blocking
    assert audits["unique_combination_of_columns"].arguments == {
        "columns": "(order_id, product_id)",
        "condition": "_loaded_at >= @start_dtntz",
    }
    assert "@EACH(@columns" in audits["unique_combination_of_columns"].query


def test_an_audit_made_a_warning_in_the_header_is_one(tmp_path: Path) -> None:
    found = small(
        tmp_path, "MODEL (name a.b, kind FULL, audits (not_null(columns := x, blocking := FALSE))); SELECT 1 AS x"
    )
    (audit,) = found.models[0].audits
    assert (audit.blocking, audit.arguments) == (False, {"columns": "x"})


def test_unit_tests_stand_there_as_written(catalog: Catalog, project: Path) -> None:
    tests = model(catalog, "retail.fct_sales").tests
    file = project / "tests/models/retail/test_fct_sales.yaml"
    assert "\n\n".join(test.text for test in tests) == file.read_text(encoding="utf-8").rstrip()
    assert {test.file for test in tests} == {"tests/models/retail/test_fct_sales.yaml"}


def test_every_unit_test_of_the_project_is_in_it(context: Context, catalog: Catalog) -> None:
    assert sorted(test.name for found in catalog.models for test in found.tests) == sorted(
        test.test_name for test in context.select_tests()
    )


def test_sql_is_rendered_for_both_engines_and_parses_there(catalog: Catalog) -> None:
    for found in catalog.models:
        assert set(found.rendered) in ({"DuckDB", "Snowflake"}, set())
        assert bool(found.rendered) == (found.kind != "SEED")
        for engine, sql in found.rendered.items():
            assert parse_one(sql, dialect=engine.lower()).named_selects


def test_each_engine_gets_the_variables_of_its_gateway(catalog: Catalog) -> None:
    student = model(catalog, "edtech.dim_student").rendered
    assert "2026-11-01" in student["DuckDB"]  # where the sample is pinned
    assert "2026-11-21" not in student["DuckDB"]
    assert "2026-11-21" in student["Snowflake"]  # the day of the run
    assert "2026-11-01" not in student["Snowflake"]
    assert catalog.gateways == {"DuckDB": "local", "Snowflake": "snowflake"}
    assert catalog.unconfigured == ["snowflake"]


def test_a_configured_gateway_lends_its_own_variables(tmp_path: Path) -> None:
    config = """
gateways:
  local: {connection: {type: duckdb}, variables: {here: laptop, only_here: 1}}
  snowflake: {connection: {type: duckdb}, variables: {here: cloud}}
variables: {everywhere: 2}
model_defaults: {dialect: snowflake}
"""
    query = "SELECT @VAR('here') AS a, @VAR('only_here', 0) AS b, @VAR('everywhere') AS c, @gateway AS d"
    found = small(tmp_path, f"MODEL (name a.b, kind FULL); {query}", config=config)
    values = {
        engine: [select.this.sql() for select in parse_one(sql, dialect=engine.lower()).selects]
        for engine, sql in found.models[0].rendered.items()
    }
    assert values == {
        "DuckDB": ["'laptop'", "1", "2", "'local'"],
        "Snowflake": ["'cloud'", "NULL", "2", "'snowflake'"],
    }
    assert found.unconfigured == []


def test_incremental_sql_is_rendered_for_the_day_before(catalog: Catalog) -> None:
    priced = model(catalog, "intermediate.int_retail__sales_priced").rendered["Snowflake"]
    assert "2026-11-20 00:00:00" in priced
    assert catalog.interval == (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


def test_a_loaded_table_shows_its_contract_and_agrees_with_it(catalog: Catalog, project: Path) -> None:
    written = {
        entry["name"]: entry
        for file in (project / "external_models").glob("*.yaml")
        for entry in YAML(typ="safe").load(file)
    }
    loaded = [found for found in catalog.models if found.contract]
    assert {found.name for found in loaded} == {found.name for found in catalog.models if found.name.startswith("raw.")}
    for found in loaded:
        assert found.contract.columns == written[found.name]["columns"]
        assert found.contract.columns == {column.name: column.type for column in found.columns}
        assert found.contract.gateways == ["live", "snowflake"]
        assert found.contract.grain == written[found.name]["grain"]


def test_a_table_outside_the_project_is_named_and_traced(tmp_path: Path) -> None:
    found = small(tmp_path, "MODEL (name a.b, kind FULL); SELECT t.x::INT AS y FROM far.away AS t")
    assert found.models[0].reads == ["memory.far.away"]
    assert found.models[0].columns[0].sources == [("memory.far.away", "x")]


def test_a_model_in_python_says_that_its_columns_are_not_traced(tmp_path: Path) -> None:
    python = """
import pandas as pd
from sqlmesh import model

@model("a.python", columns={"x": "int"}, depends_on=["a.b"])
def run(context, **_):
    return pd.DataFrame({"x": [1]})
"""
    found = small(tmp_path, "MODEL (name a.b, kind FULL); SELECT 1::INT AS x", other=python)
    assert "Python" in model(found, "a.python").untraced
    assert model(found, "a.python").waits_for == ["a.b"]
    assert model(found, "a.python").written == python


def test_no_text_can_leave_the_data(html: str, catalog: Catalog) -> None:
    (data,) = re.findall(r'<script id="catalog" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert "<" not in data
    assert json.loads(data) == json.loads(json.dumps(catalog.plain()))


def test_the_policy_names_what_runs_and_allows_nothing_else(html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    hashes = [
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for text in re.findall(r"<script>(.*?)</script>|<style>(.*?)</style>", html, re.DOTALL)
        for text in text
        if text
    ]
    assert len(hashes) == 3
    assert re.findall(r"'sha256-[^']*'", policy) == [*hashes[1:], hashes[0]]
    assert "unsafe-inline" not in policy
    assert policy.startswith("default-src 'none';")


def test_the_page_names_no_other_place(html: str) -> None:
    ours = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", ours)) == {"data:,", "#content", "#/", "#/lineage"}


def test_graphviz_is_the_file_that_its_licence_names() -> None:
    licence = (ASSETS / "viz-global.LICENSE").read_text(encoding="utf-8")
    assert sha256((ASSETS / "viz-global.js").read_bytes()).hexdigest() in licence


def test_the_site_of_this_project_is_smaller_than_3_mb(html: str) -> None:
    assert len(html.encode()) < 3e6


def test_a_catalog_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write("before", tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write("after", tmp_path)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_command_writes_it(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(context.path)
    monkeypatch.setenv("MESHFLOW_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["catalog", "build", "--output", str(tmp_path / "site")])
    assert result.exit_code == 0, result.output
    assert f"{len(context.models)} models" in result.output
    assert (tmp_path / "site/index.html").stat().st_size > 1e6


def test_outside_of_a_project_the_command_says_so_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["catalog", "build"])
    assert result.exit_code == 1
    assert "config.yaml" in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_it_is_served_to_this_machine_alone(html: str) -> None:
    with server(html, 0) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        answers = {}
        for path in ("/", "/config.yaml"):
            connection = HTTPConnection("127.0.0.1", httpd.server_port)
            connection.request("GET", path)
            with connection.getresponse() as answer:
                answers[path] = (answer.status, answer.read().decode())
        httpd.shutdown()
    assert answers["/"] == (200, html)
    assert answers["/config.yaml"][0] == 404
    assert httpd.server_address[0] == "127.0.0.1"
