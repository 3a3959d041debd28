"""The comment on a pull request with its changes: the plan for prod, and the data diff against prod."""

import re
from collections.abc import Iterable
from pathlib import Path

from sqlmesh.core.context import Context
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot, SnapshotId

from meshflow.ci import github
from meshflow.ci.diff import Comparison, Difference, compare
from meshflow.ci.gate import create_build_check
from meshflow.ci.plan import clear_errors, load_bot, table_name

MARKER = "report"

MAX_REPORT_CHARACTERS = 60_000
"""GitHub accepts 65,536 in a comment."""

MAX_DIFF_LINES = 60
"""Lines of a model's text diff. Longer ones are in the pull request's files."""

MAX_COLUMNS = 12
"""Columns named in a cell of the table."""


def report(path: Path, gateway: str, main: str, budget: str = "") -> None:
    """Post the changes in the environment of the event's pull request as one comment on it, or update that comment.

    `path` has the pull request merged with commit `main`; `budget` is the output of plan.budget. Also sets the check
    that the gate requires, with `main`: the gate accepts the build for that commit only.
    """
    pull = github.event()["pull_request"]
    with clear_errors():
        bot, context = load_bot(path, gateway)
        plan, environment = bot.prod_plan_with_gaps, bot.pr_environment_name
        text = describe_changes(context, plan, environment, commit=pull["head"]["sha"], budget=budget)
    github.write_summary(text)
    repository = github.connect()
    github.sticky_comment(repository, pull["number"], MARKER, text)
    create_build_check(repository, pull["head"]["sha"], main, "success", text)


def describe_changes(context: Context, plan: Plan, environment: str, *, commit: str, budget: str = "") -> str:
    """The comment, Markdown. `plan` is the one that deploying `environment` would apply to prod."""
    if context.state_reader.get_environment(environment) is None:
        return (
            f"### No environment {github.code(environment)}\n\nNo model differs from prod: there is nothing to build."
        )
    downstream = {one for found in plan.indirectly_modified.values() for one in found}
    compared = compare(context, environment, _names(plan.directly_modified), _names(downstream))
    head = [f"### {github.code(environment)} compared with prod", ""]
    head += [f"Built from commit {github.code(commit[:7])}. To deploy it, comment `/deploy`."]
    head += [f"Build budget used: {github.code(budget)}."] if budget else []
    sections = [
        head,
        ["", "**Plan**", "", *_plan_section(plan, downstream)],
        ["", "**Data**", "", *_data_section(compared, environment)],
    ]
    return _fit_comment([line for section in sections for line in section], _text_diffs(plan))


def _names(snapshots: Iterable[SnapshotId]) -> set[str]:
    return {snapshot.name for snapshot in snapshots}


def _plan_section(plan: Plan, downstream: set[SnapshotId]) -> list[str]:
    """A table with a row for each model that the plan changes."""
    difference = plan.context_diff
    added = difference.added & plan.snapshots.keys()
    direct = plan.directly_modified - added
    rows = [(_model_code(one.name), "added") for one in added]
    rows += [(_model_code(one.name), f"directly modified, {_category(plan.snapshots[one])}") for one in direct]
    rows += [
        (_model_code(one.name), f"indirectly modified, {_category(plan.snapshots[one])}")
        for one in downstream - added - direct
    ]
    rows += [
        (_model_code(one.name), "metadata only, not rebuilt") for one in plan.metadata_updated - direct - downstream
    ]
    rows += [(_model_code(one.name), "removed") for one in difference.removed_snapshots]
    if not rows:
        return ["No model differs from prod."]
    order = {"added": 0, "removed": 1, "directly modified": 2}
    rows.sort(key=lambda row: (order.get(row[1].split(",")[0], 3), row))
    return ["| model | change |", "|---|---|", *(f"| {name} | {change} |" for name, change in rows)]


def _category(snapshot: Snapshot) -> str:
    if snapshot.change_category is None:
        return "not categorized yet"
    return snapshot.change_category.name.lower().replace("_", "-").replace("indirect-", "")


def _data_section(compared: Comparison, environment: str) -> list[str]:
    """A table of the models whose rows differ, then the names of those that are equal or were not compared."""
    lines = []
    if differing := [one for one in compared.differences if not one.is_empty]:
        lines += [
            f"| model | rows in prod | rows in {github.code(environment)} | added | removed | changed | per column |",
            "|---|--:|--:|--:|--:|--:|---|",
            *map(_difference_row, differing),
            "",
        ]
    if equal := [github.code(one.model) for one in compared.differences if one.is_empty]:
        lines += [f"No row differs in {', '.join(equal)}.", ""]
    reasons = sorted(set(compared.skipped.values()))
    for reason in reasons:
        models = [github.code(model) for model, why in compared.skipped.items() if why == reason]
        lines += [f"Not compared: {', '.join(models)} ({reason}).", ""]
    if not compared.differences and not reasons:
        return ["Prod has no table to compare with."]
    ends = compared.prod_until, compared.environment_until
    if ends[0] != ends[1] and all(ends):
        lines += [
            f"Prod is processed until {ends[0]:%Y-%m-%d %H:%M} UTC, the environment until {ends[1]:%Y-%m-%d %H:%M} UTC."
        ]
    return lines


def _difference_row(one: Difference) -> str:
    rows = f"{one.prod_rows:,} | {one.environment_rows:,}"
    if not one.is_unique:
        return f"| {github.code(one.model)} | {rows} | | | | not compared: the grain is not unique |"
    by_column = [
        *(f"{github.code(column)} {count:,}" for column, count in sorted(one.columns.items(), key=lambda kv: -kv[1])),
        *(f"{github.code(column)} is new" for column in one.added_columns),
        *(f"{github.code(column)} is removed" for column in one.removed_columns),
        *(f"{github.code(column)} has another type" for column in one.retyped_columns),
    ]
    more = [f"{len(by_column) - MAX_COLUMNS} more"] if len(by_column) > MAX_COLUMNS else []
    cell = ", ".join(by_column[:MAX_COLUMNS] + more)
    return f"| {github.code(one.model)} | {rows} | {one.added:,} | {one.removed:,} | {one.changed:,} | {cell} |"


def _text_diffs(plan: Plan) -> list[str]:
    """The text diffs of changed SQL models, if they are short. Seeds are left out: their rows are data."""
    diffs = []
    for one in sorted(plan.directly_modified - plan.context_diff.added):
        snapshot = plan.snapshots[one]
        text = plan.context_diff.text_diff(one.name).removeprefix("--- \n\n+++ \n\n")
        if not (snapshot.is_model and snapshot.model.is_sql and text) or text.count("\n") >= MAX_DIFF_LINES:
            continue
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # longer than any in the text
        summary = f"<summary>{_model_code(one.name)}</summary>"
        diffs.append(f"<details>{summary}\n\n{fence}diff\n{text}\n{fence}\n\n</details>")
    return diffs


def _fit_comment(lines: list[str], diffs: list[str]) -> str:
    """`lines`, then as many complete `diffs` as fit into a comment. A last sentence counts what is omitted."""
    kept, left = [], MAX_REPORT_CHARACTERS
    for index, block in enumerate([*lines, *(f"\n{diff}" for diff in diffs)]):
        if (left := left - len(block) - 1) < 0:
            omitted = len(lines) + len(diffs) - index
            kept += ["", f"The comment has reached GitHub's maximum length: {omitted} more lines are omitted."]
            break
        kept.append(block)
    return "\n".join(kept)


def _model_code(name: str) -> str:
    return github.code(table_name(name))
