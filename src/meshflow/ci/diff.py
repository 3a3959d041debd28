"""Rows of prod against rows of an environment, model by model: counts only, no personal data leave the warehouse.

SQLMesh's own table_diff copies both sides into a table, fetches sample rows, and reads the views, which show CI's role
'***' for what identifies people, on both sides. This reads the tables behind the views, and fetches one row of numbers.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.model import Model
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot
from sqlmesh.utils.date import to_datetime

LIMIT = 25
"""Models that are compared at most: each costs a scan of both tables."""

READ_BY_PEOPLE = {"edtech", "retail", "shared", "pii", "history", "quarantine", "ops"}
"""Schemas compared also where a model has changed only because of one upstream."""

PRESENT = "__meshflow_present"


@dataclass(frozen=True)
class Difference:
    """Rows of a model by its grain: in prod, in the environment, only in either, and in both with another value.

    `columns` counts changed rows per column. Columns that only one side has, or with another type, aren't compared.
    If several rows share a key, `is_unique` is false, and only `prod_rows` and `environment_rows` mean anything.
    """

    model: str
    prod_rows: int
    environment_rows: int
    added: int
    removed: int
    changed: int
    columns: dict[str, int]
    added_columns: tuple[str, ...]
    removed_columns: tuple[str, ...]
    retyped_columns: tuple[str, ...]
    is_unique: bool

    @property
    def is_none(self) -> bool:
        """Whether the two sides are equal, as far as they can be compared."""
        schema = self.added_columns or self.removed_columns or self.retyped_columns
        return self.is_unique and not (self.added or self.removed or self.changed or schema)


@dataclass(frozen=True)
class Comparison:
    """What was compared, why other models weren't, and until when either environment has been processed, UTC."""

    differences: list[Difference]
    skipped: dict[str, str]
    prod_until: datetime | None
    environment_until: datetime | None


def compare(
    context: Context, environment: str, directly: Collection[str], indirectly: Collection[str], limit: int = LIMIT
) -> Comparison:
    """Compare with prod the models changed `directly`, then those changed `indirectly` that people read.

    Both hold names as SQLMesh's snapshots have them. Models that prod doesn't have yet aren't compared, nor told.
    """
    prod = _served(context, "prod")
    built = _served(context, environment)
    found, skipped = list[Difference](), dict[str, str]()
    for name in (*sorted(directly), *sorted(set(indirectly) - set(directly))):
        if name not in prod or name not in built:
            continue
        model = built[name][0].model
        if name not in directly and (
            model.schema_name.lower() not in READ_BY_PEOPLE or built[name][1] == prod[name][1]
        ):
            continue
        if reason := _incomparable(*built[name]):
            skipped[model.name] = reason
        elif len(found) == limit:
            skipped[model.name] = f"only {limit} models are"
        elif difference := _difference(context, model, prod[name][1], built[name][1]):
            found.append(difference)
        else:
            skipped[model.name] = "prod doesn't have the columns of its grain, or with other types"
    return Comparison(found, skipped, _until(prod), _until(built))


def _served(context: Context, environment: str) -> dict[str, tuple[Snapshot, str]]:
    """The snapshots of an environment by name, and the table behind its view."""
    known = context.state_reader.get_environment(environment)
    if known is None:
        return {}
    snapshots = context.state_reader.get_snapshots(known.snapshots)
    index = (
        DeployabilityIndex.all_deployable()
        if environment == "prod"
        else DeployabilityIndex.create(snapshots.values(), start=known.start_at)
    )
    return {
        snapshot.name: (snapshot, snapshot.table_name(index.is_representative(snapshot)))
        for snapshot in snapshots.values()
        if snapshot.is_model and not snapshot.is_symbolic
    }


def _incomparable(snapshot: Snapshot, table: str) -> str:
    if table != snapshot.table_name():
        return "forward-only: built when it is deployed"
    return "" if snapshot.model.grains else "it has no grain"


def _until(served: dict[str, tuple[Snapshot, str]]) -> datetime | None:
    ends = [snapshot.intervals[-1][1] for snapshot, _ in served.values() if snapshot.intervals]
    return to_datetime(max(ends)) if ends else None


def _difference(context: Context, model: Model, prod: str, environment: str) -> Difference | None:
    adapter = context.engine_adapter
    left, right = (exp.to_table(table, dialect=adapter.dialect) for table in (prod, environment))
    before, after = adapter.columns(left), adapter.columns(right)
    grain = {column.name.lower() for column in model.grains[0].find_all(exp.Column)}
    same = [column for column in before if before[column] == after.get(column)]
    keys = [column for column in same if column.lower() in grain]
    values = [column for column in same if column.lower() not in grain]
    if len(keys) < len(grain):
        return None
    [row] = adapter.fetchall(comparison(left, right, keys, values), quote_identifiers=True)
    prod_rows, environment_rows, matched, added, removed, changed, *by_column = (int(count) for count in row)
    return Difference(
        model.name,
        prod_rows,
        environment_rows,
        added,
        removed,
        changed,
        {column.lower(): count for column, count in zip(values, by_column, strict=True) if count},
        tuple(column.lower() for column in after if column not in before),
        tuple(column.lower() for column in before if column not in after),
        tuple(column.lower() for column in before if column in after and column not in same),
        is_unique=(prod_rows, environment_rows) == (matched + removed, matched + added),
    )


def comparison(prod: exp.Table, environment: exp.Table, keys: list[str], values: list[str]) -> exp.Select:
    """One row of counts: rows of prod, of the environment, in both, added, removed, changed, changed per value.

    Keys may be NULL, as those of rejected rows are: NULL equals NULL. If several rows share a key they match each other,
    and more rows are in both than either side has.
    """
    sides = [
        exp.select(*(exp.column(name, quoted=True) for name in (*keys, *values)), exp.Literal.number(1).as_(PRESENT))
        .from_(table)
        .subquery(alias)
        for table, alias in ((prod, "p"), (environment, "e"))
    ]

    def pairs(names: list[str], operator: type[exp.Binary]) -> list[exp.Binary]:
        return [
            operator(this=exp.column(name, "p", quoted=True), expression=exp.column(name, "e", quoted=True))
            for name in names
        ]

    here, there = exp.column(PRESENT, "p"), exp.column(PRESENT, "e")
    both = here.eq(there)
    differs = pairs(values, exp.NullSafeNEQ)
    conditions = [both, here.is_(exp.null()), there.is_(exp.null()), exp.and_(both, exp.or_(exp.false(), *differs))]
    conditions += [exp.and_(both, one) for one in differs]
    counts = exp.select(*(exp.CountIf(this=one).as_(f"n{index}") for index, one in enumerate(conditions)))
    joined = counts.from_(sides[0]).join(sides[1], on=exp.and_(*pairs(keys, exp.NullSafeEQ)), join_type="full")
    rows = [exp.select(exp.Count(this=exp.Star()).as_("n")).from_(table) for table in (prod, environment)]
    return (
        exp.select("*")
        .from_(rows[0].subquery("p"))
        .join(rows[1].subquery("e"), join_type="cross")
        .join(joined.subquery("j"), join_type="cross")
    )
