"""Masking of personal data."""

from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel


class MasksInViews(Rule):
    """Only views mask.

    The mask depends on the role of the reader. A stored table would contain the values that the pipeline sees, for all
    readers.
    """

    def check_model(self, model: Model) -> RuleViolation | None:
        if not isinstance(model, SqlModel) or model.kind.is_view:
            return None
        if all(macro.name.lower() != "mask" for macro in model.query.find_all(MacroFunc)):
            return None
        return self.violation(
            f"{model.name} masks a column and is stored, so all roles would see what the pipeline sees: "
            "make it a VIEW, or mask in the view that reads it"
        )
