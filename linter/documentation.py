"""Documentation of models: the MODEL header and the column descriptions."""

from collections.abc import Iterator
from itertools import pairwise

from sqlglot import Token, TokenType, tokenize
from sqlmesh.core.linter.helpers import TokenPositionDetails
from sqlmesh.core.linter.rule import Range, Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model

PROPERTY_ORDER = (
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
REQUIRED = ("name", "kind", "owner", "cron", "tags", "description")
# Keys may repeat in loaded rows: models in intermediate select the newest row.
WITHOUT_GRAIN = ("raw.", "staging.")


class RequiredMetadata(Rule):
    """A MODEL header contains the required properties in a fixed order.

    Required are name, kind, owner, cron, tags and description, and outside raw and staging, where keys may repeat, the
    grain. The description begins with "One row per", because the meaning of a row determines how to count.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        path = model._path  # noqa: SLF001 - SQLMesh has no public name for it
        if path is None or path.suffix != ".sql":
            return None
        text = path.read_text(encoding="utf-8")
        keys = list(_header_keys(tokenize(text, dialect=model.dialect)))
        names = [key.text.lower() for key in keys]
        violations = []

        required = REQUIRED if model.name.startswith(WITHOUT_GRAIN) else (*REQUIRED, "grain")
        if missing := [name for name in required if name not in names]:
            violations.append(self.violation(f"{model.name} has no {', '.join(missing)}: add it to the MODEL header"))

        highest = -1
        for name, key in zip(names, keys, strict=True):
            where = _range(key, text)
            if name not in PROPERTY_ORDER:
                message = f"{model.name} has `{name}`, which is not in PROPERTY_ORDER: remove it from the MODEL header,"
                violations.append(self.violation(f"{message} or add it to linter/documentation.py", where))
            elif PROPERTY_ORDER.index(name) < highest:
                order = ", ".join(PROPERTY_ORDER)
                message = f"{model.name} has `{name}` after `{PROPERTY_ORDER[highest]}`: use the order {order}"
                violations.append(self.violation(message, where))
            else:
                highest = PROPERTY_ORDER.index(name)

        if model.description and not model.description.startswith("One row per "):
            start = model.description[:30]
            message = f"The description of {model.name} begins with '{start}': begin with 'One row per …'"
            violations.append(self.violation(message))
        return violations


class ColumnsDescribed(Rule):
    """Every column has a description, in the file that defines it.

    External models are exempt, because they are contracts of types. So are the columns that SQLMesh adds to a history.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        if isinstance(model, ExternalModel):
            return None
        if model.columns_to_types is None:
            return [self.violation(f"The columns of {model.name} are unknown: name each one in the final query")]
        described = {name.lower() for name, text in (model.column_descriptions or {}).items() if text.strip()}
        added = {name.lower() for name in model.managed_columns}
        if model.kind.is_seed:
            remedy = "add it to column_descriptions in the MODEL header"
        else:
            remedy = "add a comment after it, /* like this */"
        return [
            self.violation(f"Column {column} of {model.name} has no description: {remedy}")
            for column in (name.lower() for name in model.columns_to_types)
            if column not in described | added
        ]


def _header_keys(tokens: list[Token]) -> Iterator[Token]:
    """The names of the properties of a MODEL header, in the order of the file."""
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
