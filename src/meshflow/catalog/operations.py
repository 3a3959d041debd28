"""What runs have recorded of each model: its last run, its audits, and how far it is processed."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pandas as pd  # type: ignore[import-untyped]

from meshflow.serve import ENVIRONMENTS, Query, State, Warehouse, environments, warehouses

# As in ops.failing_models: a plan that fails changes no model that people read.
RUNS = """
SELECT
    models.model, MAX(runs.started_at) AS started_at, MAX_BY(models.status, runs.started_at) AS status,
    MAX_BY(models.duration_seconds, runs.started_at) AS duration_seconds,
    MAX_BY(models.row_count, runs.started_at) AS row_count
FROM ops.model_runs AS models
INNER JOIN ops.runs AS runs ON models.run_id = runs.run_id
WHERE runs.environment = ? AND (runs.command = 'run' OR runs.status = 'succeeded')
GROUP BY models.model
"""
AUDITS = """
SELECT
    audits.model, audits.audit, audits.arguments, MAX(runs.started_at) AS started_at,
    MAX_BY(audits.status, runs.started_at) AS status, MAX_BY(audits.row_count, runs.started_at) AS row_count
FROM ops.audit_results AS audits
INNER JOIN ops.runs AS runs ON audits.run_id = runs.run_id
WHERE runs.environment = ? AND (runs.command = 'run' OR runs.status = 'succeeded')
GROUP BY audits.model, audits.audit, audits.arguments
"""
FRESHNESS = """
SELECT freshness.model, freshness.processed_until, freshness.late_at, freshness.laggard, freshness.failed_models
FROM ops.model_freshness AS freshness
WHERE freshness.environment = ?
"""


@dataclass(frozen=True)
class AuditResult:
    audit: str
    arguments: str
    """As `column := price; max_v := 9`."""
    at: str
    status: str
    """passed, warned or failed."""
    rows: int


@dataclass(frozen=True)
class Operation:
    """The newest record of a model. Timestamps are ISO 8601, UTC, and empty if nothing is recorded."""

    run_at: str = ""
    status: str = ""
    """succeeded, failed or skipped."""
    seconds: float | None = None
    rows: int | None = None
    """Rows written; None if the engine doesn't report it."""
    processed_until: str = ""
    late_at: str = ""
    laggard: str = ""
    failed_models: str = ""
    audits: list[AuditResult] = field(default_factory=list)


@dataclass(frozen=True)
class Operations:
    """The records of one environment by model."""

    environment: str
    gateway: str
    read_at: str
    models: dict[str, Operation]


def read_operations(gateway: str, environment: str, data: Path, now: datetime) -> Operations:
    """Read them as dashboards do, which keeps no plan or run waiting.

    Raises click.ClickException if the gateway has no warehouse or not the environment, or it no record.
    """
    warehouse, state = find_warehouse(gateway, environment, data)

    def rows(sql: str) -> list[dict[str, Any]]:
        frame = warehouse.run(state, environment, Query(sql, (environment,)))
        return [dict(zip(frame.columns, row, strict=True)) for row in frame.astype(object).to_numpy()]

    audits: defaultdict[str, list[AuditResult]] = defaultdict(list)
    for one in rows(AUDITS):
        result = AuditResult(
            one["audit"], one["arguments"], _iso(one["started_at"]), one["status"], int(one["row_count"])
        )
        audits[one["model"]].append(result)
    runs = {one["model"]: one for one in rows(RUNS)}
    freshness = {one["model"]: one for one in rows(FRESHNESS)}
    if not (runs or freshness):
        raise click.ClickException(
            f"No run of {environment} on gateway {gateway} is recorded: use `meshflow run` and `meshflow plan`"
        )
    return Operations(
        environment,
        gateway,
        now.isoformat(),
        {model: _operation(runs.get(model, {}), freshness.get(model, {}), audits[model]) for model in runs | freshness},
    )


def find_warehouse(gateway: str, environment: str, data: Path) -> tuple[Warehouse, State]:
    """The warehouse of a gateway, as dashboards read it, and its newest state.

    Raises click.ClickException if there is none, or the environment isn't in it.
    """
    found = warehouses(data)
    if gateway not in found:
        known = f"choose from {', '.join(found)}" if found else "build one with `meshflow plan`"
        raise click.ClickException(f"Gateway {gateway} has no warehouse to read from: {known}")
    warehouse = found[gateway]
    state = warehouse.now()
    built = environments(warehouse.run(state, "prod", ENVIRONMENTS))
    if environment not in built:
        raise click.ClickException(
            f"There is no environment '{environment}' on gateway {gateway}: built are {', '.join(built) or 'none yet'}"
        )
    return warehouse, state


def _operation(run: dict[str, Any], freshness: dict[str, Any], audits: list[AuditResult]) -> Operation:
    seconds, rows = (_number(run.get(name)) for name in ("duration_seconds", "row_count"))
    return Operation(
        _iso(run.get("started_at")),
        run.get("status") or "",
        seconds,
        None if rows is None else int(rows),
        _iso(freshness.get("processed_until")),
        _iso(freshness.get("late_at")),
        freshness.get("laggard") or "",
        freshness.get("failed_models") or "",
        audits,
    )


def _iso(value: Any) -> str:
    return "" if pd.isna(value) else pd.Timestamp(value).isoformat()


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
