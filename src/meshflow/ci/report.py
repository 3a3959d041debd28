"""The comment on a pull request and its check `PR environment`, from the results of the jobs that evaluated it.

This job has the token that may write them, and loads nothing of the change. The results are untrusted: every text of
them is in code() or fenced().
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci import github
from meshflow.ci.gate import create_build_check
from meshflow.ci.github import code, count, fenced, plain
from meshflow.ci.result import (
    MAX_BYTES,
    BuildResult,
    Comparison,
    Definition,
    Difference,
    Finding,
    MaskChange,
    Results,
    TestResult,
    environment_name,
    read,
)

MARKER = "report"

OVER_BUDGET_LABEL = "over-budget"
"""Somebody with the triage role sets it on a pull request to accept the cost."""

MAX_REPORT_CHARACTERS = 60_000
"""GitHub accepts 65,536 in a comment."""

MAX_DIFF_LINES = 150
"""Lines of a model's diff. Longer ones are in the pull request's files."""

MAX_CATALOG_LINES = 100
"""Lines of the differences between the catalogs, half a comment at most. The others are in the job's log."""

MAX_LINE_CHARACTERS = 300
"""Of such a line: a description before and after."""

MAX_OPEN_LINES = 25
"""Lines of a diff that is shown without a click."""

MAX_LISTED = 20
"""Items of a list, and columns named in a cell of a table."""

INDIRECT = "indirectly modified"

STEPS = {
    "load": "the project could not be loaded",
    "plan": "the plan could not be made",
    "budget": "the plan is over budget",
    "build": "the build failed",
    "compare": "the environment could not be compared with prod",
}


@dataclass(frozen=True)
class Jobs:
    """Results of the jobs on GitHub: `success`, `failure`, `cancelled` or `skipped`."""

    test: str
    build: str


@dataclass(frozen=True)
class Links:
    run: str
    catalog: str = ""
    """The run of ci.yml, with the catalog among its artifacts; empty if there is none."""


def check_current(number: int, sha: str) -> None:
    """Output whether pull request `number` has the label over-budget.

    Raises click.ClickException if it is closed, or its head is not `sha`. Read now: a re-run job gets the event of the
    first run.
    """
    pull = github.connect().get_pull(number)
    if not _is_current(pull, sha):
        raise click.ClickException(f"Pull request {number} was closed, or has a newer head: nothing is built")
    github.write_outputs(over_budget=str(OVER_BUDGET_LABEL in {label.name for label in pull.labels}).lower())


def _is_current(pull: PullRequest, sha: str) -> bool:
    return pull.state == "open" and pull.head.sha == sha


def report(number: int, sha: str, main: str, folder: Path, jobs: Jobs, *, documents_only: bool) -> None:  # noqa: PLR0913
    """Write the comment and the check of pull request `number` for commit `sha`, evaluated with commit `main`.

    `folder` has the results of the jobs. Writes nothing if the pull request has a newer head, whose run reports it.
    """
    repository = github.connect()
    pull = repository.get_pull(number)
    if pull.head.sha != sha:
        click.echo(f"Pull request {number} has a newer head: nothing to report")
        return
    if documents_only:
        succeeded, text = True, describe_documents(sha)
    else:
        links = Links(github.run_url(), _catalog_url(repository, sha))
        catalog = _read_catalog(folder / "catalog.txt")
        succeeded, text = describe(
            read(folder), jobs, environment=environment_name(number), sha=sha, links=links, catalog=catalog
        )
    github.write_summary(text)
    github.sticky_comment(repository, number, MARKER, text)
    create_build_check(repository, sha, main, "success" if succeeded else "failure", text)


def _catalog_url(repository: Repository, sha: str) -> str:
    for run in repository.get_workflow_runs(head_sha=sha, event="pull_request"):
        if run.path.partition("@")[0] == ".github/workflows/ci.yml":
            return f"{run.html_url}#artifacts"
    return ""


def describe_documents(sha: str) -> str:
    return f"Commit {code(sha[:7])} changes documents only: there is nothing to build. To deploy it, comment `/deploy`."


def _read_catalog(file: Path) -> str:
    """What `meshflow catalog diff` has printed; empty if there is none, or more than a comment is about."""
    is_readable = file.is_file() and file.stat().st_size <= MAX_BYTES
    return file.read_text(encoding="utf-8", errors="replace") if is_readable else ""


def describe(  # noqa: PLR0913
    results: Results, jobs: Jobs, *, environment: str, sha: str, links: Links, catalog: str
) -> tuple[bool, str]:
    """Whether the commit may be deployed, and the comment, Markdown. `catalog` is what differs from main's catalog."""
    problems = [*_test_problems(results.test, jobs.test), *_build_problems(results.build, jobs)]
    build = results.build or BuildResult(environment)
    lines = [f"### {code(environment)}: {_title(results.test, build, problems)}", ""]
    run = f"[Run]({links.run})" + (f" · [Catalog, an artifact of CI]({links.catalog})" if links.catalog else "")
    lines += [f"Commit {code(sha[:7])}, merged with main. {run}", ""]
    lines += [*_masks(build.masks), *problems]
    lines += ["**Checks**", "", *_checks(results.test, build), "", *_findings(build.findings)]
    if build.changes:
        lines += ["**Plan**", "", *_plan(build), ""]
    if build.comparison:
        lines += ["**Data**", "", *_data(build.comparison, environment), ""]
    if build.query and not problems:
        lines += ["**Query**", "", fenced(build.query, "sql"), ""]
    if not problems:
        lines += ["To deploy it, have it approved and comment `/deploy`.", ""]
    blocks = [*_failed_tests(results.test), *_definitions(build.definitions)]
    if jobs.test == "success":
        blocks = [_catalog(catalog, links.run), *blocks]
    return not problems, _fit(lines, blocks)


def _title(test: TestResult | None, build: BuildResult, problems: Sequence[str]) -> str:
    if problems:
        failed = build.failure and STEPS[build.failure.step]
        summary = failed or ("lint or unit tests failed" if test and not test.has_succeeded else "a job has no result")
        return f"not deployable, {summary}"
    if not build.exists:
        return "nothing to build, no model differs from prod"
    changed = [one for one in build.changes if one.how != INDIRECT]
    return f"built, {count(changed, 'model')} changed, {len(build.downstream):,} downstream"


def _test_problems(test: TestResult | None, job: str) -> list[str]:
    if job == "success" and test and test.has_succeeded:
        return []
    if not test or test.has_succeeded:
        return [f"**The job Lint and test ended as {code(job)} without a result.** See the run.", ""]
    if test.failure:
        return ["**The project can't be loaded.**", "", fenced(test.failure), ""]
    lines = []
    if errors := [one for one in test.violations if one.is_error]:
        lines += [f"**Lint found {count(errors, 'error')}.**", ""]
        lines += [f"- {code(one.model)}: {code(one.rule)}, {code(one.message)}" for one in errors[:MAX_LISTED]]
        lines += [*_more(errors), ""]
    if test.failed:
        lines += [f"**{count(test.failed, 'unit test')} failed.**", ""]
        lines += [f"- {code(one.name)}" for one in test.failed[:MAX_LISTED]]
        lines += [*_more(test.failed), ""]
    return lines


def _build_problems(build: BuildResult | None, jobs: Jobs) -> list[str]:
    if jobs.test != "success":
        return []  # then it was skipped
    if not build or (not build.failure and jobs.build != "success"):
        return [f"**The job Build ended as {code(jobs.build)} without a result.** See the run.", ""]
    if not (failure := build.failure):
        return []
    title = STEPS[failure.step]
    lines = [f"**{title[0].upper()}{title[1:]}.**", ""]
    if failure.step == "budget":
        rows = ((code(one.model), code(one.kind), f"{one.intervals:,}") for one in build.backfills)
        remedy = f"Split the change, or have the label `{OVER_BUDGET_LABEL}` added, which starts a new build"
        return [*lines, f"It would build {_usage(build)}. {remedy}.", "", *_table("model|kind|-intervals", rows), ""]
    lines += [f"- {code(error)}" for error in failure.errors[:MAX_LISTED]] + _more(failure.errors)
    if failure.skipped:
        lines += ["", f"Not built, because they read what failed: {_names(failure.skipped)}."]
    if any(", query " in error for error in failure.errors):
        lines += [
            "",
            "The text of an error may quote a row, so it is only in Snowflake's query history, by the query's id.",
        ]
    return [*lines, ""]


def _masks(masks: Sequence[MaskChange]) -> list[str]:
    sentences = []
    for model, found in groupby(masks, key=lambda one: one.model):
        changes = list(found)
        removed = [one.column for one in changes if one.exists and not one.is_derived]
        derived = [one.column for one in changes if one.is_derived]
        gone = [one.column for one in changes if not one.exists]
        if removed:
            who = "After the deploy, everybody who may read the table reads in clear text"
            sentences.append(f"**Masking is removed from {code(model)}.** {who}: {_names(removed)}.")
        if gone:
            remedy = "If one has a new name, check that it is masked"
            sentences.append(f"**Masked columns of {code(model)} are removed:** {_names(gone)}. {remedy}.")
        if derived:
            who = "Everybody who may read the table reads them"
            sentences.append(
                f"**{code(model)} derives columns from masked ones without a mask:** {_names(derived)}. {who}."
            )
    return (
        ["> [!CAUTION]", *(f"> {line}".rstrip() for line in "\n\n".join(sentences).split("\n")), ""]
        if sentences
        else []
    )


def _checks(test: TestResult | None, build: BuildResult) -> list[str]:
    rows = []
    if test and not test.failure:
        errors = [one for one in test.violations if one.is_error]
        lint = _joined(errors and count(errors, "error"), _warnings(len(test.violations) - len(errors)))
        rows += [("Lint", lint or "passed")]
        passed = test.tests - len(test.failed)
        rows += [("Unit tests", _joined(f"{passed:,} passed", test.failed and f"{len(test.failed):,} failed"))]
    if build.limits:
        usage = _usage(build) + (f", allowed by the label `{OVER_BUDGET_LABEL}`" if build.is_allowed else "")
        rows += [("Build budget", usage)]
    if build.audits or build.findings:
        blocking = sum(one.is_blocking for one in build.findings)
        warned = len(build.findings) - blocking
        passed = max(build.audits - warned, 0)
        rows += [("Audits", _joined(f"{passed:,} passed", blocking and f"{blocking:,} failed", _warnings(warned)))]
    if build.exists or build.statements:
        intervals = sum(one.intervals for one in build.backfills)
        sent = _joined(
            count(build.backfills, "model"),
            count(intervals, "interval"),
            count(build.statements, "statement"),
            f"{build.seconds:,.0f} s",
        )
        rows += [("Cost", sent)]
    return _table("check|result", rows)


def _usage(build: BuildResult) -> str:
    """`3 of 25 models, 1,326 of 10,000 intervals`."""
    intervals = sum(one.intervals for one in build.backfills)
    if not build.limits:
        return ""
    models, most = build.limits.models, build.limits.intervals
    return f"{len(build.backfills):,} of {count(models, 'model')}, {intervals:,} of {count(most, 'interval')}"


def _findings(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    rows = (
        (code(one.model), code(one.audit), code(one.checks), f"{one.rows:,}", "error" if one.is_blocking else "warning")
        for one in sorted(findings, key=lambda one: (not one.is_blocking, one.model))
    )
    return [*_table("model|audit that found rows|checks|-rows|severity", rows), ""]


def _plan(build: BuildResult) -> list[str]:
    """A table of what the pull request changes itself, and lists of what follows from that."""
    described = {one.model for one in build.definitions if one.diff}
    direct = [one for one in build.changes if one.how != INDIRECT]
    rows = []
    for one in direct:
        how = f"{one.how}, {plain(one.category)}" if one.category else one.how
        if one.how == "metadata only":
            how += ": not built again" if one.model in described else ": code that it uses, not built again"
        rows.append((code(one.model), how))
    lines = _table("model|change", rows)
    indirect = sorted((one for one in build.changes if one.how == INDIRECT), key=lambda one: one.category)
    for category, found in groupby(indirect, key=lambda one: one.category):
        lines += ["", f"Downstream, {INDIRECT}, {plain(category)}: {_names([one.model for one in found])}."]
    if unchanged := [one for one in build.downstream if one not in {one.model for one in indirect}]:
        lines += ["", f"Downstream, unchanged: {_names(unchanged)}."]
    if build.pages:
        listed = "; ".join(f"{plain(one.title)} reads {_names(one.tables)}" for one in build.pages[:MAX_LISTED])
        return [*lines, "", f"Dashboard pages downstream: {listed}."]
    return [*lines, "", "No dashboard page reads a changed model, nor one downstream."]


def _data(compared: Comparison, environment: str) -> list[str]:
    """A table of the models whose rows differ, then the names of those that are equal or were not compared."""
    lines = []
    here = code(environment)
    if differing := [one for one in compared.differences if not one.is_empty]:
        columns = f"model|-rows in prod|-rows in {here}|-added|-removed|-changed|changed rows per column"
        lines += [*_table(columns, map(_difference_row, differing)), ""]
    if numbers := list(_number_rows(differing)):
        columns = f"model|column|-sum in prod|-sum in {here}|-NULL in prod|-NULL in {here}"
        lines += [*_table(columns, numbers), ""]
    if equal := [one.model for one in compared.differences if one.is_empty]:
        lines += [f"No row differs in {_names(equal)}.", ""]
    for reason in sorted(set(compared.skipped.values())):
        models = [model for model, why in compared.skipped.items() if why == reason]
        lines += [f"Not compared: {_names(models)} ({plain(reason)}).", ""]
    if not compared.differences and not compared.skipped:
        return ["No table is built again, so no row differs from prod."]
    if one := compared.processed:
        ends = [f"{end:%Y-%m-%d %H:%M} UTC" for end in (one.prod_until, one.environment_until)]
        if ends[0] == ends[1]:
            lines += [f"Prod and the environment are processed equally far, {code(one.model)} until {ends[0]}."]
        else:
            lines += [
                f"{code(one.model)} is processed until {ends[0]} in prod, and until {ends[1]} in the environment."
            ]
    return lines


def _difference_row(one: Difference) -> Sequence[str]:
    rows = code(one.model), f"{one.prod_rows:,}", f"{one.environment_rows:,}"
    if not one.is_unique:
        return (*rows, "", "", "", "not compared: the grain is not unique")
    by_column = [
        *(f"{code(column)} {changed:,}" for column, changed in sorted(one.columns.items(), key=lambda kv: -kv[1])),
        *(f"{code(column)} is new" for column in one.added_columns),
        *(f"{code(column)} is removed" for column in one.removed_columns),
        *(f"{code(column)} has another type" for column in one.retyped_columns),
    ]
    more = [f"{len(by_column) - MAX_LISTED} more"] if len(by_column) > MAX_LISTED else []
    cell = ", ".join(by_column[:MAX_LISTED] + more)
    return (*rows, f"{one.added:,}", f"{one.removed:,}", f"{one.changed:,}", cell)


def _number_rows(differences: Iterable[Difference]) -> Iterator[Sequence[str]]:
    for one in differences:
        for found in one.numbers:
            rates = [
                f"{1 - values / rows:.1%}" if rows else ""
                for values, rows in zip(found.values, (one.prod_rows, one.environment_rows), strict=True)
            ]
            yield (code(one.model), code(found.column), *map(plain, found.sums), *rates)


def _catalog(text: str, run: str) -> str:
    """What differs between the catalogs of main and of the change, behind a click if it is long."""
    log = f"the log of the job Lint and test in the [run]({run})"
    lines = text.split("\n")[:-1]
    if not lines:
        return f"**Catalog**\n\nIt could not be compared with main's, or differs by over 1 MB. See {log}.\n"
    shown = [line if len(line) <= MAX_LINE_CHARACTERS else f"{line[:MAX_LINE_CHARACTERS]}…" for line in lines]
    block = _folded(fenced("\n".join(shown[:MAX_CATALOG_LINES])), "Differences from main's catalog", len(lines))
    more = len(lines) - MAX_CATALOG_LINES
    omitted = f"\n{count(more, 'more line')}: see {log}.\n" if more > 0 else ""
    return f"**Catalog**\n\n{block}{omitted}"


def _definitions(definitions: Sequence[Definition]) -> list[str]:
    """The diffs of definitions, each with the model's name."""
    blocks = []
    for one in definitions:
        if not one.diff:
            continue
        lines = one.diff.count("\n") + 1
        if lines > MAX_DIFF_LINES:
            blocks.append(f"{code(one.model)}: {lines:,} lines differ, see the pull request's files.\n")
        else:
            blocks.append(f"{code(one.model)}\n\n{_folded(fenced(one.diff, 'diff'), 'Diff', lines)}")
    return ["**Changed definitions**\n", *blocks] if blocks else []


def _failed_tests(test: TestResult | None) -> list[str]:
    failed = test.failed if test else ()
    return [
        f"{code(one.name)}\n\n{_folded(fenced(one.detail), 'Expected and actual rows', one.detail.count(chr(10)) + 1)}"
        for one in failed[:MAX_LISTED]
    ]


def _folded(block: str, title: str, lines: int) -> str:
    """`block` behind a click if it is long. HTML around Markdown: no text of the change may be in `title`."""
    opened = " open" if lines <= MAX_OPEN_LINES else ""
    return f"<details{opened}><summary>{title}, {count(lines, 'line')}</summary>\n\n{block}\n\n</details>\n"


def _fit(lines: Sequence[str], blocks: Sequence[str]) -> str:
    """`lines`, then as many complete `blocks` as fit into a comment. A last sentence counts what is omitted."""
    kept, left = list[str](), MAX_REPORT_CHARACTERS
    for index, block in enumerate([*lines, *blocks]):
        if (left := left - len(block) - 1) < 0:
            omitted = len(lines) + len(blocks) - index
            kept += ["", f"The comment has reached GitHub's maximum length: {omitted:,} more lines are omitted."]
            break
        kept.append(block)
    return "\n".join(kept).rstrip()


def _table(header: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table. `header` has the titles separated by `|`; one with a leading `-` is aligned to the right."""
    titles = header.split("|")
    alignment = "|".join("--:" if title.startswith("-") else "---" for title in titles)
    lines = [" | ".join(row) for row in [[title.removeprefix("-") for title in titles], *rows]]
    return [f"| {lines[0]} |", f"|{alignment}|", *(f"| {line} |" for line in lines[1:])]


def _names(names: Sequence[str]) -> str:
    more = [f"{len(names) - MAX_LISTED:,} more"] if len(names) > MAX_LISTED else []
    return ", ".join([*map(code, names[:MAX_LISTED]), *more])


def _more(listed: Sequence[object]) -> list[str]:
    return [f"- and {len(listed) - MAX_LISTED:,} more"] if len(listed) > MAX_LISTED else []


def _joined(*parts: str | int | Sequence[object]) -> str:
    return ", ".join(str(part) for part in parts if part)


def _warnings(number: int) -> str:
    return count(number, "warning") if number else ""
