"""What SQL of models and audits may contain without a reader, by node of the parsed tree.

A query runs on Snowflake, without access to our machine. Headers and arguments of macros are what SQLMesh evaluates, or
renders to text and parses again: they consist of VALUE nodes, whose names and strings can't end where they stand.
Comments and strings of a query are neither.
"""

import re
from dataclasses import dataclass
from unicodedata import normalize

from sqlglot import Dialect, TokenType, exp
from sqlmesh.core import constants, dialect
from sqlmesh.core.audit.builtin import BUILT_IN_AUDITS
from sqlmesh.core.macros import macro
from sqlmesh.core.model.kind import ModelKindName
from sqlmesh.utils.date import date_dict

DIALECT = "snowflake"

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER = re.compile(r"[0-9]{1,38}(\.[0-9]{0,38})?([eE][+-]?[0-9]{1,3})?")
STRING = re.compile(r"[\w .,:/+%&()<>=!?*|^\[\]$#-]*")
"""A string that is evaluated as Python, or parsed again. No quote, backslash, line feed, @ or brace."""
LISTED = re.compile(rf"(?:{STRING.pattern[:-1]}|')*")
"""A string that SQLMesh only writes into a query, as a literal: with apostrophes."""
TEXT = re.compile(r"[^\\\x00-\x08\x0b-\x1f]*")
"""A string that describes. SQLMesh escapes it when it renders the header."""
IDENTIFIER_TEMPLATE = re.compile(r"(\w*@(\w+|\{\w+\}))+\w*", re.ASCII)
TIME_FORMAT = re.compile(r"((%[YmdHMSf]|YYYY|MM|DD|HH24|MI|SS)[ T:./-]?)+")
"""Of a time column. If the column is a number, SQLMesh prints the formatted time into the query unquoted."""
SEED_PATH = re.compile(r"\$root/(seeds/(?:\w[\w.-]*/)*\w[\w.-]*\.csv)", re.ASCII)

STANDARD_VARIABLES = frozenset(date_dict(0, 0, 0)) | {
    constants.GATEWAY,
    "this_model",
    "this_env",
    "model_kind_name",
    "runtime_stage",
}

LEAVES = {exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Var, dialect.MacroVar}
STRUCTURES = {exp.Column, exp.Table, exp.Paren, exp.Tuple, exp.Array, exp.Alias, exp.PropertyEQ, exp.Lambda}
COMPARISONS = {exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ}
PREDICATES = {exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.And, exp.Or, exp.Not}
ARITHMETIC = {exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe}
CASTS = {exp.Cast, exp.TryCast, dialect.DColonCast, exp.DataType, exp.DataTypeParam}
FUNCTIONS = {
    *(exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Nvl2, exp.DecodeCase, exp.EqualNull, exp.Greatest, exp.Least),
    *(exp.Abs, exp.Ceil, exp.Exp, exp.Floor, exp.Ln, exp.Round, exp.Sign, exp.Sqrt, exp.Trunc),
    *(exp.ArraySize, exp.Initcap, exp.PercentileCont, exp.WindowSpec),
    *(exp.Concat, exp.ConcatWs, exp.Contains, exp.EndsWith, exp.Left, exp.Length, exp.Levenshtein),
    *(exp.Lower, exp.MD5, exp.Pad, exp.RegexpCount, exp.RegexpExtract, exp.RegexpLike, exp.RegexpReplace),
    *(exp.Repeat, exp.Replace, exp.Reverse, exp.Right, exp.SHA2, exp.Split, exp.SplitPart, exp.StartsWith),
    *(exp.StrPosition, exp.Substring, exp.Translate, exp.Trim, exp.Upper),
    *(exp.ToBoolean, exp.ToChar, exp.ToNumber, exp.TsOrDsToDate),
    *(exp.CurrentDate, exp.CurrentTimestamp, exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Week, exp.Day),
    *(exp.DayOfWeek, exp.Dayname, exp.Monthname, exp.Hour, exp.LastDay, exp.DateFromParts, exp.ConvertTimezone),
    *(exp.AddMonths, exp.DateAdd, exp.DateDiff, exp.DateSub, exp.DateTrunc, exp.Interval, exp.MonthsBetween),
    *(exp.TimestampTrunc, exp.AnyValue, exp.ApproxDistinct, exp.ArgMax, exp.ArgMin, exp.ArrayAgg, exp.Avg),
    *(exp.Count, exp.CountIf, exp.GroupConcat, exp.LogicalAnd, exp.LogicalOr, exp.Max, exp.Median, exp.Min),
    *(exp.Stddev, exp.Sum, exp.Variance, exp.Distinct, exp.Star),
    *(exp.DenseRank, exp.Lag, exp.Lead, exp.Rank, exp.RowNumber, exp.Window, exp.WithinGroup, exp.Order, exp.Ordered),
}
"""One list for arguments that are evaluated and for those only written into the query: the macro decides which it is.

SQLMesh writes a function into Python as a call of its name in capitals, where only SQLGlot's few functions exist.
"""
UNTYPED_FUNCTIONS = {"HASH", "TO_TIMESTAMP", "TO_TIMESTAMP_LTZ", "TO_TIMESTAMP_NTZ", "TO_TIMESTAMP_TZ"}
"""Those of Snowflake that are no node of their own."""
CALLS = {dialect.MacroFunc, exp.Anonymous, dialect.StagedFilePath}
VALUE = LEAVES | STRUCTURES | COMPARISONS | PREDICATES | ARITHMETIC | CASTS | FUNCTIONS | CALLS
MACROS = {
    *("and", "date_spine", "each", "generate_surrogate_key", "if", "or", "reduce"),
    *("safe_add", "safe_div", "safe_sub", "star"),
}
"""Those of SQLMesh that make nodes of their arguments. @EVAL makes a text, which is parsed: a macro, or a statement."""
SQLMESH_MACROS = frozenset(macro.get_registry())
CODE_ARGUMENTS = {"hash_function", "prefix", "suffix"}
"""Their text becomes the name of a function or a column, unquoted."""
NAMED_ARGUMENTS = CODE_ARGUMENTS | {"exclude", "quote_identifiers"}
"""Of SQLMesh's macros. Others have no name: the condition of @IF is its first argument."""
MAX_POSITIONAL_OF_STAR = 3
"""The fourth is the prefix."""
EVALUATING = {"if", "filter", "with", "join", "where", "group_by", "having", "order_by", "limit", "union"}
"""Macros of SQLMesh that evaluate an argument as Python. Of @IF it is the condition only, but all count here."""
CONDITION = {
    *(exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not),
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
}
"""What the condition of @IF consists of. SQLMesh writes Python from it, a column as a text: `exp.to_column('a.@b')`.
The value of a variable there ends the text."""
COLUMN_DEFINITIONS = {
    *(exp.Schema, exp.ColumnDef, exp.ColumnConstraint, exp.CommentColumnConstraint, exp.NotNullColumnConstraint),
}

UNITS = {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}
WORDS = UNITS | {f"{unit}S" for unit in UNITS}
"""The only bare words: Python would evaluate any other as a name."""
FRAME = re.compile("ROWS|RANGE|UNBOUNDED|CURRENT ROW|PRECEDING|FOLLOWING")
INITCAP_DELIMITERS = dialect.parse_one("INITCAP(a)", dialect=DIALECT).expression
"""SQLGlot adds them to each call."""

DESCRIBING = {"title", "description", "owner", "tags", "stamp", "column_descriptions", "columns"}
SCHEDULING = {"cron", "cron_tz", "start", "end", "interval_unit"}
VALUES = {
    *("name", "grain", "grains", "references", "depends_on", "allow_partials"),
    *("clustered_by", "partitioned_by", "optimize_query", "formatting"),
}
FIXED = {
    "enabled": {"TRUE", "FALSE", "@IF(@gateway = 'local', TRUE, FALSE)"},
    "physical_properties": {"(creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL))"},
}
"""Properties that may have these values only. Macros of a header are in them.

Lint and unit tests run on gateway local, so they miss a model that is enabled on another one only. SQLMesh prints names
of physical properties unquoted into CREATE.
"""
CALLING = {"audits", "signals"}
MODEL_PROPERTIES = DESCRIBING | SCHEDULING | VALUES | FIXED.keys() | CALLING | {"kind", "dialect"}
"""Not `gateway`: on gateway local, DuckDB would run the query in the process that has our keys, and DuckDB reads files.
Not `table_format`, which SQLMesh prints unquoted before the name of the table: CREATE may be any such statement.
Not `blueprints`, `ignored_rules`, nor statements that run before or after the query."""
LISTING_AUDITS = {"accepted_values", "not_accepted_values"}
"""Of SQLMesh. Their `is_in` is in no macro that evaluates and in no lambda."""
AUDIT_PROPERTIES = {"name", "title", "description", "owner", "blocking", "skip", "defaults", "dialect"}

KINDS = {kind.value for kind in ModelKindName} - {"EXTERNAL", "MANAGED", "DBT_CUSTOM", "CUSTOM", "SEED"}
KIND_PROPERTIES = {
    *("time_column", "unique_key", "batch_size", "batch_concurrency", "lookback", "forward_only"),
    *("disable_restatement", "insert_overwrite", "partition_by_time_column", "merge_filter"),
    *("on_destructive_change", "on_additive_change", "auto_restatement_cron", "auto_restatement_intervals"),
    *("valid_from_name", "valid_to_name", "updated_at_name", "updated_at_as_valid_from", "columns", "time_data_type"),
    *("execution_time_as_valid_from", "invalidate_hard_deletes", "materialization_properties"),
}
OWN_KIND_PROPERTIES = {"CUSTOM": {"materialization"}, "SEED": {"path", "batch_size", "csv_settings"}}


class HeldError(Exception):
    """A file that a person has to read first. The message is the reason, without a subject."""


@dataclass(frozen=True)
class Names:
    """What SQL may use, in lower case: macros, variables and materializations of main, and seeds of the change."""

    own_macros: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    materializations: frozenset[str] = frozenset()
    seeds: frozenset[str] = frozenset()

    @property
    def macros(self) -> frozenset[str]:
        return self.own_macros | MACROS


def require_sql(text: str, names: Names, *, is_audit: bool) -> None:
    """Raise HeldError if a file of models/ or audits/ is more than a header and a query."""
    header, *statements = _parse(text)
    if type(header) is not (dialect.Audit if is_audit else dialect.Model):
        raise HeldError("has no header")
    is_seed = _require_header(header, names)
    _require_same_when_printed(header)
    statements = [statement for statement in statements if type(statement) is not exp.Semicolon]
    queries = [statement for statement in statements if isinstance(statement, exp.Query)]
    if len(queries) != (0 if is_seed else 1):
        raise HeldError("contains statements besides its query")
    for query in queries:
        require_query(query, names, is_audit=is_audit)
        # Later the text is read from the state, without the rest of the file.
        if dialect.parse_one(query.meta["sql"], dialect=DIALECT) != query:
            raise HeldError("contains a query that reads differently when it stands alone")
    # Before or after the query, or when a view is made: calls of macros only.
    for statement in (one for one in statements if not isinstance(one, exp.Query)):
        for one in statement.expressions if type(statement) is dialect.VirtualUpdateStatement else [statement]:
            # SQLMesh's own macros may return a statement that a text of their arguments contains.
            if type(one) is not dialect.MacroFunc or one.name.lower() not in names.own_macros:
                raise HeldError("contains statements besides its query")
            if other := {call.name for call in one.find_all(dialect.MacroFunc)} - {one.name}:
                raise HeldError(f"calls @{_excerpt(min(other))} within a statement")
            require_value(one, names)
    _require_known_calls(text, names)


def _require_known_calls(text: str, names: Names) -> None:
    """Raise HeldError if a macro is called that isn't listed, or in the header another one than @IF.

    This reads tokens, in which nothing is nested. A walk through the tree misses what nobody thought of visiting.
    """
    allowed = frozenset({"if"})
    tokens = Dialect.get_or_raise(DIALECT).tokenize(text)
    for at, called, bracket in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if at.token_type is TokenType.SEMICOLON:
            allowed = names.macros
        if at.token_type is TokenType.PARAMETER and bracket.token_type is TokenType.L_PAREN:
            _require_listed(called.text, names)
            if called.text.lower() not in allowed:
                raise HeldError(f"calls @{_excerpt(called.text)} in its header")


def _require_same_when_printed(header: exp.Expr) -> None:
    """Raise HeldError if SQLMesh, which prints a header to render it, would read another one."""
    if dialect.parse_one(header.sql(DIALECT), dialect=DIALECT) != header:
        raise HeldError("has a header that reads differently when SQLMesh prints it")


def _require_listed(called: str, names: Names) -> None:
    if called.lower() not in names.macros:
        is_of_sqlmesh = called.lower() in SQLMESH_MACROS
        reason = "which can make SQL of a text" if is_of_sqlmesh else "which is no macro on main"
        raise HeldError(f"calls @{_excerpt(called)}, {reason}")


def _parse(text: str) -> list[exp.Expr]:
    """The statements of a file, as SQLMesh parses it. Raises HeldError if it is in another dialect."""
    if (found := dialect.DIALECT_PATTERN.search(text[: constants.MAX_MODEL_DEFINITION_SIZE])) and found[
        "dialect"
    ].lower() != DIALECT:
        raise HeldError("sets dialect in its header")
    statements = dialect.parse(text, default_dialect=DIALECT)
    if not statements:
        raise HeldError("has no header")
    return statements


def _require_header(header: exp.Expr, names: Names) -> bool:
    """Whether it is the header of a seed. Raises HeldError unless each property and its value are listed."""
    allowed = MODEL_PROPERTIES if isinstance(header, dialect.Model) else AUDIT_PROPERTIES
    values = _require_properties(header, allowed, "header", names)
    if "dialect" in values and _name(values["dialect"]).lower() != DIALECT:
        raise HeldError("sets dialect in its header")
    if isinstance(header, dialect.Audit) and any(one.name.lower() in BUILT_IN_AUDITS for one in header.walk()):
        raise HeldError("has the name of an audit of SQLMesh")
    if "defaults" in values:
        _require_arguments(_items(values["defaults"]), "defaults", names)
    return "kind" in values and _require_kind(values["kind"], names)


def _require_kind(kind: exp.Expr, names: Names) -> bool:
    """Whether it is SEED. Raises HeldError unless the kind and its properties are listed."""
    if type(kind) is not dialect.ModelKind:
        raise HeldError("has a kind that a macro computes")
    name = str(kind.this).upper()
    if name not in KINDS | OWN_KIND_PROPERTIES.keys():
        raise HeldError(f"has the kind {_excerpt(name)}")
    allowed = KIND_PROPERTIES | OWN_KIND_PROPERTIES.get(name, set())
    values = _require_properties(kind, allowed, "kind", names)
    if "materialization" in values:
        materialization = _name(values["materialization"])
        if materialization.lower() not in names.materializations:
            raise HeldError(f"uses the materialization {_excerpt(materialization)}, which no model on main uses")
    if "time_column" in values:
        for literal in values["time_column"].find_all(exp.Literal):
            if literal.is_string and not TIME_FORMAT.fullmatch(literal.name):
                raise HeldError(f"has the time format {_excerpt(literal.name)}")
    if "path" in values:
        found = SEED_PATH.fullmatch(_name(values["path"]))
        if not found or found[1] not in names.seeds:
            raise HeldError("reads a local file that is no seed")
    return name == "SEED"


def _require_properties(of: exp.Expr, allowed: set[str], where: str, names: Names) -> dict[str, exp.Expr]:
    """The values of a header or a kind, by key in lower case.

    Raises HeldError unless each key is `allowed` and, whatever the key, its value is plain. SQLMesh renders all of a
    header when it loads the file, and parses the result again.
    """
    values: dict[str, exp.Expr] = {}
    for prop in of.expressions:
        key, value = prop.name.lower(), prop.args.get("value")
        if type(prop) is not exp.Property or key not in allowed:
            raise HeldError(f"sets {_excerpt(key)} in its {where}")
        if not isinstance(value, exp.Expr):
            raise HeldError(f"sets {key} to nothing")
        if key in values:
            raise HeldError(f"sets {key} twice")
        values[key] = value
        if key in CALLING:
            for call in _items(value):
                _require_call(call, names)
        elif type(value) is not dialect.ModelKind:  # whose properties are checked the same way
            _require_plain(key, value, names)
    return values


def _require_plain(key: str, value: exp.Expr, names: Names) -> None:
    """Raise HeldError if a value of a header is more than a value, or calls a macro and isn't FIXED."""
    require_value(value, names, TEXT if key in DESCRIBING | SCHEDULING else STRING)
    if key in FIXED:
        if value.sql(DIALECT) not in FIXED[key]:
            raise HeldError(f"sets {key} to {_excerpt(value.sql(DIALECT))}")
        return
    for node in value.find_all(dialect.MacroFunc, dialect.StagedFilePath, exp.Lambda):
        raise HeldError(f"passes {type(node).__name__} {_excerpt(node.sql(DIALECT))} in its header")


def _name(value: exp.Expr) -> str:
    """The text of a name or a string that stands alone, or ''."""
    return value.name if type(value) in {exp.Identifier, exp.Literal, exp.Var} else ""


def _items(value: exp.Expr) -> list[exp.Expr]:
    return value.expressions if isinstance(value, (exp.Tuple, exp.Array)) else [value.unnest()]


def _require_call(call: exp.Expr, names: Names) -> None:
    """An audit or a signal, by name or with arguments `name := value`."""
    if type(call) is exp.Anonymous and NAME.fullmatch(call.name):
        _require_arguments(call.expressions, call.name, names)
    elif type(call) in {exp.Identifier, exp.Column}:
        require_value(call, names)
    else:
        raise HeldError(f"passes {type(call).__name__} {_excerpt(call.sql(DIALECT))}, which is no audit or signal")


def _require_arguments(arguments: list[exp.Expr], of: str, names: Names) -> None:
    for argument in arguments:
        if type(argument) not in {exp.PropertyEQ, exp.EQ}:
            raise HeldError(f"calls {of} with an argument that has no name")
        name, passed = argument.this.name, argument.expression
        is_list = all(type(one) in {exp.Tuple, exp.Paren, exp.Literal} for one in passed.walk())
        string = LISTED if of.lower() in LISTING_AUDITS and name == "is_in" and is_list else STRING
        require_value(argument, names, string)
        if type(passed) is not dialect.MacroVar or passed.name != name:  # `gateway := @gateway` changes nothing
            require_argument_name(name)
        require_argument(passed, names, string)


def require_argument(argument: exp.Expr, names: Names, string: re.Pattern[str] = STRING) -> None:
    """Raise HeldError if an argument of an audit or a signal is more than a value, or calls a macro.

    Variables within it are SQLMesh's own: any other may be an argument of the same call, whose text would become code.
    """
    require_value(argument, names, string)
    if type(argument) is dialect.MacroVar:
        return  # it is the other value, which is required to be one
    for node in argument.find_all(dialect.MacroFunc, dialect.MacroVar):
        if _is_macro(node) or node.name.lower() not in STANDARD_VARIABLES:
            raise HeldError(f"uses @{_excerpt(node.name)} where SQLMesh evaluates Python")


def require_argument_name(name: str) -> None:
    """Raise HeldError if it is that of a variable of SQLMesh, which the argument would replace."""
    if not NAME.fullmatch(name) or name.lower() in STANDARD_VARIABLES:
        raise HeldError(f"has the argument {_excerpt(name)}")


def require_query(query: exp.Expr, names: Names, *, is_audit: bool = False) -> None:
    """Raise HeldError if a query calls other macros than main's, or calls them with more than values.

    Variables in the query of an audit are its arguments, of any name.
    """
    for node in query.walk(prune=lambda node: isinstance(node, dialect.MacroFunc)):
        if isinstance(node, dialect.MacroFunc):
            require_value(node, names, is_audit=is_audit)
        elif isinstance(node, dialect.MacroVar):
            _require_variable(node.name, names, is_audit=is_audit)
        elif isinstance(node, exp.Identifier) and "@" in node.name:
            # The variables of an audit are arguments, whose text would become SQL.
            if is_audit:
                raise HeldError(f"contains the identifier {_excerpt(node.name)}")
            _require_template(node, names)
        elif isinstance(node, exp.Command) or (type(node).__module__ == dialect.__name__ and type(node) not in VALUE):
            raise HeldError(f"contains {_excerpt(node.sql(DIALECT))}")


def require_value(value: exp.Expr, names: Names, string: re.Pattern[str] = STRING, *, is_audit: bool = False) -> None:
    """Raise HeldError if `value`, which SQLMesh may evaluate as Python or parse again, is more than a value.

    Its strings match `string`.
    """
    parameters = frozenset(
        parameter.name.lower() for node in value.find_all(exp.Lambda) for parameter in node.expressions
    )
    for node in value.walk():
        kind = type(node)
        is_unknown = kind is exp.Anonymous and not _is_macro(node.parent) and node.name.upper() not in UNTYPED_FUNCTIONS
        # SQLGlot's EXTRACT reads the attribute of that name.
        is_attribute = kind is exp.Extract and node.this.name.upper() not in UNITS
        if kind not in VALUE | COLUMN_DEFINITIONS or is_unknown or is_attribute:
            raise HeldError(f"passes {kind.__name__} {_excerpt(node.sql(DIALECT))} where SQLMesh may evaluate Python")
        if any("*/" in comment or "/*" in comment for comment in node.comments or ()):
            raise HeldError("contains a comment within a comment")
        _require_allowed_call(node, value, names)
        if _is_condition(node) and not _is_safe_in_condition(node, names, parameters, is_audit=is_audit):
            raise HeldError(f"passes {kind.__name__} {_excerpt(node.sql(DIALECT))} where SQLMesh evaluates Python")
        if kind is exp.DataType and type(node.parent) in {exp.DataType, exp.DataTypeParam}:
            raise HeldError(f"passes the type {_excerpt(str(node.parent))} where SQLMesh may evaluate Python")
        if kind is dialect.MacroVar:
            _require_variable(node.name, names, parameters, is_audit=is_audit)
        elif isinstance(node, exp.Identifier) and "@" in node.name:
            if _is_alias_of_names(node):
                _require_template(node, names, parameters)
                continue
            # A value with quotes would end the identifier, and be Python or SQL of its own.
            raise HeldError(f"passes the identifier {_excerpt(node.name)} where SQLMesh may evaluate Python")
        elif node != INITCAP_DELIMITERS or type(node.parent) is not exp.Initcap:
            _require_leaf(node, string)


def _is_condition(node: exp.Expr) -> bool:
    """Whether the node is in the first argument of a macro that evaluates it as Python."""
    while node.parent is not None:
        call = node.parent.parent
        if call is not None and _is_macro(call) and call.name.lower() in EVALUATING:
            return node.arg_key == "expressions" and node.index == 0
        node = node.parent
    return False


def _is_safe_in_condition(node: exp.Expr, names: Names, parameters: frozenset[str], *, is_audit: bool) -> bool:
    if type(node) is dialect.MacroVar:
        # Parameters, and arguments of audits, have the texts of the change.
        return not is_audit and node.name.lower() in (STANDARD_VARIABLES | names.variables) - parameters
    return type(node) in CONDITION


def _is_macro(node: exp.Expr | None) -> bool:
    return type(node) is dialect.MacroFunc


def _require_leaf(node: exp.Expr, string: re.Pattern[str]) -> None:
    """The texts that a node contains itself match what their kind allows. Nothing else is in it but nodes."""
    if type(node) is exp.Literal:
        pattern = string if node.is_string else NUMBER
    elif type(node) is exp.Var:
        pattern = re.compile("|".join(WORDS), re.IGNORECASE)
    elif type(node) is exp.WindowSpec:
        pattern = FRAME
    else:
        pattern = NAME
    for values in node.args.values():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                # Python reads some letters, such as those of mathematics, as their plain form.
                is_plain = pattern is TEXT or normalize("NFKC", value) == value
                matches = is_plain and pattern.fullmatch(value) is not None
            else:
                matches = value is None or isinstance(value, (bool, exp.Expr, exp.DataType.Type))
            if not matches:
                raise HeldError(f"passes the text {_excerpt(str(value))} where SQLMesh may evaluate Python")


def _require_allowed_call(node: exp.Expr, value: exp.Expr, names: Names) -> None:
    """A macro is one of main, and stands where nothing is evaluated. `name := value` is an argument of a macro."""
    if type(node) is dialect.MacroFunc:
        _require_listed(node.name, names)
        if _is_evaluated(node):
            # It may return text that isn't among its arguments.
            raise HeldError(f"calls @{_excerpt(node.name)} where SQLMesh evaluates Python")
        if node.name.lower() == "star" and any(
            type(one) is not exp.PropertyEQ for one in node.this.expressions[MAX_POSITIONAL_OF_STAR:]
        ):
            raise HeldError("calls @STAR with an argument that has no name")
    if type(node) is exp.PropertyEQ and node is not value:
        _require_named_argument(node, names)


def _require_named_argument(node: exp.PropertyEQ, names: Names) -> None:
    call = node.parent.parent if type(node.parent) is exp.Anonymous else None
    if call is None or not _is_macro(call):
        raise HeldError(f"passes {_excerpt(node.sql(DIALECT))}, which is no argument of a macro")
    if call.name.lower() in names.own_macros:
        return
    name, passed = node.this.name.lower(), node.expression
    is_name = type(passed) is exp.Literal and passed.is_string and NAME.fullmatch(passed.name)
    if name not in NAMED_ARGUMENTS or (name in CODE_ARGUMENTS and not is_name):
        raise HeldError(f"passes {_excerpt(node.sql(DIALECT))} to @{_excerpt(call.name)}")


def _is_evaluated(node: exp.Expr) -> bool:
    """Whether a macro evaluates as Python what contains the node."""
    outer = node.find_ancestor(dialect.MacroFunc)
    return outer is not None and (outer.name.lower() in EVALUATING or _is_evaluated(outer))


def _is_alias_of_names(node: exp.Identifier) -> bool:
    """Whether it is the alias within an @EACH over names, as in `@EACH((a, b), c -> SUM(c) AS sum_@c)`."""
    function = node.find_ancestor(exp.Lambda)
    if function is None or function.find_ancestor(exp.Lambda):  # whose parameters may be texts
        return False
    each = function.find_ancestor(dialect.MacroFunc)
    if not each or each.name.lower() != "each" or type(node.parent) is not exp.Alias or node.arg_key != "alias":
        return False
    items = (one for item in each.this.expressions[:-1] for one in item.walk())
    are_names = all(type(one) in {exp.Tuple, exp.Array, exp.Paren, exp.Column, exp.Identifier} for one in items)
    return are_names and not _is_evaluated(node)


def _require_template(node: exp.Identifier, names: Names, parameters: frozenset[str] = frozenset()) -> None:
    """An identifier that contains variables, as in `rank_@column`."""
    if node.args.get("quoted") or not IDENTIFIER_TEMPLATE.fullmatch(node.name):
        raise HeldError(f"contains the identifier {_excerpt(node.name)}")
    for variable in re.findall(r"@\{?(\w+)", node.name):
        _require_variable(variable, names, parameters, is_audit=False)


def _require_variable(name: str, names: Names, parameters: frozenset[str] = frozenset(), *, is_audit: bool) -> None:
    known = STANDARD_VARIABLES | names.variables | parameters
    if not NAME.fullmatch(name) or not (is_audit or name.lower() in known):
        raise HeldError(f"uses @{_excerpt(name)}, which is no variable of SQLMesh or of a model on main")


def _excerpt(text: str) -> str:
    """At most 60 characters of a text of the change, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"  # noqa: PLR2004
