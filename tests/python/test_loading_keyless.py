"""`meshflow load` of tables without a key and of views: a load with a change replaces all of their rows."""

from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from loads import LoadPipeline, RecordingReporter, add_contract, change_contract, run_meshflow

pytest_plugins = ("load_fixtures",)

TABLE = "shop.visits"
COLUMNS = {"page": "VARCHAR", "seconds": "DOUBLE"}
Create = Callable[[str], LoadPipeline]


@pytest.fixture
def create(pipeline: LoadPipeline) -> Create:
    """Create shop.visits as a table or a view, with two equal rows."""

    def create(kind: str) -> LoadPipeline:
        statements = [
            "CREATE SCHEMA shop",
            "CREATE TABLE shop.stored (page text, seconds float8)",
            "ALTER TABLE shop.stored RENAME TO visits"
            if kind == "table"
            else f"CREATE {kind} shop.visits AS SELECT * FROM shop.stored",
            f"INSERT INTO {stored(kind)} VALUES ('home', 1), ('home', 1)",
            *(["REFRESH MATERIALIZED VIEW shop.visits"] if kind == "materialized view" else []),
            "GRANT USAGE ON SCHEMA shop TO loader",
            "GRANT SELECT ON shop.visits TO loader",
        ]
        for statement in statements:
            pipeline.source.execute(statement)
        add_contract(pipeline, TABLE, None, COLUMNS)
        return pipeline

    return create


def stored(kind: str) -> str:
    """The table that has the rows."""
    return TABLE if kind == "table" else "shop.stored"


def add_to_contract(pipeline: LoadPipeline, line: str) -> None:
    """Add a line to the table's entry."""
    columns = "  columns:\n    page: VARCHAR"
    change_contract(pipeline, "retail.yaml", columns, f"  {line}\n{columns}")


def load(pipeline: LoadPipeline) -> tuple[int, list[tuple[Any, ...]]]:
    """Load. Returns the number of rows that were written, and all rows of RAW."""
    recorded = pipeline.load(TABLE)
    assert recorded.rejections == {}
    return recorded.loads[TABLE].rows, pipeline.in_raw(TABLE)


@pytest.mark.parametrize("kind", ["table", "view", "materialized view"])
def test_rows_without_a_key_are_replaced_by_a_load_with_a_change(create: Create, kind: str) -> None:
    pipeline = create(kind)
    refresh = ["REFRESH MATERIALIZED VIEW shop.visits"] if kind == "materialized view" else []
    assert load(pipeline) == (2, [("home", 1), ("home", 1)])
    for change, expected in (
        ("INSERT INTO {} VALUES ('cart', 2)", [("cart", 2), ("home", 1), ("home", 1)]),
        ("UPDATE {} SET seconds = 3 WHERE page = 'cart'", [("cart", 3), ("home", 1), ("home", 1)]),
        ("DELETE FROM {} WHERE page = 'home'", [("cart", 3)]),
        ("DELETE FROM {}", []),
    ):
        for statement in (change.format(stored(kind)), *refresh):
            pipeline.source.execute(statement)
        assert load(pipeline) == (len(expected), expected)
    assert run_meshflow(pipeline, "reconcile").exit_code == 0


def test_a_view_of_a_table_that_is_rewritten_during_the_load_is_rejected(create: Create) -> None:
    """To the load's snapshot it looks empty."""
    pipeline = create("view")
    load(pipeline)
    for statement in (
        "ALTER VIEW shop.visits RENAME TO inner_visits",
        "CREATE VIEW shop.visits AS SELECT page, max(seconds) AS seconds FROM shop.inner_visits GROUP BY page",
        "GRANT SELECT ON shop.visits TO loader",
    ):
        pipeline.source.execute(statement)
    load(pipeline)
    before = pipeline.query(f"FROM {TABLE} ORDER BY ALL")
    rewrite = "ALTER TABLE shop.stored ADD number float8 DEFAULT random()"
    recorded = pipeline.load(TABLE, reporter=RecordingReporter(on_start=lambda _: pipeline.source.execute(rewrite)))
    assert "TRUNCATE or VACUUM FULL has rewritten it" in recorded.rejections[TABLE]
    assert pipeline.query(f"FROM {TABLE} ORDER BY ALL") == before
    assert load(pipeline) == (1, [("home", 1)])


FUNCTION = "RETURNS SETOF shop.parts STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT * FROM shop.stored'"
VIEWS = {
    "a partition": "SELECT page, seconds FROM shop.parts WHERE page = 'home'",
    "only the parent": "SELECT page, seconds FROM ONLY shop.parents",
    "a sequence": "SELECT 'home' AS page, last_value::float8 AS seconds FROM shop.numbers",
    "a function": "SELECT page, seconds FROM shop.stored_rows()",
    "a join that isn't needed": "SELECT page, seconds FROM shop.stored LEFT JOIN shop.ids ON id = length(page)",
    "a row type": 'SELECT page, seconds FROM json_populate_recordset(NULL::shop.parts, \'[{"page":"a"}]\')',
    "the catalog": 'SELECT amname::text COLLATE "default" AS page, 1.0::float8 AS seconds FROM pg_am',
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_may_read_less_or_more_than_its_definition_names(create: Create, view: str) -> None:
    pipeline = create("view")
    for statement in (
        "CREATE TABLE shop.parts (page text, seconds float8) PARTITION BY LIST (page)",
        "CREATE TABLE shop.part_1 PARTITION OF shop.parts FOR VALUES IN ('home')",
        "CREATE TABLE shop.part_2 PARTITION OF shop.parts DEFAULT",
        "INSERT INTO shop.parts VALUES ('home', 1), ('cart', 2)",
        "CREATE TABLE shop.parents (page text, seconds float8)",
        "CREATE TABLE shop.children () INHERITS (shop.parents)",
        "CREATE SEQUENCE shop.numbers",
        "CREATE TABLE shop.ids (id integer PRIMARY KEY) PARTITION BY LIST (id)",
        "CREATE TABLE shop.id_1 PARTITION OF shop.ids FOR VALUES IN (1)",
        f"CREATE FUNCTION shop.stored_rows() {FUNCTION}",
        f"CREATE OR REPLACE VIEW shop.visits AS {VIEWS[view]}",
        "CREATE RULE inserted AS ON INSERT TO shop.visits DO INSTEAD INSERT INTO shop.parents VALUES (NEW.page)",
    ):
        pipeline.source.execute(statement)
    expected = pipeline.source.execute("SELECT page, seconds FROM shop.visits ORDER BY page, seconds")
    for _ in range(2):
        assert load(pipeline)[1] == expected
    assert run_meshflow(pipeline, "reconcile").exit_code == 0


def test_a_function_of_a_view_that_reads_a_rewritten_table_is_noticed(create: Create) -> None:
    pipeline = create("view")
    pipeline.source.execute(
        "CREATE FUNCTION shop.stored_rows() RETURNS TABLE (page text, seconds float8) STABLE SECURITY DEFINER "
        "LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT stored.page, stored.seconds FROM shop.stored; END'"
    )
    pipeline.source.execute("CREATE OR REPLACE VIEW shop.visits AS SELECT page, seconds FROM shop.stored_rows()")
    before = load(pipeline)[1]
    rewrite = "ALTER TABLE shop.stored ADD number float8 DEFAULT random()"
    recorded = pipeline.load(TABLE, reporter=RecordingReporter(on_start=lambda _: pipeline.source.execute(rewrite)))
    assert "TRUNCATE or VACUUM FULL has rewritten it" in recorded.rejections[TABLE]
    assert pipeline.in_raw(TABLE) == before


def test_a_refresh_of_a_materialized_view_during_the_load_is_harmless(create: Create) -> None:
    pipeline = create("materialized view")
    before = load(pipeline)[1]
    refresh = "REFRESH MATERIALIZED VIEW shop.visits"
    recorded = pipeline.load(TABLE, reporter=RecordingReporter(on_start=lambda _: pipeline.source.execute(refresh)))
    assert recorded.rejections == {}
    assert pipeline.in_raw(TABLE) == before


def test_an_unchanged_table_is_not_written_again(create: Create) -> None:
    pipeline = create("table")
    load(pipeline)
    before = pipeline.query(f"FROM {TABLE}")
    assert load(pipeline)[0] == 0
    assert pipeline.query(f"FROM {TABLE}") == before


def test_a_table_that_is_too_large_is_rejected_and_the_contract_raises_the_limit(create: Create) -> None:
    pipeline = create("table")
    add_to_contract(pipeline, "physical_properties: {max_rows: 1}")
    message = pipeline.load(TABLE).rejections[TABLE]
    assert message.startswith("shop.visits: 2 rows without a key would be replaced in each load")
    assert "`physical_properties: {max_rows: 2}`" in message
    change_contract(pipeline, "retail.yaml", "max_rows: 1", "max_rows: 2")
    assert load(pipeline)[0] == 2


def test_a_view_with_a_key_is_rejected(create: Create) -> None:
    pipeline = create("view")
    add_to_contract(pipeline, "grain: page")
    message = pipeline.load(TABLE).rejections[TABLE]
    assert message.startswith("shop.visits: it isn't a table in the source, so nothing makes its key unique")


def test_a_row_that_does_not_fit_is_rejected_alone(create: Create) -> None:
    pipeline = create("table")
    pipeline.source.execute("INSERT INTO shop.visits VALUES ('broken', 'NaN')")
    recorded = pipeline.load(TABLE)
    assert "1 rows don't fit" in recorded.warnings[0]
    assert pipeline.in_raw(TABLE) == [("home", 1), ("home", 1)]
    assert load(pipeline)[0] == 0, "it is read in every load"
    assert run_meshflow(pipeline, "reconcile").exit_code == 0


def test_a_difference_without_a_key_is_found_and_the_advice_repairs_it(create: Create) -> None:
    pipeline = create("table")
    load(pipeline)
    with duckdb.connect(str(pipeline.raw)) as raw:
        raw.execute(f"UPDATE {TABLE} SET seconds = 2")
    result = run_meshflow(pipeline, "reconcile")
    assert result.exit_code == 1
    command = result.stderr.split("`")[1].split()
    assert command == ["meshflow", "load", "--full-refresh", "--only", TABLE]
    assert run_meshflow(pipeline, *command[1:]).exit_code == 0
    assert run_meshflow(pipeline, "reconcile").exit_code == 0


def test_after_a_key_was_added_to_the_contract_all_rows_are_read(create: Create) -> None:
    pipeline = create("table")
    pipeline.source.execute("UPDATE shop.visits SET page = ctid::text")
    pipeline.source.execute("INSERT INTO shop.visits VALUES ('broken', 'NaN')")
    load(pipeline)
    pipeline.source.execute("ALTER TABLE shop.visits ADD PRIMARY KEY (page)")
    add_to_contract(pipeline, "grain: page")
    pipeline.source.execute("DELETE FROM shop.visits WHERE page <> 'broken'")
    recorded = pipeline.load(TABLE)
    assert (recorded.rejections, recorded.cursors[TABLE].name) == ({}, "all")
    assert pipeline.in_raw(TABLE) == []
    assert pipeline.query("SELECT row_key FROM loader.rejected_rows") == [('["broken"]',)]


def test_a_check_says_that_a_table_is_too_large(create: Create) -> None:
    pipeline = create("table")
    result = run_meshflow(pipeline, "source", "check")
    assert ["shop.visits", "all", "can", "be", "loaded"] in [line.split() for line in result.stdout.splitlines()]
    add_to_contract(pipeline, "physical_properties: {max_rows: 1}")
    result = run_meshflow(pipeline, "source", "check")
    assert result.exit_code == 1
    assert "shop.visits: 2 rows without a key would be replaced in each load" in result.stderr
