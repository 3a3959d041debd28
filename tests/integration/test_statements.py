"""A plan, a run and a promotion send Snowflake as many statements as docs/scale.md lists.

An emulator can't measure their cost. Their number depends on the real adapter alone.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cost
import pytest
from conftest import load, reconcile, write
from emulated import Snowflake
from report import markdown
from sources import SourceDatabase, new_state
from workspace import Workspace, plan, run

from meshflow.source.server import Server

MART = ("models/retail/rpt_net_revenue_by_country.sql", "COUNT(*)::INT AS line_count", "COUNT(1)::INT AS line_count")
PLANNED_AT = datetime(2026, 11, 10, 11, tzinfo=UTC)
HOUR_LATER = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY_LATER = datetime(2026, 11, 11, 0, tzinfo=UTC)
"""Fixed, because the number of statements depends on the models that are due: views are evaluated once a day."""

KINDS = {
    "rows written": r"CREATE (OR REPLACE )?(TRANSIENT )?TABLE .* AS |(MERGE|INSERT|UPDATE|DELETE|TRUNCATE|PUT|COPY) ",
    "audits": r"SELECT COUNT\(\*\) FROM \(",
    "tables and views": r"(CREATE|ALTER|DROP|COMMENT) ",
    "metadata queries": r"SELECT |SHOW |DESCRIBE |DESC ",
    "commits and others": r"",
}
"""A statement is of the first kind whose pattern it begins with."""
MARKED = re.compile(r"(?<=<!-- statements -->\n).*(?=<!-- /statements -->)", re.DOTALL)
COST = re.compile(r"(?<=<!-- cost -->\n).*(?=<!-- /cost -->)", re.DOTALL)

Counts = dict[str, dict[str, int]]


def kind(statement: str) -> str:
    # Without comments and texts: a column's description may contain " as ".
    code = re.sub(r"/\*.*?\*/|'(?:[^']|'')*'", "", statement, flags=re.DOTALL)
    text = " ".join(code.split()).replace('"', "")
    return next(name for name, pattern in KINDS.items() if re.match(pattern, text, re.IGNORECASE))


@pytest.fixture(scope="module")
def counts(
    project: Path,
    postgres: Server,
    snowflake: Snowflake,
    sources: SourceDatabase,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Counts:
    """Number of statements by step and kind."""
    found: Counts = {}

    def step(name: str, work: Callable[[], None]) -> None:
        with snowflake.sent() as statements:
            work()
        counted = Counter(map(kind, statements))
        found[name] = {each: counted[each] for each in KINDS}

    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    reconcile(sources, data, at=PLANNED_AT)
    step("first plan of prod", lambda: plan(workspace.context("snowflake"), "prod", PLANNED_AT))
    step("plan with nothing changed", lambda: plan(workspace.context("snowflake"), "prod", PLANNED_AT))
    for name, at, seed in (("run of an hour", HOUR_LATER, 7), ("first run of a day", DAY_LATER, 8)):
        write(sources, seed)
        load(sources, data, at=at - timedelta(minutes=30))
        load(sources, data, at=at)
        step(name, lambda at=at: run(workspace.context("snowflake"), at))
    workspace.edit(*MART)
    step("branch: one mart changed", lambda: plan(workspace.context("snowflake"), "dev", DAY_LATER))
    step("its promotion", lambda: plan(workspace.context("snowflake"), "prod", DAY_LATER))
    return found


def table(counts: Counts) -> str:
    rows = [
        [name, *(f"{number:,}" for number in (*found.values(), sum(found.values())))] for name, found in counts.items()
    ]
    return markdown(["", *KINDS, "all"], rows) + "\n"


def test_the_number_of_statements_is_as_documented(counts: Counts, project: Path) -> None:
    """After an intended change: run this test with MESHFLOW_NOTE=1 and review the difference."""
    file, page = project / "benchmarks" / "results" / "snowflake.json", project / "docs" / "scale.md"
    if os.environ.get("MESHFLOW_NOTE"):
        file.write_text(json.dumps(counts, indent=2) + "\n")
        text = MARKED.sub(lambda _: table(counts), page.read_text())
        page.write_text(COST.sub(lambda _: cost.table(counts), text))
    assert counts == json.loads(file.read_text())
    assert table(counts) in page.read_text()
    assert cost.table(counts) in page.read_text()


def test_a_promotion_writes_no_row_and_runs_no_audit(counts: Counts) -> None:
    assert counts["its promotion"]["rows written"] == counts["its promotion"]["audits"] == 0


def test_a_plan_with_nothing_changed_writes_nothing(counts: Counts) -> None:
    unchanged = counts["plan with nothing changed"]
    assert unchanged["rows written"] == unchanged["audits"] == unchanged["tables and views"] == 0
