"""The review of a pull request: what is evaluated, what the comment shows of it, and what must not be in it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from markdown_it import MarkdownIt
from sqlglot import exp
from sqlmesh.core.context import Context
from workspace import Workspace, recorded

from meshflow.ci import build as build_module
from meshflow.ci import github
from meshflow.ci import report as module
from meshflow.ci.build import build, evaluate
from meshflow.ci.diff import compare, comparison_query
from meshflow.ci.github import code, count, fenced, plain
from meshflow.ci.lint import evaluate as lint
from meshflow.ci.report import MAX_REPORT_CHARACTERS, Jobs, Links, check_current, describe, report
from meshflow.ci.result import (
    Backfill,
    BuildResult,
    Change,
    Comparison,
    Definition,
    Difference,
    FailedTest,
    Failure,
    Finding,
    Limits,
    MaskChange,
    Numbers,
    Page,
    Processed,
    Results,
    TestResult,
    Violation,
    read,
    write,
)
from meshflow.ci.review import pages
from meshflow.freshness import read_freshness
from meshflow.masking import is_by_person
from meshflow.publish import SERVED

pytest_plugins = ("pull_request",)

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
FRESHNESS = "models/ops/table_freshness.sql"
STUDENT = "models/pii/student.sql"
COMMIT = "abc1234" * 6
INVITATION = "comment `/deploy`"
SUCCESS = Jobs("success", "success")
CATALOG = "The catalogs are equal\n"


@pytest.fixture
def context(change: Workspace) -> Context:
    return change.context()


def built_environment(change: Workspace) -> BuildResult:
    return evaluate(change.path, "local", "pr_7", over_budget=False)


def comment(
    build: BuildResult | None, test: TestResult | None = None, jobs: Jobs = SUCCESS, catalog: str = CATALOG
) -> str:
    """The comment for a result, by default with successful unit tests."""
    results, links = Results(test or TestResult(3), build), Links("https://run", "https://catalog")
    return describe(results, jobs, environment="pr_7", sha=COMMIT, links=links, catalog=catalog)[1]


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
        ("('', 'x', 1)", "(NULL::VARCHAR, 'x', 1)", (1, 1, 0, 1, 1, 0, 0, 0)),
        ("(1, 'x', 1), (1, 'x', 1)", "(1, 'x', 1), (1, 'x', 1)", (2, 2, 4, 0, 0, 0, 0, 0)),
    ],
    ids=[
        "equal", "added, removed, changed", "appears", "NULL to a value and back", "a NULL key", "an empty key",
        "duplicate key",
    ],
)  # fmt: skip
def test_rows_are_counted_by_their_key(context: Context, before: str, after: str, expected: tuple[int, ...]) -> None:
    assert counts(context, before, after) == expected


def test_sums_and_values_are_counted_in_the_same_query(context: Context) -> None:
    context.engine_adapter.execute("CREATE TABLE before AS SELECT * FROM (VALUES (1, 1.5), (2, NULL)) AS t(k, a)")
    context.engine_adapter.execute("CREATE TABLE after AS SELECT * FROM (VALUES (1, 2.5), (2, 1.0)) AS t(k, a)")
    query = comparison_query(exp.to_table("before"), exp.to_table("after"), ["k"], ["a"], ["a"])
    [row] = context.engine_adapter.fetchall(query)
    assert [str(value) for value in row] == ["2", "1.5", "1", "2", "3.5", "2", "2", "0", "0", "2", "2"]


def test_rows_are_matched_by_hash(context: Context) -> None:
    """Snowflake hashes equality too, but maybe not IS NOT DISTINCT FROM. Its plan is unseen."""
    counts(context, "(1, 'x', 1)", "(1, 'x', 1)")
    query = comparison_query(exp.to_table("before"), exp.to_table("after"), ["k", "a"], ["b"])
    [on] = [join.args["on"] for join in query.find_all(exp.Join) if join.args.get("on")]
    assert {type(condition) for condition in on.flatten()} == {exp.EQ}
    [(_, plan)] = context.engine_adapter.fetchall(f"EXPLAIN {query.sql(dialect='duckdb')}")
    assert "HASH_JOIN" in plan


def test_rows_numbers_and_the_definition_of_a_changed_mart_are_reported(change: Workspace) -> None:
    change.edit(FRESHNESS, "source_table::VARCHAR AS", "REPLACE(source_table, 'courses', 'subjects')::VARCHAR AS")
    change.edit(FRESHNESS, "  row_count::INT AS", "  NULLIF(row_count + 1, 31)::INT AS")
    change.edit(FRESHNESS, "_counted\n", "_counted\nWHERE source_table <> 'retail.sales'\n")
    (change.path / "dashboards").symlink_to(Path(__file__).parents[2] / "dashboards")
    result = built_environment(change)
    text = comment(result)
    assert "| `ops.table_freshness` | directly modified, breaking |" in text
    assert "| `ops.table_freshness` | 4 | 3 | 1 | 2 | 2 | `row_count` 2 |" in text
    [numbers] = [one for one in result.comparison.differences[0].numbers if one.column == "row_count"]  # type: ignore[union-attr]
    assert f"| `row_count` | {numbers.sums[0]} | {numbers.sums[1]} | 0.0% | " in text
    assert numbers.sums[0] != numbers.sums[1]
    assert "\n+  source_table <> 'retail.sales'\n" in text, "the text diff"
    assert "| Build budget | 1 of 25 models, 1 of 12,000 intervals |" in text
    assert "| Cost | 1 model, 1 interval, " in text
    assert result.statements > 1
    assert "Dashboard pages downstream: Data quality reads `ops.table_freshness`." in text
    assert "SELECT * FROM ANALYTICS.OPS__pr_7.TABLE_FRESHNESS LIMIT 100;" in text
    assert INVITATION in text


def test_changes_of_personal_data_are_counted_and_neither_shown_nor_fetched(change: Workspace) -> None:
    change.edit(STUDENT, "@mask(email)::VARCHAR", "@mask(UPPER(email))::VARCHAR")
    with recorded() as statements:
        result = built_environment(change)
    context, text = change.context(), comment(result)
    [(rows, changed)] = context.engine_adapter.fetchall(
        "SELECT COUNT(*), COUNT_IF(email <> UPPER(email)) FROM pii.student"
    )
    assert f"| `pii.student` | {rows} | {rows} | 0 | 0 | {changed} | `email` {changed} |" in text
    emails = [email for (email,) in context.engine_adapter.fetchall("SELECT email FROM pii.student") if email]
    assert emails
    assert not [email for email in emails if email.lower() in text.lower()]
    reads = [one for one in statements if "__meshflow_present" in one]
    assert len(reads) == 1, "one query per model"
    assert reads[0].startswith("SELECT * FROM (SELECT COUNT(*)")
    assert "SUM(" not in reads[0], "of a single row, it would be the row's value"


def test_marts_pages_and_audits_downstream_of_a_changed_model_are_reported(change: Workspace) -> None:
    change.edit("models/staging/stg_edtech__courses.sql", "course_name::VARCHAR AS", "UPPER(course_name)::VARCHAR AS")
    result = built_environment(change)
    text = comment(result)
    assert "| `staging.stg_edtech__courses` | directly modified, breaking |" in text
    [downstream] = [line for line in text.splitlines() if line.startswith("Downstream, indirectly modified, breaking:")]
    assert "`edtech.dim_course`" in downstream
    assert "No row differs in" in text
    data = text.split("**Data**")[1]
    [(rows,)] = change.context().engine_adapter.fetchall("SELECT COUNT(*) FROM edtech.dim_course")
    assert f"| `edtech.dim_course` | {rows} | {rows} | 0 | 0 | {rows} | `course_name` {rows} |" in data
    assert "int_edtech__courses_validated" not in data
    assert "Not compared: `staging.stg_edtech__courses` (it has no grain)." in data
    assert "Not compared: `history.hist_course` (forward-only: built when it is deployed)." in data
    assert "| `edtech.fct_enrollment` | `forall_non_blocking` | `NOT is_before_sign_up` | 1 | warning |" in text
    assert f"| Audits | {result.audits - 2} passed, 2 warnings |" in text


def test_added_and_removed_models_and_an_unchanged_pull_request_are_reported(change: Workspace) -> None:
    assert "nothing to build, no model differs from prod" in comment(built_environment(change))
    country = change.path / COUNTRY
    text = country.read_text()
    country.unlink()
    (change.path / "models/retail/rpt_by_load.sql").write_text(
        text.replace("rpt_net_revenue_by_country", "rpt_by_load")
    )
    text = comment(built_environment(change))
    assert "| `retail.rpt_by_load` | added |" in text
    assert "| `retail.rpt_net_revenue_by_country` | removed |" in text


def test_tables_that_prod_has_yet_to_fill_are_left_to_prod(change: Workspace) -> None:
    """CI may not write them. Prod has them before its first run after a new source's load or a reconciliation."""
    context = change.context()
    waiting = context.get_snapshot("staging.stg_retail__sales", raise_if_missing=True)
    context.state_sync.remove_intervals([(waiting, waiting.intervals[0])])
    change.edit(COUNTRY, "COUNT(*)::INT", "COUNT(1)::INT")
    result = built_environment(change)
    assert result.failure is None
    assert [backfill.model for backfill in result.backfills] == ["retail.rpt_net_revenue_by_country"]
    [still] = change.context().state_reader.get_snapshots([waiting]).values()
    assert not still.intervals


def test_changes_of_header_and_audits_are_shown_without_a_build(change: Workspace) -> None:
    change.edit(COUNTRY, "  owner retail_analytics,", "  owner somebody,")
    change.edit("models/edtech/dim_course.sql", "    unique_combination_of_columns(columns := course_id),\n", "")
    change.edit("audits/relationships.sql", "parents.@parent_column IS NULL", "parents.@parent_column IS NULL AND TRUE")
    result = built_environment(change)
    text = comment(result)
    assert not result.backfills
    assert "\n-  owner retail_analytics,\n+  owner somebody,\n" in text
    assert "\n-    UNIQUE_COMBINATION_OF_COLUMNS('columns' = course_id)" in text
    assert "+  NOT children.@column IS NULL AND parents.@parent_column IS NULL AND TRUE\n" in text, (
        "the query of an audit"
    )
    assert "| `retail.rpt_net_revenue_by_country` | metadata only: not built again |" in text
    assert "No table is built again, so no row differs from prod." in text


def test_removed_masking_is_said_in_words_and_shown(change: Workspace) -> None:
    change.edit(STUDENT, "@mask(email)::VARCHAR", "email::VARCHAR")
    change.edit(STUDENT, "@mask(date_of_birth, NULL)::DATE", "date_of_birth::DATE")
    text = comment(built_environment(change))
    assert (
        "**Masking is removed from `pii.student`.** After the deploy, everybody who may read the table reads in "
        "clear text: `date_of_birth`, `email`." in text
    )
    [shown] = [line for line in text.splitlines() if line.startswith("-") and "date_of_birth" in line]
    assert "mask(" in shown.lower()


def test_a_masked_column_that_gets_another_name_is_pointed_out(change: Workspace) -> None:
    change.edit(STUDENT, "@mask(email)::VARCHAR AS email", "email::VARCHAR AS mail")
    result = built_environment(change)
    assert result.masks == [
        MaskChange("pii.student", "email", exists=False),
        MaskChange("pii.student", "mail", exists=True, is_derived=True),
    ]
    assert "**Masked columns of `pii.student` are removed:** `email`." in comment(result)


@pytest.mark.parametrize(
    "weakened",
    ["@mask(email, email)::VARCHAR", "COALESCE(email, @mask(email))::VARCHAR", "@mask(email, LOWER(email))"],
)
def test_a_weakened_mask_is_none(change: Workspace, weakened: str) -> None:
    change.edit(STUDENT, "@mask(email)::VARCHAR", weakened)
    assert built_environment(change).masks == [MaskChange("pii.student", "email", exists=True)]


def test_a_mask_of_a_stored_table_is_none(change: Workspace) -> None:
    """The table has what the pipeline sees, whoever reads it. Lint doesn't accept it either."""
    change.edit(STUDENT, "kind VIEW", "kind FULL")
    columns = ("date_of_birth", "email", "first_name", "last_name")
    assert built_environment(change).masks == [MaskChange("pii.student", column, exists=True) for column in columns]


def test_a_new_stored_table_with_a_mask_derives_columns_without_one(change: Workspace) -> None:
    model = "MODEL (name edtech.dim_contact, kind FULL, grain student_id);\n\n"
    query = "SELECT student_id::BIGINT AS student_id, @mask(email)::VARCHAR AS email\n"
    (change.path / "models/edtech/dim_contact.sql").write_text(
        f"{model}{query}FROM intermediate.int_edtech__students_validated\n"
    )
    assert built_environment(change).masks == [
        MaskChange("edtech.dim_contact", "email", exists=True, is_derived=True),
    ]


def test_a_mask_in_one_branch_of_a_union_is_none(change: Workspace) -> None:
    query = (change.path / STUDENT).read_text().split(");\n\n", 1)[1]
    change.edit(STUDENT, query, f"{query.rstrip()}\nUNION ALL\n{query.replace('@mask(email)', 'email')}")
    assert MaskChange("pii.student", "email", exists=True) in built_environment(change).masks


def test_a_column_that_is_newly_derived_from_a_masked_one_is_said_in_words(change: Workspace) -> None:
    """By way of a name in a subquery, and in a new model."""
    change.edit(
        STUDENT, "  (\n    NOT email", "  LEFT(contact, 3)::VARCHAR AS initials, /* Initials */\n  (\n    NOT email"
    )
    change.edit(
        STUDENT,
        "FROM intermediate.int_edtech__students_validated",
        "FROM (\n  SELECT *, email AS contact FROM intermediate.int_edtech__students_validated\n)",
    )
    (change.path / "models/edtech/rpt_contacts.sql").write_text(
        "MODEL (name edtech.rpt_contacts, kind VIEW, owner data_platform, cron '@daily', grain student_id, "
        "tags (edtech), description 'Contacts.', audits (not_null(columns := student_id)));\n\n"
        "SELECT student_id::BIGINT AS student_id, /* Student */ UPPER(last_name)::VARCHAR AS surname /* Name */ "
        "FROM intermediate.int_edtech__students_validated\n"
    )
    result = built_environment(change)
    assert result.masks == [
        MaskChange("edtech.rpt_contacts", "surname", exists=True, is_derived=True),
        MaskChange("pii.student", "initials", exists=True, is_derived=True),
    ]
    assert "**`pii.student` derives columns from masked ones without a mask:** `initials`." in comment(result)


def test_numbers_of_persons_are_not_shown(change: Workspace) -> None:
    """Of edtech.dim_student, which masks a name and has no tag `pii`, and of a report with a student's key."""
    student = "models/edtech/dim_student.sql"
    change.edit(student, "YEAR(enrollment_date)::INT", "(YEAR(enrollment_date) + 1)::INT")
    result = built_environment(change)
    assert result.comparison
    [found] = [one for one in result.comparison.differences if one.model == "edtech.dim_student"]
    assert found.columns["enrollment_year"]
    assert found.numbers == []
    models = change.context().models.values()
    by_person = {one.name for one in models if is_by_person(one, models)}
    assert {"edtech.rpt_student_credits", "retail.dim_customer", "pii.student"} <= by_person
    assert not {"retail.fct_sales", "edtech.fct_enrollment", "edtech.dim_course"} & by_person


def test_numbers_of_persons_are_not_shown_of_a_change_that_makes_them_none(change: Workspace) -> None:
    """It removes the mask, and the grain that makes a student's id a person's key."""
    change.edit(
        "models/edtech/dim_student.sql", "@mask(@full_name(first_name, last_name))", "@full_name(first_name, last_name)"
    )
    change.edit("models/pii/student.sql", "grain student_id,", "grain (student_id, email),")
    change.edit("models/edtech/dim_student.sql", "YEAR(enrollment_date)::INT", "(YEAR(enrollment_date) + 1)::INT")
    models = change.context().models.values()
    assert not is_by_person(change.context().get_model("edtech.dim_student", raise_if_missing=True), models)
    comparison = built_environment(change).comparison
    assert comparison
    [found] = [one for one in comparison.differences if one.model == "edtech.dim_student"]
    assert found.columns["enrollment_year"]
    assert found.numbers == []


def test_models_above_the_maximum_are_named_and_not_compared(change: Workspace) -> None:
    change.edit(STUDENT, "@mask(email)::VARCHAR", "@mask(UPPER(email))::VARCHAR")
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    built_environment(change)
    context = change.context()
    names = [context.get_model(name).fqn for name in ("pii.student", "ops.table_freshness")]
    found = compare(context, "pr_7", names, [], max_models=1)
    assert [one.model for one in found.differences] == ["ops.table_freshness"]
    assert found.skipped == {"pii.student": "more than 1 models"}


def test_pages_and_their_tables_are_found_in_the_dashboards_own_sql(project: Path) -> None:
    found = pages(project / "dashboards", SERVED)
    assert [one.title for one in found] == ["Retail", "EdTech", "Data quality", "Runs"]
    # Every page shows the failing models that concern it, by the SQL in status.py.
    assert {table for one in found for table in one.tables} | {"ops.failing_models"} == set(SERVED)


CANARY = "canary@example.org"


def fail_with_canary(*_: object, **__: object) -> None:
    raise ValueError(f"Could not convert string '{CANARY}' to INT64")


@pytest.mark.parametrize("step", ["load", "plan", "compare"])
def test_the_text_of_an_error_is_in_no_output(
    change: Workspace, step: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """These errors are planted: at these steps none quotes a row today."""
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    if step == "compare":
        monkeypatch.setattr(build_module, "compare", fail_with_canary)
    else:
        monkeypatch.setattr(Context, "load" if step == "load" else "plan_builder", fail_with_canary)
    with pytest.raises(click.ClickException, match=f"^The step {step} failed: ValueError"):
        build(change.path, "local", 7, change.root / "build.json", over_budget=False)
    result = read(change.root).build
    assert result
    assert result.failure
    assert (result.failure.step, result.failure.errors) == (step, ["ValueError"])
    text = comment(result, jobs=Jobs("success", "failure"))
    assert "- `ValueError`\n" in text
    assert INVITATION not in text
    assert CANARY not in f"{text}{(change.root / 'build.json').read_text()}{capfd.readouterr()}"


BROKEN = {
    "a cast": (
        ("models/intermediate/int_edtech__students_validated.sql", "  ranked.email,", "  ranked.email::INT AS email,"),
        "intermediate.int_edtech__students_validated: ConversionException",
    ),
    "an audit": (
        (STUDENT, "columns := student_id)", "columns := is_email_shared)"),
        "pii.student: audit unique_combination_of_columns found 2 rows",
    ),
}
"""An edit of a file, and the error in the comment."""


@pytest.mark.parametrize("case", BROKEN)
def test_no_value_of_a_row_is_in_any_output_of_a_build_that_fails(
    change: Workspace, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    edit, failed = BROKEN[case]
    context = change.context()
    emails = {email for (email,) in context.engine_adapter.fetchall("SELECT email FROM raw.edtech.students") if email}
    context.close()
    change.edit(*edit)
    with pytest.raises(click.ClickException, match=r"^The step build failed: "):
        build(change.path, "local", 7, change.root / "build.json", over_budget=True)
    result = read(change.root).build
    assert result
    assert result.failure
    assert result.failure.errors == [failed]
    assert not result.exists
    text = comment(result, jobs=Jobs("success", "failure"))
    assert f"- {code(failed)}\n" in text
    assert INVITATION not in text
    output = f"{text}{(change.root / 'build.json').read_text()}{capfd.readouterr()}"
    assert len(emails) > 10
    assert not [email for email in emails if email in output]


def test_findings_of_lint_and_unit_tests_are_in_the_comment(change: Workspace) -> None:
    change.edit(COUNTRY, " /* Shipping in USD */", "")
    change.edit(COUNTRY, "COUNT(*)::INT AS line_count", "(COUNT(*) + 1)::INT AS line_count")
    write(lint(change.path), change.root / "test.json")
    result = read(change.root).test
    assert result
    assert not result.has_succeeded
    text = comment(None, result, Jobs("failure", "skipped"))
    assert "not deployable, lint or unit tests failed" in text
    assert "- `retail.rpt_net_revenue_by_country`: `columnsdescribed`, " in text
    assert "**Lint found 1 error.**" in text
    name = "test_country_revenue_sums_its_states_and_days_and_counts_an_order_once"
    assert f"- `{name}`\n" in text
    assert f"| Unit tests | {result.tests - len(result.failed)} passed, {len(result.failed)} failed |" in text
    assert "LINE_COUNT: Expected" in text
    assert INVITATION not in text


def test_a_project_that_does_not_load_is_reported_by_the_job_without_keys(change: Workspace) -> None:
    change.edit(FRESHNESS, "grain source_table,", "kind FOOL,")
    result = lint(change.path)
    assert "FOOL" in result.failure
    assert "**The project can't be loaded.**" in comment(None, result, Jobs("failure", "skipped"))


EVIL = [
    "a`|<img src=x onerror=alert(1)>@everyone\n|x|",
    "``` ` ``</code></summary></details><script>",
    "`",
    "a\\|b",
    "\\\\|b|",
    "[x](https://evil.example) https://evil.example #12 @acme/team ![x](y)",
    "**b** _i_ ~~s~~ $x$ :smile: <!-- c --> &lt; &#64;",
    "\n\n# heading\n- item\n> [!CAUTION]\n```\n",
    "\u202etxt.exe\u0000\u2028x",
    "",
]


def only_code(html: str) -> bool:
    """Whether nothing outside of code elements could be a link, a mention or markup of the text."""
    outside = re.sub(r"<code[^>]*>.*?</code>", "", html, flags=re.DOTALL)
    return not re.search(r"evil|onerror|script|everyone|acme|heading|item|smile|alert|<img|<a |<h1", outside)


@pytest.mark.parametrize("text", EVIL)
def test_no_text_breaks_out_of_code(text: str) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    inline = markdown.render(f"Before {code(text)}, and {code('b')}.")
    assert only_code(inline), inline
    assert inline.count("<code>") == inline.count("</code>") == 2, inline
    assert inline.startswith("<p>Before <code>")
    table = markdown.render(f"| a | b |\n|---|---|\n| {code(text)} | {code('b')} |\n")
    assert table.count("<td>") == 2, table
    assert "<td><code>b</code></td>" in table
    assert only_code(table), table
    block = markdown.render(f"{fenced(text, 'diff')}\n\nAfter")
    assert only_code(block), block
    assert block.endswith("</pre>\n<p>After</p>\n")


def test_only_words_and_numbers_are_shown_as_they_are() -> None:
    assert [plain(text) for text in ("built when it is deployed", "-1,234.50", "")] == [
        "built when it is deployed", "-1,234.50", "",
    ]  # fmt: skip
    assert [plain(text)[0] for text in ("@everyone", "www.evil.example", "a_b", "1,2.example", "a\n# b")] == ["`"] * 5


def evil_build(text: str) -> BuildResult:
    """A result with `text` wherever a job writes text."""
    one = difference(
        model=text, columns={text: 1}, added_columns=(text,), removed_columns=(text,), retyped_columns=(text,),
        numbers=[Numbers(text, (text, text), (1, 1))],
    )  # fmt: skip
    return BuildResult(
        text, Limits(1, 1), [Backfill(text, text, 1)], exists=True, query=text, audits=1, downstream=[text],
        changes=[Change(text, "directly modified", text), Change(text, "indirectly modified", text)],
        definitions=[Definition(text, text)], findings=[Finding(text, text, text, 1, is_blocking=False)],
        masks=[
            MaskChange(text, text, exists=True), MaskChange(text, text, exists=False),
            MaskChange(text, text, exists=True, is_derived=True),
        ],
        comparison=Comparison([one, replace(one, is_unique=False)], {text: text}, Processed(text, HOUR, HOUR)),
        pages=[Page(text, [text])],
    )  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("step", [None, "load", "budget", "build"])
def test_no_text_of_a_result_breaks_out_of_the_comment(text: str, step: Any) -> None:
    build = evil_build(text)
    if step:
        build = replace(build, failure=Failure(step, [text], [text]))
    failed = TestResult(1, [FailedTest(text, text)], [Violation(text, text, text, is_error=True)])
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    for shown in (
        comment(build, jobs=Jobs("success", "failure" if step else "success")),
        comment(build, catalog=f"{text}\n"),
        comment(build, failed, Jobs("failure", "skipped")),
        comment(None, TestResult(failure=text), Jobs("failure", "skipped")),
    ):
        html = markdown.render(shown)
        assert only_code(html.replace('<a href="https://run">', "").replace('<a href="https://catalog">', "")), html
        for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
            columns = {row.count("<t") - row.count("<tr") for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
            assert len(columns) == 1, table


def difference(**values: Any) -> Difference:
    return replace(Difference("a.b", 1, 1, 0, 0, 1, {"c": 1}, (), (), (), is_unique=True), **values)


def test_a_grain_that_is_not_unique_is_reported_without_counts() -> None:
    text = comment(BuildResult("pr_7", exists=True, comparison=Comparison([difference(is_unique=False)], {}, None)))
    assert "| `a.b` | 1 | 1 |  |  |  | not compared: the grain is not unique |" in text


HOUR = datetime(2026, 11, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "line"),
    [
        (0, "Prod and the environment are processed equally far, `a.b` until 2026-11-01 10:00 UTC."),
        (
            -4,
            "`a.b` is processed until 2026-11-01 10:00 UTC in prod, and until 2026-11-01 06:00 UTC in the environment.",
        ),
    ],
)
def test_the_comment_says_how_far_prod_and_the_environment_are_processed(hours: int, line: str) -> None:
    processed = Processed("a.b", HOUR, HOUR + timedelta(hours=hours))
    text = comment(BuildResult("pr_7", exists=True, comparison=Comparison([difference()], {}, processed)))
    assert line in text.splitlines()


def test_the_model_that_is_processed_most_differently_is_found(change: Workspace) -> None:
    change.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    built_environment(change)
    context = change.context()
    names = [context.get_model("ops.table_freshness").fqn]
    found = compare(context, "pr_7", names, [])
    assert found.processed
    assert found.processed.model == "ops.table_freshness"
    assert (
        found.processed.prod_until
        == found.processed.environment_until
        == (read_freshness(context, "prod")["ops.table_freshness"].until)
    )


def test_numbers_have_the_right_plural() -> None:
    assert [count(number, "row") for number in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
    one = BuildResult("pr_7", Limits(1, 1), [Backfill("a.b", "VIEW", 1)], exists=True, statements=1)
    assert "| Cost | 1 model, 1 interval, 1 statement, 0 s |" in comment(one)


@pytest.mark.parametrize(
    ("results", "jobs"),
    [
        (Results(), SUCCESS),
        (Results(TestResult(3)), SUCCESS),
        (Results(TestResult(3), BuildResult("pr_7", exists=True)), Jobs("success", "failure")),
        (Results(TestResult(3), BuildResult("pr_7", exists=True)), Jobs("cancelled", "skipped")),
        (Results(TestResult(3, [FailedTest("a", "b")]), BuildResult("pr_7", exists=True)), SUCCESS),
        (Results(TestResult(3), BuildResult("pr_7", exists=True, failure=Failure("compare", ["E"]))), SUCCESS),
    ],
    ids=["nothing", "no build", "a build that failed afterwards", "cancelled", "a forged job", "a failed comparison"],
)
def test_only_complete_and_successful_results_are_deployable(results: Results, jobs: Jobs) -> None:
    succeeded, text = describe(results, jobs, environment="pr_7", sha=COMMIT, links=Links("https://run"), catalog="")
    assert not succeeded
    assert "not deployable" in text
    assert INVITATION not in text


def test_a_result_that_is_too_large_or_invalid_is_none(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(f'{{"tests": {10**400}}}')
    (tmp_path / "build.json").write_text('{"environment": "' + "x" * 1_000_000 + '"}')
    assert read(tmp_path) == Results()
    assert read(tmp_path / "missing") == Results()


def test_a_comment_above_githubs_maximum_is_cut_between_lines_and_counts_what_is_omitted() -> None:
    definitions = [Definition(f"a.b{index}", "\n".join(["+" + "x" * 90] * 100)) for index in range(20)]
    text = comment(BuildResult("pr_7", exists=True, definitions=definitions))
    assert MAX_REPORT_CHARACTERS - 10_000 < len(text) < 65_000
    assert text.splitlines()[-1].startswith("The comment has reached GitHub's maximum length")
    assert text.count("<details") == text.count("</details>") > 3


def test_what_differs_from_mains_catalog_is_in_the_comment() -> None:
    differences = "retail.fct_sales\n  type of quantity: INT → DECIMAL(18, 2)\n\n1 of the models differ\n"
    text = comment(BuildResult("pr_7"), catalog=differences)
    summary = "<details open><summary>Differences from main's catalog, 4 lines</summary>"
    assert f"**Catalog**\n\n{summary}\n\n```\n{differences}```" in text


def test_the_first_lines_of_many_differences_are_in_the_comment_and_the_rest_is_counted() -> None:
    lines = [f"  description of column_{index}: none → {'x' * 1_000}" for index in range(250)]
    text = comment(BuildResult("pr_7"), catalog="retail.fct_sales\n" + "\n".join(lines) + "\n")
    assert "<details><summary>Differences from main's catalog, 251 lines</summary>" in text
    assert "column_98: none → xxx" in text
    assert "column_99" not in text
    assert "151 more lines: see the log of the job Lint and test in the [run](https://run)." in text
    assert len(text) < MAX_REPORT_CHARACTERS / 1.5


def test_a_catalog_that_could_not_be_compared_is_said_if_lint_and_tests_succeeded() -> None:
    sentence = "It could not be compared with main's"
    assert sentence in comment(BuildResult("pr_7"), catalog="")
    failed = TestResult(3, [FailedTest("a", "b")])
    assert "**Catalog**" not in comment(None, failed, Jobs("failure", "skipped"), catalog="")


def stub_github(monkeypatch: pytest.MonkeyPatch, **pull: Any) -> list[tuple[Any, ...]]:
    """Replace GitHub by one pull request. The result collects comments and checks."""
    head = SimpleNamespace(sha=pull.pop("sha", COMMIT))
    found = SimpleNamespace(number=7, head=head, **({"state": "open", "labels": []} | pull))
    run = SimpleNamespace(path=".github/workflows/ci.yml@refs/heads/x", html_url="https://catalog")
    repository = SimpleNamespace(get_pull=lambda _: found, get_workflow_runs=lambda **_: [run])
    written: list[tuple[Any, ...]] = []
    monkeypatch.setattr(github, "connect", lambda: repository)
    monkeypatch.setattr(github, "run_url", lambda: "https://run")
    monkeypatch.setattr(github, "sticky_comment", lambda *arguments: written.append(arguments[1:]))
    monkeypatch.setattr(module, "create_build_check", lambda *arguments: written.append(arguments[1:]))
    return written


def test_comment_and_check_are_written_for_the_evaluated_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    written = stub_github(monkeypatch)
    write(TestResult(3), tmp_path / "test.json")
    write(BuildResult("pr_7", exists=True), tmp_path / "build.json")
    (tmp_path / "catalog.txt").write_text("retail.fct_sales\n  column note added: TEXT\n")
    report(7, COMMIT, "main-sha", tmp_path, SUCCESS, documents_only=False)
    (comment_, check) = written
    assert comment_[:2] == (7, "report")
    assert "[Catalog, an artifact of CI](https://catalog#artifacts)" in comment_[2]
    assert "  column note added: TEXT\n" in comment_[2]
    assert check == (COMMIT, "main-sha", "success", comment_[2])
    assert (tmp_path / "summary.md").read_text().strip() == comment_[2]


def test_nothing_is_written_for_a_commit_that_is_no_longer_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = stub_github(monkeypatch, sha="a later one")
    report(7, COMMIT, "main-sha", tmp_path, SUCCESS, documents_only=False)
    assert written == []


@pytest.mark.parametrize("changed", [{"state": "closed"}, {"sha": "a later one"}], ids=str)
def test_nothing_is_built_if_the_pull_request_was_closed_or_pushed_to_meanwhile(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    stub_github(monkeypatch, **changed)
    with pytest.raises(click.ClickException, match="was closed, or has a newer head"):
        check_current(7, COMMIT)


@pytest.mark.parametrize(("label", "output"), [("budget", "false"), ("over-budget", "true")])
def test_the_label_is_read_when_the_build_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], label: str, output: str
) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    stub_github(monkeypatch, labels=[SimpleNamespace(name=label)])
    check_current(7, COMMIT)
    assert capsys.readouterr().out == f"over_budget={output}\n"
