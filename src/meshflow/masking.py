"""What models mask: personal columns in views, and whether prod's views on Snowflake mask them too.

A view's mask is part of its query (macros/privacy.py). So it can only be missing if something other than SQLMesh has
replaced a view, or the one that it reads.
"""

from collections.abc import Callable, Collection, Iterable

from sqlglot import exp, parse_one
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.model import Model, SqlModel, ViewKind
from sqlmesh.core.snapshot import Snapshot

PERSONAL = "pii"
"""Tag of models with personal data."""

DEFINITIONS = "SELECT table_schema, table_name, view_definition FROM ANALYTICS.INFORMATION_SCHEMA.VIEWS"
"""The texts are visible to the owner of the views, which is prod's role."""


def masked_columns(model: Model) -> set[str]:
    """The columns that are nothing but `@mask` of a value, in each SELECT of a UNION. In lower case."""
    query = _query(model)
    return _columns_that(_is_mask, query) if query else set()


def columns_masked_for_readers(model: Model) -> set[str]:
    """Those of `masked_columns` if the model is a view: a stored table has what the pipeline sees, for all readers."""
    return masked_columns(model) if _is_plain_view(model) else set()


def masked_names(models: Iterable[Model]) -> set[str]:
    """Names of columns that a model of `models` masks, and of those that it masks them from. In lower case."""
    found = set[str]()
    for model in models:
        if query := _query(model):
            found |= masked_columns(model)
            masks = (macro for macro in query.find_all(MacroFunc) if macro.name.lower() == "mask")
            found |= {column.name.lower() for macro in masks for column in macro.find_all(exp.Column)}
    return found


def unmasked_columns(model: Model, names: Collection[str]) -> dict[str, str]:
    """The columns that a model derives without a mask from columns called as in `names`, and their SQL.

    Nothing is rendered, so columns are told apart by name only, in subqueries too.
    """
    query = _query(model)
    if not query:
        return {}
    personal = set(names)

    def is_unmasked(projection: exp.Expr) -> bool:
        return not (_is_mask(projection) and _is_plain_view(model))

    def reads(projection: exp.Expr) -> bool:
        return is_unmasked(projection) and any(one.name.lower() in personal for one in projection.find_all(exp.Column))

    projections = [one for select in query.find_all(exp.Select) for one in select.selects]
    while derived := {one.alias_or_name.lower() for one in projections if reads(one)} - personal:
        personal |= derived
    final = {one.alias_or_name.lower() for select in _branches(query) for one in select.selects if reads(one)}
    unmasked = list(filter(is_unmasked, projections))
    return {
        name: "; ".join(sorted({one.sql() for one in unmasked if one.alias_or_name.lower() == name}))
        for name in final - columns_masked_for_readers(model)
    }


def is_by_person(model: Model, models: Iterable[Model]) -> bool:
    """Whether rows of the model are of single persons: it has the tag `pii`, masks a column, or has a person's key.

    That is the grain of any of `models` that masks and has a single column as its grain. It is part of the model's.
    """
    keys = {_grain(one) for one in models if masked_columns(one) and len(_grain(one)) == 1}
    return PERSONAL in model.tags or bool(masked_columns(model)) or any(key <= _grain(model) for key in keys)


def _is_plain_view(model: Model) -> bool:
    return isinstance(model.kind, ViewKind) and not model.kind.materialized


def _grain(model: Model) -> frozenset[str]:
    return frozenset(column.name.lower() for one in model.grains for column in one.find_all(exp.Column))


def _query(model: Model) -> exp.Query | None:
    query = model.query if isinstance(model, SqlModel) else None
    return query if isinstance(query, exp.Query) else None


def _branches(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs of a UNION, or the query itself."""
    inner = query.unnest()
    if isinstance(inner, exp.SetOperation):
        return [*_branches(inner.left), *_branches(inner.right)]
    return [inner] if isinstance(inner, exp.Select) else []


def _columns_that(mask: Callable[[exp.Expr], bool], query: exp.Query) -> set[str]:
    """The columns of which `mask` is true in every branch. UNION matches columns by position."""
    first, *others = [select.selects for select in _branches(query)] or [[]]
    return {
        projection.alias_or_name.lower()
        for index, projection in enumerate(first)
        if all(index < len(selects) and mask(selects[index]) for selects in (first, *others))
    }


def _value(projection: exp.Expr) -> exp.Expr:
    """A projection without its alias, casts and parentheses."""
    while isinstance(projection, (exp.Alias, exp.Cast, exp.Paren)):
        projection = projection.this
    return projection


def _is_mask(projection: exp.Expr) -> bool:
    """Whether it is `@mask(value)` or `@mask(value, constant)`."""
    value = _value(projection)
    if not isinstance(value, MacroFunc) or value.name.lower() != "mask":
        return False
    _, *placeholder = value.this.expressions or [None]
    return all(map(_is_constant, placeholder))


def find_unmasked(context: Context, snapshots: Iterable[Snapshot]) -> dict[str, Snapshot]:
    """The columns of prod that a model masks and its view doesn't, such as `edtech.dim_student.full_name`."""
    rows = context.engine_adapter.fetchall(DEFINITIONS)
    definitions = {(schema, view): text for schema, view, text in rows}
    return {
        f"{snapshot.model.name}.{column}": snapshot
        for snapshot in snapshots
        if snapshot.is_model
        for column in sorted(masked_columns(snapshot.model))
        if not _masks(definitions, exp.to_table(snapshot.name), column)
    }


def _masks(definitions: dict[tuple[str, str], str], view: exp.Table, column: str) -> bool:
    """Whether the view's own query masks the column, or it shows all columns of one view that masks it."""
    text = definitions.get((view.db, view.name))
    if not text:
        return False
    tree = parse_one(text, dialect="snowflake")
    query = tree.expression if isinstance(tree, exp.Create) else tree
    if not isinstance(query, exp.Query):
        return False
    if query.is_star:
        [*tables] = query.find_all(exp.Table)
        return len(tables) == 1 and _masks(definitions, tables[0], column)
    return column in _columns_that(_is_rendered_mask, query)


def _is_rendered_mask(projection: exp.Expr) -> bool:
    """Whether it is what `@mask` makes: the value for some roles, otherwise a constant."""
    value = _value(projection)
    if not isinstance(value, exp.Case) or value.this or not isinstance(value.args.get("default"), exp.Null | None):
        return False
    match value.args["ifs"]:
        case [readers, others]:
            roles = readers.this.unnest()
            functions = roles.flatten() if isinstance(roles, exp.Or) else [roles]
            return _is_constant(_value(others.args["true"])) and all(
                isinstance(one, exp.Anonymous) and one.name.upper() == "IS_ROLE_IN_SESSION" for one in functions
            )
    return False


def _is_constant(value: exp.Expr) -> bool:
    return isinstance(value, (exp.Literal, exp.Null))
