"""Where the columns and the rows of a query come from.

An input is *direct* if its value reaches the output, and *indirect* if it decides which rows or which values do. The
transformations are those of OpenLineage's column lineage facet:
https://openlineage.io/docs/spec/facets/dataset-facets/column_lineage_facet
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
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
AGGREGATES = (exp.AggFunc, exp.Filter, exp.WithinGroup)
"""Aggregate functions, and what surrounds one."""
VALUES_OF_ROWS = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)
"""Aggregate functions to SQLGlot that return one row's value."""


class Input(NamedTuple):
    table: str
    """Its full name in quoted SQL."""
    column: str
    transformation: str


Inputs = frozenset[Input]
NOTHING: Inputs = frozenset()
UNKNOWN: Inputs = frozenset({Input("", "", "UNKNOWN")})
"""Instead of inputs that can't be told from the query. They stay unknown wherever they are used."""

Outputs = list[tuple[str, Inputs]]
"""The columns of a query in their order: a name may occur twice."""
Source = exp.Table | Scope | None
"""What a query reads: a table, a CTE or subquery, or something that SQLGlot doesn't analyse."""


class Lineage:
    """The lineage of a query that SQLGlot has qualified. Raises SqlglotError if that can't be analysed."""

    def __init__(self, query: exp.Query, tables: Mapping[str, Sequence[str]] | None = None) -> None:
        """`tables` has the columns of tables by full name in quoted SQL, as far as they are known."""
        self._tables = tables or {}
        root = build_scope(query)
        if root is None:
            raise SqlglotError("It isn't a query")
        self._root = root
        self._scopes = {id(scope) for scope in root.traverse()}
        self._unions = {id(one.expression.this): one for one in root.traverse() if _is_set_operation(one)}
        is_recursive = any(one.args.get("recursive") for one in query.find_all(exp.With))
        self._outputs: dict[int, Outputs] = {}
        self._rows: dict[int, Inputs] = {}
        while True:
            # A recursive CTE reads of itself what the pass before has found, until a pass finds nothing new.
            self._before = self._outputs, self._rows
            self._outputs, self._rows = {}, {}
            self.columns = dict(self._outputs_of(root))
            """Inputs of each column. Those of rows affect it too, and aren't repeated here."""
            self.rows = self._rows_of(root)
            """What the query filters, joins, groups and sorts by, in each CTE and subquery that it reads."""
            if not is_recursive or self._before == (self._outputs, self._rows):
                break

    def column(self, name: str) -> Inputs:
        """The inputs of a column, also of one that `SELECT *` returns."""
        return self._source_column(self._root, name, self._root)

    def _outputs_of(self, scope: Scope) -> Outputs:
        if id(scope) not in self._outputs:
            unread: Outputs = [(name, NOTHING) for name in getattr(scope.expression, "named_selects", ())]
            self._outputs[id(scope)] = self._before[0].get(id(scope), unread)
            self._outputs[id(scope)] = self._find_outputs(scope)
        return self._outputs[id(scope)]

    def _find_outputs(self, scope: Scope) -> Outputs:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            return self._union_outputs(query, *(self._outputs_of(branch) for branch in scope.union_scopes))
        if isinstance(query, exp.Subquery):
            return self._outputs_of(scope.subquery_scopes[0])
        if isinstance(query, exp.Select):
            return [(select.alias_or_name, self._inputs(select, scope)) for select in query.selects]
        return []

    @staticmethod
    def _union_outputs(query: exp.SetOperation, left: Outputs, right: Outputs) -> Outputs:
        if not isinstance(query, exp.Union):
            return left
        names, others = dict(left), dict(right)
        missing = UNKNOWN if "*" in names | others else NOTHING
        if query.args.get("by_name"):
            return [(name, names.get(name, missing) | others.get(name, missing)) for name in names | others]
        if missing:
            return [(name, inputs | UNKNOWN) for name, inputs in left]
        return [(name, inputs | other) for (name, inputs), (_, other) in zip(left, right, strict=False)]

    def _rows_of(self, scope: Scope) -> Inputs:
        if id(scope) not in self._rows:
            self._rows[id(scope)] = self._before[1].get(id(scope), NOTHING)
            self._rows[id(scope)] = frozenset(self._find_rows(scope))
        return self._rows[id(scope)]

    def _find_rows(self, scope: Scope) -> Iterator[Input]:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            yield from self._rows_of_branches(query, scope.union_scopes)
        elif isinstance(query, exp.Subquery):
            yield from self._rows_of(scope.subquery_scopes[0])
        elif isinstance(query, exp.Select):
            for name, node in scope.references:
                yield from self._rows_of_source(node, self._source(scope, name), scope)
            if any(isinstance(one.this.unnest(), exp.Pivot) for one in _relations(query)):
                yield from UNKNOWN  # DuckDB's PIVOT without IN
            for join in scope.find_all(exp.Join):
                yield from self._joined(join, scope)
            if distinct := query.args.get("distinct"):
                on = distinct.args.get("on")
                outputs = [self._inputs(on, scope)] if on else self._values(scope)
                yield from used_as(GROUP_BY, outputs)
        for name, transformation in CLAUSES.items():
            if clause := query.args.get(name):
                yield from self._clause(clause, scope, transformation)

    def _rows_of_branches(self, query: exp.SetOperation, branches: list[Scope]) -> Iterator[Input]:
        for branch in branches:
            yield from self._rows_of(branch)
        left, right = (self._values(branch) for branch in branches)
        if not isinstance(query, exp.Union):
            yield from used_as(FILTER, right)
        elif query.args.get("distinct"):
            yield from used_as(GROUP_BY, left + right)

    def _rows_of_source(self, node: exp.Expr, source: Source, scope: Scope) -> Iterator[Input]:
        for pivot in node.args.get("pivots") or ():
            yield from self._pivoted_rows(pivot, scope)
        if isinstance(source, Scope):
            yield from self._rows_of(_lateral_query(source))
        yield from used_as(JOIN, [self._function_inputs(source, scope) or NOTHING])

    def _joined(self, join: exp.Join, scope: Scope) -> Iterator[Input]:
        for name in ("on", "match_condition"):
            if condition := join.args.get(name):
                yield from self._inputs(condition, scope, JOIN)
        relations = _relations(scope.expression)
        index = next((index for index, one in enumerate(relations) if one is join), -1)
        tables = [one.this.alias_or_name for one in relations[: index + 1]]
        names = {one.name for one in join.args.get("using") or ()}
        shared = self._natural_names(tables, scope) if join.method == "NATURAL" else names
        if shared is None:
            yield from UNKNOWN
        for name in shared or ():
            yield from used_as(JOIN, [self._shared_column(name, tables, scope)])

    def _natural_names(self, tables: Sequence[str], scope: Scope) -> set[str] | None:
        """The columns that NATURAL JOIN compares: those of the last table that another has too."""
        found = [self._names_in(table, scope) for table in tables]
        known = [set(names) for names in found if names is not None]
        return known[-1] & set[str]().union(*known[:-1]) if len(known) == len(found) > 1 else None

    def _clause(self, clause: exp.Expr, scope: Scope, use: str) -> Inputs:
        """WHERE, GROUP BY and so on. `ALL` are all columns, or those that aren't aggregated."""
        if isinstance(clause, exp.Group) and clause.args.get("all") and isinstance(scope.expression, exp.Select):
            return frozenset(
                one
                for select in scope.expression.selects
                for node in select.walk(prune=_is_aggregate_or_query)
                if isinstance(node, (exp.Column, exp.Query))
                for one in self._inputs(node, scope, use)
            )
        if isinstance(clause, exp.Order) and [_name(one) for one in clause.expressions] == ["ALL"]:
            return used_as(use, self._values(scope))
        return self._inputs(clause, scope, use)

    def _inputs(self, node: exp.Expr, scope: Scope, use: str = IDENTITY) -> Inputs:
        """What `node` of a query reads, if its value is used as `use`."""
        match node:
            case exp.Column():
                return used_as(use, [self._column(node, scope)])
            case exp.Query():
                return self._subquery(node, scope, use)
            case exp.Alias() | exp.Paren():
                return self._inputs(node.this, scope, use)
            case exp.Star() if not isinstance(node.parent, exp.Count):
                return UNKNOWN  # OBJECT_CONSTRUCT(*)
            case exp.DecodeCase():
                return self._decoded(node, scope, use)
        return self._arguments_of(node, scope, use)

    def _arguments_of(self, node: exp.Expr, scope: Scope, use: str) -> Inputs:
        """What an expression reads in its arguments, each of which is a value or selects one."""
        aggregates = isinstance(node, exp.AggFunc) and not isinstance(node, VALUES_OF_ROWS)
        value = _stronger(use, AGGREGATION if aggregates else TRANSFORMATION)
        inputs: set[Input] = set()
        for argument, children in _arguments(node):
            if _orders_a_value(node):
                as_ = _stronger(use, AGGREGATION)
            elif selector := SELECTORS.get(type(node), {}).get(argument):
                # A condition in WHERE filters. A window there stays a window.
                as_ = selector if use in DIRECT or selector == WINDOW else use
            else:
                as_ = use if isinstance(node, exp.Window) else value
            for child in children:
                inputs |= self._inputs(child, scope, as_)
        if isinstance(node, exp.Window) and node.alias:
            inputs |= self._named_window(node.alias, scope)
        return frozenset(inputs)

    def _named_window(self, name: str, scope: Scope) -> Inputs:
        """What `WINDOW name AS (…)` partitions and orders by."""
        for window in scope.expression.args.get("windows") or ():
            if window.name == name:
                return self._inputs(window, scope)
        return UNKNOWN

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
            return UNKNOWN
        exists = isinstance(inner.parent, exp.Exists)
        values = NOTHING if exists else used_as(use, self._values(nested))
        return values | self._rows_of(nested)

    def _values(self, scope: Scope) -> list[Inputs]:
        return [inputs for _, inputs in self._outputs_of(scope)]

    def _column(self, column: exp.Column, scope: Scope) -> Inputs:
        table, name = column.table, column.name
        if not isinstance(scope.expression, (exp.Select, exp.UDTF)):
            return dict(self._outputs_of(scope)).get(name, UNKNOWN)  # ORDER BY of a UNION
        if table:
            return self._table_column(scope, table, name)
        # An alias in ORDER BY, or a column of any table.
        select = next((one for one in getattr(scope.expression, "selects", ()) if one.alias == name), None)
        if select is not None and column.find_ancestor(exp.Alias) is not select:
            return self._inputs(select, scope)
        return self._shared_column(name, [source for source, _ in scope.references], scope)

    def _table_column(self, scope: Scope, table: str, name: str) -> Inputs:
        """A column of a table in FROM; a correlated subquery has those of the query around it."""
        around: Scope | None = scope
        while around is not None:
            if pivot := _pivot_of(table, around):
                return self._pivoted(pivot, name, around)
            if table in around.sources:
                return self._source_column(self._source(around, table), name, around)
            around = around.parent
        return UNKNOWN

    def _shared_column(self, name: str, tables: Sequence[str], scope: Scope) -> Inputs:
        """A column without a table's name: of the only table that has it, or of those that it joins."""
        if len(tables) == 1:
            return self._table_column(scope, tables[0], name)
        names = {table: self._names_in(table, scope) for table in tables}
        if None in names.values():
            return UNKNOWN
        found = [self._table_column(scope, table, name) for table, known in names.items() if name in (known or ())]
        return found[0] if len(found) == 1 else used_as(TRANSFORMATION, found) or UNKNOWN

    def _names_in(self, table: str, scope: Scope) -> list[str] | None:
        """The names of the columns of a table in FROM, if they are known."""
        return None if _pivot_of(table, scope) else self._names(self._source(scope, table))

    def _source(self, scope: Scope, table: str) -> Source:
        source = scope.sources.get(table)
        if isinstance(source, exp.Table) and not source.db and source.name in scope.cte_sources:
            source = scope.cte_sources[source.name]  # SQLGlot takes a CTE with PIVOT for a table
        if isinstance(source, Scope) and id(source) not in self._scopes:
            return self._unions.get(id(source.expression))  # a recursive CTE in itself: SQLGlot has its first branch
        return source

    def _names(self, source: Source) -> list[str] | None:
        """The names of a source's columns, if they are known."""
        if isinstance(source, Scope) and not isinstance(_lateral_query(source).expression, exp.UDTF):
            names = [name for name, _ in self._outputs_of(_lateral_query(source))]
            return None if "*" in names else names
        if isinstance(source, exp.Table) and not isinstance(source.this, exp.Func):
            return list(self._tables.get(exp.table_name(source, identify=True), ())) or None
        return None

    def _source_column(self, source: Source, name: str, scope: Scope) -> Inputs:
        """A column of a table, CTE or subquery that `scope` reads."""
        arguments = self._function_inputs(source, scope)
        if arguments is not None:
            return used_as(TRANSFORMATION, [arguments])
        if isinstance(source, exp.Table):
            return frozenset({Input(exp.table_name(source, identify=True), name, IDENTITY)})
        if source is None:
            return UNKNOWN
        query = _lateral_query(source)
        outputs = dict(self._outputs_of(query))
        if name not in outputs and "*" in outputs:
            return self._shared_column(name, [table for table, _ in query.references], query)
        if name == "*":
            return frozenset(one for inputs in outputs.values() for one in inputs)
        return outputs.get(name, UNKNOWN)

    def _function_inputs(self, source: Source, scope: Scope) -> Inputs | None:
        """The inputs of a table function, such as FLATTEN or generate_series; None for other sources."""
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Func):
            function: exp.Expr = source.this
        elif isinstance(source, Scope) and isinstance(source.expression, exp.UDTF) and not source.subquery_scopes:
            function, scope = source.expression, source
        else:
            return None
        return frozenset(one for column in function.find_all(exp.Column) for one in self._column(column, scope))

    def _pivoted(self, pivot: exp.Pivot, name: str, scope: Scope) -> Inputs:
        """A column of PIVOT is aggregated on a condition; one of UNPIVOT has the values of the columns it lists."""
        source = self._pivot_source(pivot, scope)
        names = self._names(source)
        new = self._new_columns(pivot, source, scope)
        read = {column.name for column in _pivot_columns(pivot)}
        kept = [(one, self._source_column(source, one, scope)) for one in names or () if one not in read]
        outputs = dict(kept + new)
        if aliases := pivot.alias_column_names:
            if names is None:
                kept = [("", UNKNOWN)] * (len(aliases) - len(new))
            return dict(zip(aliases, (inputs for _, inputs in kept + new), strict=False)).get(name, UNKNOWN)
        if name in outputs:
            return outputs[name]
        if not new:  # IN (ANY)
            return self._new_column(pivot, 0, source, scope) if names else UNKNOWN
        return self._source_column(source, name, scope) if names is None and name not in read else UNKNOWN

    def _new_columns(self, pivot: exp.Pivot, source: Source, scope: Scope) -> Outputs:
        """The columns that a PIVOT or UNPIVOT makes, in their order; none if the query doesn't list them."""
        fields: list[exp.In] = pivot.args.get("fields") or []
        if pivot.unpivot:
            names = [one.name for value in pivot.expressions for one in value.find_all(exp.Identifier)]
            values = [
                [self._source_column(source, column.name, scope) for column in row] or [UNKNOWN] * len(names)
                for row in _unpivoted(pivot)
            ]
            columns = (used_as(TRANSFORMATION, column) for column in zip(*values, strict=True))
            return [(field.this.name, NOTHING) for field in fields] + list(zip(names, columns, strict=True))
        combinations = list(product(*(field.expressions for field in fields)))
        if any(isinstance(value, (exp.PivotAny, exp.Query)) for values in combinations for value in values):
            return []
        listed = [one.name for one in pivot.args.get("columns") or ()]
        if len(fields) == len(pivot.expressions) == 1 and not pivot.expressions[0].alias:
            # SQLGlot takes "1 AS one" for a name in some dialects.
            listed = [values[0].alias or name for values, name in zip(combinations, listed, strict=False)]
        return [(name, self._new_column(pivot, index, source, scope)) for index, name in enumerate(listed)]

    def _new_column(self, pivot: exp.Pivot, index: int, source: Source, scope: Scope) -> Inputs:
        """The column that PIVOT makes of one of its aggregates, which take turns."""
        value = pivot.expressions[index % len(pivot.expressions)]

        def columns(use: str, *expressions: exp.Expr) -> Inputs:
            found = (one for expression in expressions for one in expression.find_all(exp.Column))
            return used_as(use, (self._source_column(source, one.name, scope) for one in found))

        return columns(AGGREGATION, value) | columns(CONDITIONAL, *(field.this for field in pivot.args["fields"]))

    def _pivoted_rows(self, pivot: exp.Pivot, scope: Scope) -> Iterator[Input]:
        """PIVOT groups by the columns that it doesn't read. UNPIVOT leaves out NULL."""
        source, read = self._pivot_source(pivot, scope), {one.name for one in _pivot_columns(pivot)}
        if isinstance(source, Scope):
            yield from self._rows_of(source)
        known = self._names(source)
        names = None if known is None else set(known) - read
        if pivot.unpivot:
            names = read if all(_unpivoted(pivot)) else None
        elif group := pivot.args.get("group"):
            names = {one.name for one in group.find_all(exp.Column)}
        if pivot.args.get("include_nulls"):
            return
        if names is None:
            yield from UNKNOWN
        use = FILTER if pivot.unpivot else GROUP_BY
        yield from used_as(use, [self._source_column(source, name, scope) for name in names or ()])

    def _pivot_source(self, pivot: exp.Pivot, scope: Scope) -> Source:
        """What PIVOT reads; None for a chain of two, of which SQLGlot has no columns."""
        table = pivot.parent
        if table is None or len(table.args.get("pivots") or ()) > 1:
            return None
        if isinstance(table, exp.Subquery):
            return next((one for one in scope.derived_table_scopes if one.expression is table.unnest()), None)
        return self._source(scope, pivot.alias_or_name) or self._source(scope, table.alias_or_name)


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


def _is_set_operation(scope: Scope) -> bool:
    return isinstance(scope.expression, exp.SetOperation)


def _relations(query: exp.Expr) -> list[exp.Expr]:
    """FROM and the joins of a query."""
    from_ = query.args.get("from_")
    return [*([from_] if from_ else []), *(query.args.get("joins") or ())]


def _pivot_of(table: str, scope: Scope) -> exp.Pivot | None:
    """The PIVOT or UNPIVOT that has or reads a table's name in FROM."""
    names = ((pivot, pivot.alias, pivot.parent.alias_or_name if pivot.parent else "") for pivot in scope.pivots)
    return next((pivot for pivot, *own in names if table in own), None)


def _pivot_columns(pivot: exp.Pivot) -> Iterator[exp.Column]:
    """The columns that PIVOT or UNPIVOT reads by name."""
    for part in (*pivot.expressions, *(pivot.args.get("fields") or ())):
        yield from part.find_all(exp.Column)


def _unpivoted(pivot: exp.Pivot) -> list[list[exp.Column]]:
    """The columns that UNPIVOT makes rows of, for each row; none for COLUMNS(*)."""
    rows = (row for field in pivot.args.get("fields") or () for row in field.expressions)
    return [list(row.find_all(exp.Column)) for row in rows]


def _is_aggregate_or_query(node: exp.Expr) -> bool:
    is_windowed = isinstance(node.parent, (exp.Window, exp.IgnoreNulls, exp.RespectNulls))
    return isinstance(node, exp.Query) or (isinstance(node, AGGREGATES) and not is_windowed)


def _name(ordered: exp.Expr) -> str:
    """ALL in ORDER BY ALL is a column in some of SQLGlot's dialects, not in others."""
    return ordered.this.name.upper() if isinstance(ordered.this, (exp.Column, exp.Var)) else ""


def _orders_a_value(node: exp.Expr) -> bool:
    """PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a) returns a value of `a`: the function itself reads no column."""
    within = node.parent
    return isinstance(node, exp.Order) and isinstance(within, exp.WithinGroup) and not within.this.find(exp.Column)


def _arguments(node: exp.Expr) -> Iterator[tuple[str, list[exp.Expr]]]:
    for name, value in node.args.items():
        children = [child for child in (value if isinstance(value, list) else [value]) if isinstance(child, exp.Expr)]
        if children:
            yield name, children
