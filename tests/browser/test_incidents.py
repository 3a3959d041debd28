"""Operations go wrong, one incident after the other, on a real source, loader, run and page.

After each, run history, freshness, job summary, alert and dashboards agree with the truth. Then all are green again by
themselves. Loads are dated: the first one four hours back, the others ten minutes apart. The clock is the real one.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import psycopg
import pytest
from playwright.sync_api import Page
from sources import SourceDatabase, new_state
from test_dashboards import PAGES, dashboards, open_page, picture
from workspace import Workspace

from meshflow.catalog.operations import read_operations
from meshflow.loading.load import load_tables, session
from meshflow.loading.report import JsonReporter
from meshflow.source.server import Server
from meshflow.source.traffic import write_batch

MESHFLOW = Path(sys.executable).with_name("meshflow")
PLANNED = timedelta(hours=4)
"""How long nothing has been loaded before the first run: twice the service level."""
KILLED_RUN = """
import os, signal
from meshflow.runs import RecordedContext, RecordedScheduler
RecordedScheduler.run_merged_intervals = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
RecordedContext(paths=".", gateway="live").run("prod", skip_janitor=True)
"""
SALES_PAGES = {"Retail", "Data quality", "Runs"}
"""The pages that read the order lines."""


@dataclass
class Operations:
    """Prod on gateway `live`, as `meshflow ci run` and `meshflow freshness` see it."""

    source: SourceDatabase
    workspace: Workspace
    began_at: datetime

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MESHFLOW_", "GITHUB_"))}
        files = {name: str(self.workspace.root / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        return inherited | self.workspace.environment | self.source.environment | files

    def meshflow(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [MESHFLOW, *arguments],
            cwd=self.workspace.path,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def generate(self, sales: int, seed: int) -> None:
        with psycopg.connect(self.source.url) as connection:
            random = np.random.default_rng(seed)
            write_batch(connection, random, sales=sales, fault_rate=0, now=datetime.now(UTC), days=20)

    def load(self, step: int) -> bool:
        """Load all tables, dated. Returns whether all were loaded."""
        at = self.began_at - timedelta(minutes=100 - 10 * step) if step else self.began_at - PLANNED
        reporter = JsonReporter()
        with session(self.source.loader_url, "live", self.workspace.data, 30, reporter, at=at) as opened:
            assert opened
            return load_tables(opened, reporter)

    def run(self) -> tuple[int, str, str]:
        """`meshflow ci run`: its status, summary and, for an alert, incident."""
        for name in ("github_output", "github_step_summary"):
            (self.workspace.root / name).unlink(missing_ok=True)
        done = self.meshflow("ci", "run", "--gateway", "live")
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        summary, output = (self.workspace.root / name for name in ("github_step_summary", "github_output"))
        found = (
            re.search(r"^incident<<(\S+)\n(.*)\n\1$", output.read_text(), re.MULTILINE | re.DOTALL)
            if output.exists()
            else None
        )
        return done.returncode, summary.read_text() if summary.exists() else done.stderr, found[2] if found else ""

    def late(self) -> list[str]:
        """The models that `meshflow freshness` calls late."""
        done = self.meshflow("freshness", "prod", "--gateway", "live", "--json")
        found = json.loads(done.stdout)
        assert done.returncode == found["late"], done.stderr
        return [one["model"] for one in found["models"] if one["late"]]

    def catalog(self) -> tuple[set[str], set[str]]:
        """The models that the catalog shows as failed in their last run, and as late."""
        now = datetime.now(UTC)
        found = read_operations("live", "prod", self.workspace.data, now).models.items()
        late = {model for model, one in found if one.late_at and one.late_at < now.replace(tzinfo=None).isoformat()}
        return {model for model, one in found if one.status == "failed"}, late

    def query(self, sql: str) -> list[tuple]:
        with closing(duckdb.connect()) as connection:
            for name in ("RAW", "ANALYTICS"):
                file = self.workspace.data / f"live_{name.lower()}.duckdb"
                connection.execute(f"ATTACH '{file}' AS {name} (READ_ONLY)")
            connection.execute("USE ANALYTICS")
            return connection.execute(sql).fetchall()

    def last_run(self) -> tuple:
        return self.query("SELECT status, failed_models FROM ops.runs ORDER BY started_at DESC LIMIT 1")[0]


@pytest.fixture(scope="module")
def operations(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operations]:
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("operations"), new_state(postgres))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.path)  # loads read the contract there
        yield Operations(SourceDatabase.new(postgres), workspace, datetime.now(UTC))


@pytest.fixture(scope="module")
def address(operations: Operations) -> Iterator[str]:
    """The address of dashboards on prod, which the first plan builds."""
    operations.generate(300, seed=1)
    assert operations.load(0)
    planned = operations.meshflow("plan", "prod", "--auto-apply", "--skip-tests", "--gateway", "live")
    assert planned.returncode == 0, planned.stderr
    with dashboards(operations.workspace.data) as address:
        yield address


@pytest.fixture
def notices(page: Page, address: str) -> Callable[[], dict[str, list[str]]]:
    """The boxes that each page shows now because something is wrong."""

    def read() -> dict[str, list[str]]:
        found = {}
        for title in PAGES:
            open_page(page, address, title)
            assert page.get_by_test_id("stException").count() == 0
            # Not those that say why a panel is empty.
            found[title] = page.get_by_test_id("stAlert").filter(has_text="ee docs/runbooks/").all_inner_texts()
        return {title: texts for title, texts in found.items() if texts}

    return read


Notices = Callable[[], dict[str, list[str]]]


def assert_green(operations: Operations, notices: Notices) -> None:
    assert operations.late() == []
    assert operations.query("SELECT * FROM ops.failing_models") == []
    assert operations.catalog() == (set(), set())
    assert notices() == {}


def test_while_no_job_runs_everything_says_that_data_is_late(operations: Operations, notices: Notices) -> None:
    late = operations.late()
    assert {"retail.fct_sales", "edtech.fct_enrollment"} <= set(late)
    assert operations.last_run() == ("succeeded", None)
    shown = notices()
    assert set(shown) == set(PAGES)
    for texts in shown.values():
        assert "Data in prod is late: " in texts[0]
        assert re.search(
            r" since .* \([12] hours? ago\)\. .* keeps it behind\. See docs/runbooks/late-data\.md\.", texts[0]
        ), texts
    assert set(late) == {model for (model,) in operations.query(LATE)} == operations.catalog()[1]


LATE = "SELECT model FROM ops.model_freshness WHERE late_at < CURRENT_TIMESTAMP AT TIME ZONE 'UTC'"


def test_the_next_load_and_run_make_everything_green(operations: Operations, notices: Notices) -> None:
    operations.generate(10, seed=2)
    assert operations.load(1)
    status, summary, _ = operations.run()
    assert (status, operations.last_run()) == (0, ("succeeded", None)), summary
    assert summary.startswith("### Run of prod: succeeded")
    assert_green(operations, notices)


def test_a_warning_is_listed_and_stops_nothing(
    operations: Operations, notices: Notices, page: Page, address: str
) -> None:
    operations.source.execute("UPDATE retail.sales SET price = 0 WHERE ctid = (SELECT MIN(ctid) FROM retail.sales)")
    assert operations.load(2)
    status, summary, _ = operations.run()
    assert (status, operations.last_run()) == (0, ("succeeded", None))
    assert "| `forall_non_blocking` | `NOT is_free" in summary
    assert_green(operations, notices)
    open_page(page, address, "Runs")
    page.get_by_text("forall_non_blocking on intermediate.int_retail__sales_validated: 1 rows, warned").click()
    assert "IS_FREE" in page.get_by_test_id("stCode").first.inner_text()


def test_with_nothing_due_everything_stays_green(operations: Operations, notices: Notices) -> None:
    status, summary, _ = operations.run()
    assert (status, summary.strip()) == (0, "### Run of prod: nothing was due")
    assert operations.last_run() == ("nothing_due", None)
    assert_green(operations, notices)


def test_a_failed_audit_is_on_the_pages_that_it_concerns_until_the_rows_are_right(
    operations: Operations, notices: Notices, page: Page, address: str
) -> None:
    operations.source.execute("UPDATE retail.sales SET deleted_at = now() WHERE order_id % 2 = 0")
    assert operations.load(3)
    model, audit = "staging.stg_retail__sales", "max_deletion_rate"
    for failed_runs in (1, 2):
        status, summary, incident = operations.run()
        assert (status, operations.last_run()) == (1, ("failed", model))
        assert incident.startswith(
            f"Failed: `{model}` (`{audit}`)\n\n- `{model}` (owner `data_platform`) has failed since "
        )
        assert "found 1 row. Compare with the source." in incident
        assert summary.startswith(f"### Run of prod: failed\n\n- `{model}` ")
        found = operations.query("SELECT model, audits, row_count, failed_run_count FROM ops.failing_models")
        assert found == [(model, audit, 1, failed_runs)]
        assert operations.catalog() == ({model}, set())
    [(query,)] = operations.query(
        f"SELECT query FROM ops.audit_results WHERE audit = '{audit}' AND row_count > 0 LIMIT 1"
    )
    assert len(operations.query(query)) == 1, "the query of the audit returns the row that it found"
    assert operations.late() == [], "it isn't late yet"
    other = ("--select-model", "intermediate.int_edtech__courses_validated")
    assert operations.meshflow("run", "prod", "--gateway", "live", *other).returncode == 0
    operations.workspace.edit(
        "models/retail/rpt_revenue_daily.sql", "'One row per day and location", "'One row per day and per location"
    )
    planned = operations.meshflow("plan", "prod", "--auto-apply", "--skip-tests", "--gateway", "live")
    assert planned.returncode == 0, planned.stderr
    last = operations.query("SELECT command, status FROM ops.runs ORDER BY started_at DESC LIMIT 1")
    assert last == [("plan", "succeeded")]
    shown = notices()
    for title in SALES_PAGES:
        assert f"{model} in prod has failed since " in shown[title][0], shown
        assert f"in 2 runs: audit {audit} found 1 row; see docs/runbooks/failed-audit.md." in shown[title][0]
    assert not any("failed" in text for text in shown.get("EdTech", []))
    open_page(page, address, "Runs")
    picture(page, "runs_failed")

    operations.source.execute("UPDATE retail.sales SET deleted_at = NULL")
    assert operations.load(4)
    status, summary, incident = operations.run()
    assert (status, incident) == (0, ""), summary
    assert_green(operations, notices)


def test_a_rejected_table_shows_among_the_loads(
    operations: Operations, notices: Notices, page: Page, address: str
) -> None:
    operations.source.execute("REVOKE SELECT ON retail.sales FROM loader")
    assert not operations.load(5)
    status, summary, incident = operations.run()
    assert (status, incident) == (0, ""), "the models of the other source are computed"
    assert "retail.fct_sales" not in summary
    attempts = "SELECT status FROM ops.loads WHERE source_table = '{}' ORDER BY started_at DESC LIMIT 1"
    assert operations.query(attempts.format("retail.sales")) == [("rejected",)]
    assert operations.query(attempts.format("edtech.courses")) == [("finished",)]
    open_page(page, address, "Runs")
    assert page.get_by_text("rejected", exact=True).count() > 0, "the legend of the loads"
    assert_green(operations, notices)  # sales aren't late yet
    operations.source.execute("GRANT SELECT ON retail.sales TO loader")
    assert operations.load(6)
    assert operations.run()[0] == 0
    assert_green(operations, notices)


def test_a_killed_run_is_on_every_page_until_the_next_one(operations: Operations, notices: Notices) -> None:
    operations.generate(10, seed=3)
    assert operations.load(7)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN], cwd=operations.workspace.path, env=operations.environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    shown = notices()
    for title in PAGES:
        assert any(re.search(r"The last run of prod, started .*, was killed\.", text) for text in shown[title]), shown
    assert operations.run()[0] == 0
    assert ("killed",) in operations.query("SELECT status FROM ops.runs")
    assert_green(operations, notices)


def test_a_run_beside_a_plan_fails_in_one_line_and_leaves_no_record(operations: Operations, notices: Notices) -> None:
    before = operations.query("SELECT COUNT(*) FROM ops.runs")
    operations.load(8)
    with closing(duckdb.connect(str(operations.workspace.data / "live_analytics.duckdb"))):
        status, summary, incident = operations.run()
    assert status == 1
    assert summary.startswith("### Run of prod: failed")
    assert incident.startswith("Failed: ")
    assert operations.query("SELECT COUNT(*) FROM ops.runs") == before
    assert_green(operations, notices)
    assert operations.run()[0] == 0
    assert_green(operations, notices)


def test_a_killed_load_shows_as_killed_after_the_next_one(operations: Operations, notices: Notices) -> None:
    code = (
        "import os, signal, sys; from meshflow.loading import destination; from meshflow.cli import main; "
        "destination.Destination.write = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL); main(['load'])"
    )
    operations.generate(5, seed=4)
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=operations.workspace.path, env=operations.environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    status, summary, incident = operations.run()
    assert (status, incident) == (0, ""), summary
    assert_green(operations, notices)  # nothing of it is in RAW, and nothing late yet
    done = operations.meshflow("load")
    assert done.returncode == 0, done.stderr
    assert operations.run()[0] == 0
    assert ("killed",) in operations.query("SELECT DISTINCT status FROM ops.loads")
    assert_green(operations, notices)
