"""SQL that returns the same result on Snowflake and on DuckDB."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from sqlglot import exp
from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel

GUIDE = "docs/guides/sql-for-two-engines.md"

# Rendered for DuckDB by SQLMesh, these return what Snowflake documents. None has been run on Snowflake itself yet.
# GUIDE lists what still differs, and how to check a function before it is added. SQLGlot has one name for synonyms:
# NVL and IFNULL are COALESCE, SUBSTR is SUBSTRING, POSITION is CHARINDEX, VAR_POP is VARIANCE_POP.
PORTABLE = frozenset({
    # Conditions. On Snowflake GREATEST and LEAST are NULL if any argument is. SQLMesh renders that for DuckDB too.
    "CASE", "CAST", "COALESCE", "EXISTS", "GREATEST", "GREATEST_IGNORE_NULLS", "IFF", "LEAST", "LEAST_IGNORE_NULLS",
    "NULLIF",
    # Numbers, exact for DECIMAL. ROUND rounds half away from zero on both, TRUNC towards zero.
    "ABS", "ROUND", "SIGN", "TRUNC",
    # Numbers of type DOUBLE: the last of 16 digits may differ.
    "ACOS", "ASIN", "ATAN", "ATAN2", "COS", "COSH", "COT", "DEGREES", "EXP", "LN", "LOG", "PI", "POWER", "RADIANS",
    "SIN", "SINH", "SQRT", "TAN", "TANH",
    # Text. Positions and lengths count characters, from 1. TRIM, LTRIM and RTRIM need the characters to remove.
    "CHARINDEX", "CHR", "CONCAT", "CONTAINS", "ENDSWITH", "INITCAP", "LEFT", "LENGTH", "LOWER", "LPAD", "LTRIM", "MD5",
    "REGEXP_LIKE", "REGEXP_REPLACE", "REPEAT", "REPLACE", "RIGHT", "RPAD", "RTRIM", "SHA1", "SPLIT_PART", "STARTSWITH",
    "SUBSTRING", "TRANSLATE", "TRIM", "UNICODE", "UPPER",
    # The current time in UTC, whatever the time zone of the session.
    "SYSDATE",
    # Parts and differences of dates: integers. DAYOFWEEKISO begins with Monday; DAYOFWEEK depends on a setting.
    "DATEDIFF", "DAY", "DAYOFMONTH", "DAYOFWEEKISO", "DAYOFYEAR", "HOUR", "MINUTE", "MONTH", "QUARTER", "SECOND",
    "WEEKISO", "YEAR", "YEAROFWEEKISO",
    # Dates, and names of three letters: Nov, Sun.
    "DATE_FROM_PARTS", "DAYNAME", "LAST_DAY", "MONTHNAME", "NEXT_DAY", "PREVIOUS_DAY",
    # Aggregates. AVG and VARIANCE are a NUMBER of 6 more digits on Snowflake and a DOUBLE on DuckDB, so cast them.
    # MEDIAN and PERCENTILE_CONT keep the scale of a DECIMAL on DuckDB, so cast their argument to a larger one.
    "AVG", "BOOLAND_AGG", "BOOLOR_AGG", "CORR", "COUNT", "COUNT_IF", "COVAR_POP", "COVAR_SAMP", "GROUPING",
    "GROUPING_ID", "MAX", "MAX_BY", "MEDIAN", "MIN", "MIN_BY", "PERCENTILE_CONT", "PERCENTILE_DISC", "STDDEV",
    "STDDEV_POP", "SUM", "VARIANCE", "VARIANCE_POP",
    # Windows. SQLGlot writes Snowflake's default frame, all rows, for FIRST_VALUE, LAST_VALUE and NTH_VALUE.
    "CUME_DIST", "DENSE_RANK", "FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE", "NTILE", "PERCENT_RANK",
    "RANK", "ROW_NUMBER",
    # TABLE(GENERATOR(ROWCOUNT => n)) becomes RANGE(n).
    "GENERATOR",
})  # fmt: skip


def _is_cast(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return isinstance(parent, exp.Cast)


def _has_no_scale(node: exp.Expr) -> bool:
    return node.args.get("decimals") is None


def _is_inside(node: exp.Expr, function: type[exp.Func]) -> bool:
    return isinstance(node.find_ancestor(function, exp.Select), function)


# Portable on a condition: that its node meets, and what a message about another use of the function says.
PORTABLE_IF: dict[str, tuple[Callable[[exp.Expr], bool], str]] = {
    "/": (
        _is_cast,
        "is a DOUBLE on DuckDB and a NUMBER on Snowflake: write (a / b)::DECIMAL(18, 6) with the scale you need",
    ),
    "ADD_MONTHS": (_is_cast, "of a DATE is a TIMESTAMP on DuckDB: write ADD_MONTHS(…)::DATE, or ::TIMESTAMPNTZ"),
    "CEIL": (
        _has_no_scale,
        "with a scale is a DOUBLE on DuckDB, CEIL(1.1, 2) is 1.11: write (CEIL(a * 100) / 100)::DECIMAL(18, 2)",
    ),
    "CONVERT_TIMEZONE": (
        lambda node: node.args.get("source_tz") is not None,
        "reads the session's time zone unless it has three arguments: write the source time zone first",
    ),
    "DATEADD": (_is_cast, "of a DATE is a TIMESTAMP on DuckDB: write DATEADD(…)::DATE, or ::TIMESTAMPNTZ"),
    "DATE_PART": (
        lambda node: node.name.upper() in PORTABLE,
        "is alike only for parts that are in PORTABLE, such as YEAR, SECOND and WEEKISO: use one of them",
    ),
    "DATE_TRUNC": (_is_cast, "of a DATE is a TIMESTAMP on DuckDB: write DATE_TRUNC(…)::DATE, or ::TIMESTAMPNTZ"),
    "FLOOR": (
        _has_no_scale,
        "with a scale is a DOUBLE on DuckDB, FLOOR(4.35, 2) is 4.34: write (FLOOR(a * 100) / 100)::DECIMAL(18, 2)",
    ),
    "LISTAGG": (
        lambda node: _is_inside(node, exp.Coalesce),
        "of no values is '' on Snowflake and NULL on DuckDB: write COALESCE(LISTAGG(…) WITHIN GROUP (…), '')",
    ),
    "REGEXP_SUBSTR": (
        lambda node: _is_inside(node, exp.Nullif),
        "without a match is NULL on Snowflake and '' on DuckDB: write NULLIF(REGEXP_SUBSTR(…), '')",
    ),
    "SHA2": (
        lambda node: node.text("length") in ("", "256"),
        "has 256 bits on DuckDB, whatever its second argument: write SHA2(value)",
    ),
    "TO_CHAR": (
        lambda node: isinstance(node.this, exp.Cast),
        "loses its format when rendered for DuckDB unless the type is known: write TO_CHAR(value::DATE, format)",
    ),
}

# Different on the two engines, or missing on DuckDB.
DIFFERENT = {
    "CONCAT_WS": "is NULL as soon as one argument is, though DuckDB's own skips it: join with || and COALESCE",
    "CURRENT_DATE": "depends on the session's time zone and can't be pinned: use @as_of_date()",
    **dict.fromkeys(
        ("CURRENT_TIME", "CURRENT_TIMESTAMP"),
        "depends on the session's time zone and can't be pinned: use @execution_dtntz or _loaded_at",
    ),
    "DAYOFWEEK": "depends on the session's WEEK_START: use DAYOFWEEKISO",
    "EQUAL_NULL": "loses the parentheses around it when rendered for DuckDB: write IS NOT DISTINCT FROM",
    "FLATTEN": "fails on DuckDB: load the values as rows",
    "GET_PATH": "keeps the quotes around text on DuckDB: load the value as a column of its own",
    "HASH": "returns other numbers on DuckDB: use MD5",
    **dict.fromkeys(
        ("::TIMESTAMPLTZ", "TO_TIMESTAMP_LTZ"), "is compared in the session's time zone: write ::TIMESTAMPNTZ"
    ),
    **dict.fromkeys(
        ("::TIMESTAMPTZ", "TO_TIMESTAMP_TZ"),
        "is compared in the session's time zone: write ::TIMESTAMPNTZ, @start_dtntz for @start_dt",
    ),
    "INTERVAL": "added to a DATE is a TIMESTAMP on DuckDB: write DATEADD(…)::DATE",
    "MONTHS_BETWEEN": "loses the parentheses around it when rendered for DuckDB: use @completed_years",
    **dict.fromkeys(("RANDOM", "UUID_STRING"), "returns another value in each run: use MD5 of the key"),
    "TIME_SLICE": "of several days begins on other days on DuckDB: use DATE_TRUNC",
    **dict.fromkeys(("WEEK", "YEAROFWEEK"), "depends on the session's week parameters: use WEEKISO and YEAROFWEEKISO"),
    **dict.fromkeys(
        (
            "CONDITIONAL_CHANGE_EVENT",
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

MASKING = {"IS_ROLE_IN_SESSION"}
"""Functions of @mask, which DuckDB never gets."""


class DialectPortability(Rule):
    """Models and audits use no SQL that is known to differ between Snowflake and DuckDB.

    Models run on Snowflake, and their tests run on DuckDB. Some functions fail on DuckDB, others silently return
    another value: a passing test would prove nothing.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        messages = dict.fromkeys(
            f"{user} {name}, which {difference}"
            for user, name, node in _uses(model)
            if (difference := _difference(name, node))
        )
        violations = [self.violation(message) for message in messages]
        if not isinstance(model, SqlModel):
            return violations
        if model.dialect != "snowflake":
            return [
                self.violation(
                    f"{model.name} has the dialect {model.dialect}: write Snowflake's SQL, which SQLMesh renders for "
                    "DuckDB. In the other direction 7 // 2 becomes a rounding cast and names become quoted lower case"
                )
            ]
        if _query(model) is None:
            return [self.violation(f"The query of {model.name} can't be rendered, so its functions can't be checked")]
        return violations


class UnknownFunctions(Rule):
    """Models and audits use only functions that have been compared on Snowflake and DuckDB.

    A warning: an unknown function may well be portable, so it doesn't stop a plan.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        messages = dict.fromkeys(
            f"{user} {name}, which is not known to return the same on both engines: {GUIDE} describes how to check"
            for user, name, _ in _uses(model)
            if not any(name in known for known in (PORTABLE, PORTABLE_IF, DIFFERENT, MASKING))
        )
        return [self.violation(message) for message in messages]


def _uses(model: Model) -> Iterator[tuple[str, str, exp.Expr]]:
    """The functions in the SQL of a model: the beginning of a message, the function's name, and its node."""
    # Audits and their arguments are checked as written: rendering all of them would add a second to each plan.
    for audit, arguments in model.audits_with_args:
        for tree in (audit.query, *arguments.values()):
            for name, node in _functions(tree):
                yield f"{model.name} has the audit {audit.name}, which uses", name, node
    if isinstance(model, SqlModel) and model.dialect == "snowflake" and (query := _query(model)) is not None:
        for name, node in _functions(query):
            yield f"{model.name} uses", name, node


def _query(model: SqlModel) -> exp.Query | None:
    """The query with macros expanded, but not optimized: the optimizer adds and removes casts."""
    return model.render_query(optimize=False)


@lru_cache  # Naming the functions of all models takes 0.15 s, and both rules need them.
def _functions(tree: exp.Expr) -> list[tuple[str, exp.Expr]]:
    return [(name, node) for node in tree.walk() if (name := function_name(node))]


def _difference(name: str, node: exp.Expr) -> str | None:
    """How the function is known to differ between the engines; None if it isn't, or not as it is used here."""
    if name in PORTABLE_IF:
        is_portable, difference = PORTABLE_IF[name]
        return None if is_portable(node) else difference
    return DIFFERENT.get(name)


def function_name(node: exp.Expr) -> str | None:
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
