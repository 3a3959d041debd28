"""How far each model has processed its sources: which tables count, and days that pass in minutes."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
import pytest
from loads import RecordingReporter, without_time_cursor
from sources import SourceDatabase, new_state
from sqlmesh.core.context import Context
from sqlmesh.utils.date import to_timestamp
from sqlmesh.utils.yaml import load as load_yaml
from workspace import Workspace, plan, run

from meshflow.freshness import Freshness, ends, processed_until, read_freshness, service_levels
from meshflow.loading.load import load_tables, session
from meshflow.source.server import Server

NINE, TEN, ELEVEN = (datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (9, 10, 11))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

MODELS = (
    "staging/stg_retail__sales.sql", "intermediate/ref_bound.sql", "intermediate/int_retail__sales_validated.sql",
    "intermediate/int_retail__customers_derived.sql", "retail/fct_sales.sql", "retail/dim_customer.sql",
    "intermediate/int_retail__sales_aggregated.sql", "shared/dim_location.sql", "shared/ref_province.sql",
)  # fmt: skip
"""What `retail.fct_sales` reads, and two more stored tables that read its table."""

DAYS = int(os.environ.get("MESHFLOW_DAYS") or 1)
SELLING_HOURS = (8, 9, 14, 20)
"""Of a day. A run of an hour with rows takes three times as long."""

DAILY = """
MODEL (
  name ops.lines_counted,
  kind FULL,
  owner data_platform,
  cron '@daily',
  grain line_count,
  tags (ops),
  description 'One row per day.',
  audits (unique_combination_of_columns(columns := line_count))
);

SELECT
  COUNT(*)::INT AS line_count /* Number of order lines */
FROM retail.fct_sales
"""
DAILY_TEST = """
test_lines_counted:
  model: ops.lines_counted
  inputs: {retail.fct_sales: {rows: [{order_id: 1}]}}
  outputs: {query: {rows: [{line_count: 1}]}}
"""


def own_ends(context: Context, *, is_loaded: bool) -> dict[str, str]:
    """The tables that have an end of their own, with when more is due, if nothing has ever been loaded or processed."""
    found = ends(context.snapshots, dict.fromkeys(context.snapshots, ()), {} if is_loaded else None)
    return {
        end.table: "at once" if end.due == end.until else f"{end.due - end.until}"
        for read in found.values()
        for end in read
    }


def test_stored_tables_and_their_sources_can_be_late(live_project: Context) -> None:
    """Not views, nor reference data: a minimum must not include what never moves."""
    found = own_ends(live_project, is_loaded=True)
    assert {table for table, due in found.items() if due == "at once"} == {
        "raw.edtech.students",
        "raw.edtech.courses",
        "raw.edtech.enrollments",
        "raw.retail.sales",
        "intermediate.int_edtech__students_validated",
        "intermediate.int_edtech__courses_validated",
        "intermediate.int_edtech__enrollments_ranked",
        "intermediate.int_edtech__student_versions",
        "intermediate.int_edtech__course_versions",
        "intermediate.int_retail__sales_validated",
        "intermediate.int_retail__sales_aggregated",
        "intermediate.int_retail__customers_derived",
        "intermediate.int_retail__customer_versions",
    }
    assert found["ops.row_reconciliation"] == "1 day, 0:00:00"
    assert found["ops.source_reconciliation"] > "1000 days", "it waits for a reconciliation, which is weekly"


def test_without_a_load_log_the_sources_do_not_count(live_project: Context) -> None:
    assert not {table for table in own_ends(live_project, is_loaded=False) if table.startswith("raw.")}


@pytest.mark.parametrize(
    ("newest_load", "newest_load_with_rows", "until"),
    [
        (ELEVEN, NINE, ELEVEN),  # nothing to process since ten
        (ELEVEN, None, ELEVEN),
        (ELEVEN, TEN, TEN),  # rows wait
        (ELEVEN, ELEVEN, TEN),
        (NINE, NINE, TEN),  # loads have stopped
    ],
)
def test_a_table_without_waiting_rows_is_processed_until_the_newest_load(
    newest_load: datetime, newest_load_with_rows: datetime | None, until: datetime
) -> None:
    intervals = [(to_timestamp(NINE), to_timestamp(TEN))]
    assert processed_until(intervals, [(newest_load, newest_load_with_rows)]) == until


def test_the_source_that_is_furthest_behind_counts() -> None:
    intervals = [(to_timestamp(NINE), to_timestamp(TEN))]
    assert processed_until(intervals, [(ELEVEN, NINE), (TEN, NINE)]) == TEN
    assert processed_until(intervals, [(ELEVEN, NINE), (ELEVEN, TEN)]) == TEN


def test_a_gap_that_a_failed_restatement_leaves_ends_what_is_processed() -> None:
    intervals = [(to_timestamp(NINE - HOUR), to_timestamp(NINE)), (to_timestamp(TEN), to_timestamp(ELEVEN))]
    assert processed_until(intervals, [(ELEVEN, None)]) == NINE


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("2", "is 2: set hours by schema"),
        ("{default: -1}", "has -1 for default: set the hours"),
        ("{default: soon}", "has 'soon' for default"),
        ("{default: true}", "has True for default"),
        ("{default: .nan}", "has nan for default"),
        ("{retial: 2}", "has 'retial': choose from default, edtech, history"),
    ],
)
def test_the_error_names_a_wrong_service_level(live_project: Context, levels: str, message: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(live_project.config.variables, "freshness_hours", load_yaml(f"levels: {levels}")["levels"])
        with pytest.raises(click.ClickException, match=message):
            service_levels(live_project)


@dataclass
class Shop:
    """A shop with an hourly load and an hourly run, on a clock that only moves forward."""

    workspace: Workspace
    source: SourceDatabase
    context: Context
    at: datetime
    """The next full hour."""

    def load(self, at: datetime) -> None:
        with session(self.source.loader_url, "live", self.workspace.data, 30, RecordingReporter(), at=at) as opened:
            assert opened
            assert load_tables(opened, RecordingReporter(), only=["retail.sales"])

    def run(self, at: datetime) -> None:
        run(self.context, at)
        self.context.engine_adapter.close()  # or the next load couldn't open RAW

    def hour(self, *, sells: bool = True, loads: bool = True, runs: bool = True) -> None:
        """Let an hour pass, with the jobs of the crontab just after it has begun."""
        if sells:
            self.source.execute("UPDATE retail.sales SET quantity = 3 - quantity")
        if loads:
            self.load(self.at + MINUTE)
        if runs:
            self.run(self.at + 2 * MINUTE)
        self.at += HOUR

    def freshness(self) -> dict[str, Freshness]:
        return read_freshness(self.context, "prod")

    def late(self, at: datetime) -> dict[str, str]:
        """The models that are late at that time, with the table that keeps them behind."""
        return {name: one.laggard(at).table for name, one in self.freshness().items() if one.is_late(at)}


@pytest.fixture(scope="module")
def shop(built: Workspace, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Prod of a few models, built in this hour from a source with one order line."""
    workspace = built.clone(tmp_path_factory.mktemp("shop"), new_state(postgres), data=False)
    models = workspace.path / "models"
    for file in {path for path in models.rglob("*.*") if path.is_file()} - {models / file for file in MODELS}:
        file.unlink()
    (workspace.path / "tests/models/ops/test_lines_counted.yaml").write_text(DAILY_TEST, encoding="utf-8")
    (models / "ops" / "lines_counted.sql").write_text(DAILY, encoding="utf-8")
    source = SourceDatabase.new(postgres)
    without_time_cursor(source)  # by updated_at, a load reads the last seconds again, and these hours take no longer
    source.execute(
        "INSERT INTO retail.sales (order_id, product_id, customer_id, quantity, price, order_date_at) "
        "VALUES (1, 1, 1, 1, 9.99, '2026-01-01')"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (workspace.environment | source.environment).items():
            patch.setenv(name, value)
        patch.chdir(workspace.path)
        now = datetime.now(UTC)
        with closing(workspace.context("live")) as context:
            shop = Shop(workspace, source, context, now.replace(minute=0, second=0, microsecond=0) + HOUR)
            shop.load(now)
            plan(context, "prod")
            context.engine_adapter.close()
            yield shop


def test_days_of_hourly_runs_with_nights_without_rows_are_never_late(shop: Shop) -> None:
    """One day takes a minute. `make chaos-long` lets three pass."""
    shop.hour()
    for _ in range(DAYS * 24):
        shop.hour(sells=shop.at.hour in SELLING_HOURS)
        just_before_the_next_run = shop.at + 2 * MINUTE
        assert shop.late(just_before_the_next_run) == {}
        assert shop.freshness()["retail.fct_sales"].until >= shop.at - HOUR


def test_a_missed_run_makes_late_what_it_would_have_written_and_the_next_one_recovers(shop: Shop) -> None:
    shop.hour()
    processed = shop.at - HOUR
    shop.hour(runs=False)
    assert shop.late(processed + 2 * HOUR) == {}
    late = shop.late(processed + 2 * HOUR + MINUTE)
    assert late.keys() > {"retail.fct_sales", "retail.dim_customer"}
    assert set(late.values()) == {"intermediate.int_retail__sales_validated"}, "not what reads it"
    shop.hour()
    assert shop.late(shop.at) == {}


def test_a_missed_run_without_rows_to_process_makes_nothing_late(shop: Shop) -> None:
    shop.hour()
    shop.hour(sells=False)
    shop.hour(sells=False, runs=False)
    assert shop.late(shop.at) == {}


@pytest.mark.parametrize("sells", [True, False])
def test_a_missed_load_makes_late_what_reads_its_table_and_the_next_one_recovers(shop: Shop, *, sells: bool) -> None:
    shop.hour()
    shop.hour(sells=sells)
    loaded = shop.at - HOUR + MINUTE
    shop.hour(sells=sells, loads=False)
    assert shop.late(loaded + 2 * HOUR - 2 * MINUTE) == {}
    late = shop.late(loaded + 2 * HOUR + MINUTE)
    assert late.keys() > {"retail.fct_sales", "retail.dim_customer", "staging.stg_retail__sales"}
    assert set(late.values()) == {"raw.retail.sales"}, "not what waits for its load"
    shop.hour()
    assert shop.late(shop.at) == {}


def test_a_daily_table_is_late_a_day_after_the_hourly_ones(shop: Shop) -> None:
    shop.hour()
    ran = shop.at - HOUR
    daily, midnight = shop.freshness()["ops.lines_counted"], ran.replace(hour=0) + 24 * HOUR
    assert daily.until <= ran
    assert daily.first_due.table == "raw.retail.sales", "the tables between wait for its next load"
    own = next(end for end in (daily.oldest, daily.first_due) if end.table == "ops.lines_counted")
    assert own.due == midnight
