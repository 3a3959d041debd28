"""Commands as people type them, in process, in the working folder, on gateway `local`."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from lifecycle.counted import counted
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context


def nothing() -> dict[str, Any]:
    """To start and to import is all there is to do."""
    return {"statements": 0, "said": ""}


def load() -> dict[str, Any]:
    """What every command begins with. Says how many models and unit tests there are."""
    with counted() as counts:
        context = Context(paths=".")
    return {
        "statements": counts.statements,
        "said": f"{len(context.models)} models, {len(context.select_tests())} tests",
    }


def command(*arguments: str) -> dict[str, Any]:
    """`sqlmesh` with these arguments; with the end of what it said. Raises what it raises, SystemExit too."""
    with counted() as counts, redirect_stdout(StringIO()) as said:
        cli(list(arguments), standalone_mode=False)
    return {"statements": counts.statements, "said": said.getvalue().strip()[-200:]}
