"""What a pull request changes, in one comment on it: its plan and its data against prod's."""

import re
from collections.abc import Iterable
from pathlib import Path

from sqlmesh.core.context import Context
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot, SnapshotId

from meshflow.ci import github
from meshflow.ci.diff import Comparison, Difference, compare
from meshflow.ci.gate import build_check
from meshflow.ci.plan import bot, clear_errors, table_name

MARKER = "report"

LONGEST = 60_000
"""Characters of a comment; GitHub takes 65,536."""

LONGEST_SQL = 60
"""Lines of a model's text diff: who wants to read more looks at the pull request's files."""

MOST_COLUMNS = 12
"""Columns named in a cell of the table."""


def report(path: Path, gateway: str, main: str, budget: str = "") -> None:
    """Tell on the event's pull request what its environment changes, in one comment that is updated in place.

    `path` is where it is merged with commit `main`; `budget` is what plan.budget wrote before it was built. What was
    built passes the gate with that commit of main only.
    """
    pull = github.event()["pull_request"]
    with clear_errors():
        controller, context = bot(path, gateway)
        plan, environment = controller.prod_plan_with_gaps, controller.pr_environment_name
        text = describe(context, plan, environment, commit=pull["head"]["sha"], budget=budget)
    github.write_summary(text)
    repository = github.connect()
    github.sticky_comment(repository, pull["number"], MARKER, text)
    build_check(repository, pull["head"]["sha"], main, "success", text)


def describe(context: Context, plan: Plan, environment: str, *, commit: str, budget: str = "") -> str:
    """The comment, Markdown: `plan` is the one that would bring prod to what `environment` is built from."""
    if context.state_reader.get_environment(environment) is None:
        return f"### There is no {github.code(environment)}\n\nNo model differs from prod's: there is nothing to build."
    downstream = {one for found in plan.indirectly_modified.values() for one in found}
    compared = compare(context, environment, _names(plan.directly_modified), _names(downstream))
    head = [f"### {github.code(environment)} against prod", ""]
    head += [f"Built from commit {github.code(commit[:7])}. To deploy it, comment `/deploy`."]
    head += [f"Built for it: {github.code(budget)}."] if budget else []
    sections = [
        head,
        ["", "**Plan**", "", *_plan(plan, downstream)],
        ["", "**Data**", "", *_data(compared, environment)],
    ]
    return _fit([line for section in sections for line in section], _texts(plan))


def _names(snapshots: Iterable[SnapshotId]) -> set[str]:
    return {snapshot.name for snapshot in snapshots}


def _plan(plan: Plan, downstream: set[SnapshotId]) -> list[str]:
    """A line per model that the plan touches."""
    difference = plan.context_diff
    added = difference.added & plan.snapshots.keys()
    direct = plan.directly_modified - added
    rows = [(_shown(one.name), "added") for one in added]
    rows += [(_shown(one.name), f"changed, {_category(plan.snapshots[one])}") for one in direct]
    rows += [
        (_shown(one.name), f"changed by what it reads, {_category(plan.snapshots[one])}")
        for one in downstream - added - direct
    ]
    rows += [(_shown(one.name), "header only, not built again") for one in plan.metadata_updated - direct - downstream]
    rows += [(_shown(one.name), "removed") for one in difference.removed_snapshots]
    if not rows:
        return ["No model differs from prod's."]
    order = {"added": 0, "removed": 1, "changed": 2}
    rows.sort(key=lambda row: (order.get(row[1].split(",")[0], 3), row))
    return ["| model | change |", "|---|---|", *(f"| {name} | {change} |" for name, change in rows)]


def _category(snapshot: Snapshot) -> str:
    if snapshot.change_category is None:
        return "not categorized yet"
    return snapshot.change_category.name.lower().replace("_", "-").replace("indirect-", "")


def _data(compared: Comparison, environment: str) -> list[str]:
    """What differs, in numbers, and in words what doesn't or wasn't compared."""
    lines = []
    if differing := [one for one in compared.differences if not one.is_none]:
        lines += [
            f"| model | rows in prod | rows in {github.code(environment)} | added | removed | changed | by column |",
            "|---|--:|--:|--:|--:|--:|---|",
            *map(_row, differing),
            "",
        ]
    if equal := [github.code(one.model) for one in compared.differences if one.is_none]:
        lines += [f"No row differs in {', '.join(equal)}.", ""]
    reasons = sorted(set(compared.skipped.values()))
    for reason in reasons:
        models = [github.code(model) for model, why in compared.skipped.items() if why == reason]
        lines += [f"Not compared: {', '.join(models)} ({reason}).", ""]
    if not compared.differences and not reasons:
        return ["There is nothing in prod to compare with."]
    ends = compared.prod_until, compared.environment_until
    if ends[0] != ends[1] and all(ends):
        lines += [
            f"Prod is processed until {ends[0]:%Y-%m-%d %H:%M} UTC, the environment until {ends[1]:%Y-%m-%d %H:%M}."
        ]
    return lines


def _row(one: Difference) -> str:
    rows = f"{one.prod_rows:,} | {one.environment_rows:,}"
    if not one.is_unique:
        return f"| {github.code(one.model)} | {rows} | | | | several rows share a key: not compared |"
    said = [
        *(f"{github.code(column)} {count:,}" for column, count in sorted(one.columns.items(), key=lambda kv: -kv[1])),
        *(f"{github.code(column)} is new" for column in one.added_columns),
        *(f"{github.code(column)} is gone" for column in one.removed_columns),
        *(f"{github.code(column)} has another type" for column in one.retyped_columns),
    ]
    more = [f"{len(said) - MOST_COLUMNS} more"] if len(said) > MOST_COLUMNS else []
    by_column = ", ".join(said[:MOST_COLUMNS] + more)
    return f"| {github.code(one.model)} | {rows} | {one.added:,} | {one.removed:,} | {one.changed:,} | {by_column} |"


def _texts(plan: Plan) -> list[str]:
    """The text diffs of changed SQL models, where they are short. Seeds are left out: their rows are data."""
    texts = []
    for one in sorted(plan.directly_modified - plan.context_diff.added):
        snapshot = plan.snapshots[one]
        text = plan.context_diff.text_diff(one.name).removeprefix("--- \n\n+++ \n\n")
        if not (snapshot.is_model and snapshot.model.is_sql and text) or text.count("\n") >= LONGEST_SQL:
            continue
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # longer than any in the text
        texts.append(f"<details><summary>{_shown(one.name)}</summary>\n\n{fence}diff\n{text}\n{fence}\n\n</details>")
    return texts


def _fit(lines: list[str], texts: list[str]) -> str:
    """`lines`, then as many of `texts`, whole, as GitHub takes; with a sentence where something is left out."""
    kept, left = [], LONGEST
    for index, block in enumerate([*lines, *(f"\n{text}" for text in texts)]):
        if (left := left - len(block) - 1) < 0:
            kept += ["", f"GitHub takes no longer comment: {len(lines) + len(texts) - index} more lines are left out."]
            break
        kept.append(block)
    return "\n".join(kept)


def _shown(name: str) -> str:
    return github.code(table_name(name))
