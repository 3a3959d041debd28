"""What a reviewer has to see of a plan: changed definitions, removed masking, and what reads the changed models."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import unified_diff
from pathlib import Path

from sqlglot import exp
from sqlmesh.core.audit import ModelAudit
from sqlmesh.core.context import Context
from sqlmesh.core.environment import EnvironmentNamingInfo
from sqlmesh.core.model import Model
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot

from meshflow.ci.diff import CONSUMER_SCHEMAS
from meshflow.ci.result import Change, Definition, MaskChange, Page
from meshflow.masking import PERSONAL, columns_masked_for_readers, masked_names, unmasked_columns
from meshflow.names import table_name

READ_TABLE = re.compile(r"\b(?:FROM|JOIN)\s+(\w+\.\w+)", re.IGNORECASE)
ORDER = ("added", "removed", "directly modified", "indirectly modified", "metadata only")


def changes(plan: Plan) -> list[Change]:
    """The models that `plan` for prod changes, those first that the pull request changes itself."""
    difference = plan.context_diff
    added = difference.added & plan.snapshots.keys()
    direct = plan.directly_modified - added
    indirect = {one for found in plan.indirectly_modified.values() for one in found} - added - direct
    found = [Change(table_name(one.name), "added") for one in added]
    found += [Change(table_name(one.name), "removed") for one in difference.removed_snapshots]
    found += [Change(table_name(one.name), "directly modified", _category(plan.snapshots[one])) for one in direct]
    found += [Change(table_name(one.name), "indirectly modified", _category(plan.snapshots[one])) for one in indirect]
    metadata = plan.metadata_updated - direct - indirect - added
    found += [Change(table_name(one.name), "metadata only") for one in metadata]
    return sorted(found, key=lambda one: (ORDER.index(one.how), one.model))


def _category(snapshot: Snapshot) -> str:
    if snapshot.change_category is None:
        return "not categorized yet"
    return snapshot.change_category.name.lower().replace("_", "-").replace("indirect-", "")


def definitions(plan: Plan) -> list[Definition]:
    """The diff of each model whose definition differs from prod's. Rows of seeds are left out: they are data."""
    return [
        Definition(table_name(before.name), "\n".join(_diff(before, after))) for before, after in _modified_models(plan)
    ]


def _modified_models(plan: Plan) -> Iterator[tuple[Model, Model]]:
    """Each model as in prod and as changed, by name. Models that only read a changed one are left out."""
    for one in sorted(plan.directly_modified | plan.metadata_updated):
        if one.name in plan.context_diff.modified_snapshots:
            after, before = plan.context_diff.modified_snapshots[one.name]
            if before.is_model and after.is_model:
                yield before.model, after.model


def _diff(before: Model, after: Model) -> Iterator[str]:
    lines = unified_diff(_definition(before), _definition(after), n=3, lineterm="")
    return (line for line in lines if line not in {"--- ", "+++ "})


def _definition(model: Model) -> list[str]:
    """Header, query, virtual statements and audits of a model. Nothing is rendered: a macro would be executed.

    SQLMesh's text_diff omits descriptions and the queries of audits.
    """
    parts = [one.sql(pretty=True, dialect=model.dialect) for one in model.render_definition(include_python=False)]
    audits = [_audit(audit) for _, audit in sorted(model.audit_definitions.items())]
    return [line for part in (*parts, *audits) for line in part.splitlines()]


def _audit(audit: ModelAudit) -> str:
    defaults = ", ".join(f"{name} = {value.sql(dialect=audit.dialect)}" for name, value in audit.defaults.items())
    options = f"blocking {str(audit.blocking).upper()}, skip {str(audit.skip).upper()}, defaults ({defaults})"
    return f"AUDIT (name {audit.name}, {options});\n{audit.query.sql(pretty=True, dialect=audit.dialect)}"


def masks(plan: Plan) -> list[MaskChange]:
    """Columns that people read, and that `plan` would show unmasked.

    Prod masks them, or they are new and derived from a column that a model masks.
    """
    modified = list(_modified_models(plan))
    pairs = [*modified, *((None, plan.snapshots[one].model) for one in plan.context_diff.added & plan.snapshots.keys())]
    names = masked_names([one.model for one in plan.snapshots.values() if one.is_model] + [old for old, _ in modified])
    while new := {name for before, after in pairs for name in _derived(before, after, names)} - names:
        names |= new  # other models may read it
    found = [
        MaskChange(table_name(before.name), column, column in _columns(after))
        for before, after in modified
        for column in columns_masked_for_readers(before) - columns_masked_for_readers(after)
    ]
    known = {(one.model, one.column) for one in found}
    found += [
        MaskChange(table_name(after.name), column, exists=True, is_derived=True)
        for before, after in pairs
        if after.schema_name.lower() in CONSUMER_SCHEMAS
        for column in _derived(before, after, names)
        if (table_name(after.name), column) not in known
    ]
    return sorted(found, key=lambda one: (one.model, one.column))


def _derived(before: Model | None, after: Model, names: Collection[str]) -> set[str]:
    """Columns that `after` derives from those called `names` without a mask, as `before` doesn't."""
    known = unmasked_columns(before, names).items() if before else set()
    return {column for column, _ in unmasked_columns(after, names).items() - known}


def _columns(model: Model) -> set[str]:
    return {name.lower() for name in model.columns_to_types or {}}


def downstream(context: Context, plan: Plan) -> list[str]:
    """Models that read a model which the pull request changes itself, directly or through others."""
    changed = {one.name for one in plan.directly_modified}
    found = {name for one in changed & set(context.models) for name in context.dag.downstream(one)}
    return sorted(table_name(name) for name in found - changed)


def pages(dashboards: Path, tables: Collection[str]) -> list[Page]:
    """The pages in the folder `dashboards` whose SQL reads one of `tables`. Its Python is parsed, not executed."""
    found = []
    for module, title in _titles(_parse(dashboards / "app.py")).items():
        if changed := sorted(_tables_read(_parse(dashboards / f"{module}.py")) & set(tables)):
            found.append(Page(title, changed))
    return found


def _parse(file: Path) -> ast.Module:
    """The file's syntax tree; an empty one if there is no such file, or it isn't Python."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _titles(app: ast.Module) -> Mapping[str, str]:
    """Titles by module, from `{"Retail": retail.page}`."""
    return {
        value.value.id: key.value
        for node in ast.walk(app)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(value, ast.Attribute) and value.attr == "page" and isinstance(value.value, ast.Name)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _tables_read(page: ast.Module) -> set[str]:
    texts = [node.value for node in ast.walk(page) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {table.lower() for text in texts for table in READ_TABLE.findall(text)}


def example_query(plan: Plan, naming: EnvironmentNamingInfo, engine: str) -> str:
    """A query that reads a changed model in an environment, in dialect `engine`; empty if there is none to read."""
    snapshots = [plan.snapshots[one] for one in plan.directly_modified | plan.metadata_updated]
    readable = [one for one in snapshots if one.is_model and not one.is_symbolic]
    if not readable:
        return ""
    first = min(
        readable,
        key=lambda one: (PERSONAL in one.model.tags, one.model.schema_name.lower() not in CONSUMER_SCHEMAS, one.name),
    )
    table = first.qualified_view_name.table_for_environment(naming, dialect=engine)
    return exp.select("*").from_(table).limit(100).sql(dialect=engine) + ";"
