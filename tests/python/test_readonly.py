"""SQL that people write on the page SQL: what it may read, on the tree and in the engine."""

from contextlib import closing
from pathlib import Path

import click
import duckdb
import pandas as pd
import pytest
from workspace import Workspace

from meshflow import serve
from meshflow.publish import publish
from meshflow.readonly import LONGEST, ROW_LIMIT, check
from meshflow.serve import LOCKED, SnapshotWarehouse

QUERIES = sorted((Path(__file__).parents[2] / "dashboards" / "queries").glob("*.sql"))
REJECTED = [
    "SELECT * FROM pii.student",
    "SELECT * FROM pii__dev.student",
    "SELECT * FROM quarantine.retail_sales",
    "SELECT * FROM raw.retail.sales",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM sqlmesh_retail.fct_sales",
    "SELECT * FROM analytics.retail.fct_sales",
    "SELECT * FROM fct_sales",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    'SELECT * FROM "https://example.org/x.csv"',
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_parquet('https://example.org/x')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM @stage/file.csv",
    "SELECT * FROM TABLE(GENERATOR(ROWCOUNT => 1000000000))",
    "SELECT * FROM retail.fct_sales, LATERAL FLATTEN(order_id)",
    "SELECT * FROM retail.fct_sales AT (OFFSET => -60)",
    "SELECT * FROM IDENTIFIER('pii.student')",
    "SELECT * FROM (VALUES (1))",
    "SELECT * INTO copied FROM retail.fct_sales",
    "SELECT getenv('HOME')",
    "SELECT current_setting('home_directory')",
    "SELECT CURRENT_USER()",
    "SELECT SYSTEM$WHITELIST()",
    "SELECT GET_PRESIGNED_URL(@stage, 'file')",
    "SELECT AI_COMPLETE('model', 'text')",
    "SELECT REPEAT('a', 1000000000)",
    "SELECT $secret",
    "SELECT ?",
    "COPY retail.fct_sales TO '/tmp/x.csv'",
    "COPY INTO @stage FROM retail.fct_sales",
    "ATTACH '/tmp/x.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "CALL pragma_version()",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "DESCRIBE TABLE retail.fct_sales",
    "EXPORT DATABASE '/tmp/x'",
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO retail.fct_sales SELECT * FROM retail.fct_sales",
    "UPDATE retail.fct_sales SET quantity = 1",
    "DELETE FROM retail.fct_sales",
    "DROP TABLE retail.fct_sales",
    "GRANT SELECT ON retail.fct_sales TO ROLE x",
    "USE ROLE ACCOUNTADMIN",
    "BEGIN",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE retail.fct_sales",
    "SELECT (SELECT email FROM pii.student LIMIT 1)",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM pii.student)",
    "WITH found AS (SELECT * FROM pii.student) SELECT * FROM found",
    "SELECT 1 UNION ALL SELECT student_id FROM pii.student",
    "SELECT FROM WHERE",
    "'",
    "",
    "-- nothing",
    "SELECT " + "(" * 3000 + "1",
    "SELECT 1 " + "+ 1" * LONGEST,
]


@pytest.fixture(scope="module")
def data(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.clone(tmp_path_factory.mktemp("readonly")).data


@pytest.fixture(scope="module")
def warehouse(data: Path) -> SnapshotWarehouse:
    return SnapshotWarehouse("local", data)


def fetch(warehouse: SnapshotWarehouse, sql: str) -> pd.DataFrame:
    return warehouse.run(warehouse.now(), "prod", check(sql))


@pytest.mark.parametrize("sql", REJECTED)
def test_anything_but_one_select_on_served_tables_is_rejected_in_one_line(sql: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        check(sql)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT email FROM edtech.dim_student",
        "SELECT full_name FROM edtech.dim_student",
        "SELECT customer_name FROM retail.dim_customer",
        'WITH found AS (WITH "/etc/passwd" AS (SELECT 1) SELECT 1) SELECT * FROM "/etc/passwd"',
        "WITH outer_one AS (WITH data AS (SELECT 1) SELECT 1) SELECT * FROM data",
    ],
)
def test_columns_that_are_not_served_and_names_out_of_scope_are_not_found(
    warehouse: SnapshotWarehouse, sql: str
) -> None:
    """The variable `data` of a caller is no table either."""
    with pytest.raises(click.ClickException):
        fetch(warehouse, sql)


def test_every_column_but_those_served_is_left_out_on_snowflake_too() -> None:
    sql = check("SELECT * FROM retail.dim_customer AS c JOIN RETAIL.FCT_SALES USING (customer_id)")
    assert sql.to_sql("pr_7", "snowflake").startswith(
        "SELECT * FROM (SELECT customer_id, first_order_date FROM retail__pr_7.dim_customer) AS c JOIN (SELECT order_id"
    )
    assert sql.tables == ["retail.dim_customer", "retail.fct_sales"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('https://example.org/x')",
        "SELECT getenv('HOME')",
        "SELECT * FROM secret",
        "COPY retail.fct_sales TO '{folder}/x.csv'",
        "EXPORT DATABASE '{folder}/x'",
        "ATTACH '{folder}/x.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM retail.fct_sales",
    ],
)
def test_the_engine_rejects_what_the_check_would_let_through(data: Path, tmp_path: Path, statement: str) -> None:
    secret = pd.DataFrame({"a": [1]})
    snapshot = publish(data / "local_analytics.duckdb", data / "dashboards").path
    with (
        closing(duckdb.connect(str(snapshot), read_only=True, config=LOCKED)) as connection,
        pytest.raises(duckdb.Error),
    ):
        connection.execute(statement.format(folder=tmp_path)).fetchall()
    assert not list(tmp_path.iterdir())
    assert len(secret) == 1


def test_a_result_has_at_most_one_row_more_than_the_limit_in_its_own_order(warehouse: SnapshotWarehouse) -> None:
    pairs = "SELECT a.order_id FROM retail.fct_sales AS a CROSS JOIN retail.fct_sales AS b ORDER BY a.order_id DESC"
    for sql in (pairs, f"{pairs} LIMIT 99999999"):
        rows = fetch(warehouse, sql)
        assert len(rows) == ROW_LIMIT + 1
        assert rows["order_id"].is_monotonic_decreasing
    assert len(fetch(warehouse, f"{pairs} LIMIT 7")) == 7


def test_a_query_that_runs_too_long_is_stopped(warehouse: SnapshotWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "TIME_LIMIT_SECONDS", 0.2)
    endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT MAX(n) FROM t"
    with pytest.raises(click.ClickException, match=r"^The query was stopped after 0\.2 s\.$"):
        fetch(warehouse, endless)
    assert len(fetch(warehouse, "SELECT 1 AS one")) == 1


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_saved_queries_run(warehouse: SnapshotWarehouse, file: Path) -> None:
    sql = file.read_text(encoding="utf-8")
    assert sql.startswith("-- "), "its title"
    fetch(warehouse, sql)


def test_what_analysts_write_is_allowed(warehouse: SnapshotWarehouse) -> None:
    rows = fetch(
        warehouse,
        """
        WITH monthly AS (
            SELECT DATE_TRUNC('month', s.order_date)::DATE AS month, l.country, SUM(s.net_revenue_amount) AS net,
                COUNT(DISTINCT s.customer_id) AS customers, COUNT_IF(s.quantity > 1) AS several,
                LISTAGG(DISTINCT p.product_category, ', ') WITHIN GROUP (ORDER BY p.product_category) AS categories
            FROM retail.fct_sales AS s
            JOIN shared.dim_location AS l USING (location_id)
            LEFT JOIN retail.dim_product AS p ON s.product_id = p.product_id
            WHERE s.order_date BETWEEN '2026-01-01' AND CURRENT_DATE AND l.city ILIKE '%a%' AND NOT l.city IS NULL
            GROUP BY ALL
        )
        SELECT month, country, net, ROUND(net / NULLIF(customers, 0), 2) AS rate, UPPER(categories) AS names,
            LAG(net) OVER (PARTITION BY country ORDER BY month) AS before, TO_CHAR(month, 'YYYY-MM') AS name,
            CASE WHEN net > 1000 THEN 'much' ELSE 'little' END AS kind, IFF(several > 0, 1, 0) AS has_several,
            DATEDIFF(DAY, month, CURRENT_DATE) AS days, YEAR(month) AS year
        FROM monthly
        QUALIFY ROW_NUMBER() OVER (PARTITION BY country ORDER BY net DESC) <= 3
        ORDER BY country, net DESC NULLS LAST
        """,
    )
    assert len(rows) > 3
