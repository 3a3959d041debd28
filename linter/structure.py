"""Where things stand: a table is found by its name, and so are its tests."""

from pathlib import Path

from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model, SeedModel


class PathIsName(Rule):
    """A model stands in models/<schema>/<table>.sql, so that a table is found by its name, without search."""

    def check_model(self, model: Model) -> RuleViolation | None:
        path = model._path  # noqa: SLF001 - SQLMesh has no public name for it
        if isinstance(model, ExternalModel) or path is None:
            return None
        path = path.relative_to(self.context.path)
        expected = ".".join(path.with_suffix("").parts[1:])
        if model.name == expected:
            return None
        home = Path("models", *model.name.split(".")).with_suffix(path.suffix)
        return self.violation(f"{path} names its model {model.name}: call it {expected}, or move it to {home}")


class HasUnitTest(Rule):
    """A model has a unit test in tests/models/<schema>/test_<table>.yaml: its logic is proven on rows chosen for it.

    Seeds and external models have no logic.
    """

    def check_model(self, model: Model) -> RuleViolation | None:
        if isinstance(model, (ExternalModel, SeedModel)):
            return None
        *schema, table = model.name.split(".")
        path = Path("tests", "models", *schema, f"test_{table}.yaml")
        if not (self.context.path / path).is_file():
            return self.violation(f"{model.name} has no unit test: write one in {path}")
        if not self.context.select_tests(tests=[str(self.context.path / path)], model_names=[model.name]):
            return self.violation(f"{path} holds no test with `model: {model.name}`: write one")
        return None
