"""The scheduled run of prod: under the prod lock, on the models of the checkout, with correct counts in its summary."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import click
import pytest
from sources import new_state
from sqlmesh.core.console import get_console
from sqlmesh.core.context import Context
from sqlmesh.core.snapshot import SnapshotEvaluator
from workspace import Workspace, recorded, table_writes

from meshflow.ci.lock import prod_lock
from meshflow.ci.run import Outcome, run, run_prod, summary
from meshflow.failures import LOG
from meshflow.remedies import REMEDIES
from meshflow.runs import AuditRun, Record
from meshflow.source.server import Server

HOURS = 24
"""Hours since the last run of prod. Daily models are due at any time of day, too."""

FRESHNESS = "models/ops/table_freshness.sql"


@pytest.fixture(scope="module")
def outdated(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose prod was built a day ago."""
    workspace = built.clone(tmp_path_factory.mktemp("outdated"), data=False)
    context = workspace.context()
    at = datetime.now(UTC) - timedelta(hours=HOURS)
    context.plan("prod", auto_apply=True, no_prompts=True, skip_tests=True, execution_time=at)
    context.close()
    return workspace


@pytest.fixture
def workspace(outdated: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    for name in ("MESHFLOW_STATE_HOST", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MESHFLOW_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    console = get_console()
    yield outdated.clone(tmp_path)
    assert get_console() is console, "the run restores the console"


def summary_text(outcome: Outcome) -> str:
    return summary(outcome)


def table(context: Context, model: str) -> str:
    """The table behind a model of prod."""
    return str(context.get_snapshot(model, raise_if_missing=True).table_name())


def test_a_run_reports_each_model_that_was_due_and_then_nothing_is_due(workspace: Workspace) -> None:
    outcome = run_prod(workspace.path, "local")
    text = summary_text(outcome)
    models = outcome.record.models
    kinds = [model.kind for model in workspace.context().models.values()]
    count = len([kind for kind in kinds if kind.is_incremental or kind.is_custom])
    incremental = [one for one in models.values() if one.intervals != 1]
    assert {one.intervals for one in incremental} <= {HOURS, HOURS + 1}, "the hour may change while the test runs"
    assert len(incremental) == count
    total = sum(one.intervals for one in models.values())
    assert text.startswith("### Run of prod: succeeded\n\n| warning |")
    assert f"\n{len(models)} models, {total} intervals, " in text
    assert "`retail.fct_sales` | 1 |" in text
    checks = "`region <> 'Unknown' where province <> 'Unknown'`"
    warning = f"`forall_non_blocking` | {checks} | `shared.dim_location`"
    assert f"| {warning} | 1 |" in text
    assert f"- `forall_non_blocking`: {REMEDIES['forall_non_blocking']}\n" in text
    again = run_prod(workspace.path, "local")
    assert not again.due or datetime.now(UTC).minute < 2, "the hour may change while the test runs"
    assert not again.failure
    if not again.due:
        assert summary_text(again) == "### Run of prod: nothing was due"
    runs = workspace.context().engine_adapter.fetchall("SELECT command, status FROM ops.runs ORDER BY started_at")
    assert runs == [("run", "succeeded"), ("run", "succeeded" if again.due else "nothing_due")]


def test_drift_between_prod_and_checkout_is_repaired_before_the_run_and_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    run(workspace.path, "local")
    message = "Prod differed from the checkout, so it was planned again: "
    assert f"::notice::{message}ops.table_freshness\n" in capsys.readouterr().out
    assert f"{message}`ops.table_freshness`." in (workspace.root / "summary.md").read_text()
    context = workspace.context()
    assert not context.plan_builder("prod", skip_tests=True).build().has_changes


def test_a_promotion_that_a_killed_deploy_left_unfinished_is_repeated(workspace: Workspace) -> None:
    workspace.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    context = workspace.context()
    with patch.object(SnapshotEvaluator, "promote", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        context.plan("prod", auto_apply=True, no_prompts=True, skip_tests=True)
    assert not context.state_reader.get_environment("prod").finalized_ts
    context.close()
    outcome = run_prod(workspace.path, "local")
    assert outcome.drift_repaired.startswith("A deploy was killed while it promoted prod")
    assert not outcome.failure
    context = workspace.context()
    assert context.state_reader.get_environment("prod").finalized_ts
    [(rows,)] = context.engine_adapter.fetchall("SELECT MIN(row_count - active_row_count) FROM ops.table_freshness")
    assert rows >= 1, "the view is that of the checkout"


def test_a_failed_blocking_audit_is_reported_with_its_model_and_the_skipped_models(workspace: Workspace) -> None:
    context = workspace.context()
    levels = table(context, "shared.ref_course_level")
    context.engine_adapter.execute(f"INSERT INTO {levels} SELECT * FROM {levels}")
    context.close()
    with pytest.raises(click.ClickException, match=r"^The run of prod has failed at edtech\.dim_course$"):
        run(workspace.path, "local")
    text = (workspace.root / "summary.md").read_text()
    assert text.startswith("### Run of prod: failed")
    [failure] = re.findall(r"^- `edtech.dim_course`.*$", text, re.MULTILINE)
    assert re.match(
        r"- `edtech\.dim_course` \(owner `learning_analytics`\) has failed since \d\d \w{3} 20\d\d \d\d:\d\d UTC: "
        r"audit `unique_combination_of_columns` of `course_id` found \d+ rows\. ",
        failure,
    ), failure
    assert f" {REMEDIES['unique_combination_of_columns']} (docs/runbooks/failed-audit.md)" in failure
    assert re.search(r"Skipped, because they read what failed: .*`edtech.rpt_student_credits`", text)
    assert text.index(failure) < text.index("| model | intervals |"), "failures come first"
    [written] = re.findall(
        r"^incident<<(\S+)\n(.*?)\n\1$", (workspace.root / "output").read_text(), re.MULTILINE | re.DOTALL
    )
    assert written[1].startswith(f"Failed: `edtech.dim_course` (`unique_combination_of_columns`)\n\n{failure}\n")
    assert "| `edtech.dim_course` | 1 |" not in text, "a failed model is not counted as processed"


def test_the_summary_contains_the_kind_of_an_error_and_not_its_values(workspace: Workspace) -> None:
    context = workspace.context()
    name = table(context, "shared.ref_course_level")
    context.engine_adapter.execute(f"DROP TABLE {name}")
    context.close()
    outcome = run_prod(workspace.path, "local")
    assert outcome.failure == "The run of prod has failed at edtech.dim_course"
    text = summary_text(outcome)
    failure = rf"^- `edtech\.dim_course` .* since .* UTC: .*CatalogException\. Full text: {LOG}\.$"
    assert re.search(failure, text, re.MULTILINE), text
    assert "does not exist" not in text


def test_a_plan_that_cannot_be_applied_fails_and_leaves_prod_unchanged(workspace: Workspace) -> None:
    workspace.edit(FRESHNESS, "last_updated_at::TIMESTAMPNTZ AS", "NULLIF(1, 1 / 0)::TIMESTAMPNTZ AS")
    workspace.edit(FRESHNESS, "source_table::VARCHAR AS", "NULL::VARCHAR AS")
    outcome = run_prod(workspace.path, "local")
    assert outcome.failure == "The run of prod has failed at ops.table_freshness"
    context = workspace.context()
    [(rows,)] = context.engine_adapter.fetchall("SELECT COUNT(source_table) FROM ops.table_freshness")
    assert rows == 4


def test_nothing_is_built_if_there_is_no_prod_yet(
    built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = built.clone(tmp_path, data=False)
    monkeypatch.setenv("MESHFLOW_DATA", str(workspace.data))
    with pytest.raises(click.ClickException, match="There is no prod yet"):
        run_prod(workspace.path, "local")
    assert workspace.context().state_reader.get_environment("prod") is None


def test_nothing_is_run_while_another_process_has_the_prod_lock(
    workspace: Workspace,
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in new_state(postgres).items():
        monkeypatch.setenv(name, value)
    with prod_lock("deploy #12") as lock, recorded() as statements:
        assert not isinstance(lock, str)
        with pytest.raises(click.ClickException, match=r"^Nothing was run: prod is locked by deploy #12 on "):
            run(workspace.path, "local")
    assert table_writes(statements) == []
    assert "prod is locked by deploy #12" in (workspace.root / "summary.md").read_text()
    output = (workspace.root / "output").read_text()
    assert "Failed: before the first model\n\n- Nothing was run: prod is locked by deploy #12" in output


def test_late_data_fails_a_run_that_has_computed_what_it_could(workspace: Workspace) -> None:
    config = workspace.path / "config.yaml"
    local = "freshness_hours: {}"
    assert local in config.read_text()
    workspace.edit("config.yaml", local, "freshness_hours: {retail: 0.000001}")
    with pytest.raises(click.ClickException, match=r"^\d+ of \d+ models of prod are late\. .* is furthest behind: "):
        run(workspace.path, "local")
    assert "### Run of prod: succeeded, but data is late\n\n" in (workspace.root / "summary.md").read_text()
    assert "\nLate: data of prod\n\n- " in (workspace.root / "output").read_text()


def test_rows_are_summed_over_batches_and_unknown_if_the_engine_does_not_report_them(workspace: Workspace) -> None:
    context = workspace.context()
    sales = context.get_snapshot("intermediate.int_retail__sales_validated", raise_if_missing=True)
    view = context.get_snapshot("retail.fct_sales", raise_if_missing=True)
    record, hour = Record(), timedelta(hours=1)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for batch, rows in enumerate([5, None, 7]):
        record.computed(sales, (start + 2 * batch * hour, start + 2 * (batch + 1) * hour), rows)
    record.computed(view, (start, start + 9 * hour), None)
    record.audits[sales.name, "not_null", "columns := order_id"] = AuditRun(is_blocking=True)
    record.audits[sales.name, "forall_non_blocking", "criteria := NOT is_free"] = AuditRun(is_blocking=False, rows=3)
    text = summary_text(Outcome(record))
    assert "2 models, 7 intervals, 12 rows written" in text
    assert "1 audit passed, 1 found rows." in text
    assert "| `intermediate.int_retail__sales_validated` | 6 | 12 | 0.0 | 1 | 1 |" in text
    assert "| `retail.fct_sales` | 1 |  | 0.0 | 0 | 0 |" in text
