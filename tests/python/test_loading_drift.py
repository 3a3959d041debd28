"""`meshflow load` where contract and source differ, and how it tells people and machines."""

import json
import shutil
from decimal import Decimal

import psycopg
import pytest
from loads import ALL, LoadedSource, backdate, meshflow, the_error

pytest_plugins = ("load_fixtures",)


def own_contract(loading: LoadedSource, file: str, old: str, new: str) -> None:
    """Give the load a contract of its own, changed in one place."""
    folder = loading.project / "external_models"
    if folder.is_symlink():
        shared = folder.resolve()
        folder.unlink()
        shutil.copytree(shared, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_column_is_reported_and_the_load_goes_on(settled: LoadedSource) -> None:
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text")
    settled.source.execute("INSERT INTO retail.sales (order_id, product_id, coupon) VALUES (3, 10, 'TEN')")
    result = meshflow(settled, "load", "--only", "retail.sales")
    assert result.exit_code == 0, result.output
    (told,) = result.stderr.splitlines()
    for part in ("retail.sales", "coupon (text)", "external_models/retail.yaml", "models/raw/retail/sales.sql"):
        assert part in told
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")


def test_a_column_that_comes_into_the_contract_loads_with_its_past_values(settled: LoadedSource) -> None:
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text, ADD weight numeric(10, 3)")
    settled.source.execute("UPDATE retail.sales SET coupon = 'TEN', weight = 0.125 WHERE order_id = 1")
    settled.load("retail.sales")
    backdate(settled.source, "retail.sales")
    settled.load("retail.sales")
    own_contract(
        settled, "retail.yaml", "    _loaded_at:", "    coupon: VARCHAR\n    weight: DECIMAL(10, 3)\n    _loaded_at:"
    )

    told = settled.load("retail.sales")

    assert told.new_columns == []
    assert told.cursor_start == {"retail.sales": None}
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    assert settled.query("SELECT coupon, weight FROM retail.sales ORDER BY order_id, product_id") == [
        ("TEN", Decimal("0.125")), ("TEN", Decimal("0.125")), (None, None),
    ]  # fmt: skip
    assert settled.load("retail.sales").loads["retail.sales"].rows == 0, "once is enough"


def test_a_column_that_comes_into_the_contract_of_a_table_without_rows_loads_too(loading: LoadedSource) -> None:
    loading.load("retail.sales")
    loading.source.execute("ALTER TABLE retail.sales ADD coupon text")
    own_contract(loading, "retail.yaml", "    _loaded_at:", "    coupon: VARCHAR\n    _loaded_at:")
    loading.load("retail.sales")
    assert ("coupon", "VARCHAR") in [(name, type_) for name, type_, *_ in loading.query("DESCRIBE retail.sales")]
    assert loading.load("retail.sales").cursor_start["retail.sales"], "once is enough"


def test_a_type_that_changes_in_the_contract_loads_with_a_full_refresh(settled: LoadedSource) -> None:
    settled.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(20, 4)")
    settled.source.execute("UPDATE retail.sales SET price = 1.2345 WHERE order_id = 1")
    settled.source.execute("ALTER TABLE edtech.courses ALTER credits TYPE bigint")
    settled.source.execute("UPDATE edtech.courses SET credits = 3000000000 WHERE course_id = 1")
    own_contract(settled, "retail.yaml", "price: DECIMAL(18, 2)", "price: DECIMAL(20, 4)")
    own_contract(settled, "edtech.yaml", "credits: INT", "credits: BIGINT")
    before = {table: settled.query(f"FROM {table} ORDER BY ALL") for table in ALL}

    told = settled.load()

    assert list(told.loads) == ["edtech.students", "edtech.enrollments"]
    for table in ("edtech.courses", "retail.sales"):
        assert f"`meshflow load --full-refresh --only {table}` makes it anew" in told.rejections[table]
    assert {table: settled.query(f"FROM {table} ORDER BY ALL") for table in ALL} == before

    anew = settled.load("edtech.courses", "retail.sales", full=True)

    assert anew.complete
    for table in anew.loads:
        assert settled.in_raw(table) == settled.in_source(table)
        assert set(settled.loaded_at(table).values()) == {anew.started_at}
    types = {name: type_ for table in anew.loads for name, type_, *_ in settled.query(f"DESCRIBE {table}")}
    assert (types["credits"], types["price"]) == ("BIGINT", "DECIMAL(20,4)")
    for table in ("edtech.students", "edtech.enrollments"):
        assert settled.query(f"FROM {table} ORDER BY ALL") == before[table]
    assert all(settled.load(*anew.loads).cursor_start.values()), "once is enough"


@pytest.mark.parametrize(
    ("table", "drift", "says"),
    [
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE double precision", "price is double precision"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE numeric", "price is numeric in the source"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE numeric(18, 3)", "price is numeric(18,3)"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER quantity TYPE bigint", "quantity is bigint"),
        ("retail.sales", "ALTER TABLE retail.sales RENAME city TO town", "column city is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP first_name", "column first_name is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP updated_at", "column updated_at is gone"),
        ("edtech.students", "DROP TABLE edtech.students", "the source has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students RENAME TO pupils", "the source has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students DROP CONSTRAINT students_pkey", "no primary key or unique"),
        (
            "retail.sales",
            "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD PRIMARY KEY (order_id, product_id, created_at)",
            "no primary key or unique index on (order_id, product_id)",
        ),
        ("retail.sales", "REVOKE SELECT ON retail.sales FROM loader", "permission denied for table sales"),
        ("edtech.students", "REVOKE USAGE ON SCHEMA edtech FROM loader", "permission denied for schema edtech"),
        (
            "retail.sales",
            "ALTER TABLE retail.sales DROP CONSTRAINT sales_price_check; UPDATE retail.sales SET price = 'NaN'",
            "column price holds a value that isn't a DECIMAL(18, 2)",
        ),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = 'infinity'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = '-infinity'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = '294276-12-31'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET date_of_birth = 'infinity'", "column date_of_birth holds"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_load_as_agreed_is_rejected_alone(
    settled: LoadedSource, table: str, drift: str, says: str
) -> None:
    other = "retail.sales" if table == "edtech.students" else "edtech.students"
    before = settled.query(f"FROM {table} ORDER BY ALL")
    settled.source.execute("UPDATE edtech.students SET last_name = 'new'")
    settled.source.execute("UPDATE retail.sales SET cust_name = 'new'")
    with psycopg.connect(settled.source.url) as writer:
        writer.execute(drift.encode())

    told = settled.load(table, other)

    assert not told.complete
    assert list(told.rejections) == [table]
    assert says in told.rejections[table]
    assert table in told.rejections[table]
    assert "\n" not in told.rejections[table]
    assert settled.query(f"FROM {table} ORDER BY ALL") == before, "RAW has changed"
    assert settled.in_raw(other) == settled.in_source(other)
    assert [f"{source}.{name}" for source, name, *_ in settled.load_log()[4:]] == [other]


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE retail.sales ALTER city TYPE varchar(40)",
        "ALTER TABLE retail.sales ALTER city TYPE varchar",
        "ALTER TABLE retail.sales ALTER quantity TYPE smallint",
        "ALTER TABLE retail.sales ALTER price TYPE numeric(10, 1)",
        "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD UNIQUE (product_id, order_id)",
    ],
)
def test_a_change_that_every_value_survives_is_none_of_our_business(settled: LoadedSource, drift: str) -> None:
    with psycopg.connect(settled.source.url) as writer:
        writer.execute(drift.encode())
    settled.source.execute("UPDATE retail.sales SET city = 'Utrecht', quantity = 32767, price = 9.9")
    told = settled.load("retail.sales")
    assert (told.complete, told.new_columns) == (True, [])
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")


def test_a_rejected_table_is_one_line_and_exit_status_1(settled: LoadedSource) -> None:
    settled.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    result = meshflow(settled, "load")
    assert result.exit_code == 1
    assert the_error(result.stderr).startswith("Error: edtech.students: no primary key")
    summary = {words[0]: words[-1] for line in result.stdout.splitlines() if (words := line.split())}
    assert {table: summary[table] for table in ALL} == dict.fromkeys(ALL, "loaded") | {"edtech.students": "rejected"}


def test_machines_are_told_in_json(settled: LoadedSource) -> None:
    settled.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text")
    result = meshflow(settled, "load", "--json", "--only", "edtech.students", "--only", "retail.sales")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(event["event"], event.get("table")) for event in events] == [
        ("rejected", "edtech.students"),
        ("new_column", "retail.sales"),
        ("started", "retail.sales"),
        ("loaded", "retail.sales"),
    ]


def test_an_error_shows_what_stands_in_brackets(settled: LoadedSource) -> None:
    """Which the library that prints it would take for a colour."""
    settled.source.execute('CREATE DOMAIN retail."[bold]" AS text')
    settled.source.execute('ALTER TABLE retail.sales ADD "[red]" text, ALTER city TYPE retail."[bold]"')
    result = meshflow(settled, "load", "--only", "retail.sales")
    assert 'column city is retail."[bold]" in the source' in the_error(result.stderr)
    settled.source.execute("ALTER TABLE retail.sales ALTER city TYPE text")
    result = meshflow(settled, "load", "--only", "retail.sales")
    assert "retail.sales has a new column, [red] (text)" in result.stderr


def test_no_row_loads_if_the_last_of_many_does_not_fit(settled: LoadedSource) -> None:
    """Rows come in batches of 16 MB; these are two."""
    settled.source.execute("ALTER TABLE retail.sales DROP CONSTRAINT sales_price_check")
    settled.source.execute(
        "INSERT INTO retail.sales (order_id, product_id, city, price) "
        "SELECT id, 1, repeat(md5(id::text), 4000), CASE WHEN id = 9999 THEN 'NaN'::numeric ELSE 1 END "
        "FROM generate_series(9800, 9999) AS id"
    )
    before = settled.query("FROM retail.sales ORDER BY ALL")
    told = settled.load("retail.sales")
    assert list(told.rejections) == ["retail.sales"]
    assert settled.query("FROM retail.sales ORDER BY ALL") == before

    settled.source.execute("UPDATE retail.sales SET price = 0 WHERE order_id = 9999")
    assert settled.load("retail.sales").complete
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
