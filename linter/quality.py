"""What a model promises."""

from collections.abc import Iterator
from typing import Any

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model, SqlModel

# People and dashboards read these; SeedModels among them are typed by `columns`.
SERVED = ("shared.", "edtech.", "retail.", "history.", "pii.", "ops.")

# By ending or beginning of a column's name. The first type is the one to advise.
TYPES_BY_SUFFIX: dict[str, tuple[str, ...]] = {
    "_amount": ("DECIMAL(18, 2)",),
    "_rate": ("DECIMAL",),
    "_count": ("INT",),
    "_at": ("TIMESTAMPNTZ",),
    "_date": ("DATE",),
    "_id": ("BIGINT", "VARCHAR"),
}
TYPES_BY_PREFIX: dict[str, tuple[str, ...]] = {"is_": ("BOOLEAN",), "has_": ("BOOLEAN",)}


# What makes other rows than the ones there were.
REPEATING = ("joins", "laterals", "group", "distinct", "with_")


class GrainHasAudit(Rule):
    """A grain is a promise, and unique_combination_of_columns with the same columns holds the model to it.

    A grain that isn't audited is a wish, and joins on it multiply rows unnoticed. A view that picks rows of one model
    and keeps its key has that model's audit already: a second one would sort all of history every hour to say the same.
    The grain of an external model is the key its writer merges by, and no promise of ours: should it repeat,
    intermediate decides which copy counts.
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
            if not self._is_audited(model, set(grain))
        ]

    def _is_audited(self, model: Model, grain: set[str]) -> bool:
        """Whether the model, or the one whose rows it shows, has the audit."""
        if any(
            name == "unique_combination_of_columns"
            and "columns" in arguments
            and set(_columns(arguments["columns"])) == grain
            for name, arguments in model.audits
        ):
            return True
        query = model.render_query(optimize=False) if isinstance(model, SqlModel) and model.kind.is_view else None
        if not isinstance(query, exp.Select) or any(query.args.get(part) for part in REPEATING):
            return False
        kept = {column.alias_or_name.lower() for column in query.selects if _is_kept(column)}
        source = query.args["from_"].this
        shown = self.context.get_model(exp.table_name(source)) if isinstance(source, exp.Table) else None
        return shown is not None and grain <= kept and self._is_audited(shown, grain)


class MartsAreTyped(Rule):
    """Every column that people read is cast, to the type its name promises: a mart is a contract.

    Without a cast the type follows from whatever the engine makes of the expression, and changes with it.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if not isinstance(model, SqlModel) or not model.name.startswith(SERVED):
            return None
        # Not optimized: the optimizer adds and removes casts of its own.
        query = model.render_query(optimize=False)
        if query is None:
            return [self.violation(f"The query of {model.name} can't be rendered, so its types can't be checked")]
        violations = []
        for projection in _projections(query):
            column = projection.alias_or_name.lower()
            expected = _types_for(column)
            expression = projection.unalias()
            # TRY_CAST is no contract: it makes NULL of what doesn't fit.
            if type(expression) is not exp.Cast:
                advice = expected[0] if expected else "<type>"
                violations.append(
                    self.violation(f"Column {column} of {model.name} is not cast: write (…)::{advice} AS {column}")
                )
                continue
            actual = expression.to.sql(dialect=model.dialect)
            if expected and not any(actual == fits or actual.startswith(f"{fits}(") for fits in expected):
                violations.append(
                    self.violation(
                        f"Column {column} of {model.name} is {actual}: by its name it has to be {' or '.join(expected)}"
                    )
                )
        return violations


def _columns(grain: Any) -> list[str]:
    """The column names of a grain or of a list of columns, single or in parentheses."""
    expressions = grain.expressions if isinstance(grain, (exp.Tuple, exp.Array)) else [grain]
    return [expression.unnest().name.lower() for expression in expressions]


def _is_kept(projection: exp.Expr) -> bool:
    """Whether it shows a column under its own name, cast or not."""
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
