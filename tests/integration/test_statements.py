"""A plan, a run, a load and a promotion send Snowflake as many statements as docs/scale.md lists.

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

BEFORE = {
    "first plan of prod": 1061,
    "plan with nothing changed": 0,
    "branch: one mart changed": 212,
    "its promotion": 83,
    "run of an hour": 584,
    "run with nothing loaded": 102,
    "load of rows of all tables": 105,
    "load with nothing new": 25,
}
"""Counted with this test's steps at 8a7e7a7, before statements were saved."""


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

    def step(name: str, work: Callable[[], None], user: str = "TRANSFORMER") -> None:
        with snowflake.sent(user) as statements:
            work()
        counted = Counter(map(kind, statements))
        found[name] = {each: counted[each] for each in KINDS}

    def load_step(name: str, at: datetime) -> None:
        step(name, lambda: load(sources, data, at=at), user="LOADER")

    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    reconcile(sources, data, at=PLANNED_AT)
    step("first plan of prod", lambda: plan(workspace.context("snowflake"), "prod", PLANNED_AT))
    step("plan with nothing changed", lambda: plan(workspace.context("snowflake"), "prod", PLANNED_AT))
    for seed, (at, name) in enumerate([(HOUR_LATER, "run of an hour"), (DAY_LATER, "first run of a day")], start=7):
        write(sources, seed)
        sources.execute("UPDATE edtech.courses SET course_name = course_name")
        # Before the first run, it also creates staging tables. That of the next day is counted.
        load_step("load of rows of all tables", at - timedelta(minutes=30))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("meshflow.loading.load.LAG", timedelta(0))  # as if ten seconds had passed
            load_step("load with nothing new", at)
        step(name, lambda at=at: run(workspace.context("snowflake"), at))
        if at == HOUR_LATER:
            step("run with nothing loaded", lambda at=at: run(workspace.context("snowflake"), at + timedelta(hours=1)))
    workspace.edit(*MART)
    step("branch: one mart changed", lambda: plan(workspace.context("snowflake"), "dev", DAY_LATER))
    step("its promotion", lambda: plan(workspace.context("snowflake"), "prod", DAY_LATER))
    return found


def table(counts: Counts) -> str:
    rows = [
        [
            name,
            *(f"{number:,}" for number in (*found.values(), sum(found.values()))),
            f"{BEFORE[name]:,}" if name in BEFORE else "",
        ]
        for name, found in counts.items()
    ]
    return markdown(["", *KINDS, "all", "before"], rows) + "\n"


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


def test_runs_and_loads_send_a_third_less_than_before_and_half_if_nothing_was_loaded(counts: Counts) -> None:
    ratios = {name: sum(counts[name].values()) / before for name, before in BEFORE.items() if before}
    assert ratios["run of an hour"] <= 2 / 3
    assert ratios["load of rows of all tables"] <= 2 / 3
    assert ratios["load with nothing new"] <= 1 / 2
    assert ratios["run with nothing loaded"] <= 1 / 2


def test_a_load_logs_in_once(snowflake: Snowflake, sources: SourceDatabase, data: Path) -> None:
    before = len(snowflake.logins("LOADER"))
    write(sources, seed=9)
    load(sources, data)
    assert len(snowflake.logins("LOADER")) == before + 1
