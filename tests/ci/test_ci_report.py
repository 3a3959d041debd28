"""The report on a pull request: the plan, and the data diff against prod in correct counts."""

import html
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import click
import pytest
from sqlglot import exp
from sqlmesh.core.context import Context
from workspace import Workspace, recorded

from meshflow.ci import github
from meshflow.ci import report as module
from meshflow.ci.diff import Comparison, Difference, compare, comparison_query
from meshflow.ci.plan import load_bot
from meshflow.ci.report import MAX_REPORT_CHARACTERS, describe_changes, report

pytest_plugins = ("pull_request",)

FRESHNESS = "models/ops/table_freshness.sql"
STUDENT = "models/pii/student.sql"
COMMIT = "abc1234" * 6


@pytest.fixture
def context(change: Workspace) -> Context:
    return change.context()


def build_environment(change: Workspace, client: Mock) -> tuple[Context, str]:
    """The project after the bot has built its environment, and the text of the comment."""
    bot, context = load_bot(change.path, "local", client)
    context.apply(bot.pr_plan)
    bot, context = load_bot(change.path, "local", client)
    text = describe_changes(context, bot.prod_plan_with_gaps, "pr_7", commit=COMMIT, budget="1 of 25 models")
    return context, html.unescape(text)


def counts(context: Context, before: str, after: str) -> tuple[int, ...]:
    """The numbers of `comparison_query` for two tables with key k and values a and b, given as rows."""
    for name, rows in (("before", before), ("after", after)):
        context.engine_adapter.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM (VALUES {rows}) AS t(k, a, b)")
    left, right = exp.to_table("before"), exp.to_table("after")
    [row] = context.engine_adapter.fetchall(comparison_query(left, right, ["k"], ["a", "b"]))
    return tuple(row)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("(1, 'x', 1.5)", "(1, 'x', 1.5)", (1, 1, 1, 0, 0, 0, 0, 0)),
        ("(1, 'x', 1.5), (2, 'y', 2)", "(1, 'z', 1.5), (3, 'y', 2)", (2, 2, 1, 1, 1, 1, 1, 0)),
        ("(1, NULL, 1), (2, 'y', NULL)", "(1, NULL, 1), (2, 'y', 3)", (2, 2, 2, 0, 0, 1, 0, 1)),
        ("(1, NULL, 1), (2, 'y', 2)", "(1, 'x', 3), (2, NULL, 2)", (2, 2, 2, 0, 0, 2, 2, 1)),
        ("(NULL::INT, 'x', 1)", "(NULL::INT, 'x', 2)", (1, 1, 1, 0, 0, 1, 0, 1)),
        ("(1, 'x', 1), (1, 'x', 1)", "(1, 'x', 1), (1, 'x', 1)", (2, 2, 4, 0, 0, 0, 0, 0)),
    ],
    ids=["equal", "added, removed, changed", "appears", "NULL to a value and back", "a NULL key", "duplicate key"],
)
def test_rows_are_counted_by_their_key(context: Context, before: str, after: str, expected: tuple[int, ...]) -> None:
    assert counts(context, before, after) == expected


def test_added_removed_and_changed_rows_are_reported_per_column(change: Workspace, client: Mock) -> None:
    change.edit(FRESHNESS, "source_table::VARCHAR AS", "REPLACE(source_table, 'courses', 'subjects')::VARCHAR AS")
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    change.edit(FRESHNESS, "_counted\n", "_counted\nWHERE source_table <> 'retail.sales'\n")
    _, text = build_environment(change, client)
    assert "| <code>ops.table_freshness</code> | directly modified, breaking |" in text
    row = "| <code>ops.table_freshness</code> | 4 | 3 | 1 | 2 | 2 | <code>row_count</code> 2 |"
    assert row in text
    assert "\n+  source_table <> 'retail.sales'\n" in text, "the text diff"
    assert "1 of 25 models" in text
    assert "<code>abc1234</code>" in text


def test_changes_of_personal_data_are_counted_and_neither_shown_nor_fetched(change: Workspace, client: Mock) -> None:
    change.edit(STUDENT, "email::VARCHAR AS email", "UPPER(email)::VARCHAR AS email")
    with recorded() as statements:
        context, text = build_environment(change, client)
    [(rows, changed)] = context.engine_adapter.fetchall(
        "SELECT COUNT(*), COUNT_IF(email <> UPPER(email)) FROM pii.student"
    )
    assert f"| <code>pii.student</code> | {rows} | {rows} | 0 | 0 | {changed} | <code>email</code> {changed} |" in text
    emails = [email for (email,) in context.engine_adapter.fetchall("SELECT email FROM pii.student") if email]
    assert emails
    assert not [email for email in emails if email.lower() in text.lower()]
    reads = [one for one in statements if "__meshflow_present" in one]
    assert len(reads) == 1, "one query per model"
    assert reads[0].startswith("SELECT * FROM (SELECT COUNT(*)")


def test_a_mart_is_compared_even_if_only_an_upstream_model_has_changed(change: Workspace, client: Mock) -> None:
    change.edit("models/staging/stg_edtech__courses.sql", "course_name::VARCHAR AS", "UPPER(course_name)::VARCHAR AS")
    context, text = build_environment(change, client)
    assert "| <code>staging.stg_edtech__courses</code> | directly modified, breaking |" in text
    assert "| <code>edtech.dim_course</code> | indirectly modified, breaking |" in text
    assert "No row differs in" in text
    data = text.split("**Data**")[1]
    [(rows,)] = context.engine_adapter.fetchall("SELECT COUNT(*) FROM edtech.dim_course")
    counted = f"{rows} | {rows} | 0 | 0 | {rows} | <code>course_name</code> {rows}"
    assert f"| <code>edtech.dim_course</code> | {counted} |" in data
    assert "int_edtech__courses_validated" not in data
    assert "staging.stg_edtech__courses</code> (it has no grain)" in data
    assert "Not compared: <code>history.hist_course</code> (forward-only: built when it is deployed)." in data


def test_added_and_removed_models_and_an_unchanged_pull_request_are_reported(change: Workspace, client: Mock) -> None:
    bot, context = load_bot(change.path, "local", client)
    unchanged = describe_changes(context, bot.prod_plan_with_gaps, "pr_7", commit=COMMIT)
    assert "nothing to build" in unchanged
    country = change.path / "models/retail/rpt_net_revenue_by_country.sql"
    text = country.read_text()
    country.unlink()
    (change.path / "models/retail/rpt_by_load.sql").write_text(
        text.replace("rpt_net_revenue_by_country", "rpt_by_load")
    )
    _, text = build_environment(change, client)
    assert "| <code>retail.rpt_by_load</code> | added |" in text
    assert "| <code>retail.rpt_net_revenue_by_country</code> | removed |" in text
    assert "Prod has no table to compare with." in text


def test_models_above_the_maximum_are_named_and_not_compared(change: Workspace, client: Mock) -> None:
    change.edit(STUDENT, "email::VARCHAR AS email", "UPPER(email)::VARCHAR AS email")
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    context, _ = build_environment(change, client)
    names = [context.get_model(name).fqn for name in ("pii.student", "ops.table_freshness")]
    found = compare(context, "pr_7", names, [], max_models=1)
    assert [one.model for one in found.differences] == ["ops.table_freshness"]
    assert found.skipped == {"pii.student": "more than 1 models"}


EVIL = "a`|<img src=x onerror=alert(1)>@everyone\n|x|"


def difference(**values: Any) -> Difference:
    return replace(Difference("a.b", 1, 1, 0, 0, 1, {"c": 1}, (), (), (), is_unique=True), **values)


def test_markup_in_names_has_no_effect_in_the_comment() -> None:
    one = difference(model=EVIL, columns={EVIL: 1}, added_columns=(EVIL,), removed_columns=(EVIL,))
    equal = difference(model=EVIL, changed=0, columns={})
    lines = module._data_section(Comparison([one, equal], {EVIL: "it has no grain"}, None, None), EVIL)  # noqa: SLF001
    text = "\n".join(lines)
    assert not [mark for mark in ("<img", "@everyone", "`", "onerror=") if mark in text]
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}


def test_a_grain_that_is_not_unique_is_reported_without_counts() -> None:
    text = "\n".join(module._data_section(Comparison([difference(is_unique=False)], {}, None, None), "pr_7"))  # noqa: SLF001
    assert "| <code>a&#46;b</code> | 1 | 1 | | | | not compared: the grain is not unique |" in text


def test_a_comment_above_githubs_maximum_is_cut_between_lines_and_counts_what_is_omitted() -> None:
    lines = [f"| {index} |" + "x" * 90 + " |" for index in range(1000)]
    text = module._fit_comment(lines, ["<details>\n```\nSELECT 1\n```\n</details>"])  # noqa: SLF001
    assert MAX_REPORT_CHARACTERS - 200 < len(text) < 65_000
    assert text.splitlines()[-1].startswith("The comment has reached GitHub's maximum length")
    assert all(line.endswith(" |") for line in text.splitlines() if line.startswith("|"))
    assert module._fit_comment(lines[:1], ["<details>"]).endswith("<details>")  # noqa: SLF001


def test_sql_that_contains_a_code_fence_stays_inside_its_block(change: Workspace, client: Mock) -> None:
    change.edit(FRESHNESS, "source_table::VARCHAR AS", "COALESCE(source_table, '```</details>@everyone')::VARCHAR AS")
    _, text = build_environment(change, client)
    assert "\n````diff\n" in text
    assert text.rstrip().endswith("````\n\n</details>")


def test_the_comment_is_posted_on_the_pull_request_of_the_event(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    comments: list[tuple[Any, ...]] = []
    monkeypatch.setattr(github, "connect", SimpleNamespace)
    monkeypatch.setattr(github, "sticky_comment", lambda *arguments: comments.append(arguments[1:]))
    monkeypatch.setattr(module, "load_bot", lambda path, gateway: load_bot(path, gateway, client))
    checks: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "create_build_check", lambda *arguments: checks.append(arguments[1:]))
    report(change.path, "local", "the-commit-of-main")
    [(number, marker, text)] = comments
    assert (number, marker) == (7, "report")
    assert checks == [("abc1234" * 6, "the-commit-of-main", "success", text)]
    assert text.strip() == (change.root / "summary.md").read_text().strip()


def test_a_project_that_does_not_load_fails_with_one_line(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    change.edit(FRESHNESS, "grain source_table,", "kind FOOL,")
    monkeypatch.setattr(module, "load_bot", lambda path, gateway: load_bot(path, gateway, client))
    with pytest.raises(click.ClickException, match=r"^SQLMesh can't plan the pull request: "):
        report(change.path, "local", "the-commit-of-main")
