"""Where the columns and the rows of a query come from.

An input is *direct* if its value reaches the output, and *indirect* if it decides which rows or which values do. The
transformations are those of OpenLineage's column lineage facet:
https://openlineage.io/docs/spec/facets/dataset-facets/column_lineage_facet
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer import Scope, build_scope

IDENTITY, TRANSFORMATION, AGGREGATION = DIRECT = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")
"""From the least to the most that is done to a value."""
FILTER, JOIN, GROUP_BY, SORT, WINDOW, CONDITIONAL = "FILTER", "JOIN", "GROUP_BY", "SORT", "WINDOW", "CONDITIONAL"

CLAUSES = {"where": FILTER, "having": FILTER, "qualify": FILTER, "group": GROUP_BY, "order": SORT}
"""Clauses of SELECT that decide about rows, by SQLGlot's name of the argument."""
SELECTORS = {
    exp.If: {"this": CONDITIONAL},
    exp.Case: {"this": CONDITIONAL},
    exp.Nvl2: {"this": CONDITIONAL},
    exp.Nullif: {"expression": CONDITIONAL},
    exp.Exists: {"this": CONDITIONAL},
    exp.In: {"query": CONDITIONAL},
    exp.Filter: {"expression": FILTER},
    exp.ArgMax: {"expression": SORT},
    exp.ArgMin: {"expression": SORT},
    exp.Order: {"expressions": SORT},
    exp.Window: {"partition_by": WINDOW, "order": WINDOW},
}
"""Arguments of expressions that select a value without being part of it."""
VALUES_OF_ROWS = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)
"""Aggregate functions to SQLGlot that return one row's value."""


class Input(NamedTuple):
    table: str
    """Its full name in quoted SQL."""
    column: str
    transformation: str


Inputs = frozenset[Input]
NOTHING: Inputs = frozenset()


class Lineage:
    """The lineage of a query that SQLGlot has qualified. Raises SqlglotError if that can't be analysed."""

    def __init__(self, query: exp.Query) -> None:
        self._columns: dict[int, dict[str, Inputs]] = {}
        self._rows: dict[int, Inputs] = {}
        scope = build_scope(query)
        if scope is None:
            raise SqlglotError("It isn't a query")
        self.columns = self._columns_of(scope)
        """Inputs of each column. Those of rows affect it too, and aren't repeated here."""
        self.rows = self._rows_of(scope)
        """What the query filters, joins, groups and sorts by, in each CTE and subquery that it reads."""

    def _columns_of(self, scope: Scope) -> dict[str, Inputs]:
        if id(scope) not in self._columns:
            self._columns[id(scope)] = {}  # what a recursive CTE reads of itself adds nothing
            self._columns[id(scope)] = self._find_columns(scope)
        return self._columns[id(scope)]

    def _find_columns(self, scope: Scope) -> dict[str, Inputs]:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            left, right = (self._columns_of(branch) for branch in scope.union_scopes)
            if not isinstance(query, exp.Union):
                return left
            return {name: one | other for (name, one), other in zip(left.items(), right.values(), strict=False)} or left
        if isinstance(query, exp.Subquery):
            return self._columns_of(scope.subquery_scopes[0])
        if isinstance(query, exp.Select):
            return {select.alias_or_name: self._inputs(select, scope) for select in query.selects}
        return {}

    def _rows_of(self, scope: Scope) -> Inputs:
        if id(scope) not in self._rows:
            self._rows[id(scope)] = NOTHING
            self._rows[id(scope)] = frozenset(self._find_rows(scope))
        return self._rows[id(scope)]

    def _find_rows(self, scope: Scope) -> Iterator[Input]:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            yield from self._rows_of_branches(query, scope.union_scopes)
        elif isinstance(query, exp.Subquery):
            yield from self._rows_of(scope.subquery_scopes[0])
        elif isinstance(query, exp.Select):
            for _, source in scope.selected_sources.values():
                yield from self._rows_of_source(source)
            for name, transformation in CLAUSES.items():
                if clause := query.args.get(name):
                    yield from self._inputs(clause, scope, transformation)
            for join in scope.find_all(exp.Join):
                yield from self._joined(join, scope)
            if distinct := query.args.get("distinct"):
                on = distinct.args.get("on")
                columns = [self._inputs(on, scope)] if on else self._columns_of(scope).values()
                yield from used_as(GROUP_BY, columns)

    def _rows_of_branches(self, query: exp.SetOperation, branches: list[Scope]) -> Iterator[Input]:
        for branch in branches:
            yield from self._rows_of(branch)
        left, right = (list(self._columns_of(branch).values()) for branch in branches)
        if not isinstance(query, exp.Union):
            yield from used_as(FILTER, right)
        elif query.args.get("distinct"):
            yield from used_as(GROUP_BY, left + right)

    def _rows_of_source(self, source: exp.Table | Scope) -> Iterator[Input]:
        if isinstance(source, Scope):
            yield from self._rows_of(_lateral_query(source))
            if isinstance(source.expression, exp.UDTF) and not source.subquery_scopes:
                yield from used_as(JOIN, [self._arguments(source)])

    def _joined(self, join: exp.Join, scope: Scope) -> Iterator[Input]:
        if condition := join.args.get("on"):
            yield from self._inputs(condition, scope, JOIN)
        for shared in join.args.get("using") or ():
            for table in scope.selected_sources:
                yield from used_as(JOIN, [self._source_column(scope, table, shared.name)])

    def _inputs(self, node: exp.Expr, scope: Scope, use: str = IDENTITY) -> Inputs:
        """What `node` of a query reads, if its value is used as `use`."""
        if isinstance(node, exp.Column):
            return used_as(use, [self._column(node, scope)])
        if isinstance(node, exp.Query):
            return self._subquery(node, scope, use)
        if isinstance(node, (exp.Alias, exp.Paren)):
            return self._inputs(node.this, scope, use)
        aggregates = isinstance(node, exp.AggFunc) and not isinstance(node, VALUES_OF_ROWS)
        value = _stronger(use, AGGREGATION if aggregates else TRANSFORMATION)
        if isinstance(node, exp.DecodeCase):
            return self._decoded(node, scope, use)
        inputs: set[Input] = set()
        for argument, children in _arguments(node):
            if _orders_a_percentile(node):
                as_ = _stronger(use, AGGREGATION)
            elif selector := SELECTORS.get(type(node), {}).get(argument):
                # A condition in WHERE filters. A window there stays a window.
                as_ = selector if use in DIRECT or selector == WINDOW else use
            else:
                as_ = use if isinstance(node, exp.Window) else value
            for child in children:
                inputs |= self._inputs(child, scope, as_)
        return frozenset(inputs)

    def _decoded(self, decode: exp.DecodeCase, scope: Scope, use: str) -> Inputs:
        """DECODE(value, search, result, …, default) is a CASE."""
        _, *rest = decode.expressions
        results = [*rest[1::2], *rest[len(rest) - len(rest) % 2 :]]
        return frozenset(
            one
            for argument in decode.expressions
            for one in self._inputs(
                argument,
                scope,
                _stronger(use, TRANSFORMATION if any(argument is result for result in results) else CONDITIONAL),
            )
        )

    def _subquery(self, query: exp.Query, scope: Scope, use: str) -> Inputs:
        inner = query.unnest()
        nested = next((nested for nested in scope.subquery_scopes if nested.expression is inner), None)
        if nested is None:
            return NOTHING
        exists = isinstance(inner.parent, exp.Exists)
        values = NOTHING if exists else used_as(use, self._columns_of(nested).values())
        return values | self._rows_of(nested)

    def _column(self, column: exp.Column, scope: Scope) -> Inputs:
        table = column.table
        for pivot in scope.pivots:
            if pivot.alias_or_name == table or not table:
                return self._pivoted(pivot, column, scope)
        if table:
            return self._source_column(scope, table, column.name)
        # An alias in ORDER BY, or a column of the only table.
        select = next((one for one in getattr(scope.expression, "selects", ()) if one.alias == column.name), None)
        if select is not None and column.find_ancestor(exp.Alias) is not select:
            return self._inputs(select, scope)
        return self._column_of_the_only_source(scope, column.name)

    def _source_column(self, scope: Scope, table: str, name: str) -> Inputs:
        """A column of a table, CTE or subquery in FROM; a correlated subquery has those of the query around it."""
        around: Scope | None = scope
        while around is not None and table not in around.sources:
            around = around.parent
        source = around.sources[table] if around else None
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Func):
            return NOTHING  # generate_series(1, 3)
        if isinstance(source, exp.Table):
            return frozenset({Input(exp.table_name(source, identify=True), name, IDENTITY)})
        if not isinstance(source, Scope):
            return NOTHING
        if isinstance(source.expression, exp.UDTF) and not source.subquery_scopes:
            return used_as(TRANSFORMATION, [self._arguments(source)])
        columns = self._columns_of(_lateral_query(source))
        if name not in columns and "*" in columns:
            return self._column_of_the_only_source(source, name)
        return columns.get(name, NOTHING)

    def _column_of_the_only_source(self, scope: Scope, name: str) -> Inputs:
        tables = list(scope.selected_sources)
        return self._source_column(scope, tables[0], name) if len(tables) == 1 else NOTHING

    def _arguments(self, table_function: Scope) -> Inputs:
        """The inputs of a table function, such as UNNEST or LATERAL FLATTEN."""
        return frozenset(
            one
            for column in table_function.expression.find_all(exp.Column)
            for one in self._column(column, table_function)
        )

    def _pivoted(self, pivot: exp.Pivot, column: exp.Column, scope: Scope) -> Inputs:
        """A column of PIVOT is aggregated on a condition; one of UNPIVOT has the values of the columns it lists."""
        table = pivot.parent.alias_or_name if pivot.parent else ""
        fields = pivot.args.get("fields") or []

        def columns(use: str, *expressions: exp.Expr) -> Inputs:
            found = (one for expression in expressions for one in expression.find_all(exp.Column))
            return used_as(use, (self._source_column(scope, one.table or table, one.name) for one in found))

        if pivot.unpivot:
            if column.name in {field.this.name for field in fields}:
                return NOTHING  # the name of a column
            if column.name in {one.name for value in pivot.expressions for one in value.find_all(exp.Identifier)}:
                return columns(TRANSFORMATION, *(one for field in fields for one in field.args["expressions"]))
        listed = [one.name for one in pivot.args.get("columns") or ()]
        if pivot.unpivot or column.name not in listed:
            return self._source_column(scope, table, column.name)
        value = pivot.expressions[listed.index(column.name) % len(pivot.expressions)]
        return columns(AGGREGATION, value) | columns(CONDITIONAL, *(field.this for field in fields))


def used_as(use: str, found: Iterable[Inputs]) -> Inputs:
    """Inputs of a column that is used as `use`. An indirect one stays what it is."""
    return frozenset(
        one._replace(transformation=_stronger(one.transformation, use)) for inputs in found for one in inputs
    )


def _stronger(first: str, second: str) -> str:
    if first not in DIRECT:
        return first
    return max(first, second, key=DIRECT.index) if second in DIRECT else second


def _lateral_query(source: Scope) -> Scope:
    """The query of LATERAL (SELECT …), and any other source itself."""
    is_lateral = isinstance(source.expression, exp.UDTF) and source.subquery_scopes
    return source.subquery_scopes[0] if is_lateral else source


def _orders_a_percentile(node: exp.Expr) -> bool:
    """PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a) returns a value of `a`."""
    within = node.parent
    return (
        isinstance(node, exp.Order)
        and isinstance(within, exp.WithinGroup)
        and isinstance(within.this, (exp.PercentileCont, exp.PercentileDisc))
    )


def _arguments(node: exp.Expr) -> Iterator[tuple[str, list[exp.Expr]]]:
    for name, value in node.args.items():
        children = [child for child in (value if isinstance(value, list) else [value]) if isinstance(child, exp.Expr)]
        if children:
            yield name, children
