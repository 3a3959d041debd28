"""Exposures: what reads models outside of the project's own models, found in its SQL."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

READ = re.compile(r"\b(?:FROM|JOIN)\s+(\w+\.\w+)")
"""A table that SQL reads."""


@dataclass(frozen=True)
class Exposure:
    name: str
    """Its file, relative to the project's folder."""
    title: str
    """The first line of the file's docstring, or of a query's comment."""
    upstream: list[str]
    """The tables that it reads, sorted."""


def exposures(folder: Path) -> Iterator[Exposure]:
    """The project's modules of dashboards and saved queries: `dashboards/*.py` and `dashboards/queries/*.sql`.

    Those that read no table are left out, and files that can't be parsed: their own tests say so.
    """
    dashboards = folder / "dashboards"
    for read, files in ((_module, dashboards.glob("*.py")), (_query, dashboards.glob("queries/*.sql"))):
        for file in sorted(files):
            try:
                title, tables = read(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError, SqlglotError):
                continue
            if tables:
                yield Exposure(file.relative_to(folder).as_posix(), title, sorted(tables))


def _module(text: str) -> tuple[str, set[str]]:
    """The title of a Python file, and the tables after FROM or JOIN in its strings, but for docstrings."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    strings = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return title, {name for one in strings for name in READ.findall(one)}


def _query(text: str) -> tuple[str, set[str]]:
    """The title of a SQL file, and the tables that it reads. CTEs have no schema."""
    tables = parse_one(text, dialect="snowflake").find_all(exp.Table)
    names = {f"{table.db}.{table.name}".lower() for table in tables if table.db}
    return text.partition("\n")[0].removeprefix("--").strip(), names
