"""Data diff of an environment and prod, model by model. It returns counts: no personal data leaves the warehouse.

SQLMesh's table_diff copies both tables into a third one and fetches sample rows. It also reads the views, which mask
personal data as '***' for CI's role in both environments. This reads the tables behind the views, and fetches one row.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.model import Model
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot
from sqlmesh.utils.date import to_datetime

MAX_MODELS = 25
"""Models to compare at most: each costs a scan of two tables."""

CONSUMER_SCHEMAS = {"edtech", "retail", "shared", "pii", "history", "quarantine", "ops"}
"""Schemas that people query. Their models are compared even if only an upstream model was changed."""

PRESENT = "__meshflow_present"


@dataclass(frozen=True)
class Difference:
    """Row counts of a model: in prod, in the environment, `added`, `removed` and `changed`, matched by grain.

    `columns` is the number of changed rows per column. Columns that are new, removed or retyped aren't compared.
    If several rows have the same key, `is_unique` is false, and only `prod_rows` and `environment_rows` are valid.
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
    def is_empty(self) -> bool:
        """Whether the two tables are equal, as far as they can be compared."""
        schema = self.added_columns or self.removed_columns or self.retyped_columns
        return self.is_unique and not (self.added or self.removed or self.changed or schema)


@dataclass(frozen=True)
class Comparison:
    """The differences, skipped models with the reason, and the end of the newest processed interval, UTC."""

    differences: list[Difference]
    skipped: dict[str, str]
    prod_until: datetime | None
    environment_until: datetime | None


def compare(
    context: Context,
    environment: str,
    directly: Collection[str],
    indirectly: Collection[str],
    max_models: int = MAX_MODELS,
) -> Comparison:
    """Compare with prod the models modified `directly`, then those modified `indirectly` in CONSUMER_SCHEMAS.

    Both are names as in SQLMesh's snapshots. Models that are new, or not in the environment, are left out silently.
    """
    prod = _find_tables(context, "prod")
    built = _find_tables(context, environment)
    found, skipped = list[Difference](), dict[str, str]()
    for name in (*sorted(directly), *sorted(set(indirectly) - set(directly))):
        if name not in prod or name not in built:
            continue
        model = built[name][0].model
        if name not in directly and (
            model.schema_name.lower() not in CONSUMER_SCHEMAS or built[name][1] == prod[name][1]
        ):
            continue
        if reason := _skip_reason(*built[name]):
            skipped[model.name] = reason
        elif len(found) == max_models:
            skipped[model.name] = f"more than {max_models} models"
        elif difference := _difference(context, model, prod[name][1], built[name][1]):
            found.append(difference)
        else:
            skipped[model.name] = "a column of its grain is missing in prod or has another type"
    return Comparison(found, skipped, _processed_until(prod), _processed_until(built))


def _find_tables(context: Context, environment: str) -> dict[str, tuple[Snapshot, str]]:
    """Each model's snapshot and the table behind its view in an environment, by name of the snapshot."""
    found = context.state_reader.get_environment(environment)
    if found is None:
        return {}
    snapshots = context.state_reader.get_snapshots(found.snapshots)
    index = (
        DeployabilityIndex.all_deployable()
        if environment == "prod"
        else DeployabilityIndex.create(snapshots.values(), start=found.start_at)
    )
    return {
        snapshot.name: (snapshot, snapshot.table_name(index.is_representative(snapshot)))
        for snapshot in snapshots.values()
        if snapshot.is_model and not snapshot.is_symbolic
    }


def _skip_reason(snapshot: Snapshot, table: str) -> str:
    """Why the model isn't compared; empty if it is."""
    if table != snapshot.table_name():
        return "forward-only: built when it is deployed"
    return "" if snapshot.model.grains else "it has no grain"


def _processed_until(tables: dict[str, tuple[Snapshot, str]]) -> datetime | None:
    ends = [snapshot.intervals[-1][1] for snapshot, _ in tables.values() if snapshot.intervals]
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
    [row] = adapter.fetchall(comparison_query(left, right, keys, values), quote_identifiers=True)
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


def comparison_query(prod: exp.Table, environment: exp.Table, keys: list[str], values: list[str]) -> exp.Select:
    """One row of counts: rows of prod, of the environment, matched, added, removed, changed, changed per value.

    Keys may be NULL, as those of rejected rows are: NULL equals NULL. If several rows have the same key, each matches
    all others, and more rows are matched than either table has.
    """
    tables = [
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

    in_prod, in_environment = exp.column(PRESENT, "p"), exp.column(PRESENT, "e")
    matched = in_prod.eq(in_environment)
    added, removed = in_prod.is_(exp.null()), in_environment.is_(exp.null())
    differs = pairs(values, exp.NullSafeNEQ)
    conditions = [matched, added, removed, exp.and_(matched, exp.or_(exp.false(), *differs))]
    conditions += [exp.and_(matched, one) for one in differs]
    counts = exp.select(*(exp.CountIf(this=one).as_(f"n{index}") for index, one in enumerate(conditions)))
    joined = counts.from_(tables[0]).join(tables[1], on=exp.and_(*pairs(keys, exp.NullSafeEQ)), join_type="full")
    rows = [exp.select(exp.Count(this=exp.Star()).as_("n")).from_(table) for table in (prod, environment)]
    return (
        exp.select("*")
        .from_(rows[0].subquery("p"))
        .join(rows[1].subquery("e"), join_type="cross")
        .join(joined.subquery("j"), join_type="cross")
    )
