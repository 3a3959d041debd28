"""SQL that returns the same result on Snowflake and on DuckDB."""

import re

from sqlglot import exp
from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel

FILE = "linter/portability.py"

# Rendered for DuckDB by SQLMesh, these return what Snowflake documents. None has been run on Snowflake itself yet.
# Add a function after comparing both engines.
PORTABLE = frozenset({
    # Conditions. On Snowflake GREATEST and LEAST are NULL if any argument is. SQLMesh renders that for DuckDB too.
    "CASE", "CAST", "COALESCE", "GREATEST", "IFF", "LEAST", "NULLIF",
    # Numbers. ROUND rounds half away from zero on both, for DECIMAL.
    "ABS", "ROUND",
    # Text.
    "LOWER", "LTRIM", "MD5", "REGEXP_LIKE", "REGEXP_REPLACE", "TRANSLATE", "TRIM",
    # The current time in UTC, whatever the time zone of the session.
    "SYSDATE",
    # Parts and differences of dates: integers. DAYOFWEEKISO begins with Monday; DAYOFWEEK depends on a setting.
    "DATEDIFF", "DAY", "DAYOFWEEKISO", "MONTH", "QUARTER", "YEAR",
    # Aggregates and windows.
    "COUNT", "COUNT_IF", "FIRST_VALUE", "LAG", "LEAD", "MAX", "MAX_BY", "MIN", "ROW_NUMBER", "SUM",
    # TABLE(GENERATOR(ROWCOUNT => n)) becomes RANGE(n).
    "GENERATOR",
})  # fmt: skip

# Portable if cast directly.
PORTABLE_IF_CAST = {
    "DATEADD": "of a DATE is a TIMESTAMP on DuckDB: write DATEADD(…)::DATE, or ::TIMESTAMPNTZ",
    "DATE_TRUNC": "of a DATE is a TIMESTAMP on DuckDB: write DATE_TRUNC(…)::DATE, or ::TIMESTAMPNTZ",
    "/": "is a DOUBLE on DuckDB and a NUMBER on Snowflake: write (a / b)::DECIMAL(18, 6) with the scale you need",
}

# Different on the two engines, or missing on DuckDB.
DIFFERENT = {
    "CONCAT_WS": "is NULL as soon as one argument is, though DuckDB's own skips it: join with || and COALESCE",
    "CURRENT_DATE": "depends on the session's time zone and can't be pinned: use @as_of_date()",
    "CURRENT_TIMESTAMP": "depends on the session's time zone and can't be pinned: use @execution_dtntz or _loaded_at",
    "FLATTEN": "fails on DuckDB: load the values as rows",
    "GET_PATH": "keeps the quotes around text on DuckDB: load the value as a column of its own",
    "HASH": "returns other numbers on DuckDB: use MD5",
    "::TIMESTAMPLTZ": "is compared in the session's time zone: write ::TIMESTAMPNTZ",
    "::TIMESTAMPTZ": "is compared in the session's time zone: write ::TIMESTAMPNTZ, @start_dtntz for @start_dt",
    "INTERVAL": "added to a DATE is a TIMESTAMP on DuckDB: write DATEADD(…)::DATE",
    "MONTHS_BETWEEN": "loses the parentheses around it when rendered for DuckDB: use @completed_years",
    "TO_CHAR": "loses its format when rendered for DuckDB unless the type is known: write TO_CHAR(value::DATE, format)",
    **dict.fromkeys(
        (
            "CONDITIONAL_TRUE_EVENT",
            "HAVERSINE",
            "OBJECT_AGG",
            "RATIO_TO_REPORT",
            "SOUNDEX",
            "WIDTH_BUCKET",
        ),
        "is missing on DuckDB: write it with the functions in PORTABLE",
    ),
}


class DialectPortability(Rule):
    """Models and audits use only SQL that returns the same on Snowflake and on DuckDB.

    Models run on Snowflake, and their tests run on DuckDB. Some functions fail on DuckDB, others silently return
    another value: a passing test would prove nothing.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        # Audits and their arguments are checked as written: rendering all of them would add a second to each plan.
        violations = [
            self.violation(f"{model.name} has the audit {audit.name}, which uses {fault}")
            for audit, arguments in model.audits_with_args
            for fault in _faults(audit.query, *arguments.values())
        ]
        if not isinstance(model, SqlModel):
            return violations
        if model.dialect != "snowflake":
            return [
                self.violation(
                    f"{model.name} has the dialect {model.dialect}: write Snowflake's SQL, which SQLMesh renders for "
                    "DuckDB. In the other direction 7 // 2 becomes a rounding cast and names become quoted lower case"
                )
            ]
        # Macros are expanded, but the query is not optimized: the optimizer adds and removes casts.
        query = model.render_query(optimize=False)
        if query is None:
            return [self.violation(f"The query of {model.name} can't be rendered, so its functions can't be checked")]
        return violations + [self.violation(f"{model.name} uses {fault}") for fault in _faults(query)]


def _faults(*expressions: exp.Expr) -> list[str]:
    """The faults of the expressions, each once."""
    return list(dict.fromkeys(fault for tree in expressions for node in tree.walk() if (fault := _fault(node))))


def _fault(node: exp.Expr) -> str | None:
    """The fault of this node alone, beginning with the function's name; None if it has none."""
    name = _name(node)
    if name is None or name in PORTABLE:
        return None
    if name in PORTABLE_IF_CAST:
        return None if _is_cast(node) else f"{name}, which {PORTABLE_IF_CAST[name]}"
    if name == "TO_CHAR" and isinstance(node.this, exp.Cast):
        return None
    if name in DIFFERENT:
        return f"{name}, which {DIFFERENT[name]}"
    return f"{name}, which is not known to return the same on both engines: compare, then add it to PORTABLE in {FILE}"


def _name(node: exp.Expr) -> str | None:
    """The name of the function or operator in Snowflake's SQL; None for any other node."""
    if isinstance(node, exp.Div):
        return "/"
    if isinstance(node, exp.Interval):
        return "INTERVAL"
    if isinstance(node, exp.Cast) and (zoned := f"::{node.to.sql(dialect='snowflake')}") in DIFFERENT:
        return zoned
    if type(node) is exp.Cast:
        # Returned early: rendering the cast expression took as long as all other functions together.
        return "CAST"
    is_function = isinstance(node, exp.Func) and not isinstance(node, (exp.Connector, MacroFunc))
    is_part = isinstance(node.parent, MacroFunc) or (isinstance(node, exp.If) and isinstance(node.parent, exp.Case))
    if is_part or not is_function:
        return None
    match = re.match(r"\w+", node.sql(dialect="snowflake"))
    return match.group().upper() if match else type(node).__name__.upper()


def _is_cast(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return isinstance(parent, exp.Cast)
