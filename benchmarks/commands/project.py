"""Projects of any size: copies of this project's models, each with its unit tests."""

import re
from pathlib import Path

from process import copy_project

PROJECT_FILES = (
    "config.yaml", "audits", "external_models", "linter", "macros", "models", "seeds", "signals", "tests/models",
)  # fmt: skip
"""What SQLMesh reads."""


def write(target: Path, copies: int) -> tuple[int, int]:
    """Write the project with so many copies of each model and unit test; returns the numbers of both.

    Copy 2 of retail.fct_sales is retail.fct_sales_2. It reads only copies 2 of other models. Models in Python, which
    read all tables of the contract, macros, audits, linter, config.yaml and the files of seeds are not copied.
    """
    copy_project(target, *PROJECT_FILES)
    (target / "data").mkdir()
    models = sorted((target / "models").rglob("*.sql"))
    tests = sorted((target / "tests" / "models").rglob("*.yaml"))
    names = [".".join(model.relative_to(target / "models").with_suffix("").parts) for model in models]
    # A complete name and nothing longer: raw.retail.sales is a model, retail.sales isn't.
    model_name = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, names))})(?!\w)")
    for copy in range(2, copies + 1):
        for file in (*models, *tests):
            file.with_stem(f"{file.stem}_{copy}").write_text(model_name.sub(rf"\1_{copy}", file.read_text()))
    test_count = sum(len(re.findall(r"^test_\w+:", file.read_text(), re.MULTILINE)) for file in tests)
    shared = len(list((target / "models").rglob("*.py")))
    return len(models) * copies + shared, test_count * copies
