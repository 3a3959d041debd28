"""The catalog's contents equal the project's. Tests in a browser: tests/browser/test_catalog.py."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from threading import Thread
from typing import Any

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from sqlglot import exp, parse_one
from sqlmesh.core.context import Context
from sqlmesh.core.lineage import column_dependencies
from sqlmesh.utils.errors import SQLMeshError
from workspace import Workspace, plan

from meshflow.catalog.command import _rebuild
from meshflow.catalog.contents import Catalog, Model, Reader, Upstream, display_name
from meshflow.catalog.exposures import Exposure, exposures
from meshflow.catalog.operations import read_operations
from meshflow.catalog.profile import ColumnProfile, Profile, profiled_columns, read_profile
from meshflow.catalog.repository import files_address
from meshflow.catalog.server import CatalogServer, ProjectFiles
from meshflow.catalog.site import ASSETS, page, read, write
from meshflow.cli import main
from meshflow.publish import SERVED
from meshflow.runs import RecordedContext
from meshflow.serve import SnapshotWarehouse

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


def upstream(catalog: Catalog, name: str, column: str) -> set[tuple[str, str]]:
    """The columns whose values reach it."""
    (found,) = (found for found in model(catalog, name).columns if found.name == column)
    return {(parent.model, parent.column) for parent in found.upstream if parent.is_direct}


def origins(catalog: Catalog, name: str, column: str) -> set[tuple[str, str]]:
    """The columns at the start of a column's values, which have no upstream column."""
    parents = upstream(catalog, name, column)
    return set().union(*(origins(catalog, *parent) for parent in parents)) if parents else {(name, column)}


def catalog_of(root: Path, *models: str, config: str = "", python_model: str = "") -> Catalog:
    """The catalog of a new project with the given models, in the folder `root`."""
    (root / "models").mkdir(parents=True)
    (root / "config.yaml").write_text(
        config or "gateways: {local: {connection: {type: duckdb}}}\nmodel_defaults: {dialect: snowflake}\n"
    )
    for number, text in enumerate(models):
        (root / "models" / f"{number}.sql").write_text(text)
    if python_model:
        (root / "models" / "model.py").write_text(python_model)
    return Reader(Context(paths=str(root)), AT).catalog()


def test_the_catalog_is_named_after_the_project_not_its_folder(context: Context, catalog: Catalog) -> None:
    assert context.path.name != "meshflow"
    assert catalog.project == "meshflow"


def test_a_project_without_a_name_is_named_after_its_folder(tmp_path: Path) -> None:
    model = "MODEL (name a.b, kind FULL); SELECT 1 AS x"
    gateways = "gateways: {local: {connection: {type: duckdb}}}\nmodel_defaults: {dialect: snowflake}\n"
    named = f"variables: {{project: shop}}\n{gateways}"
    assert catalog_of(tmp_path / "first", model, config=named).project == "shop"
    assert catalog_of(tmp_path / "second", model).project == "second"


def test_the_catalog_contains_every_model_with_every_column(context: Context, catalog: Catalog) -> None:
    assert {found.name: [column.name for column in found.columns] for found in catalog.models} == {
        found.name: [display_name(name) for name in found.columns_to_types] for found in context.models.values()
    }
    assert [found.name for found in catalog.models] == sorted(found.name for found in catalog.models)


def test_every_column_of_a_query_has_a_type_and_a_description(catalog: Catalog) -> None:
    for found in catalog.models:
        for column in found.columns:
            assert column.type, f"{found.name}.{column.name}"
            assert column.description, f"{found.name}.{column.name}"


def test_lineage_equals_that_of_sqlmesh_for_each_column(context: Context, catalog: Catalog) -> None:
    for found in catalog.models:
        if not found.rendered:
            continue
        names = {
            display_name(select.alias_or_name): select.alias_or_name
            for select in context.get_model(found.name).render_query().selects
        }
        for column in found.columns:
            expected = column_dependencies(context, found.name, exp.column(names[column.name], quoted=True))
            assert [(parent.model, parent.column) for parent in column.upstream] == sorted(
                (context.models[parent].name, display_name(name))
                for parent, columns in expected.items()
                for name in columns
            ), f"{found.name}.{column.name}"


def test_net_revenue_derives_from_price_quantity_and_discount_of_the_source_only(catalog: Catalog) -> None:
    found = origins(catalog, "retail.rpt_net_revenue_by_city", "net_revenue_amount")
    assert found == {("raw.retail.sales", column) for column in ("price", "quantity", "discount")}


def test_a_flag_is_upstream_of_the_rows_of_each_model_that_filters_on_it(catalog: Catalog) -> None:
    """Checked against the text of the models."""
    found = {
        found.name
        for found in catalog.models
        for parent in found.rows_upstream
        if (parent.model, parent.column) == ("intermediate.int_retail__sales_validated", "is_valid")
    }
    assert found == {
        "intermediate.int_retail__customers_derived",
        "intermediate.int_retail__sales_aggregated",
        "retail.dim_product",
        "retail.fct_sales",
    }


def test_the_range_of_a_version_comes_from_its_times_and_compares_versions_of_a_student(catalog: Catalog) -> None:
    columns = {column.name: column for column in model(catalog, "history.hist_student").columns}
    for name in ("valid_from", "valid_to"):
        assert {parent.column: parent.transformations for parent in columns[name].upstream} == {
            "updated_at": ["CONDITIONAL", "TRANSFORMATION"],
            "_loaded_at": ["CONDITIONAL", "TRANSFORMATION", "WINDOW"],
            "student_id": ["WINDOW"],
        }


def test_sqlmesh_sets_the_range_of_a_version_from_its_update_or_its_changed_columns(tmp_path: Path) -> None:
    query = "SELECT id::INT AS id, name::VARCHAR AS name, changed_at::TIMESTAMP AS changed_at FROM far.away"
    by_time, by_column = (
        model(catalog_of(tmp_path / kind, f"MODEL (name a.b, kind {kind} (unique_key id, {setting})); {query}"), "a.b")
        for kind, setting in (
            ("SCD_TYPE_2_BY_TIME", "updated_at_name changed_at"),
            ("SCD_TYPE_2_BY_COLUMN", "columns name"),
        )
    )
    columns = {column.name: column for column in by_time.columns}
    assert [(one.column, one.transformations) for one in columns["valid_from"].upstream] == [
        ("changed_at", ["TRANSFORMATION"])
    ]
    assert [(one.column, one.transformations) for one in columns["valid_to"].upstream] == [
        ("changed_at", ["TRANSFORMATION"]),
        ("id", ["WINDOW"]),
    ]
    assert columns["valid_from"].set_by_sqlmesh == "Set by SQLMesh: a version begins at its changed_at."
    columns = {column.name: column for column in by_column.columns}
    assert [(one.column, one.transformations) for one in columns["valid_from"].upstream] == [("name", ["CONDITIONAL"])]
    assert "finds a change of name" in columns["valid_to"].set_by_sqlmesh
    assert columns["name"].set_by_sqlmesh == ""


def test_a_row_count_has_no_upstream_column(catalog: Catalog) -> None:
    assert upstream(catalog, "intermediate.int_sources__tables_counted", "row_count") == set()


def test_models_read_by_the_query_and_by_audits_only_are_listed_separately(catalog: Catalog) -> None:
    sales = model(catalog, "retail.fct_sales")
    assert sales.upstream == ["intermediate.int_retail__sales_validated"]
    [relationships] = [audit for audit in sales.audits if audit.upstream]
    assert (relationships.name, relationships.upstream) == ("relationships", ["retail.dim_customer"])
    assert sales.declared_dependencies == []


def test_what_an_audit_reads_is_told_from_what_only_the_header_names(tmp_path: Path) -> None:
    other = "MODEL (name a.{}, kind FULL); SELECT 1::INT AS x"
    found = catalog_of(
        tmp_path,
        """MODEL (name a.b, kind FULL, audits (known(column := x)), depends_on (a.audited, a.earlier));
        SELECT x::INT AS x FROM a.read;
        AUDIT (name known); SELECT * FROM @this_model WHERE NOT @column IN (SELECT x FROM a.audited)""",
        *(other.format(name) for name in ("read", "audited", "earlier")),
    )
    [audit] = model(found, "a.b").audits
    assert audit.upstream == ["a.audited"]
    assert model(found, "a.b").upstream == ["a.read"]
    assert model(found, "a.b").declared_dependencies == ["a.earlier"]


def test_contracts_may_be_in_a_folder_of_a_folder_and_files_may_be_empty(tmp_path: Path) -> None:
    folder = tmp_path / "external_models"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "orders.yaml").write_text("- name: shop.orders\n  columns: {id: int}\n")
    (folder / "later.yaml").write_text("# None yet.\n")
    (folder / "empty.yaml").touch()
    (tmp_path / "external_models.yaml").touch()
    found = catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT id::INT AS id FROM shop.orders")
    assert model(found, "shop.orders").contract.file == "external_models/shop/orders.yaml"


def test_a_model_has_the_properties_of_its_header(catalog: Catalog) -> None:
    days = model(catalog, "intermediate.int_retail__sales_aggregated")
    assert (days.kind, days.settings) == (
        "CUSTOM",
        [
            "materialization 'replace_by_key'",
            "materialization_properties (key = order_date, row_exists = line_count > 0)",
        ],
    )
    assert (days.grain, days.cron, days.start) == (["(order_date, location_id)"], "@hourly", "2026-10-25")
    assert days.file == "models/intermediate/int_retail__sales_aggregated.sql"
    assert model(catalog, "retail.fct_sales").references == ["customer_id", "product_id", "location_id"]


def test_audits_are_listed_with_arguments_query_and_whether_they_are_blocking(catalog: Catalog) -> None:
    audits = model(catalog, "intermediate.int_retail__sales_validated").audits
    listed = {(audit.name, *audit.arguments.values()): audit for audit in audits}
    free = listed["forall_non_blocking", "NOT is_free", "_loaded_at >= @start_dtntz"]
    assert free.arguments == {"criteria": "NOT is_free", "condition": "_loaded_at >= @start_dtntz"}
    assert not free.blocking
    unique = listed[
        "unique_combination_of_columns", "(order_id, product_id)", "is_valid AND _loaded_at >= @start_dtntz"
    ]
    assert unique.blocking
    assert "@EACH(@columns" in unique.query


def test_an_audit_set_to_non_blocking_in_the_header_is_non_blocking(tmp_path: Path) -> None:
    found = catalog_of(
        tmp_path, "MODEL (name a.b, kind FULL, audits (not_null(columns := x, blocking := FALSE))); SELECT 1 AS x"
    )
    (audit,) = found.models[0].audits
    assert (audit.blocking, audit.arguments) == (False, {"columns": "x"})


def test_unit_tests_are_listed_with_their_text(catalog: Catalog, project: Path) -> None:
    tests = model(catalog, "retail.fct_sales").tests
    file = project / "tests/models/retail/test_fct_sales.yaml"
    assert "\n\n".join(test.text for test in tests) == file.read_text(encoding="utf-8").rstrip()
    assert {test.file for test in tests} == {"tests/models/retail/test_fct_sales.yaml"}


def test_the_catalog_contains_every_unit_test(context: Context, catalog: Catalog) -> None:
    assert sorted(test.name for found in catalog.models for test in found.tests) == sorted(
        test.test_name for test in context.select_tests()
    )


def test_sql_is_rendered_in_the_dialects_of_both_engines(catalog: Catalog) -> None:
    for found in catalog.models:
        assert set(found.rendered) in ({"DuckDB", "Snowflake"}, set())
        assert bool(found.rendered) == (found.kind not in {"SEED", "EXTERNAL"})
        for engine, sql in found.rendered.items():
            assert parse_one(sql, dialect=engine.lower()).named_selects


def test_sql_is_rendered_with_the_variables_of_the_engines_gateway(catalog: Catalog) -> None:
    student = model(catalog, "edtech.dim_student").rendered
    assert "2026-11-01" in student["DuckDB"]  # where the sample is pinned
    assert "CURRENT_TIMESTAMP" not in student["DuckDB"]
    assert "SYSDATE()" in student["Snowflake"]
    assert "2026-11-01" not in student["Snowflake"]
    assert catalog.gateways == {"DuckDB": "local", "Snowflake": "snowflake"}
    assert catalog.unconfigured_gateways == ["snowflake"]


def test_variables_of_a_configured_gateway_replace_those_of_the_current_one(tmp_path: Path) -> None:
    config = """
gateways:
  local: {connection: {type: duckdb}, variables: {host: laptop, local_only: 1}}
  snowflake: {connection: {type: duckdb}, variables: {host: cloud}}
variables: {shared: 2}
model_defaults: {dialect: snowflake}
"""
    query = "SELECT @VAR('host') AS a, @VAR('local_only', 0) AS b, @VAR('shared') AS c, @gateway AS d"
    found = catalog_of(tmp_path, f"MODEL (name a.b, kind FULL); {query}", config=config)
    values = {
        engine: [select.this.sql() for select in parse_one(sql, dialect=engine.lower()).selects]
        for engine, sql in found.models[0].rendered.items()
    }
    assert values == {
        "DuckDB": ["'laptop'", "1", "2", "'local'"],
        "Snowflake": ["'cloud'", "NULL", "2", "'snowflake'"],
    }
    assert found.unconfigured_gateways == []


def test_incremental_sql_is_rendered_for_the_previous_day(catalog: Catalog) -> None:
    validated = model(catalog, "intermediate.int_retail__sales_validated").rendered["Snowflake"]
    assert "2026-11-20 00:00:00" in validated
    assert catalog.interval == (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


def test_a_raw_table_has_the_columns_of_its_contract(catalog: Catalog, project: Path) -> None:
    contracts = {
        entry["name"]: entry
        for file in (project / "external_models").glob("*.yaml")
        for entry in YAML(typ="safe").load(file)
    }
    with_contract = {found.name: found for found in catalog.models if found.contract}
    assert with_contract.pop("run_log.events").contract.gateways == []
    raw = list(with_contract.values())
    assert with_contract.keys() == {found.name for found in catalog.models if found.name.startswith("raw.")}
    for found in raw:
        assert found.contract.columns == contracts[found.name]["columns"]
        assert found.contract.columns == {column.name: column.type for column in found.columns}
        assert found.contract.gateways == ["live", "snowflake"]
        assert found.contract.grain == contracts[found.name]["grain"]


def test_lineage_reaches_tables_outside_the_project(tmp_path: Path) -> None:
    found = catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT t.x::INT AS y FROM far.away AS t")
    assert found.models[0].upstream == ["memory.far.away"]
    assert upstream(found, "a.b", "y") == {("memory.far.away", "x")}


def test_a_query_on_tables_outside_the_project_is_followed_as_far_as_it_names_them(tmp_path: Path) -> None:
    """SQLMesh leaves such a query as it is written."""
    columns = "F.X::INT AS one, two::INT, f.x + three AS both"
    query = f"SELECT {columns} FROM far.away AS f JOIN far.other AS o ON f.id = o.id WHERE z"
    found = catalog_of(tmp_path, f"MODEL (name a.b, kind FULL); {query}")
    [one, two, both] = found.models[0].columns
    assert (one.upstream, one.is_untraced) == ([Upstream("memory.far.away", "x", ["TRANSFORMATION"])], False)
    assert (two.upstream, two.is_untraced) == ([], True)
    assert (both.upstream, both.is_untraced) == ([Upstream("memory.far.away", "x", ["TRANSFORMATION"])], True)
    joined = {(one.model, one.column) for one in found.models[0].rows_upstream}
    assert joined == {("memory.far.away", "id"), ("memory.far.other", "id")}
    assert found.models[0].has_untraced_rows


def test_a_natural_join_compares_the_columns_of_its_models(tmp_path: Path) -> None:
    found = catalog_of(
        tmp_path,
        "MODEL (name a.b, kind FULL); SELECT id::INT, note::TEXT FROM a.left_ NATURAL JOIN a.right_",
        "MODEL (name a.left_, kind FULL); SELECT 1::INT AS id, 'x'::TEXT AS note",
        "MODEL (name a.right_, kind FULL); SELECT 1::INT AS id, 'x'::TEXT AS other",
    )
    assert upstream(found, "a.b", "id") == {("a.left_", "id"), ("a.right_", "id")}
    assert upstream(found, "a.b", "note") == {("a.left_", "note")}
    rows = model(found, "a.b").rows_upstream
    assert {(one.model, one.column, *one.transformations) for one in rows} == {
        ("a.left_", "id", "JOIN"), ("a.right_", "id", "JOIN"),
    }  # fmt: skip


def test_columns_of_a_python_model_have_no_lineage(tmp_path: Path) -> None:
    python = """
import pandas as pd
from sqlmesh import model

@model("a.python", columns={"x": "int"}, depends_on=["a.b"])
def run(context, **_):
    return pd.DataFrame({"x": [1]})
"""
    found = catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT 1::INT AS x", python_model=python)
    assert "Python" in model(found, "a.python").lineage_problem
    assert model(found, "a.python").upstream == ["a.b"]
    assert model(found, "a.python").declared_dependencies == []
    assert model(found, "a.python").definition == python


def test_no_text_can_end_the_data_element(html: str, catalog: Catalog) -> None:
    (data,) = re.findall(r'<script id="catalog" type="[^"]*">(.*?)</script>', html, re.DOTALL)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
    assert read(html) == json.loads(json.dumps(catalog.as_dict()))


def test_the_policy_allows_only_the_pages_own_scripts_and_style(html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    hashes = [
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for text in re.findall(r'<script(?: type="module")?>(.*?)</script>|<style>(.*?)</style>', html, re.DOTALL)
        for text in text
        if text
    ]
    assert len(hashes) == 4
    assert re.findall(r"'sha256-[^']*'", policy) == [*hashes[1:], hashes[0]]
    assert "unsafe-inline" not in policy
    assert policy.startswith("default-src 'none';")


def test_the_page_links_to_nothing_outside(html: str) -> None:
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", markup)) == {
        "data:,",
        "#content",
        "#/",
        "#/lineage",
        "#/entities",
    }


@pytest.mark.parametrize("name", ["viz-global", "prism"])
def test_a_library_has_the_checksum_in_its_licence_file(name: str) -> None:
    licence = (ASSETS / f"{name}.LICENSE").read_text(encoding="utf-8")
    assert sha256((ASSETS / f"{name}.js").read_bytes()).hexdigest() in licence


def test_the_site_of_this_project_is_smaller_than_3_mb(html: str) -> None:
    assert len(html.encode()) < 3e6


def test_the_site_of_500_models_as_large_as_these_is_smaller_than_10_mb(catalog: Catalog) -> None:
    copies = -(-500 // len(catalog.models))
    models = [replace(one, name=f"{one.name}_{copy}") for copy in range(copies) for one in catalog.models]
    assert len(models) >= 500
    assert len(page(replace(catalog, models=models)).encode()) < 10e6


def test_a_failed_write_keeps_the_previous_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write("before", tmp_path)

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write("after", tmp_path)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_command_writes_the_catalog_and_opens_no_database(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context.path)
    monkeypatch.setenv("MESHFLOW_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["catalog", "build", "--output", str(tmp_path / "site")])
    assert result.exit_code == 0, result.output
    assert f"{len(context.models)} models" in result.output
    assert (tmp_path / "site/index.html").stat().st_size > 1e6
    assert list(tmp_path.iterdir()) == [tmp_path / "site"], "a database in use can't make it fail"


def test_outside_of_a_project_the_command_prints_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["catalog", "build"])
    assert result.exit_code == 1
    assert "config.yaml" in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_project_of_another_dialect_is_rendered_for_its_engine_and_its_dialect(tmp_path: Path) -> None:
    config = """
gateways: {laptop: {connection: {type: duckdb}}}
default_gateway: laptop
model_defaults: {dialect: bigquery}
"""
    found = catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT SAFE_CAST('1' AS INT64) AS x", config=config)
    assert found.models[0].rendered == {
        "DuckDB": "SELECT\n  TRY_CAST('1' AS BIGINT) AS \"x\"",
        "BigQuery": "SELECT\n  SAFE_CAST('1' AS INT64) AS `x`",
    }
    assert found.gateways == {"DuckDB": "laptop", "BigQuery": "bigquery"}
    assert found.unconfigured_gateways == ["bigquery"]


def test_the_catalog_of_another_project_is_built_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog_of(tmp_path / "shop", "MODEL (name a.b, kind FULL); SELECT 1 AS x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = CliRunner().invoke(main, ["catalog", "build", "--paths", str(tmp_path / "shop"), "--output", "site"])
    assert result.output.startswith("Wrote a catalog of 1 models to site/index.html"), result.output


def request(server: CatalogServer, method: str, path: str, encoding: str = "") -> tuple[int, HTTPMessage, bytes]:
    """Status, headers and body of a response."""
    connection = HTTPConnection("127.0.0.1", server.server_port)
    connection.request(method, path, headers={"Accept-Encoding": encoding} if encoding else {})
    with connection.getresponse() as response:
        return response.status, response.headers, response.read()


@pytest.fixture
def served(html: str) -> Iterator[CatalogServer]:
    with CatalogServer(0) as server:
        server.show(html)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_catalog_is_served_on_localhost_only(served: CatalogServer, html: str) -> None:
    status, _, body = request(served, "GET", "/")
    assert (status, body.decode()) == (200, html)
    assert request(served, "GET", "/?reload=1")[0] == 200
    assert request(served, "GET", "/config.yaml")[0] == 404
    assert served.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("host", "status"), [("localhost:9", 200), ("127.0.0.1", 200), ("evil.example", 421)])
def test_a_page_of_another_host_gets_no_catalog_even_if_its_name_resolves_to_this_machine(
    served: CatalogServer, host: str, status: int
) -> None:
    connection = HTTPConnection("127.0.0.1", served.server_port)
    connection.request("GET", "/", headers={"Host": host})
    with connection.getresponse() as response:
        assert response.status == status
        assert (b"<script" in response.read()) == (status == 200)


@pytest.mark.parametrize("encoding", ["gzip", "br, GZIP;q=0.5", "deflate, gzip"])
def test_the_catalog_is_compressed_if_the_client_accepts_it(served: CatalogServer, html: str, encoding: str) -> None:
    _, headers, body = request(served, "GET", "/", encoding)
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(body) < len(html.encode()) * 0.8
    assert gzip.decompress(body).decode() == html


@pytest.mark.parametrize("encoding", ["", "br", "gzip;q=0", "identity"])
def test_the_catalog_is_sent_as_it_is_to_a_client_that_accepts_no_gzip(
    served: CatalogServer, html: str, encoding: str
) -> None:
    _, headers, body = request(served, "GET", "/", encoding)
    assert headers["Content-Encoding"] is None
    assert body.decode() == html


def test_head_has_the_headers_of_get_and_no_body(served: CatalogServer) -> None:
    for path in ("/", "/nothing"):
        (status, headers, _), (head_status, head_headers, body) = (
            request(served, method, path, "gzip") for method in ("GET", "HEAD")
        )
        assert (head_status, body) == (status, b"")
        assert dict(head_headers) | {"Date": ""} == dict(headers) | {"Date": ""}


def test_a_port_in_use_is_one_line_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No SQLMesh project" in CliRunner().invoke(main, ["catalog", "serve", "--port", "0"]).output
    with CatalogServer(0) as other:
        result = CliRunner().invoke(main, ["catalog", "serve", "--port", str(other.server_port)])
    assert result.exit_code == 1
    assert result.output == (f"Error: Can't listen on port {other.server_port}: Address already in use. Try --port 0\n")


def test_a_folder_that_is_removed_while_files_are_listed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models/kept/a.sql", "models/gone/b.sql", "docs/glossary.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("gone"):
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {str(file.relative_to(tmp_path)) for file in ProjectFiles(tmp_path).known}
    assert found == {"models/kept/a.sql", "docs/glossary.md"}


def test_a_query_that_is_too_long_to_trace_has_no_lineage(tmp_path: Path) -> None:
    union = " UNION ALL ".join(["SELECT 1::INT AS n"] * 400)
    [model] = catalog_of(tmp_path, f"MODEL (name a.b, kind FULL); {union}").models
    assert "can't trace the columns" in model.lineage_problem


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: "AAAA" + data[4:]])
def test_damaged_data_of_a_catalog_are_one_line(html: str, damage: Callable[[str], str], tmp_path: Path) -> None:
    data = re.search(r"gzip;base64\">([^<]*)<", html)[1]
    (tmp_path / "index.html").write_text(html.replace(data, damage(data)), encoding="utf-8")
    result = CliRunner().invoke(main, ["catalog", "diff", str(tmp_path), str(tmp_path)])
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: \S+ can't be read: Its data are damaged \(.+\)\. Build it .+\n", result.output)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: [], "It is a catalog of another version"),
        (lambda catalog: catalog | {"models": [{"name": "a.b"}]}, "It is a catalog of another version"),
        (lambda catalog: catalog | {"project": " " * 1000}, "Its data have more than 1,000 bytes"),
    ],
    ids=["no object", "model without columns", "large"],
)
def test_data_that_this_version_cannot_show_are_one_line(
    change: Callable[[Any], Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = page(catalog_of(tmp_path / "shop", "MODEL (name a.b, kind FULL); SELECT 1::INT AS one"))
    data = b64encode(gzip.compress(json.dumps(change(read(html))).encode())).decode()
    (tmp_path / "index.html").write_text(re.sub(r"(?<=gzip;base64\">)[^<]*", data, html), encoding="utf-8")
    if "bytes" in problem:
        monkeypatch.setattr("meshflow.catalog.site.MAX_BYTES", 1000)
    result = CliRunner().invoke(main, ["catalog", "diff", str(tmp_path), str(tmp_path)])
    assert result.exit_code == 1
    assert problem in result.output
    assert result.output.count("\n") == 1


def test_a_glossary_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT 1::INT AS one")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/glossary.md").write_bytes("# Größen".encode("latin-1"))
    result = CliRunner().invoke(
        main, ["catalog", "build", "--paths", str(tmp_path), "--output", str(tmp_path / "built")]
    )
    assert result.output == f"Error: {tmp_path}/docs/glossary.md can't be read: save it as UTF-8\n"


def test_the_names_of_a_gateway_and_of_its_configuration_are_those_that_sqlmesh_takes(tmp_path: Path) -> None:
    catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT 1::INT AS one")
    (tmp_path / "config.yaml").rename(tmp_path / "sqlmesh.yaml")
    command = ["catalog", "build", "--paths", str(tmp_path), "--gateway", "LOCAL", "--output", str(tmp_path / "built")]
    result = CliRunner().invoke(main, command)
    assert result.output.startswith("Wrote a catalog of 1 models"), result.output


def test_a_macro_that_exits_does_not_end_a_watched_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], served: CatalogServer
) -> None:
    catalog_of(tmp_path, "MODEL (name a.b, kind FULL); SELECT 1::INT AS one")
    (tmp_path / "models/stop.py").write_text("raise SystemExit(3)")
    before = served.body
    _rebuild(served, tmp_path, None, None)
    assert capsys.readouterr().err == "Serving the last good catalog: a file of the project calls exit(3)\n"
    assert served.body == before


@pytest.mark.parametrize(
    ("error", "printed"), [(ConnectionResetError, False), (BrokenPipeError, False), (KeyError, True)]
)
def test_only_the_faults_of_the_server_print_a_traceback(
    error: type[Exception], *, printed: bool, served: CatalogServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A browser that leaves early resets its connection."""

    def fail(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "finish_request", fail)
        served.process_request_thread(socket.socket(), ("127.0.0.1", 1))
    assert (error.__name__ in capsys.readouterr().err) == printed


def test_a_watched_catalog_follows_the_project_and_survives_a_broken_edit(tmp_path: Path) -> None:
    catalog_of(tmp_path / "shop", "MODEL (name a.b, kind FULL); SELECT 1::INT AS first")
    file = tmp_path / "shop/models/0.sql"
    with subprocess.Popen(
        [sys.executable, "-c", "from meshflow.cli import main; main()", "catalog", "serve", "--watch", "--port", "0"],
        cwd=tmp_path / "shop",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        lines = iter(process.stdout.readline, "")
        try:
            address = re.search(r"http://\S+", next(lines))[0]

            def columns() -> list[str]:
                with urllib.request.urlopen(address) as response:  # noqa: S310 - an address on this machine
                    (found,) = read(response.read().decode())["models"]
                return [column["name"] for column in found["columns"]]

            assert columns() == ["first"]
            file.write_text("MODEL (name a.b, kind FULL); SELECT 1::INT AS second")
            assert next(lines) == "Built a catalog of 1 models. Reload the page\n"
            assert columns() == ["second"]
            file.write_text("MODEL (name a.b, kind FULL); SELECT FROM WHERE")
            assert next(lines).startswith("Serving the last good catalog: ")
            assert columns() == ["second"]
            (tmp_path / "shop/logs").mkdir(exist_ok=True)
            (tmp_path / "shop/logs/new.log").write_text("not a file of the project")
            file.write_text("MODEL (name a.b, kind FULL); SELECT 1::INT AS third")
            assert next(lines) == "Built a catalog of 1 models. Reload the page\n", "one line for each edit, none else"
            assert columns() == ["third"]
        finally:
            process.send_signal(signal.SIGINT)
        assert list(lines) == ["\n"]
    assert process.returncode == 0


BEFORE = (
    "MODEL (name a.source, kind FULL); SELECT 1::INT AS id, 2::INT AS price, 3::INT AS flag",
    """MODEL (name a.sales, kind FULL, owner shop, audits (not_null(columns := id)));
    SELECT id::INT AS id, /* Key */ price::INT AS amount, /* Price */ 1::INT AS old FROM a.source""",
    "MODEL (name a.gone, kind FULL); SELECT 1::INT AS x",
)
AFTER = (
    BEFORE[0],
    """MODEL (name a.sales, kind VIEW, owner shop, audits (not_null(columns := id, blocking := FALSE)));
    SELECT id::BIGINT AS id, /* Key of a sale */ (price * flag)::INT AS amount, /* Price */ 1::TEXT AS new
    FROM a.source WHERE flag > 0""",
    "MODEL (name a.new, kind FULL); SELECT 1::INT AS x, 2::INT AS y",
)
DIFFERENCES = """\
a.gone
  removed

a.new
  added, with 2 columns

a.sales
  kind: FULL → VIEW
  upstream of amount: a.source.flag (TRANSFORMATION) added
  type of id: INT → BIGINT
  description of id: Key → Key of a sale
  column new added: VARCHAR
  column old removed
  rows depend on: a.source.flag (FILTER) added
  audit: not_null(columns := id) removed
  audit: not_null(columns := id), non-blocking added
  text of models/1.sql changed

3 of the models differ
"""


def test_two_builds_are_compared_by_model_column_type_description_lineage_and_audit(tmp_path: Path) -> None:
    before, after = (
        write(page(catalog_of(tmp_path / name, *models)), tmp_path / f"{name}_site")
        for name, models in (("before", BEFORE), ("after", AFTER))
    )
    result = CliRunner().invoke(main, ["catalog", "diff", str(before), str(after.parent)])
    assert (result.exit_code, result.output) == (0, DIFFERENCES)
    result = CliRunner().invoke(main, ["catalog", "diff", str(before), str(before)])
    assert (result.exit_code, result.output) == (0, "The catalogs are equal\n")


def test_a_file_that_is_no_catalog_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>Another page</p>")
    result = CliRunner().invoke(main, ["catalog", "diff", str(tmp_path), str(tmp_path)])
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {tmp_path}/index.html can't be read: It isn't a catalog, or one of another version. "
        "Build it with `meshflow catalog build`\n"
    )


@pytest.fixture(scope="module")
def run_once(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose prod a recorded plan has built."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("run_once"))
    with closing(workspace.context(kind=RecordedContext)) as context:
        plan(context, "prod")
    return workspace


def test_the_catalog_has_the_last_run_audits_and_freshness_of_each_model(run_once: Workspace) -> None:
    operations = read_operations("local", "prod", run_once.data, AT)
    context = run_once.context()
    with closing(context):
        contents = Reader(context, AT).catalog()
        recorded = context.engine_adapter.fetchall("SELECT model, status, duration_seconds FROM ops.model_runs")
        ends = dict(context.engine_adapter.fetchall("SELECT model, processed_until FROM ops.model_freshness"))
    assert recorded
    assert ends
    for name, status, seconds in recorded:
        found = operations.models[name]
        assert (found.status, found.seconds) == (status, float(seconds))
        assert found.processed_until == (ends[name].isoformat() if name in ends else "")
        audits = model(contents, name).audits if name in {one.name for one in contents.models} else []
        keys = {(one.name, "; ".join(f"{key} := {value}" for key, value in one.arguments.items())) for one in audits}
        assert {(one.audit, one.arguments) for one in found.audits} <= keys, "the page finds each result's audit"
    assert sum(one.rows for found in operations.models.values() for one in found.audits) > 0


def test_a_plan_that_failed_is_no_last_run_of_a_model(run_once: Workspace, tmp_path: Path) -> None:
    """It has changed nothing that people read, and a seed isn't run again."""
    workspace, seed = run_once.clone(tmp_path), "shared.ref_age_band"
    before = read_operations("local", "prod", workspace.data, AT).models[seed]
    assert before.status == "succeeded"
    assert before.audits
    with (workspace.path / "seeds/shared/ref_age_band.csv").open("a", encoding="utf-8") as file:
        file.write("25,Twice\n")
    with closing(workspace.context(kind=RecordedContext)) as context, pytest.raises(SQLMeshError):
        plan(context, "prod")
    with closing(workspace.context()) as context:
        failed = "SELECT COUNT(*) FROM ops.model_runs WHERE status = 'failed' AND model = 'shared.ref_age_band'"
        assert context.engine_adapter.fetchone(failed) == (1,)
    assert read_operations("local", "prod", workspace.data, AT).models[seed] == before


@pytest.mark.parametrize(
    ("gateway", "environment", "message"),
    [
        ("live", "prod", "Gateway live has no warehouse to read from: choose from local"),
        ("local", "prod", "No run of prod on gateway local is recorded: use `meshflow run` and `meshflow plan`"),
        ("local", "typo", "There is no environment 'typo' on gateway local: built are prod"),
        ("local", "", "There is no environment '' on gateway local: built are prod"),
    ],
)
def test_runs_that_cannot_be_read_are_one_line(
    built: Workspace, tmp_path: Path, gateway: str, environment: str, message: str
) -> None:
    data = built.clone(tmp_path).data
    with pytest.raises(click.ClickException, match=re.escape(message)):
        read_operations(gateway, environment, data, AT)


def profile_of(workspace: Workspace, **more: dict[str, bool]) -> Profile:
    with closing(workspace.context()) as context:
        tables = profiled_columns(context.models.values())
    return read_profile("local", "prod", workspace.data, AT, tables | more)


def test_a_profile_has_the_figures_of_marts_and_ops(run_once: Workspace) -> None:
    found = profile_of(run_once)
    assert found.models.keys() > SERVED.keys()
    assert {name.partition(".")[0] for name in found.models} == {"edtech", "ops", "retail", "shared"}
    with closing(run_once.context()) as context:

        def one(query: str) -> Any:
            return context.engine_adapter.fetchone(query)[0]

        sales = found.models["retail.fct_sales"]
        assert sales.row_count == one("SELECT COUNT(*) FROM retail.fct_sales") > 0
        expected = one("SELECT MIN(order_date) || ' to ' || MAX(order_date) FROM retail.fct_sales")
        assert f"{sales.columns['order_date'].minimum} to {sales.columns['order_date'].maximum}" == expected
        highest = one("SELECT MAX(net_revenue_amount)::VARCHAR FROM retail.rpt_net_revenue_by_city")
        assert found.models["retail.rpt_net_revenue_by_city"].columns["net_revenue_amount"].maximum == highest
        products = one("SELECT COUNT(DISTINCT product_id) FROM retail.fct_sales")
        assert sales.columns["product_id"].distinct_count == pytest.approx(products, rel=0.1)
        missing = "100.0 * COUNT_IF(duration_seconds IS NULL) / COUNT(*) FROM ops.runs"
        assert found.models["ops.runs"].columns["duration_seconds"].null_percent == round(one(f"SELECT {missing}"), 2)
    empty = found.models["ops.loads"]
    assert (empty.row_count, set(empty.columns.values())) == (0, {ColumnProfile(0.0, 0, "", "")})


def test_a_profile_has_no_personal_value(run_once: Workspace) -> None:
    models = profile_of(run_once).models
    student, course = models["edtech.dim_student"].columns, models["edtech.dim_course"].columns
    assert "full_name" not in student, "a masked column"
    assert {(student[name].minimum, student[name].maximum) for name in ("age_years", "gender")} == {("", "")}, (
        "a person's"
    )
    assert student["age_years"].distinct_count > 1
    assert student["enrollment_date"].minimum, "every dashboard shows it"
    assert course["instructor_name"] == ColumnProfile(0.0, course["instructor_name"].distinct_count), "text"
    assert course["course_name"].minimum, "every dashboard shows it"
    with closing(run_once.context()) as context:
        persons = context.engine_adapter.fetchall(
            "SELECT full_name FROM edtech.dim_student UNION SELECT customer_name FROM retail.dim_customer "
            "UNION SELECT instructor_name FROM edtech.dim_course"
        )
    bounds = {
        bound for table in models.values() for one in table.columns.values() for bound in (one.minimum, one.maximum)
    }
    assert len(persons) > 10
    assert not bounds & {name for (name,) in persons}


def test_a_warehouse_that_a_plan_is_writing_is_not_profiled(run_once: Workspace, tmp_path: Path) -> None:
    data = run_once.clone(tmp_path).data
    SnapshotWarehouse("local", data).now()  # what dashboards show meanwhile
    file = str(data / "local_analytics.duckdb")
    code = f"import duckdb; held = duckdb.connect({file!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as plan:
        assert plan.stdout.readline()
        with pytest.raises(click.ClickException, match="A plan or run is writing the warehouse: profile it afterwards"):
            read_profile("local", "prod", data, AT, {"retail.fct_sales": {"quantity": True}})
        plan.communicate(b"\n")
    assert not list((data / "dashboards").glob(".*"))


def test_a_profile_of_a_table_that_the_environment_does_not_have_as_the_project_is_left_out(
    run_once: Workspace,
) -> None:
    found = profile_of(run_once, **{"shared.ref_age_band": {"age_from": True, "a_new_one": True}, "retail.new": {}})
    assert not {"shared.ref_age_band", "retail.new"} & found.models.keys()
    assert "shared.ref_province" in found.models
    assert not list((run_once.data / "dashboards").glob(".*")), "the copy is deleted"


def test_exposures_are_the_files_of_dashboards_that_read_a_table(tmp_path: Path) -> None:
    files = {
        "sales.py": '"""Sales: by day.\n\nNot FROM shop.guests.\n"""\nA = f"{1} FROM shop.orders JOIN shop.days"',
        "charts.py": '"""No query."""',
        "broken.py": "def",
        "queries/best.sql": "-- Best days\nWITH a AS (FROM shop.days) SELECT * FROM a, shop.orders -- FROM shop.x",
        "queries/broken.sql": "SELECT FROM",
    }
    for name, text in files.items():
        file = tmp_path / "dashboards" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert list(exposures(tmp_path)) == [
        Exposure("dashboards/sales.py", "Sales: by day.", ["shop.days", "shop.orders"]),
        Exposure("dashboards/queries/best.sql", "Best days", ["shop.days", "shop.orders"]),
    ]
    assert not list(exposures(tmp_path / "nowhere"))


def test_the_exposures_of_this_project_read_all_served_tables_and_no_other(project: Path) -> None:
    found = {one.name: one.upstream for one in exposures(project)}
    assert {name for tables in found.values() for name in tables} == SERVED.keys()
    assert {f"dashboards/{name}.py" for name in ("retail", "edtech", "data_quality", "runs")} <= found.keys()


def test_the_line_of_a_column_has_its_name(context: Context, catalog: Catalog) -> None:
    """The last one: in the SELECT that returns it, not in a CTE or the header."""
    found = {(one.name, column.name): column.line for one in catalog.models for column in one.columns if column.line}
    assert len(found) > 300
    for (name, column), line in found.items():
        assert re.search(rf"\b{column}\b", model(catalog, name).definition.splitlines()[line - 1], re.IGNORECASE)
    text = model(catalog, "retail.fct_sales").definition.splitlines()
    assert text[found["retail.fct_sales", "net_revenue_amount"] - 1].strip().startswith("net_revenue_amount")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/acme/shop.git", "https://github.com/acme/shop"),
        ("https://token@github.com/acme/shop", "https://github.com/acme/shop"),
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop"),
        ("ssh://git@git.acme.example:2222/data/shop.git", "https://git.acme.example/data/shop"),
        ("/srv/git/shop", None),
        ("file:///srv/git/shop", None),
        ("javascript:alert(1)", None),
    ],
)
def test_files_are_linked_at_their_commit_without_a_login(tmp_path: Path, remote: str, address: str | None) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]  # pragma: allowlist secret
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert files_address(tmp_path) == "", "it isn't a repository"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert files_address(tmp_path) == "", "it has no remote"
    git("remote", "add", "origin", remote)
    assert files_address(tmp_path) == "", "the remote hasn't the commit"
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    commit = git("rev-parse", "HEAD")
    assert files_address(tmp_path) == (f"{address}/blob/{commit}/" if address else "")
    (tmp_path / "project").mkdir()
    assert files_address(tmp_path / "project") == (f"{address}/blob/{commit}/project/" if address else "")
