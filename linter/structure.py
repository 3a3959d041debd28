"""File names: a model and its unit tests are in the files named for the table."""

from pathlib import Path

from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model, SeedModel


class FileNameMatchesModel(Rule):
    """A model is in models/<schema>/<table>.sql, so that its file is found by its name."""

    def check_model(self, model: Model) -> RuleViolation | None:
        path = model._path  # noqa: SLF001 - SQLMesh has no public name for it
        if isinstance(model, ExternalModel) or path is None:
            return None
        path = path.relative_to(self.context.path)
        expected = ".".join(path.with_suffix("").parts[1:])
        # Quotes and capitals, as in raw.public."ORDER", don't make another table.
        if model.name.replace('"', "").lower() == expected.lower():
            return None
        target = Path("models", *model.name.split(".")).with_suffix(path.suffix)
        return self.violation(
            f"{path} defines the model {model.name}: rename the model to {expected}, or move it to {target}"
        )


class HasUnitTest(Rule):
    """A model has a unit test in tests/models/<schema>/test_<table>.yaml.

    Seeds and external models are exempt: they have no query. So are models in Python. They read every table of the
    contract, and a test in YAML would have to name each.
    """

    def check_model(self, model: Model) -> RuleViolation | None:
        path = model._path  # noqa: SLF001 - SQLMesh has no public name for it
        if isinstance(model, (ExternalModel, SeedModel)) or (path and path.suffix == ".py"):
            return None
        *schema, table = model.name.split(".")
        path = Path("tests", "models", *schema, f"test_{table}.yaml")
        if not (self.context.path / path).is_file():
            return self.violation(f"{model.name} has no unit test: write one in {path}")
        if not self.context.select_tests(tests=[str(self.context.path / path)], model_names=[model.name]):
            return self.violation(f"{path} has no test with `model: {model.name}`: write one")
        return None
