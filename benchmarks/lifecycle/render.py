"""Render every model's query and audits with SQLMesh, for the baseline.

They are written to a file, so that the baseline needs neither the project nor SQLMesh.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.model import Model
from sqlmesh.core.model.kind import (
    FullKind,
    IncrementalByUniqueKeyKind,
    SCDType2ByColumnKind,
    SCDType2ByTimeKind,
    SeedKind,
    ViewKind,
)


@dataclass(frozen=True)
class Rendered:
    """A model in DuckDB's SQL, in the order in which models depend on each other."""

    table: str
    """schema.table, in lower case."""
    kind: str
    """view, seed, full, merged or history."""
    columns: dict[str, str]
    """Types by name."""
    key: list[str]
    """Of a merged table: conditions on which an old and a new row have the same key. Of a history: the key columns."""
    compared: list[str] = field(default_factory=list)
    """Columns of a history whose change begins a new version."""
    queries: list[str] = field(default_factory=list)
    """Of the full build, then of each hour."""
    audits: list[list[str]] = field(default_factory=list)
    """Of the full build, then of each hour."""


def render(target: str, *interval_ends: int) -> int:
    """Write every model but the external ones to the file `target`, as JSON; returns their number.

    `interval_ends` are seconds since 1970: the end of the full build, then of each hour.
    """
    context = Context(paths=".", gateway="live")
    ends = [datetime.fromtimestamp(end, UTC) for end in interval_ends]
    intervals = list(zip([context.config.model_defaults.start, *ends], ends, strict=False))
    models = [
        context.models[name]
        for name in context.dag.sorted
        if name in context.models and not context.models[name].kind.is_external
    ]
    Path(target).write_text(json.dumps([asdict(_rendered(model, context, intervals)) for model in models], indent=1))
    return len(models)


def _rendered(model: Model, context: Context, intervals: list[tuple[object, datetime]]) -> Rendered:
    kind, key, compared = "view", [], []
    match model.kind:
        case IncrementalByUniqueKeyKind():
            parts = [part for key in model.unique_key for part in _parts(key)]
            kind, key = "merged", [f"{_of('old', part)} = {_of('new', part)}" for part in parts]
        case SCDType2ByTimeKind():
            kind, key, compared = "history", [_sql(e) for e in model.unique_key], [_sql(model.kind.updated_at_name)]
        case SCDType2ByColumnKind():
            kind, key, compared = "history", [_sql(e) for e in model.unique_key], [_sql(c) for c in model.kind.columns]
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
        compared,
    )
    for start, end in intervals:
        times = {"start": start, "end": end, "execution_time": end}
        if kind == "seed":
            [rows] = [
                list(frame.itertuples(index=False, name=None)) for frame in model.render(context=context, **times)
            ]
            typed = [exp.cast(column, data_type).as_(column) for column, data_type in model.columns_to_types.items()]
            rendered.queries.append(
                _sql(exp.select(*typed).from_(exp.values(rows, alias="rows", columns=list(rendered.columns))))
            )
        else:
            rendered.queries.append(_sql(model.render_query_or_raise(**times)))
        rendered.audits.append(
            [
                _sql(
                    exp.select("count(*)").from_(
                        model.render_audit_query(audit, **times, **arguments).subquery("audit")
                    )
                )
                for audit, arguments in model.audits_with_args
            ]
        )
    return rendered


def _parts(key: exp.Expression) -> list[exp.Expression]:
    """The columns that macros/keys.py combines into one value."""
    return key.expressions if key.name == "ROW" else [key]


def _of(table: str, key: exp.Expression) -> str:
    return _sql(key.transform(lambda node: exp.column(node.name, table) if isinstance(node, exp.Column) else node))


def _sql(expression: exp.Expression) -> str:
    return expression.sql("duckdb", comments=False)
