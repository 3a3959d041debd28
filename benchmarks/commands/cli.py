"""CLI commands, run in process, in the working folder, on gateway `local`."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from lifecycle.statement_counts import count_statements
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context


def nothing() -> dict[str, Any]:
    """Starting and importing is the work that is measured."""
    return {"statements": 0, "output": ""}


def load() -> dict[str, Any]:
    """Load the project, as every command does first. `output` has the numbers of models and unit tests."""
    with count_statements() as counts:
        context = Context(paths=".")
    models = sum(not model.kind.is_external for model in context.models.values())
    return {
        "statements": counts.statements,
        "output": f"{models} models, {len(context.select_tests())} tests",
    }


def command(*arguments: str) -> dict[str, Any]:
    """Run `sqlmesh` with these arguments; `output` is the end of its output. Raises what it raises, SystemExit too."""
    with count_statements() as counts, redirect_stdout(StringIO()) as output:
        cli(list(arguments), standalone_mode=False)
    return {"statements": counts.statements, "output": output.getvalue().strip()[-200:]}
