"""Bounds of values are data. A model that names a missing one would accept everything: its comparison would be NULL."""

from sqlglot import exp
from sqlmesh.core.context import Context

BOUNDS = "intermediate.ref_bound"


def test_the_seed_has_every_bound_that_a_model_uses_and_no_other(warehouse: Context) -> None:
    seed = warehouse.get_snapshot(BOUNDS, raise_if_missing=True).name
    used = set()
    for model in warehouse.models.values():
        query = model.render_query() if seed in model.depends_on else None
        if query:
            bounds = next(cte for cte in query.find_all(exp.CTE) if cte.alias.lower() == "bounds")
            compared = [(one.this.name.lower(), one.expression.name) for one in bounds.find_all(exp.EQ)]
            (table,) = {value for name, value in compared if name == "source_table"}
            used |= {(table, value) for name, value in compared if name == "column_name"}
    assert used
    assert used == set(warehouse.engine_adapter.fetchall(f"SELECT source_table, column_name FROM {BOUNDS}"))
