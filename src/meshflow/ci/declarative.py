"""Separates declarative changes from those that can execute code in the process that loads the project.

A SQLMesh project is a program. config.yaml, macros and signals run as Python, and Jinja in SQL and YAML can reach
anything. SQLMesh's own macros evaluate their arguments: `@EVAL("…")` runs any Python, if quoted suitably. PUT uploads
local files to Snowflake. So planning a change with our keys gives it our keys, unless it only declares what to select.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from sqlglot import exp
from sqlmesh.core import dialect
from sqlmesh.core.macros import macro as macros

from meshflow.ci.checkout import git

DOCUMENTS = ("docs/*", "*.md")
SEEDS = ("seeds/*.csv",)
SQL = ("models/*.sql", "audits/*.sql")
YAML = ("tests/models/*.yaml", "external_models/*.yaml")

JINJA = re.compile(r"\{\{|\{%|\{#|JINJA", re.IGNORECASE)
MATERIALIZATION = re.compile(r"\bmaterialization\b\s*\S+", re.IGNORECASE)
METADATA = {"name", "owner", "tags", "description", "grain", "grains", "references", "columns", "column_descriptions"}
SCHEDULING = {"kind", "cron", "start", "signals", "enabled", "depends_on", "audits"}
STORAGE = {"clustered_by", "partitioned_by", "physical_properties"}
ALLOWED_PROPERTIES: dict[type[exp.Expr], set[str]] = {
    dialect.Model: METADATA | SCHEDULING | STORAGE,
    dialect.Audit: {"name", "blocking", "defaults", "description"},
}
"""What a header may set. Not `gateway`: on gateway local, DuckDB would run the query in the process that has our keys,
and DuckDB reads files. Not `ignored_rules`, nor statements that run before or after the query."""

REGULAR_FILE = "100644"
NO_FILE = "000000"

EVALUATING_MACROS = frozenset(macros.get_registry()) | {"def", "sql"}
"""SQLMesh's own macros: they evaluate Python made of their arguments. A string macro has no name."""


def find_code_changes(checkout: Path, main: str) -> dict[str, str]:
    """Changes from commit `main` to HEAD that could execute code, as path to reason; empty if all are declarative.

    `checkout` is a clone with both commits. Nothing in it is executed.
    """
    known = _names_on(checkout, main)
    changes = git(checkout, "diff", "--raw", "--no-renames", "--no-abbrev", "-z", main, "HEAD").split("\0")
    found = {
        path: next(_reasons(checkout, path, description.split()[1], known), "")
        for description, path in zip(changes[::2], changes[1::2], strict=False)
    }
    return {path: reason for path, reason in found.items() if reason}


def _names_on(checkout: Path, commit: str) -> set[str]:
    """The macros and materializations that SQL on `commit` uses. Those on main were reviewed."""
    paths = git(checkout, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    return {use for path in paths if _matches(path, SQL) for use in _names(git(checkout, "show", f"{commit}:{path}"))}


def _reasons(checkout: Path, path: str, mode: str, known: set[str]) -> Iterator[str]:
    """Why a changed file could execute code. `mode` is its git file mode, `known` the names on main."""
    if not _matches(path, DOCUMENTS + SEEDS + SQL + YAML):
        yield "is code or configuration"
    elif mode not in (REGULAR_FILE, NO_FILE):
        yield "is a symbolic link, a submodule or executable"
    elif mode == REGULAR_FILE and _matches(path, SQL + YAML):
        text = git(checkout, "show", f"HEAD:{path}")
        if JINJA.search(text):
            yield "contains Jinja"
        if _matches(path, SQL):
            yield from (f"uses {name}, which no model on main uses" for name in sorted(set(_names(text)) - known))
            yield from _sql_reasons(text)


def _sql_reasons(text: str) -> Iterator[str]:
    """Why SQL is more than a header and a query. Snowflake runs the query, without access to our machine."""
    try:
        header, *statements = dialect.parse(text, default_dialect="snowflake")
    except Exception:  # noqa: BLE001 - whatever the parser raises
        yield "can't be parsed"
        return
    if type(header) not in ALLOWED_PROPERTIES:
        yield "has no header"
        return
    values = {prop.name.lower(): prop.args.get("value") for prop in header.expressions}
    unusual = values.keys() - ALLOWED_PROPERTIES[type(header)]
    # SQLMesh would parse the text in another dialect than this function does.
    if str(values.get("dialect", "snowflake")).strip("'").lower() == "snowflake":
        unusual -= {"dialect"}
    if unusual:
        yield f"sets {min(unusual)} in its header"
    kind = values.get("kind")
    if isinstance(kind, dialect.ModelKind) and str(kind.this).upper() == "SEED":
        yield "reads a local file"
    if not all(isinstance(statement, exp.Query) or _is_masking(statement) for statement in statements):
        yield "contains statements besides its query"


def _is_masking(statement: exp.Expr) -> bool:
    """Whether the statement is an ON_VIRTUAL_UPDATE block that only calls macros. _reasons() checks which."""
    return isinstance(statement, dialect.VirtualUpdateStatement) and all(
        isinstance(one, dialect.MacroFunc) for one in statement.expressions
    )


def _names(text: str) -> Iterator[str]:
    """The names of code in SQL: materializations, macros and variables.

    For macros that evaluate their arguments, the complete call.
    """
    yield from (" ".join(found[0].lower().split()) for found in MATERIALIZATION.finditer(text))
    for found in re.finditer(r"@(\w*)", text):
        name = found[1].lower()
        yield _call(text, found.start()) if name in EVALUATING_MACROS or not name else f"@{name}"


def _call(text: str, start: int) -> str:
    """The text from `start` to the parenthesis that closes the first one, with runs of white space made one space."""
    depth = 0
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if text[end] == ")" and depth <= 0:
            break
    return " ".join(text[start : end + 1].split())


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
