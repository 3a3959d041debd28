"""Credits of Snowflake per month for hourly and more frequent loads and runs, as a Markdown table.

The statements of a load and of a run are counted on an emulator (tests/integration/test_statements.py). Their duration
is an assumption: nothing has been measured on an account.
"""

from math import ceil

from report import markdown

Counts = dict[str, dict[str, int]]
"""Statements by step and kind, as in results/snowflake.json."""

HOURS_PER_MONTH = 744
IDLE_SECONDS = 60
"""A warehouse stays awake so long after its last statement: auto_suspend in infra/snowflake/config/warehouse.yaml."""
CREDITS_PER_HOUR = 1
"""Of a warehouse of size XSMALL."""
STATEMENT_SECONDS = 0.3
"""Assumption: the longest that docs/scale.md names for a statement on few rows."""
RUN_TASKS = 4
"""Statements of a run that are sent in parallel: concurrent_tasks in config.yaml. A load sends one at a time."""
QUOTA_SECONDS = 120 + 240
"""The average duration of a load and of a run for which the quota of the resource monitor is sufficient."""
INTERVALS = (60, 15, 5)
"""Minutes between loads. Each is followed by a run."""
FREE = {"commits and others"}
"""Kinds of statements that need no warehouse."""


def credits_per_month(minutes: int, busy_seconds: float, times_idle: int) -> float:
    """Of a warehouse that is busy so long in each interval, and idle until it suspends so many times."""
    # It sleeps only if it has been idle so long.
    awake = min(busy_seconds + times_idle * IDLE_SECONDS, minutes * 60)
    return HOURS_PER_MONTH * 60 / minutes * awake / 3600 * CREDITS_PER_HOUR


def quota(minutes: int) -> int:
    """The quota of the warehouse's resource monitor, in credits per month, also if runs don't follow at once."""
    return ceil(credits_per_month(minutes, QUOTA_SECONDS, times_idle=2))


def table(counts: Counts) -> str:
    """Credits per month by interval, if rows are loaded in each of them."""
    load, run = (
        sum(number for kind, number in counts[step].items() if kind not in FREE)
        for step in ("load of rows of all tables", "run of an hour")
    )
    busy = load * STATEMENT_SECONDS + run * STATEMENT_SECONDS / RUN_TASKS
    rows = []
    for minutes in INTERVALS:
        at_once, later = (credits_per_month(minutes, busy, times_idle) for times_idle in (1, 2))
        figures = [at_once, at_once - credits_per_month(minutes, busy, 0), later, quota(minutes)]
        rows.append([f"{minutes} minutes", f"{HOURS_PER_MONTH * 60 // minutes:,}", *(f"{one:,.0f}" for one in figures)])
    columns = ["every", "loads", "run at once", "of which idle", "run more than a minute later", "quota"]
    return markdown(columns, rows) + "\n"
