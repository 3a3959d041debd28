"""Masking of personal data."""

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator

READERS = ("PII_READER__B_ROLE", "CI__U_ROLE")
"""Roles that see masked columns unmasked: authorised people, and the pipeline, whose roles read the tables as well."""


@macro()
def mask(evaluator: MacroEvaluator, value: exp.Expr, placeholder: exp.Expr | None = None) -> exp.Expr:
    """The value for READERS, and a placeholder for all other roles. NULL stays NULL. Unmasked except on Snowflake.

    Called as `@mask(full_name)`, or `@mask(date_of_birth, NULL)` for a value that isn't text. The mask is part of the
    view's query, so the view never exists without it. Only views can mask: a stored table would contain what the
    pipeline sees, and the linter rejects it.
    """
    if evaluator.gateway != "snowflake" or evaluator.locals["runtime_stage"] == "testing":
        return value
    is_reader = exp.or_(*(exp.func("IS_ROLE_IN_SESSION", exp.Literal.string(role)) for role in READERS))
    return (
        exp.case().when(is_reader, value).when(value.is_(exp.null()).not_(), placeholder or exp.Literal.string("***"))
    )
