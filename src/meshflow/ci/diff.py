"""Data diff of an environment and prod, model by model. It returns counts: no personal data leaves the warehouse.

SQLMesh's table_diff copies both tables into a third one and fetches sample rows. This fetches one row of counts.
"""

from collections.abc import Collection, Iterator
from typing import Any

from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.model import Model
from sqlmesh.core.snapshot import Snapshot

from meshflow.ci.result import Comparison, Difference, Numbers, Processed
from meshflow.freshness import freshness, read_load_log
from meshflow.masking import is_by_person
from meshflow.project import deployability, find_environment

MAX_MODELS = 25
"""Models to compare at most: each costs a scan of two tables."""

CONSUMER_SCHEMAS = {"edtech", "retail", "shared", "pii", "history", "quarantine", "ops"}
"""Schemas that people query. Their models are compared even if only an upstream model was changed."""

PRESENT = "__meshflow_present"


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
    # A change may remove the tag, the mask or the key.
    models = [*context.models.values(), *(one.model for one, _ in prod.values())]
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
        elif difference := _difference(
            context,
            model,
            prod[name][1],
            built[name][1],
            has_numbers=not any(is_by_person(one, models) for one in (model, prod[name][0].model)),
        ):
            found.append(difference)
        else:
            skipped[model.name] = "a column of its grain is missing in prod or has another type"
    return Comparison(found, skipped, _furthest_apart(context, environment, {one.model for one in found}))


def _find_tables(context: Context, environment: str) -> dict[str, tuple[Snapshot, str]]:
    """Each model's snapshot and the table behind its view in an environment, by name of the snapshot."""
    found = context.state_reader.get_environment(environment)
    if found is None:
        return {}
    snapshots = context.state_reader.get_snapshots(found.snapshots)
    index = deployability(found, snapshots.values())
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


def _furthest_apart(context: Context, environment: str, models: Collection[str]) -> Processed | None:
    """Of `models` the one that prod and the environment have processed most differently; None if none reads a source.

    Rows that one of them hasn't processed yet differ for no reason in the change.
    """
    log = read_load_log(context, is_open=True)
    prod, built = (freshness(context, find_environment(context, name), log) for name in ("prod", environment))
    both = [
        Processed(name, prod[name].until, built[name].until)
        for name in sorted(models)
        if name in prod and name in built
    ]
    return max(both, key=lambda one: abs(one.prod_until - one.environment_until), default=None)


def _difference(context: Context, model: Model, prod: str, environment: str, *, has_numbers: bool) -> Difference | None:
    adapter = context.engine_adapter
    left, right = (exp.to_table(table, dialect=adapter.dialect) for table in (prod, environment))
    before, after = adapter.columns(left), adapter.columns(right)
    grain = {column.name.lower() for column in model.grains[0].find_all(exp.Column)}
    same = [column for column in before if before[column] == after.get(column)]
    keys = [column for column in same if column.lower() in grain]
    values = [column for column in same if column.lower() not in grain]
    if len(keys) < len(grain):
        return None
    numeric = [one for one in values if before[one].is_type(*exp.DataType.NUMERIC_TYPES)]
    if not has_numbers:
        numeric = []  # the sum of a single row is its value
    [row] = adapter.fetchall(comparison_query(left, right, keys, values, numeric), quote_identifiers=True)
    size = 1 + 2 * len(numeric)
    profiles, counts = (row[:size], row[size : 2 * size]), row[2 * size :]
    prod_rows, environment_rows, matched, added, removed, changed, *by_column = (
        int(count) for count in (profiles[0][0], profiles[1][0], *counts)
    )
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
        numbers=list(_changed_numbers(numeric, *profiles)),
    )


def _changed_numbers(columns: list[str], prod: tuple[Any, ...], environment: tuple[Any, ...]) -> Iterator[Numbers]:
    """The columns whose sum or NULL rate differs; both rows are a count, then sum and count of values per column."""
    for index, column in enumerate(columns, 1):
        (before, after), (sum_before, sum_after) = (
            [one[2 * index - offset] for one in (prod, environment)] for offset in (0, 1)
        )
        sums = _format_sum(sum_before), _format_sum(sum_after)
        # before / prod[0] != after / environment[0], for counts that may be 0
        if sums[0] != sums[1] or before * environment[0] != after * prod[0]:
            yield Numbers(column.lower(), sums, (int(before), int(after)))


def _format_sum(value: Any) -> str:
    """Floats are rounded: their sum depends on the order of rows."""
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def comparison_query(
    prod: exp.Table, environment: exp.Table, keys: list[str], values: list[str], numeric: Collection[str] = ()
) -> exp.Select:
    """One row of counts: rows of prod, of the environment, matched, added, removed, changed, changed per value.

    The counts of rows are each followed by sum and number of values per `numeric` column. Keys may be NULL, as those of
    rejected rows are: NULL equals NULL. If several rows have the same key, each matches all others, and more rows are
    matched than either table has.
    Keys are joined as texts, "=" and the value, or an empty text for NULL: equality is hashed on every engine, but for
    IS NOT DISTINCT FROM Snowflake may compare each row of one table with each row of the other.
    """
    texts = [
        exp.DPipe(this=exp.Literal.string("="), expression=exp.cast(exp.column(name, quoted=True), "VARCHAR"))
        for name in keys
    ]
    encoded = {
        f"{PRESENT}_{index}": exp.func("COALESCE", text, exp.Literal.string("")) for index, text in enumerate(texts)
    }
    tables = [
        exp.select(*(exp.column(name, quoted=True) for name in values), exp.Literal.number(1).as_(PRESENT))
        .select(*(text.as_(name, quoted=True) for name, text in encoded.items()))
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
    # Not COUNT_IF, which is NULL on DuckDB if both tables are empty.
    counts = exp.select(
        *(exp.Count(this=exp.case().when(one, "1")).as_(f"n{index}") for index, one in enumerate(conditions))
    )
    joined = counts.from_(tables[0]).join(tables[1], on=exp.and_(*pairs([*encoded], exp.EQ)), join_type="full")
    profile = [exp.Count(this=exp.Star()).as_("n")]
    for index, name in enumerate(numeric):
        column = exp.column(name, quoted=True)
        profile += [exp.Sum(this=column).as_(f"s{index}"), exp.Count(this=column.copy()).as_(f"v{index}")]
    rows = [exp.select(*profile).from_(table) for table in (prod, environment)]
    return (
        exp.select("*")
        .from_(rows[0].subquery("p"))
        .join(rows[1].subquery("e"), join_type="cross")
        .join(joined.subquery("j"), join_type="cross")
    )
