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
QUOTA_SECONDS = {"load": 120, "transform": 240}
"""The average duration of a load and of a run for which the quotas of resource monitors are sufficient."""
INTERVALS = (60, 15, 5)
"""Minutes between loads. Each is followed by a run."""
FREE = {"commits and others"}
"""Kinds of statements that need no warehouse."""


def credits_per_month(minutes: int, busy_seconds: float) -> float:
    """Of one warehouse that wakes once in each interval."""
    # Between two jobs it sleeps only if it has been idle so long.
    awake = min(busy_seconds + IDLE_SECONDS, minutes * 60)
    return HOURS_PER_MONTH * 60 / minutes * awake / 3600 * CREDITS_PER_HOUR


def quota(minutes: int, warehouse: str) -> int:
    """The quota of a warehouse's resource monitor, in credits per month."""
    return ceil(credits_per_month(minutes, QUOTA_SECONDS[warehouse]))


def table(counts: Counts) -> str:
    """Credits per month by interval, if rows are loaded in each of them."""
    load, run = (
        sum(number for kind, number in counts[step].items() if kind not in FREE)
        for step in ("load of rows of all tables", "run of an hour")
    )
    busy_seconds = {"LOAD": load * STATEMENT_SECONDS, "TRANSFORM": run * STATEMENT_SECONDS / RUN_TASKS}
    rows = []
    for minutes in INTERVALS:
        used = [credits_per_month(minutes, busy) for busy in busy_seconds.values()]
        idle = len(used) * credits_per_month(minutes, 0)
        figures = [*used, sum(used), idle, *(quota(minutes, warehouse) for warehouse in QUOTA_SECONDS)]
        rows.append([f"{minutes} minutes", f"{HOURS_PER_MONTH * 60 // minutes:,}", *(f"{one:,.0f}" for one in figures)])
    columns = ["every", "loads", *busy_seconds, "both", "of which idle", "quota LOAD", "quota TRANSFORM"]
    return markdown(columns, rows) + "\n"
