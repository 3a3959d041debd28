"""The loaded tables, for models that read all of them."""

import re
from pathlib import Path

from sqlglot import exp
from sqlmesh.utils import yaml

PROJECT = Path(__file__).parents[1]


def loaded_tables() -> list[tuple[str, str]]:
    """The loaded tables of the contract, such as 'edtech.students', and how models name them: 'edtech__students'.

    Call it when a module is imported: a run renders models without the project's files.
    """
    tables = {}
    for file in sorted(PROJECT.glob("external_models/*.yaml")):
        for entry in yaml.load(file, render_jinja=False):
            if "_loaded_at" in entry.get("columns", {}):
                table = exp.to_table(entry["name"])
                # The contract is data: nothing of it may reach SQL unless it is a name.
                tables[f"{table.db}.{table.name}"] = re.sub(r"\W", "_", f"{table.db}__{table.name}".lower())
    return list(tables.items())


def first_model(*names: str) -> str | None:
    """The first of the models, such as 'staging.stg_edtech__students', that exists; None if none does."""
    return next(
        (name for name in names if Path(PROJECT, "models", *name.split(".")).with_suffix(".sql").exists()), None
    )
