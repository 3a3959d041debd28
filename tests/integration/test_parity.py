"""The same loaded rows produce the same warehouse on DuckDB and Snowflake: every model, cell by cell, type by type.

The emulator is DuckDB too. So these tests prove that loads, plans and runs do the same on both gateways.
docs/snowflake-functions.md lists how Snowflake evaluates each function.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import WRITTEN_AT, write
from emulated import Snowflake
from sources import SourceDatabase, new_state
from sqlglot import exp
from sqlmesh.core.model import Model
from workspace import Workspace, run

from meshflow.loading.load import load_tables, session
from meshflow.loading.reconcile import reconcile_all
from meshflow.loading.report import JsonReporter
from meshflow.source.server import Server

PLANNED_AT = datetime(2026, 11, 10, 11, tzinfo=UTC)
CORRECTED_AT = datetime(2026, 11, 10, 13, tzinfo=UTC)
RUN_AT = datetime(2026, 11, 10, 14, tzinfo=UTC)

FIRST = """
INSERT INTO edtech.students (student_id, first_name, last_name, email, gender, enrollment_date, date_of_birth) VALUES
  (9001, E'\\u00A0Zoë', 'O''Brien "Bee"', 'ÄÖÜ@example.com', NULL, '2024-02-29', '2008-02-29'),
  (9002, 'Jürgen', E'Groß\\nmann\\\\', 'äöü@example.com', '', '2026-11-10', '2004-02-29'),
  (9003, '  ', '', NULL, 'x', '2026-01-01', '1999-12-31'),
  (9004, 'Today', 'Grown', NULL, NULL, '2026-01-01', '2008-11-10'),
  (9005, 'Tomorrow', 'Grown', NULL, NULL, '2026-01-01', '2008-11-11'),
  (9006, 'Never', 'Born', NULL, NULL, '2026-01-01', 'infinity');
INSERT INTO edtech.courses (course_id, course_name, instructor_name, credits, start_date, end_date) VALUES
  (9001, 'ends today', '李', 3, '2026-11-01', '2026-11-10'),
  (9002, E'\\u00A0', 'tab\there', 60, '2026-11-11', '2026-12-01'),
  (9003, '', 'Nobody', NULL, NULL, NULL);
INSERT INTO retail.sales (order_id, product_id, cust_name, product, customer_id, quantity, price, discount,
    shipping_cost, order_date_at, city, province, country) VALUES
  (900001, 1, E'Müller\\n& Söhne', '50% "off"', 900001, 1, 0.10, 0.05, NULL,
    '2026-11-09 23:59:59.999999Z', E'\\u00A0', '', ' '),
  (900001, 2, E'Müller\\n& Söhne', NULL, 900001, 1, 0.50, 0.05, 0.01,
    '2026-11-09 23:59:59.999999Z', 'Köln', 'NRW', 'Germany'),
  (900001, 3, 'Müller', '', 900001, 3, 0.30, 0.0500, 0, '2024-02-29Z', 'köln', 'NRW', 'Germany'),
  (900001, 4, 'Müller', 'Nothing yet', 900001, 0, 1.10, 0.05, 0, '2026-11-09Z', 'Köln', 'NRW', 'Germany'),
  (900002, 1, 'Absurd', '_%', 900002, 2147483647, 9999999999999999.99, 99999.9999, 0, '2026-11-09Z', 'X', 'Y', 'Z');
"""
"""Half cents of discount (0.005, 0.025, 0.045), leap days, birthdays today and tomorrow, blanks that TRIM keeps, two
spellings of a city, an order line beyond a billion, and a date that no column of RAW can have."""

SECOND = """
UPDATE edtech.students SET last_name = 'Ünder', enrollment_date = '2024-03-01' WHERE student_id = 9001;
UPDATE edtech.students SET deleted_at = '2026-11-10 13:00Z' WHERE student_id = 9002;
DELETE FROM edtech.students WHERE student_id = 9004;
UPDATE edtech.courses SET end_date = '2026-11-12' WHERE course_id = 9001;
UPDATE retail.sales SET deleted_at = '2026-11-10 13:00Z' WHERE (order_id, product_id) = (900001, 3);
UPDATE retail.sales SET discount = 0.15, city = 'Bonn' WHERE (order_id, product_id) = (900001, 1);
UPDATE retail.sales SET quantity = 1 WHERE (order_id, product_id) = (900001, 4);
INSERT INTO retail.sales (order_id, product_id, quantity, price, discount, customer_id, order_date_at)
  VALUES (900003, 1, 1, 0.70, 0.05, 900001, '2010-01-01Z');
"""
"""Corrections, also of rejected rows, soft deletes, one hard delete, and an order line that arrives years late."""

SNOWFLAKE_TYPES = {
    "INT": "DECIMAL(38, 0)",
    "BIGINT": "DECIMAL(38, 0)",
    "VARCHAR": "VARCHAR(16777216)",
    "TIMESTAMPNTZ": "TIMESTAMPNTZ(9)",
}
"""How Snowflake reports a type that is declared so, as SQLGlot writes it. The emulator reports it for any length or
fraction of a second: only the kind of type is proved, and of NUMBER the precision and scale."""


@dataclass(frozen=True)
class Relation:
    """A model on one gateway: types as declared and as the engine reports them, positions of the key, and rows."""

    declared: dict[str, exp.DataType]
    reported: dict[str, exp.DataType]
    key: list[int]
    rows: list[list[str]]


Warehouse = dict[str, Relation]


def set_clock(sources: SourceDatabase, at: datetime) -> None:
    """Stop the clock of the sources: loads into both warehouses then read the same rows, though at different times."""
    for name in ("updated", "created"):
        value = f"'{at}'" if name == "updated" else f"CASE TG_OP WHEN 'INSERT' THEN '{at}' ELSE OLD.created_at END"
        sources.execute(
            f"""
            CREATE OR REPLACE FUNCTION meshflow.set_{name}_at() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW.{name}_at := {value}; RETURN NEW; END $$
            """
        )


@pytest.fixture(scope="module")
def warehouses(
    project: Path, postgres: Server, snowflake: Snowflake, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Warehouse, Warehouse]:
    """DuckDB's and Snowflake's, after a load, a plan, corrections, a load with a reconciliation, and a run."""
    sources = SourceDatabase.new(postgres)
    workspaces = {
        gateway: Workspace.copy_of(project, tmp_path_factory.mktemp(gateway), new_state(postgres))
        for gateway in ("live", "snowflake")
    }
    for workspace in workspaces.values():
        # The models' clock is the engine's otherwise, and no student would grow up tomorrow.
        workspace.edit(
            "config.yaml", "  project: meshflow\n", f"  project: meshflow\n  as_of_date: '{RUN_AT:%Y-%m-%d}'\n"
        )
    set_clock(sources, WRITTEN_AT)
    write(sources, seed=1)
    sources.execute(FIRST)
    set_clock(sources, PLANNED_AT)
    for gateway, workspace in workspaces.items():
        with session(sources.loader_url, gateway, workspace.data, 0, JsonReporter(), at=PLANNED_AT) as opened:
            assert opened
            assert load_tables(opened, JsonReporter())
        with closing(workspace.context(gateway)) as context:
            context.plan("prod", execution_time=PLANNED_AT, auto_apply=True, no_prompts=True, skip_tests=True)
    set_clock(sources, CORRECTED_AT)
    write(sources, seed=2)
    sources.execute(SECOND)
    set_clock(sources, RUN_AT)
    for gateway, workspace in workspaces.items():
        with session(sources.loader_url, gateway, workspace.data, 0, JsonReporter(), at=RUN_AT) as opened:
            assert opened
            assert reconcile_all(opened, JsonReporter(), repair=True)
    duckdb, on_snowflake = (dict(after_run(workspace, gateway)) for gateway, workspace in workspaces.items())
    return duckdb, on_snowflake


def after_run(workspace: Workspace, gateway: str) -> Iterator[tuple[str, Relation]]:
    """Run prod, then yield every model that has a view in prod."""
    with closing(workspace.context(gateway)) as context:
        run(context, RUN_AT)
        for model in context.models.values():
            if not model.kind.is_external:
                view = exp.to_table(model.fqn, dialect="snowflake")
                rows = context.engine_adapter.fetchall(exp.select("*").from_(view), quote_identifiers=True)
                yield (
                    model.name,
                    Relation(
                        model.columns_to_types_or_raise,
                        context.engine_adapter.columns(view),
                        key_positions(model),
                        [[text(cell) for cell in row] for row in rows],
                    ),
                )


def text(cell: Any) -> str:
    """The cell as text in which 1, 1.0, Decimal('1.00'), True and '1' differ.

    An integral Decimal becomes an integer, because only DuckDB returns NUMBER(38, 0) as Decimal.
    """
    return repr(int(cell) if isinstance(cell, Decimal) and cell.as_tuple().exponent == 0 else cell)


def key_positions(model: Model) -> list[int]:
    """The positions of the columns of its grain; without a grain, of all columns."""
    columns = list(model.columns_to_types_or_raise)
    grain = [column.name.upper() for grain in model.grains for column in grain.find_all(exp.Column)]
    return [columns.index(name) for name in grain] or list(range(len(columns)))


def differences(name: str, duckdb: Relation, snowflake: Relation) -> list[str]:
    """Rows that only one has, and cells that differ: model, key, column and both values. Empty if all are equal."""
    if Counter(map(tuple, duckdb.rows)) == Counter(map(tuple, snowflake.rows)):
        return []
    found = [f"{name}: {len(duckdb.rows)} rows on DuckDB, {len(snowflake.rows)} on Snowflake"]
    left, right = (
        {tuple(row[i] for i in relation.key): row for row in relation.rows} for relation in (duckdb, snowflake)
    )
    found += [f"{name} ({', '.join(key)}): only on DuckDB" for key in left.keys() - right.keys()]
    found += [f"{name} ({', '.join(key)}): only on Snowflake" for key in right.keys() - left.keys()]
    for key in left.keys() & right.keys():
        for column, one, other in zip(duckdb.declared, left[key], right[key], strict=True):
            if one != other:
                found.append(f"{name} ({', '.join(key)}), {column}: {one} on DuckDB, {other} on Snowflake")
    return [found[0], *sorted(found[1:])]


def test_every_cell_of_every_model_is_equal(warehouses: tuple[Warehouse, Warehouse]) -> None:
    duckdb, snowflake = warehouses
    assert duckdb.keys() == snowflake.keys()
    found = [line for name in duckdb for line in differences(name, duckdb[name], snowflake[name])[:5]]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_every_column_has_the_declared_type_in_the_declared_order(warehouses: tuple[Warehouse, Warehouse]) -> None:
    duckdb, snowflake = warehouses
    for name in duckdb:
        declared = type_names(duckdb[name].declared)
        assert declared == type_names(snowflake[name].declared), name
        assert type_names(duckdb[name].reported, "duckdb") == type_names(duckdb[name].declared, "duckdb"), name
        expected = [(column, SNOWFLAKE_TYPES.get(type_, type_)) for column, type_ in declared]
        assert type_names(snowflake[name].reported) == expected, name


def type_names(types: dict[str, exp.DataType], dialect: str = "snowflake") -> list[tuple[str, str]]:
    return [(column, type_.sql(dialect)) for column, type_ in types.items()]


def test_the_rows_contain_values_on_which_engines_may_disagree(warehouses: tuple[Warehouse, Warehouse]) -> None:
    """Otherwise the two tests above prove little."""
    _, snowflake = warehouses

    def cells(model: str, column: str, key: int) -> list[str]:
        relation = snowflake[model]
        return sorted(row[list(relation.declared).index(column)] for row in relation.rows if row[0] == str(key))

    # Nothing has been recorded: these are plans of SQLMesh itself.
    unrecorded = {"staging.stg_run_log__events"} | {
        f"ops.{name}" for name in ("audit_results", "failing_models", "loads", "model_freshness", "model_runs", "runs")
    }
    assert {name for name, relation in snowflake.items() if not relation.rows} == unrecorded
    discounts = cells("retail.fct_sales", "TOTAL_DISCOUNT_AMOUNT", 900001)
    assert discounts == ["Decimal('0.02')", "Decimal('0.03')", "Decimal('0.06')"], "0.015, 0.025 and 0.055, rounded"
    assert "amount_out_of_range" in cells("quarantine.retail_sales", "REJECT_REASONS", 900002)[0]
    ages = [cells("edtech.dim_student", "AGE_YEARS", student) for student in (9001, 9002, 9004, 9005)]
    assert ages == [["18"], [], [], ["17"]]
    assert len(cells("history.hist_student", "VALID_FROM", 9001)) == 2
