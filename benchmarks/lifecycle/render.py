"""Render every model's query and audits with SQLMesh, for the baseline.

They are written to a file, so that the baseline needs neither the project nor SQLMesh.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.macros import RuntimeStage
from sqlmesh.core.model import Model
from sqlmesh.core.model.kind import CustomKind, FullKind, IncrementalUnmanagedKind, SeedKind, ViewKind
from sqlmesh.utils.date import to_datetime

SINCE = datetime(2999, 1, 1, tzinfo=UTC)
"""Rendered for `@since()` in an hour's queries, and replaced by a variable of DuckDB: a run reads it from the table."""


@dataclass(frozen=True)
class Rendered:
    """A model in DuckDB's SQL, in the order in which models depend on each other."""

    table: str
    """schema.table, in lower case."""
    kind: str
    """view, seed, full, appended or replaced (rows of affected keys)."""
    columns: dict[str, str]
    """Types by name."""
    key: str = ""
    """Of a replaced table: the column whose affected values lose their rows."""
    row_exists: str = ""
    """Of a replaced table: the condition of the rows that are stored."""
    starts: list[str] = field(default_factory=list)
    """Of the full build's interval, then of each hour's."""
    queries: list[str | None] = field(default_factory=list)
    """Of the full build, then of each hour; None if `sqlmesh run` doesn't run the model in that hour."""
    audits: list[list[str]] = field(default_factory=list)
    """Of the full build, then of each hour."""


def render(target: str, *interval_ends: int) -> int:
    """Write every model but the external ones and the run log to the file `target`, as JSON; returns their number.

    `interval_ends` are seconds since 1970: the end of the full build, then of each hour.
    """
    context = Context(paths=".", gateway="live")
    start = to_datetime(context.config.model_defaults.start)
    ends = [datetime.fromtimestamp(end, UTC) for end in interval_ends]
    intervals = list(zip([start, *ends], ends, strict=False))
    # Neither the baseline nor dbt records what it runs, and a commit may have no run log.
    run_log = context.get_model("run_log.events")
    left_out = context.dag.downstream(run_log.fqn) if run_log else []
    models = [
        context.models[name]
        for name in context.dag.sorted
        if name in context.models and name not in left_out and not context.models[name].kind.is_external
    ]
    Path(target).write_text(json.dumps([asdict(_rendered(model, intervals)) for model in models], indent=1))
    return len(models)


def _rendered(model: Model, intervals: list[tuple[datetime, datetime]]) -> Rendered:
    kind, key, row_exists = "view", "", ""
    match model.kind:
        case CustomKind(materialization="replace_by_key", materialization_properties=properties):
            kind, key, row_exists = "replaced", _sql(properties["key"]), _sql(properties.get("row_exists", exp.true()))
        case IncrementalUnmanagedKind():
            kind = "appended"
        case FullKind():
            kind = "full"
        case SeedKind():
            kind = "seed"
        case ViewKind():
            pass
        case unknown:
            raise NotImplementedError(f"The baseline can't build {model.name}: its kind is {unknown.name}")
    rendered = Rendered(
        f"{model.fully_qualified_table.db}.{model.fully_qualified_table.name}".lower(),
        kind,
        {name.lower(): _sql(data_type) for name, data_type in (model.columns_to_types or {}).items()},
        key,
        row_exists,
    )
    for number, (start, end) in enumerate(intervals):
        rendered.starts.append(f"{start:%Y-%m-%d %H:%M:%S}")
        is_due = number == 0 or (kind != "seed" and model.cron_floor(end) > model.cron_floor(start))
        rendered.queries.append(_query(model, start, end, is_first=number == 0) if is_due else None)
        rendered.audits.append(_audits(model, start, end) if is_due else [])
    return rendered


def _query(model: Model, start: datetime, end: datetime, *, is_first: bool) -> str:
    times = {"start": start, "end": end, "execution_time": end}
    if model.kind.is_seed:
        [rows] = [list(frame.itertuples(index=False, name=None)) for frame in model.render(context=None, **times)]
        typed = [exp.cast(column, data_type).as_(column) for column, data_type in model.columns_to_types.items()]
        return _sql(exp.select(*typed).from_(exp.values(rows, alias="rows", columns=[*model.columns_to_types])))
    # Given the time, macros/affected.py doesn't read it from the model's own table, which doesn't exist yet.
    since = start if is_first else SINCE
    query = _sql(model.render_query_or_raise(**times, runtime_stage=RuntimeStage.EVALUATING, since=since))
    return query.replace(f"CAST('{SINCE:%Y-%m-%d %H:%M:%S.%f}' AS TIMESTAMP)", "GETVARIABLE('since')")


def _audits(model: Model, start: datetime, end: datetime) -> list[str]:
    times = {"start": start, "end": end, "execution_time": end}
    queries = [model.render_audit_query(audit, **times, **arguments) for audit, arguments in model.audits_with_args]
    return [_sql(exp.select("count(*)").from_(query.subquery("audit"))) for query in queries]


def _sql(expression: exp.Expression) -> str:
    return expression.sql("duckdb", comments=False)
