"""`meshflow load` of a foreign table with one column of every type, and of rows with values that don't fit."""

import json
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import click
import duckdb
import pytest
from loads import (
    LoadPipeline,
    RecordingReporter,
    add_contract,
    change_contract,
    connect_as_superuser,
    run_meshflow,
)
from psycopg import sql

from meshflow.loading import rejections
from meshflow.loading.contract import contract
from meshflow.loading.destination import Destination
from meshflow.loading.load import load_tables, session
from meshflow.loading.reconcile import Reconciliation, reconcile

pytest_plugins = ("load_fixtures",)

ID = "0f0e0d0c-0000-0000-0000-000000000001"
REJECTED_ID = "00000000-0000-0000-0000-00000000000f"
TYPES: dict[str, tuple[str, str, str, Any]] = {
    # column: type in the contract, type in PostgreSQL, a value in SQL, the same value in RAW
    "id": (
        "VARCHAR",
        "uuid PRIMARY KEY",
        "'0F0E0D0C-0000-0000-0000-000000000001'",
        "0f0e0d0c-0000-0000-0000-000000000001",
    ),
    "mood": ("VARCHAR", "shop.mood", "'good'", "good"),
    "email": ("VARCHAR", "citext", "'Ada@Example.org'", "Ada@Example.org"),
    "code": ("VARCHAR", "char(5)", "'ab'", "ab"),
    "document": ("VARCHAR", "jsonb", """'{"b": [1, 2.50], "a": null}'""", '{"a": null, "b": [1, 2.50]}'),
    "text_document": ("VARCHAR", "json", """'{"b":  1}'""", '{"b":  1}'),
    "numbers": ("VARCHAR", "integer[]", "'{{1,2},{3,NULL}}'", "[[1,2],[3,null]]"),
    "words": ("VARCHAR", "text[]", """ARRAY['a"b', 'c,d']""", '["a\\"b","c,d"]'),
    "point": ("VARCHAR", "shop.location", "ROW(1.5, 'x')", '{"x":1.5,"name":"x"}'),
    "picture": ("BINARY", "bytea", r"'\x00ff'", b"\x00\xff"),
    "amount": ("DECIMAL(38, 9)", "numeric", "123456789012345678.000000001", Decimal("123456789012345678.000000001")),
    "total": ("DECIMAL(21, 2)", "bigint", "9007199254740993", Decimal("9007199254740993.00")),
    "share": ("DECIMAL(4, 4)", "numeric(4, 4)", "-0.05", Decimal("-0.0500")),
    "price": ("DECIMAL(10, 2)", "shop.money_", "19.99", Decimal("19.99")),
    "ratio": ("DOUBLE", "double precision", "0.1", 0.1),
    "weight": ("DOUBLE", "real", "0.5", 0.5),
    "opens_at": ("TIME", "time", "'23:59:59.999999'", time(23, 59, 59, 999_999)),
    "closes_at": ("VARCHAR", "timetz", "'12:00+02'", "12:00:00+02"),
    "fee": ("VARCHAR", "money", "'12345.6'", "12345.60"),
    "fees": ("VARCHAR", "money[]", "ARRAY[12345.6::money, NULL]", "[12345.60,null]"),
    "lasts": ("VARCHAR", "interval", "'1 year 2 days 03:04:05'", "1 year 2 days 03:04:05"),
    "address": ("VARCHAR", "inet", "'192.168.0.1/24'", "192.168.0.1/24"),
    "valid": ("VARCHAR", "int4range", "'[1,5)'", "[1,5)"),
    "flags": ("VARCHAR", "bit(3)", "B'101'", "101"),
    "period": (
        "VARCHAR",
        "tstzrange",
        "'[2026-01-01 00:00+00,2026-01-02 00:00+00)'",
        '["2026-01-01 00:00:00+00","2026-01-02 00:00:00+00")',
    ),
    "local_at": ("TIMESTAMPNTZ", "timestamp", "'2026-02-03 04:05:06.789'", datetime(2026, 2, 3, 4, 5, 6, 789_000)),
    "day": ("DATE", "date", "'2024-02-29'", date(2024, 2, 29)),
    "is_open": ("BOOLEAN", "boolean", "true", True),
    "small": ("INT", "smallint", "-32768", -32768),
}
GENERATED: dict[str, tuple[str, str, Any]] = {
    "stored": ("INT", "integer GENERATED ALWAYS AS (small * 2) STORED", -65536),
    "computed": ("INT", "integer GENERATED ALWAYS AS (small * 3) VIRTUAL", -98304),
}


@pytest.fixture
def shop(pipeline: LoadPipeline) -> LoadPipeline:
    """A table with a row with a value of every type, and a row of NULLs. It has no updated_at and no trigger."""
    columns = [f"{name} {type_}" for name, (_, type_, *_) in {**TYPES, **GENERATED}.items()]
    names, values = ", ".join(TYPES), ", ".join(value for _, _, value, _ in TYPES.values())
    for statement in (
        "CREATE EXTENSION citext",
        "CREATE SCHEMA shop",
        "CREATE TYPE shop.mood AS ENUM ('good', 'bad')",
        "CREATE TYPE shop.location AS (x numeric, name text)",
        "CREATE DOMAIN shop.money_ AS numeric(10, 2) CHECK (VALUE >= 0)",
        f"CREATE TABLE shop.things ({', '.join(columns)})",
        f"INSERT INTO shop.things ({names}) VALUES ({values})",
        "INSERT INTO shop.things (id) VALUES ('00000000-0000-0000-0000-000000000000')",
        "GRANT USAGE ON SCHEMA shop TO loader",
        "GRANT SELECT ON shop.things TO loader",
    ):
        pipeline.source.execute(statement)
    contract = {name: type_ for name, (type_, *_) in {**TYPES, **GENERATED}.items()}
    add_contract(pipeline, "shop.things", "id", contract)
    return pipeline


def test_every_type_is_loaded(shop: LoadPipeline) -> None:
    recorded = shop.load("shop.things")
    assert recorded.rejections == {}
    nulls, row = shop.in_raw("shop.things")
    expected = {name: value for name, (*_, value) in {**TYPES, **GENERATED}.items()}
    assert dict(zip(expected, row, strict=True)) == expected
    assert nulls == ("00000000-0000-0000-0000-000000000000", *[None] * (len(expected) - 1))


PRESETS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
}


def test_presets_of_the_loaders_role_change_no_value_of_any_type(shop: LoadPipeline) -> None:
    shop.load("shop.things")
    loaded = shop.in_raw("shop.things")
    database = sql.Identifier(shop.source.database)
    with closing(connect_as_superuser(shop.source, autocommit=True)) as connection:
        for name, value in PRESETS.items():
            statement = sql.SQL("ALTER ROLE loader IN DATABASE {} SET {} = {}")
            connection.execute(statement.format(database, sql.Identifier(name), sql.Literal(value)))
    recorded = shop.load("shop.things", full=True)
    assert recorded.rejections == {}
    assert shop.in_raw("shop.things") == loaded


@pytest.mark.parametrize(("variable", "value"), [("PGTZ", "America/New_York"), ("PGDATESTYLE", "German")])
def test_variables_of_libpq_change_no_value_of_any_type(
    shop: LoadPipeline, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    shop.load("shop.things")
    loaded = shop.in_raw("shop.things")
    monkeypatch.setenv(variable, value)
    assert shop.load("shop.things", full=True).rejections == {}
    assert shop.in_raw("shop.things") == loaded


def test_keys_that_are_equal_as_json_are_rows_of_their_own(pipeline: LoadPipeline) -> None:
    create(pipeline, "k int[] PRIMARY KEY, n int", "('{1,2}', 1), ('[0:1]={1,2}', 2)")
    add_contract(pipeline, "shop.notes", "k", {"k": "VARCHAR", "n": "INT"})
    assert pipeline.load("shop.notes").complete
    pipeline.source.execute("UPDATE shop.notes SET n = 3 WHERE n = 1")
    assert pipeline.load("shop.notes").complete
    assert pipeline.query("SELECT n FROM shop.notes WHERE _deleted_at IS NULL ORDER BY n") == [(2,), (3,)]


def test_rows_of_raw_that_no_key_explains_reject_the_table(pipeline: LoadPipeline) -> None:
    create(pipeline, "id int PRIMARY KEY", "(1), (2)")
    add_contract(pipeline, "shop.notes", "id", {"id": "INT"})
    assert pipeline.load("shop.notes").complete
    with closing(duckdb.connect(str(pipeline.raw))) as raw:
        raw.execute("INSERT INTO shop.notes SELECT * FROM shop.notes WHERE id = 1")
    recorded = pipeline.load("shop.notes")
    assert "RAW has 3 rows for 2 of the source" in recorded.rejections["shop.notes"]
    assert pipeline.load("shop.notes", full=True).complete
    assert pipeline.in_raw("shop.notes") == [(1,), (2,)]


def test_a_table_without_a_key_that_is_too_large_is_rejected_with_what_waits_for_it(
    pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshflow.loading.contract.MAX_ROWS", 1)
    create(pipeline, "id int", "(1), (2)")
    add_contract(pipeline, "shop.notes", None, {"id": "INT"})
    message = pipeline.load("shop.notes").rejections["shop.notes"]
    assert "2 rows without a key" in message
    assert "so it isn't loaded, and no model of shop gets new rows; name a key" in message


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "9999-12-31 23:59:59-12"])
def test_a_time_that_python_does_not_have_does_not_hide_the_status(pipeline: LoadPipeline, value: str) -> None:
    create(pipeline, "id int, updated_at timestamptz", f"(1, '{value}'), (2, '2026-11-01 09:30+00')")
    create(pipeline, "id int, updated_at timestamptz", f"(1, '{value}')", "shop.lasting")
    for name in ("shop.notes", "shop.lasting"):
        add_contract(pipeline, name, None, {"id": "INT", "updated_at": "TIMESTAMPNTZ"})
    result = run_meshflow(pipeline, "source", "status")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if "shop." in line]
    assert sorted(lines) == [["shop.lasting", "1"], ["shop.notes", "2", "2026-11-01", "09:30:00"]]


def test_the_name_of_what_a_value_refers_to_may_change(pipeline: LoadPipeline) -> None:
    create(pipeline, "id int PRIMARY KEY", "(1)", "shop.other")
    create(pipeline, "id int PRIMARY KEY, refers_to regclass", "(1, 'shop.other')")
    add_contract(pipeline, "shop.notes", "id", {"id": "INT", "refers_to": "VARCHAR"})
    assert pipeline.load("shop.notes").complete
    before = pipeline.source.execute("SELECT refers_to::oid::text FROM shop.notes")
    pipeline.source.execute("ALTER TABLE shop.other RENAME TO another")
    assert pipeline.load("shop.notes").complete
    assert pipeline.query("SELECT refers_to FROM shop.notes") == before


def create(pipeline: LoadPipeline, columns: str, values: str, name: str = "shop.notes") -> None:
    """Create a table that the loader may read, with rows."""
    schema = name.partition(".")[0]
    for statement in (
        f"CREATE SCHEMA IF NOT EXISTS {schema}",
        f"CREATE TABLE {name} ({columns})",
        f"INSERT INTO {name} VALUES {values}",
        f"GRANT USAGE ON SCHEMA {schema} TO loader",
        f"GRANT SELECT ON {name} TO loader",
    ):
        pipeline.source.execute(statement)


def test_a_schema_named_like_dlts_staging_keeps_its_rows(pipeline: LoadPipeline) -> None:
    for name, column in (("shop.notes", "m"), ("shop_staging.notes", "n")):
        create(pipeline, f"id int PRIMARY KEY, {column} int", "(1, 1), (2, 2)", name)
        add_contract(pipeline, name, "id", {"id": "INT", column: "INT"})
    assert pipeline.load("shop.notes", "shop_staging.notes").complete
    pipeline.source.execute("UPDATE shop.notes SET m = 3")
    assert pipeline.load("shop.notes").complete
    assert pipeline.load("shop.notes", full=True).complete
    assert pipeline.in_raw("shop_staging.notes") == [(1, 1), (2, 2)]
    change_contract(pipeline, "retail.yaml", "    m: INT\n", "    m: BIGINT\n")
    assert pipeline.load("shop.notes", full=True).complete
    assert pipeline.in_raw("shop_staging.notes") == [(1, 1), (2, 2)]


def test_a_foreign_table_is_named_as_such(pipeline: LoadPipeline) -> None:
    with closing(connect_as_superuser(pipeline.source, autocommit=True)) as connection:
        for statement in (
            "CREATE SCHEMA shop",
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER far FOREIGN DATA WRAPPER far",
            "CREATE FOREIGN TABLE shop.notes (id int) SERVER far",
        ):
            connection.execute(statement)
    add_contract(pipeline, "shop.notes", None, {"id": "INT"})
    assert "shop.notes: it is a foreign table" in pipeline.load("shop.notes").rejections["shop.notes"]


@pytest.mark.parametrize("name", ["system.notes", "temp.notes", "live_raw.notes", "shop._dlt_version"])
def test_a_name_that_raw_cannot_have_is_an_error_before_the_first_row(pipeline: LoadPipeline, name: str) -> None:
    add_contract(pipeline, name, None, {"id": "INT"})
    with pytest.raises(click.ClickException, match=r"retail.yaml: (RAW can't have the schema|each schema of RAW has)"):
        contract(pipeline.project)


def test_a_file_of_the_contract_without_a_table_is_named(pipeline: LoadPipeline) -> None:
    change_contract(pipeline, "retail.yaml", "raw.retail.sales", "raw.retail.sales")  # an own copy
    (pipeline.project / "external_models" / "retail.yaml").write_text("# No table is left.\n")
    with pytest.raises(click.ClickException, match=r"retail.yaml has no table, .* delete the file"):
        contract(pipeline.project)


def test_a_foreign_table_is_loaded_by_xmin_and_its_deletions_are_found(shop: LoadPipeline) -> None:
    shop.load("shop.things")
    shop.source.execute("UPDATE shop.things SET mood = 'bad' WHERE small IS NULL")
    recorded = shop.load("shop.things")
    assert (recorded.cursors["shop.things"].name, recorded.loads["shop.things"].rows) == ("xmin", 1)
    shop.source.execute("DELETE FROM shop.things WHERE small IS NULL")
    assert shop.load("shop.things").loads["shop.things"].deletions.marked == 1
    assert len(shop.in_raw("shop.things")) == 1


def test_a_renamed_enum_value_changes_old_rows(shop: LoadPipeline) -> None:
    shop.load("shop.things")
    shop.source.execute("ALTER TYPE shop.mood RENAME VALUE 'good' TO 'happy'")
    shop.load("shop.things")
    assert shop.query("SELECT mood FROM shop.things WHERE mood IS NOT NULL") == [("happy",)]


@pytest.mark.parametrize(
    ("type_", "value", "rename", "expected"),
    [
        ("shop.mood[]", "ARRAY['good']::shop.mood[]", "TYPE shop.mood RENAME VALUE 'good' TO 'happy'", '["happy"]'),
        ("shop.moods", "'{[good,bad]}'", "TYPE shop.mood RENAME VALUE 'good' TO 'happy'", "{[happy,bad]}"),
        ("shop.state", "'good'", "TYPE shop.mood RENAME VALUE 'good' TO 'happy'", "happy"),
        ("shop.pair", "ROW('good', 1)", "TYPE shop.mood RENAME VALUE 'good' TO 'happy'", '{"a":"happy","b":1}'),
        ("shop.pair", "ROW('good', 1)", "TYPE shop.pair RENAME ATTRIBUTE b TO c", '{"a":"good","c":1}'),
        (
            "shop.pair[]",
            "ARRAY[ROW('good', 1)]::shop.pair[]",
            "TYPE shop.pair RENAME ATTRIBUTE b TO c",
            '[{"a":"good","c":1}]',
        ),
    ],
)
def test_a_name_within_a_type_changes_old_rows(
    pipeline: LoadPipeline, type_: str, value: str, rename: str, expected: str
) -> None:
    for statement in (
        "CREATE SCHEMA shop",
        "CREATE TYPE shop.mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN shop.state AS shop.mood",
        "CREATE TYPE shop.mood_range AS RANGE (SUBTYPE = shop.mood, MULTIRANGE_TYPE_NAME = shop.moods)",
        "CREATE TYPE shop.pair AS (a shop.state, b integer)",
    ):
        pipeline.source.execute(statement)
    create(pipeline, f"id integer PRIMARY KEY, note {type_}", f"(1, {value})")
    add_contract(pipeline, "shop.notes", "id", {"id": "INT", "note": "VARCHAR"})
    assert pipeline.load("shop.notes").complete
    pipeline.source.execute(f"ALTER {rename}")
    assert pipeline.load("shop.notes").complete
    assert pipeline.query("SELECT note FROM shop.notes") == [(expected,)]


@pytest.mark.parametrize("number", [2**256 - 1, 10**39 - 1, 10**35 + 7, -(2**200)])
def test_a_number_with_too_many_digits_is_no_other_number(shop: LoadPipeline, number: int) -> None:
    """Alone in its batch: Arrow's cast overflows silently, unless another value is invalid."""
    shop.source.execute(f"UPDATE shop.things SET amount = {number} WHERE small IS NOT NULL")
    shop.source.execute("DELETE FROM shop.things WHERE small IS NULL")
    assert shop.load("shop.things").complete
    assert shop.in_raw("shop.things") == []
    assert rejected(shop) == {ID: "unloadable_amount"}


def test_another_expression_of_a_virtual_column_changes_old_rows(shop: LoadPipeline) -> None:
    shop.load("shop.things")
    shop.source.execute("ALTER TABLE shop.things ALTER computed SET EXPRESSION AS (small * 5)")
    shop.load("shop.things")
    assert shop.query("SELECT computed FROM shop.things WHERE computed IS NOT NULL") == [(5 * -32768,)]


@pytest.mark.parametrize("value", ["1." + "0" * 40, "-0." + "0" * 50, "1" * 29 + ".123456789", "0.5"])
def test_a_number_fits_whatever_its_zeros(shop: LoadPipeline, value: str) -> None:
    shop.source.execute(
        f"INSERT INTO shop.things (id, amount) VALUES (gen_random_uuid(), {value}), ('{REJECTED_ID}', 'NaN')"
    )
    recorded = shop.load("shop.things")
    assert (recorded.rejections, list(rejected(shop))) == ({}, [REJECTED_ID])
    found = shop.query("SELECT amount FROM shop.things WHERE amount IS NOT NULL AND small IS NULL")
    assert found == [(Decimal(value),)]
    assert run_meshflow(shop, "reconcile").exit_code == 0


UNFIT = {
    "amount": (
        "amount is NaN, infinite, or no DECIMAL(38, 9)",
        ["'NaN'", "'Infinity'", "1e29", "1e-10", "2::numeric ^ 256 - 1"],
    ),
    "ratio": ("ratio is NaN or infinite", ["'NaN'", "'-Infinity'"]),
    "weight": ("weight is NaN or infinite", ["'Infinity'"]),
    "local_at": ("local_at is infinite or outside years 1", ["'infinity'", "'0001-12-31 BC'", "'294276-12-31'"]),
    "day": ("day is infinite or outside years 1 to 9999", ["'-infinity'", "'4714-11-24 BC'", "'10000-01-01'"]),
    "opens_at": ("opens_at is 24:00:00", ["'24:00'"]),
}
"""By column: what is said of values that don't fit, and such values."""


def rejected(pipeline: LoadPipeline) -> dict[str, str]:
    """The rejected rows: reasons by the first column of the key."""
    rows = pipeline.query("SELECT row_key, reject_reasons FROM loader.rejected_rows ORDER BY row_key")
    return {json.loads(key)[0]: reasons for key, reasons in rows}


@pytest.mark.parametrize("column", UNFIT)
def test_a_row_with_a_value_that_does_not_fit_is_rejected_with_its_key_and_the_others_are_loaded(
    shop: LoadPipeline, column: str
) -> None:
    fault, values = UNFIT[column]
    keys = []
    for number, value in enumerate(values):
        keys.append(f"00000000-0000-0000-0000-00000000000{number + 1}")
        shop.source.execute(f"INSERT INTO shop.things (id, {column}) VALUES ('{keys[-1]}', {value})")
    result = run_meshflow(shop, "load", "--only", "shop.things")
    assert result.exit_code == 0
    assert f"shop.things: {len(keys)} rows don't fit" in result.stderr
    assert fault in result.stderr
    assert not [key for key in keys if key in result.stderr], "a key is data"
    assert len(shop.in_raw("shop.things")) == 2
    assert rejected(shop) == dict.fromkeys(keys, f"unloadable_{column}")

    again = shop.load("shop.things")
    assert (again.complete, again.warnings, again.loads["shop.things"].rows) == (True, [], 0)
    assert list(rejected(shop)) == keys


def test_a_rejected_row_is_loaded_once_it_fits_and_marked_once_it_does_not(shop: LoadPipeline) -> None:
    key = ID
    shop.load("shop.things")
    shop.source.execute("UPDATE shop.things SET ratio = 'NaN', day = 'infinity' WHERE small IS NOT NULL")
    shop.load("shop.things")
    assert rejected(shop) == {key: "unloadable_ratio, unloadable_day"}
    assert len(shop.in_raw("shop.things")) == 1, "RAW shows an old version"

    shop.source.execute("UPDATE shop.things SET ratio = 1, day = NULL WHERE small IS NOT NULL")
    shop.load("shop.things")
    assert rejected(shop) == {}
    assert len(shop.in_raw("shop.things")) == 2

    shop.source.execute("UPDATE shop.things SET ratio = 'NaN'")
    shop.load("shop.things")
    shop.source.execute("DELETE FROM shop.things WHERE small IS NULL")
    shop.load("shop.things")
    assert list(rejected(shop)) == [key]
    shop.load("shop.things", full=True)
    assert list(rejected(shop)) == [key]
    assert shop.in_raw("shop.things") == []


@pytest.mark.parametrize(
    ("contract", "type_", "unfit"),
    [
        ("DECIMAL(10, 2)", "numeric", ["NaN", "Infinity"]),
        ("DOUBLE", "float8", ["NaN", "Infinity"]),
        ("TIMESTAMPNTZ", "timestamptz", ["infinity", "-infinity"]),
        ("DATE", "date", ["infinity", "0001-01-01 BC"]),
    ],
)
def test_rows_whose_key_does_not_fit_hide_no_deletion(
    pipeline: LoadPipeline, contract: str, type_: str, unfit: list[str]
) -> None:
    fit = ["2026-01-01", "2026-01-02"] if contract in {"DATE", "TIMESTAMPNTZ"} else ["1", "2"]
    values = ", ".join(f"('{value}')" for value in [*fit, *unfit])
    create(pipeline, f"id {type_} PRIMARY KEY", values, "shop.readings")
    add_contract(pipeline, "shop.readings", "id", {"id": contract})
    pipeline.load("shop.readings")
    assert len(rejected(pipeline)) == 2

    pipeline.source.execute(f"DELETE FROM shop.readings WHERE id = '{fit[0]}'")
    assert pipeline.load("shop.readings").loads["shop.readings"].deletions.marked == 1
    assert len(pipeline.in_raw("shop.readings")) == 1

    [kept] = set(rejected(pipeline)) - {deleted_key(pipeline, unfit[0])}
    assert list(rejected(pipeline)) == [kept]
    pipeline.source.execute(f"INSERT INTO shop.readings VALUES ('{fit[0]}')")
    pipeline.load("shop.readings")
    assert (len(pipeline.in_raw("shop.readings")), list(rejected(pipeline))) == (2, [kept])

    pipeline.source.execute(f"DELETE FROM shop.readings WHERE id < '{unfit[1]}' OR id > '{unfit[1]}'")
    assert pipeline.load("shop.readings").complete
    assert (pipeline.in_raw("shop.readings"), list(rejected(pipeline))) == ([], [kept])


def deleted_key(pipeline: LoadPipeline, value: str) -> str:
    """The key of a rejected row, as it is after the row was deleted and a load has forgotten it."""
    before = set(rejected(pipeline))
    pipeline.source.execute(f"DELETE FROM shop.readings WHERE id = '{value}'")
    assert pipeline.load("shop.readings").complete
    [key] = before - set(rejected(pipeline))
    return key


def test_a_rejected_row_that_is_deleted_from_a_large_table_is_forgotten(
    shop: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each load would advise a repair that finds nothing."""
    monkeypatch.setattr("meshflow.loading.contract.MAX_COMPARED_ROWS", 1)
    shop.source.execute(f"INSERT INTO shop.things (id, ratio) VALUES ('{REJECTED_ID}', 'NaN')")
    shop.load("shop.things")
    shop.source.execute(f"DELETE FROM shop.things WHERE id = '{REJECTED_ID}'")
    recorded = shop.load("shop.things")
    assert (recorded.complete, recorded.warnings, rejected(shop)) == (True, [], {})


def test_more_rejected_rows_than_a_statement_has_are_kept_and_forgotten(
    shop: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "BATCH", 2)
    rows = "SELECT gen_random_uuid(), 'NaN' FROM generate_series(1, 5)"
    shop.source.execute(f"INSERT INTO shop.things (id, ratio) {rows}")
    with patch.object(Destination, "query", autospec=True, side_effect=Destination.query) as sent:
        shop.load("shop.things")
    inserts = [call for call in sent.call_args_list if call.args[1].startswith("INSERT INTO loader.rejected_rows")]
    assert (len(rejected(shop)), len(inserts)) == (5, 3)
    shop.source.execute("UPDATE shop.things SET ratio = 1 WHERE ratio = 'NaN'")
    shop.load("shop.things")
    assert (len(rejected(shop)), len(shop.in_raw("shop.things"))) == (0, 7)


def test_too_many_rejected_rows_reject_the_table(shop: LoadPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first rows, and the tables after it are loaded."""
    monkeypatch.setattr(rejections, "MAX_REJECTED", 0)
    shop.source.execute("UPDATE edtech.students SET first_name = 'x'")
    shop.source.execute("UPDATE shop.things SET ratio = 'NaN'")
    shop.source.execute("INSERT INTO retail.sales (order_id, product_id) VALUES (1, 1)")
    result = run_meshflow(shop, "load")
    assert result.exit_code == 1
    assert "shop.things: more than 0 rows don't fit" in result.stderr
    words = [line.split() for line in result.stdout.splitlines()]
    assert {line[0]: line[-1] for line in words if "." in line[0]} == {
        "edtech.students": "loaded", "edtech.courses": "loaded", "edtech.enrollments": "loaded",
        "retail.sales": "loaded", "shop.things": "rejected",
    }  # fmt: skip


OTHER_VALUES = {
    "BINARY": "'\\x00\\xFE'::BLOB",
    "BOOLEAN": "NOT {0}",
    "DATE": "{0} + INTERVAL 1 DAY",
    "DECIMAL": "-{0}",
    "DOUBLE": "{0} + 1e-12",
    "INT": "{0} + 1",
    "TIME": "{0} - INTERVAL 1 MICROSECOND",
    "TIMESTAMPNTZ": "{0} + INTERVAL 1 MICROSECOND",
    "VARCHAR": "{0} || ' '",
}


def test_a_reconciliation_compares_values_of_every_type(shop: LoadPipeline) -> None:
    shop.source.execute("INSERT INTO shop.things (id, amount, day) VALUES (gen_random_uuid(), 'NaN', 'infinity')")
    with session(shop.source.loader_url, "live", shop.data, 30, RecordingReporter()) as opened:
        assert opened
        assert load_tables(opened, RecordingReporter(), only=["shop.things"])
        table = next(table for table in opened.tables if table.name == "things")

        def compared(statement: str) -> Reconciliation:
            """The result after a statement that damages RAW, and is rolled back."""
            opened.destination.query("CREATE TABLE shop.copy AS FROM shop.things")
            opened.destination.query(statement)
            result = reconcile(opened, table)
            opened.destination.query("DELETE FROM shop.things")
            opened.destination.query("INSERT INTO shop.things FROM shop.copy")
            opened.destination.query("DROP TABLE shop.copy")
            return result

        [day] = reconcile(opened, table).days
        assert (day.date, day.source.active, day.is_equal) == (None, 2, True), "of rows that fit"
        for column in table.source_columns:
            for value in ("NULL", OTHER_VALUES[column.type.this.name]):
                damage = f"UPDATE shop.things SET {column.name} = {value.format(column.name)} WHERE id = '{ID}'"
                assert not compared(damage).days[0].is_equal, damage
        result = compared(f"DELETE FROM shop.things WHERE id = '{ID}'")
        assert (result.days[0].missing_in_raw, result.days[0].missing_in_source) == (1, 0)
        result = compared("INSERT INTO shop.things (id) VALUES ('another')")
        assert result.missing_in_source.to_pylist() == [{"id": "another"}]


def test_names_that_are_keywords_or_mixed_case_are_loaded(pipeline: LoadPipeline) -> None:
    pipeline.source.execute('CREATE SCHEMA "order"')
    pipeline.source.execute('CREATE TABLE "order"."group" ("select" integer PRIMARY KEY, "from" text, "userName" text)')
    pipeline.source.execute("""INSERT INTO "order"."group" VALUES (1, 'a', 'Ada')""")
    pipeline.source.execute('GRANT USAGE ON SCHEMA "order" TO loader')
    pipeline.source.execute('GRANT SELECT ON "order"."group" TO loader')
    add_contract(pipeline, "order.group", "select", {"select": "INT", "from": "VARCHAR", "userName": "VARCHAR"})
    for grant in ('USAGE ON SCHEMA "order"', 'SELECT ON "order"."group"'):
        pipeline.source.execute(f"REVOKE {grant} FROM loader")
        pipeline.source.execute(pipeline.load("order.group").rejections["order.group"].split("`")[1])
    assert pipeline.load("order.group").rejections == {}
    assert pipeline.query('SELECT "select", "from", "userName" FROM "order"."group"') == [(1, "a", "Ada")]
    result = run_meshflow(pipeline, "reconcile")
    assert result.exit_code == 0
    pipeline.source.execute('DELETE FROM "order"."group"')
    assert pipeline.load("order.group").loads["order.group"].deletions.marked == 1


def test_a_table_whose_name_has_capitals_is_merged_by_key(pipeline: LoadPipeline) -> None:
    pipeline.source.execute("CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO loader")
    pipeline.source.execute('CREATE TABLE shop."Orders" (id integer PRIMARY KEY, buyer text)')
    pipeline.source.execute("""INSERT INTO shop."Orders" VALUES (1, 'Ada'), (2, 'Bob')""")
    pipeline.source.execute('GRANT SELECT ON shop."Orders" TO loader')
    add_contract(pipeline, "shop.Orders", "id", {"id": "INT", "buyer": "VARCHAR"})
    for buyer in ("Eve", "Mia"):
        pipeline.load("shop.Orders")
        pipeline.source.execute("""UPDATE shop."Orders" SET buyer = %s WHERE id = 1""", buyer)
    assert pipeline.load("shop.Orders").cursors["shop.Orders"].name == "xmin"
    assert pipeline.query("SELECT id, buyer FROM shop.orders ORDER BY id") == [(1, "Mia"), (2, "Bob")]
