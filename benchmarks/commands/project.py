"""A project of any size: the models of this one, again and again, each copy with its unit tests."""

import re
from pathlib import Path

from process import copy_project

LOADED = ("config.yaml", "audits", "external_models", "linter", "macros", "models", "seeds", "signals", "tests/models")
"""What SQLMesh reads."""


def write(target: Path, copies: int) -> tuple[int, int]:
    """Write the project with so many copies of each model and unit test; returns how many there are of both.

    Copy 2 of retail.fct_sales is retail.fct_sales_2 and reads the others' copies 2: nothing joins them. Macros, audits,
    linter and config.yaml there is one of, and one file of each seed.
    """
    copy_project(target, *LOADED)
    (target / "data").mkdir()
    models = sorted((target / "models").rglob("*.sql"))
    tests = sorted((target / "tests" / "models").rglob("*.yaml"))
    names = [".".join(model.relative_to(target / "models").with_suffix("").parts) for model in models]
    # A whole name and nothing longer: raw.retail.sales is a model, retail.sales isn't.
    named = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, names))})(?!\w)")
    for copy in range(2, copies + 1):
        for file in (*models, *tests):
            file.with_stem(f"{file.stem}_{copy}").write_text(named.sub(rf"\1_{copy}", file.read_text()))
    written = sum(len(re.findall(r"^test_\w+:", file.read_text(), re.MULTILINE)) for file in tests)
    return len(models) * copies, written * copies
