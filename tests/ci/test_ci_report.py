"""What the comment on a pull request says: its plan, and its data against prod's, in counts that hold."""

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
from meshflow.ci.diff import Comparison, Difference, compare, comparison
from meshflow.ci.plan import bot
from meshflow.ci.report import LONGEST, describe, report

pytest_plugins = ("pull_request",)

FRESHNESS = "models/ops/table_freshness.sql"
STUDENT = "models/pii/student.sql"
HISTORY = "models/history/hist_student.sql"
COMMIT = "abc1234" * 6


@pytest.fixture
def context(change: Workspace) -> Context:
    return change.context()


def built(change: Workspace, client: Mock) -> tuple[Context, str]:
    """The project after the bot has built its environment, and what the comment says, as one reads it."""
    controller, context = bot(change.path, "local", client)
    context.apply(controller.pr_plan)
    controller, context = bot(change.path, "local", client)
    text = describe(context, controller.prod_plan_with_gaps, "pr_7", commit=COMMIT, budget="1 models of 25")
    return context, html.unescape(text)


def counts(context: Context, before: str, after: str) -> tuple[int, ...]:
    """The numbers of `comparison` for two tables with key k and values a, b, given as rows."""
    for name, rows in (("before", before), ("after", after)):
        context.engine_adapter.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM (VALUES {rows}) AS t(k, a, b)")
    left, right = exp.to_table("before"), exp.to_table("after")
    [row] = context.engine_adapter.fetchall(comparison(left, right, ["k"], ["a", "b"]))
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
    ids=["equal", "added, removed, changed", "appears", "NULL to a value and back", "a key that is NULL", "shared key"],
)
def test_rows_are_counted_by_their_key(context: Context, before: str, after: str, expected: tuple[int, ...]) -> None:
    assert counts(context, before, after) == expected


def test_rows_added_removed_and_changed_are_told_per_column(change: Workspace, client: Mock) -> None:
    change.edit(FRESHNESS, "source_table::VARCHAR AS", "REPLACE(source_table, 'courses', 'subjects')::VARCHAR AS")
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    change.edit(FRESHNESS, "\nFROM loaded", "\nFROM loaded\nWHERE source_table <> 'retail.sales'")
    _, text = built(change, client)
    assert "| <code>ops.table_freshness</code> | changed, breaking |" in text
    row = "| <code>ops.table_freshness</code> | 4 | 3 | 1 | 2 | 2 | <code>row_count</code> 2 |"
    assert row in text
    assert "\n+  source_table <> 'retail.sales'\n" in text, "the model's text"
    assert "1 models of 25" in text
    assert "<code>abc1234</code>" in text


def test_personal_data_are_counted_and_neither_shown_nor_fetched(change: Workspace, client: Mock) -> None:
    change.edit(STUDENT, "email::VARCHAR AS email", "UPPER(email)::VARCHAR AS email")
    with recorded() as statements:
        context, text = built(change, client)
    [(rows, changed)] = context.engine_adapter.fetchall(
        "SELECT COUNT(*), COUNT_IF(email <> UPPER(email)) FROM pii.student"
    )
    assert f"| <code>pii.student</code> | {rows} | {rows} | 0 | 0 | {changed} | <code>email</code> {changed} |" in text
    emails = [email for (email,) in context.engine_adapter.fetchall("SELECT email FROM pii.student") if email]
    assert emails
    assert not [email for email in emails if email.lower() in text.lower()]
    reads = [one for one in statements if "__meshflow_present" in one]
    assert len(reads) == 1, "one query for one model"
    assert reads[0].startswith("SELECT * FROM (SELECT COUNT(*)")


def test_what_people_read_is_compared_though_only_something_upstream_has_changed(
    change: Workspace, client: Mock
) -> None:
    change.edit("models/staging/stg_edtech__courses.sql", "course_name::VARCHAR AS", "UPPER(course_name)::VARCHAR AS")
    context, text = built(change, client)
    assert "| <code>staging.stg_edtech__courses</code> | changed, breaking |" in text
    assert "| <code>edtech.dim_course</code> | changed by what it reads, breaking |" in text
    assert "No row differs in" in text
    data = text.split("**Data**")[1]
    [(rows,)] = context.engine_adapter.fetchall("SELECT COUNT(*) FROM edtech.dim_course")
    counted = f"{rows} | {rows} | 0 | 0 | {rows} | <code>course_name</code> {rows}"
    assert f"| <code>edtech.dim_course</code> | {counted} |" in data
    assert "int_edtech__courses_validated" not in data
    assert "staging.stg_edtech__courses</code> (it has no grain)" in data
    assert "Not compared: <code>history.hist_course</code> (forward-only: built when it is deployed)." in data


def test_a_new_a_removed_and_an_unchanged_pull_request_are_told_in_words(change: Workspace, client: Mock) -> None:
    controller, context = bot(change.path, "local", client)
    unchanged = describe(context, controller.prod_plan_with_gaps, "pr_7", commit=COMMIT)
    assert "nothing to build" in unchanged
    country = change.path / "models/retail/rpt_net_revenue_by_country.sql"
    text = country.read_text()
    country.unlink()
    (change.path / "models/retail/rpt_by_load.sql").write_text(
        text.replace("rpt_net_revenue_by_country", "rpt_by_load")
    )
    _, text = built(change, client)
    assert "| <code>retail.rpt_by_load</code> | added |" in text
    assert "| <code>retail.rpt_net_revenue_by_country</code> | removed |" in text
    assert "There is nothing in prod to compare with." in text


def test_more_models_than_the_bound_are_named_and_not_compared(change: Workspace, client: Mock) -> None:
    change.edit(STUDENT, "email::VARCHAR AS email", "UPPER(email)::VARCHAR AS email")
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    context, _ = built(change, client)
    names = [context.get_model(name).fqn for name in ("pii.student", "ops.table_freshness")]
    found = compare(context, "pr_7", names, [], limit=1)
    assert [one.model for one in found.differences] == ["ops.table_freshness"]
    assert found.skipped == {"pii.student": "only 1 models are"}


EVIL = "a`|<img src=x onerror=alert(1)>@everyone\n|x|"


def difference(**values: Any) -> Difference:
    return replace(Difference("a.b", 1, 1, 0, 0, 1, {"c": 1}, (), (), (), is_unique=True), **values)


def test_names_made_to_break_the_comment_do_no_harm() -> None:
    one = difference(model=EVIL, columns={EVIL: 1}, added_columns=(EVIL,), removed_columns=(EVIL,))
    equal = difference(model=EVIL, changed=0, columns={})
    lines = module._data(Comparison([one, equal], {EVIL: "it has no grain"}, None, None), EVIL)  # noqa: SLF001
    text = "\n".join(lines)
    assert not [mark for mark in ("<img", "@everyone", "`", "onerror=") if mark in text]
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}


def test_a_key_that_several_rows_share_is_said_instead_of_numbers_that_mean_nothing() -> None:
    text = "\n".join(module._data(Comparison([difference(is_unique=False)], {}, None, None), "pr_7"))  # noqa: SLF001
    assert "| <code>a&#46;b</code> | 1 | 1 | | | | several rows share a key: not compared |" in text


def test_a_comment_longer_than_github_takes_is_cut_between_lines_and_says_so() -> None:
    lines = [f"| {index} |" + "x" * 90 + " |" for index in range(1000)]
    text = module._fit(lines, ["<details>\n```\nSELECT 1\n```\n</details>"])  # noqa: SLF001
    assert LONGEST - 200 < len(text) < 65_000
    assert text.splitlines()[-1].startswith("GitHub takes no longer comment")
    assert all(line.endswith(" |") for line in text.splitlines() if line.startswith("|"))
    assert module._fit(lines[:1], ["<details>"]).endswith("<details>")  # noqa: SLF001


def test_sql_that_holds_a_fence_stays_inside_its_own(change: Workspace, client: Mock) -> None:
    change.edit(FRESHNESS, "'edtech.students' AS source_table", "'```</details>@everyone' AS source_table")
    _, text = built(change, client)
    assert "\n````diff\n" in text
    assert text.rstrip().endswith("````\n\n</details>")


def test_the_comment_goes_to_the_pull_request_of_the_event(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr(github, "connect", SimpleNamespace)
    monkeypatch.setattr(github, "sticky_comment", lambda *arguments: said.append(arguments[1:]))
    monkeypatch.setattr(module, "bot", lambda path, gateway: bot(path, gateway, client))
    checks: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "build_check", lambda *arguments: checks.append(arguments[1:]))
    report(change.path, "local", "the-commit-of-main")
    [(number, marker, text)] = said
    assert (number, marker) == (7, "report")
    assert checks == [("abc1234" * 6, "the-commit-of-main", "success", text)]
    assert text.strip() == (change.root / "summary.md").read_text().strip()


def test_a_project_that_does_not_load_fails_in_one_line(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    change.edit(FRESHNESS, "grain source_table,", "kind FOOL,")
    monkeypatch.setattr(module, "bot", lambda path, gateway: bot(path, gateway, client))
    with pytest.raises(click.ClickException, match=r"^SQLMesh can't plan the pull request: "):
        report(change.path, "local", "the-commit-of-main")
