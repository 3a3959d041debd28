"""What a change can do to the process that loads it.

A SQLMesh project is a program: config.yaml, macros and signals run as Python, Jinja in SQL and YAML can reach anything,
SQLMesh's own macros evaluate their arguments (`@EVAL("…")` runs any Python that is quoted cleverly enough), and PUT
sends files of the machine to Snowflake. So a plan of somebody's change, made with our keys, gives them our keys, unless
the change is one of those that only say what to select.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from sqlglot import exp
from sqlmesh.core import dialect
from sqlmesh.core.macros import macro as macros

from meshflow.ci.checkout import git

PROSE = ("docs/*", "*.md")
ROWS = ("seeds/*.csv",)
SQL = ("models/*.sql", "audits/*.sql")
YAML = ("tests/models/*.yaml", "external_models/*.yaml")

JINJA = re.compile(r"\{\{|\{%|\{#|JINJA", re.IGNORECASE)
DESCRIBING = {"name", "owner", "tags", "description", "grain", "grains", "references", "columns", "column_descriptions"}
SCHEDULING = {"kind", "cron", "start", "signals", "enabled", "depends_on", "audits"}
STORING = {"clustered_by", "partitioned_by", "physical_properties"}
HEADERS: dict[type[exp.Expr], set[str]] = {
    dialect.Model: DESCRIBING | SCHEDULING | STORING,
    dialect.Audit: {"name", "blocking", "defaults", "description"},
}
"""What a header may set. Not `gateway`: on gateway local DuckDB would compute the query in the process with our keys,
and DuckDB reads files. Not `ignored_rules`, nor what is executed before or after."""

PLAIN_FILE = "100644"
NO_FILE = "000000"

EVALUATING = frozenset(macros.get_registry()) | {"def", "sql"}
"""SQLMesh's own macros: they evaluate Python made of their arguments. A string macro has no name."""


def needing_approval(checkout: Path, main: str) -> dict[str, str]:
    """What HEAD changes on commit `main` that could run code: path to reason, empty if all of it is declarative.

    `checkout` is a clone with both; nothing in it is executed.
    """
    known = _macros_of(checkout, main)
    changes = git(checkout, "diff", "--raw", "--no-renames", "--no-abbrev", "-z", main, "HEAD").split("\0")
    found = {
        path: next(_reasons(checkout, path, description.split()[1], known), "")
        for description, path in zip(changes[::2], changes[1::2], strict=False)
    }
    return {path: reason for path, reason in found.items() if reason}


def _macros_of(checkout: Path, main: str) -> set[str]:
    """The macros that SQL of main uses, which somebody has read before."""
    paths = git(checkout, "ls-tree", "-r", "-z", "--name-only", main).split("\0")
    return {use for path in paths if _is(path, SQL) for use in _macros(git(checkout, "show", f"{main}:{path}"))}


def _reasons(checkout: Path, path: str, mode: str, known: set[str]) -> Iterator[str]:
    """Why a changed file could run code."""
    if not _is(path, PROSE + ROWS + SQL + YAML):
        yield "is code, or configures it"
    elif mode not in (PLAIN_FILE, NO_FILE):
        yield "is a link, a submodule or executable"
    elif mode == PLAIN_FILE and _is(path, SQL + YAML):
        text = git(checkout, "show", f"HEAD:{path}")
        if JINJA.search(text):
            yield "holds Jinja"
        if _is(path, SQL):
            yield from (f"calls {macro}, which no model on main does" for macro in sorted(set(_macros(text)) - known))
            yield from _more_than_a_query(text)


def _more_than_a_query(text: str) -> Iterator[str]:
    """What SQL is beyond a header and a query, which Snowflake computes without looking at our machine."""
    try:
        header, *statements = dialect.parse(text, default_dialect="snowflake")
    except Exception:  # noqa: BLE001 - whatever a parser stumbles over
        yield "can't be parsed"
        return
    if type(header) not in HEADERS:
        yield "has no header"
        return
    values = {prop.name.lower(): prop.args.get("value") for prop in header.expressions}
    unusual = values.keys() - HEADERS[type(header)]
    # In another dialect, what we have parsed isn't what SQLMesh will.
    if str(values.get("dialect", "snowflake")).strip("'").lower() == "snowflake":
        unusual -= {"dialect"}
    if unusual:
        yield f"sets {min(unusual)} in its header"
    kind = values.get("kind")
    if isinstance(kind, dialect.ModelKind) and str(kind.this).upper() in {"SEED", "CUSTOM"}:
        yield "reads a file of the machine, or brings a materialization of its own"
    if not all(isinstance(statement, exp.Query) or _is_masking(statement) for statement in statements):
        yield "holds statements besides its query"


def _is_masking(statement: exp.Expr) -> bool:
    """Whether all that happens when a view is made is a macro, one that is known."""
    return isinstance(statement, dialect.VirtualUpdateStatement) and all(
        isinstance(one, dialect.MacroFunc) for one in statement.expressions
    )


def _macros(text: str) -> Iterator[str]:
    """Names of the macros and variables in SQL; of those that evaluate their arguments, whole calls."""
    for found in re.finditer(r"@(\w*)", text):
        name = found[1].lower()
        yield _call(text, found.start()) if name in EVALUATING or not name else f"@{name}"


def _call(text: str, start: int) -> str:
    """The text from `start` to the parenthesis that closes the first one, white space made one."""
    depth = 0
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if text[end] == ")" and depth <= 0:
            break
    return " ".join(text[start : end + 1].split())


def _is(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
