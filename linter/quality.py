"""Grains and column types of models."""

from collections.abc import Iterator
from typing import Any

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model, SqlModel

# Schemas that people and dashboards read. Seeds in them are typed by `columns`.
PRESENTATION_SCHEMAS = ("shared.", "edtech.", "retail.", "history.", "pii.", "ops.")

# Allowed types by suffix or prefix of the column's name. Messages recommend the first one.
TYPES_BY_SUFFIX: dict[str, tuple[str, ...]] = {
    "_amount": ("DECIMAL(18, 2)",),
    "_rate": ("DECIMAL",),
    "_count": ("INT",),
    "_at": ("TIMESTAMPNTZ",),
    "_date": ("DATE",),
    "_id": ("BIGINT", "VARCHAR"),
}
TYPES_BY_PREFIX: dict[str, tuple[str, ...]] = {"is_": ("BOOLEAN",), "has_": ("BOOLEAN",)}

# Clauses that add, remove or combine rows.
ROW_CHANGING = ("joins", "laterals", "group", "distinct", "with_")


class GrainHasAudit(Rule):
    """Every grain of a model has the audit unique_combination_of_columns with the same columns.

    Joins on a grain that is not unique multiply rows unnoticed. A view that filters the rows of one model and keeps its
    key is covered by the audit of that model: a second audit would sort all of history. An audit with a condition
    counts if the view has the same one. Conditions on _loaded_at always count: other rows have been audited before.
    External models are exempt: their grain is the key by which the loader merges. If it repeats, models in intermediate
    select the newest row.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if isinstance(model, ExternalModel):
            return None
        return [
            self.violation(
                f"The grain ({', '.join(grain)}) of {model.name} is not audited: "
                f"add unique_combination_of_columns(columns := ({', '.join(grain)}))"
            )
            for grain in map(_columns, model.grains)
            if not self._is_audited(model, set(grain), set())
        ]

    def _is_audited(self, model: Model, grain: set[str], filters: set[str]) -> bool:
        """Whether the model has the audit for the rows that pass `filters`, or the model whose rows a view filters."""
        if any(
            name == "unique_combination_of_columns"
            and "columns" in arguments
            and set(_columns(arguments["columns"])) == grain
            and _conjuncts(arguments.get("condition")) <= filters
            for name, arguments in model.audits
        ):
            return True
        query = model.render_query(optimize=False) if isinstance(model, SqlModel) and model.kind.is_view else None
        if not isinstance(query, exp.Select) or any(query.args.get(part) for part in ROW_CHANGING):
            return False
        passed_through = {column.alias_or_name.lower() for column in query.selects if _is_passed_through(column)}
        source = query.args["from_"].this
        parent = self.context.get_model(exp.table_name(source)) if isinstance(source, exp.Table) else None
        filters |= _conjuncts(query.args.get("where"))
        return parent is not None and grain <= passed_through and self._is_audited(parent, grain, filters)


class ExplicitColumnTypes(Rule):
    """Every column of a presentation schema is cast, to a type that fits its name.

    Without a cast the type depends on the engine and on the expression, and changes with them.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if not isinstance(model, SqlModel) or not model.name.startswith(PRESENTATION_SCHEMAS):
            return None
        # The query is not optimized: the optimizer adds and removes casts.
        query = model.render_query(optimize=False)
        if query is None:
            return [self.violation(f"The query of {model.name} can't be rendered, so its types can't be checked")]
        violations = []
        for projection in _projections(query):
            column = projection.alias_or_name.lower()
            expected = _types_for(column)
            expression = projection.unalias()
            # TRY_CAST is not accepted: it turns values that don't fit into NULL.
            if type(expression) is not exp.Cast:
                advice = expected[0] if expected else "<type>"
                violations.append(
                    self.violation(f"Column {column} of {model.name} is not cast: write (…)::{advice} AS {column}")
                )
                continue
            actual = expression.to.sql(dialect=model.dialect)
            if expected and not any(actual == type_ or actual.startswith(f"{type_}(") for type_ in expected):
                types = " or ".join(expected)
                message = f"Column {column} of {model.name} is {actual}: its name requires {types}, so cast it"
                violations.append(self.violation(message))
        return violations


def _columns(grain: Any) -> list[str]:
    """The column names of a grain or of a list of columns, single or in parentheses."""
    expressions = grain.expressions if isinstance(grain, (exp.Tuple, exp.Array)) else [grain]
    return [expression.unnest().name.lower() for expression in expressions]


def _conjuncts(condition: exp.Expr | None) -> set[str]:
    """The conditions joined by AND, as text, without those on _loaded_at."""
    if condition is None:
        return set()
    condition = condition.this if isinstance(condition, exp.Where) else condition
    parts = condition.flatten() if isinstance(condition, exp.And) else [condition]
    return {
        part.transform(lambda node: exp.column(node.name.lower()) if isinstance(node, exp.Column) else node).sql()
        for part in parts
        if not any(column.name.lower() == "_loaded_at" for column in part.find_all(exp.Column))
    }


def _is_passed_through(projection: exp.Expr) -> bool:
    """Whether the projection is a column under its own name, cast or not."""
    expression = projection.unalias()
    column = expression.this if isinstance(expression, exp.Cast) else expression
    return isinstance(column, exp.Column) and column.name == projection.alias_or_name


def _projections(query: exp.Query) -> Iterator[exp.Expr]:
    """The columns of the final SELECT, or of each one joined by UNION."""
    if isinstance(query, exp.SetOperation):
        yield from _projections(query.left)
        yield from _projections(query.right)
    else:
        yield from query.selects


def _types_for(column: str) -> tuple[str, ...]:
    for prefix, types in TYPES_BY_PREFIX.items():
        if column.startswith(prefix):
            return types
    for suffix, types in TYPES_BY_SUFFIX.items():
        if column.endswith(suffix):
            return types
    return ()
