"""What a reader is told: the header of a model and the meaning of its columns."""

from collections.abc import Iterator
from itertools import pairwise

from sqlglot import Token, TokenType, tokenize
from sqlmesh.core.linter.helpers import TokenPositionDetails
from sqlmesh.core.linter.rule import Range, Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model

ORDER = (
    "name",
    "kind",
    "clustered_by",
    "physical_properties",
    "owner",
    "cron",
    "start",
    "grain",
    "references",
    "tags",
    "description",
    "depends_on",
    "signals",
    "audits",
    "columns",
    "column_descriptions",
    "enabled",
)
ALWAYS = ("name", "kind", "owner", "cron", "tags", "description")
# Loaded rows may repeat their key: intermediate decides which copy counts.
WITHOUT_GRAIN = ("raw.", "staging.")


class HeaderComplete(Rule):
    """Every MODEL header says the same things in the same order, so that a reader knows where to look.

    name, kind, owner, cron, tags and description always; the grain wherever keys are unique, which is everywhere
    but in raw and staging. The description begins with "One row per": what a row is decides how to count.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        path = model._path  # noqa: SLF001 - SQLMesh has no public name for it
        if path is None or path.suffix != ".sql":
            return None
        text = path.read_text(encoding="utf-8")
        keys = list(_header_keys(tokenize(text, dialect=model.dialect)))
        names = [key.text.lower() for key in keys]
        violations = []

        required = ALWAYS if model.name.startswith(WITHOUT_GRAIN) else (*ALWAYS, "grain")
        if missing := [name for name in required if name not in names]:
            violations.append(self.violation(f"{model.name} has no {', '.join(missing)}: say it in the MODEL header"))

        highest = -1
        for name, key in zip(names, keys, strict=True):
            where = _range(key, text)
            if name not in ORDER:
                message = f"{model.name} has `{name}`, as no other header: leave it out or give it a place in ORDER"
                violations.append(self.violation(f"{message} (linter/documentation.py)", where))
            elif ORDER.index(name) < highest:
                message = f"{model.name} has `{name}` after `{ORDER[highest]}`: the order is {', '.join(ORDER)}"
                violations.append(self.violation(message, where))
            else:
                highest = ORDER.index(name)

        if model.description and not model.description.startswith("One row per "):
            message = f"The description of {model.name} begins '{model.description[:30]}': begin with 'One row per …'"
            violations.append(self.violation(message))
        return violations


class ColumnsDescribed(Rule):
    """Every column is described where it is written, so that the catalog never shows a name and nothing else.

    External models are contracts of types; the columns SQLMesh itself adds to a history are described by its kind.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if isinstance(model, ExternalModel):
            return None
        if model.columns_to_types is None:
            return [self.violation(f"The columns of {model.name} can't be told: name each one in the final query")]
        described = {name.lower() for name, text in (model.column_descriptions or {}).items() if text.strip()}
        added = {name.lower() for name in model.managed_columns}
        how = "column_descriptions in the MODEL header" if model.kind.is_seed else "a comment after it, /* like this */"
        return [
            self.violation(f"Column {column} of {model.name} has no description: give it {how}")
            for column in (name.lower() for name in model.columns_to_types)
            if column not in described | added
        ]


def _header_keys(tokens: list[Token]) -> Iterator[Token]:
    """The names of the properties of a MODEL header, in the order written."""
    depth = 0
    for before, token in pairwise(tokens):
        if before.token_type is TokenType.L_PAREN:
            depth += 1
        elif before.token_type is TokenType.R_PAREN:
            depth -= 1
            if depth == 0:
                return
        if depth == 1 and before.token_type in (TokenType.L_PAREN, TokenType.COMMA):
            yield token


def _range(token: Token, text: str) -> Range:
    position = TokenPositionDetails(line=token.line, col=token.col, start=token.start, end=token.end)
    return position.to_range(text.splitlines())
