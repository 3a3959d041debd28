"""SQL compatibility of models and audits: docs/snowflake-functions.md compares each construct on Snowflake and DuckDB.

No Snowflake is available and the emulator is DuckDB, so the comparison follows Snowflake's documentation. These tests
keep it complete and search the rendered SQL for hazards.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp, parse_one, transpile
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema
from sqlmesh.core.context import Context
from sqlmesh.core.model import Model
from workspace import Workspace

# Node types that mean the same on every engine. All others are constructs and need a row in the table.
STRUCTURE = (
    exp.Alias, exp.And, exp.Boolean, exp.CTE, exp.Column, exp.DataType, exp.DataTypeParam, exp.From, exp.Group,
    exp.Having, exp.Identifier, exp.Literal, exp.Neg, exp.Not, exp.Null, exp.Or, exp.Order, exp.Paren, exp.Select,
    exp.Star, exp.Subquery, exp.Table, exp.TableAlias, exp.TableFromRows, exp.Tuple, exp.Var, exp.Where,
    exp.Window, exp.With,
)  # fmt: skip
OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.DPipe: "||", exp.Is: "IS NULL",
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM", exp.NullSafeNEQ: "IS DISTINCT FROM",
    exp.Union: "UNION ALL", exp.Ordered: "ORDER BY", exp.WindowSpec: "ROWS BETWEEN",
}  # fmt: skip
POSITIONAL = (exp.RowNumber, exp.Lead, exp.Lag, exp.FirstValue, exp.LastValue, exp.NthValue)
# Columns of staging derived from other columns there: they need not break ties.
DERIVED = {"ORDER_DATE", "UNIT_DISCOUNT_AMOUNT"}
# On Snowflake INT and BIGINT are NUMBER(38, 0), but the values are PostgreSQL's integers.
INTEGER_DIGITS = {exp.DType.TINYINT: 3, exp.DType.SMALLINT: 5, exp.DType.INT: 10, exp.DType.BIGINT: 19}


@dataclass(frozen=True)
class Statement:
    """A query rendered for Snowflake, and the model or audit it belongs to."""

    source: str
    tree: exp.Expr


def statements(context: Context) -> list[Statement]:
    """The queries of all models, and of their audits."""
    found = []
    for model in context.models.values():
        if model.is_sql:
            found.append(Statement(model.name, model.render_query_or_raise()))
        if "as_of_date" in model.python_env:  # only the gateway `local` sets the variable
            found.append(Statement(model.name, model.render_query_or_raise(variables={"as_of_date": None})))
        if model.kind.is_custom or model.kind.is_incremental_unmanaged:
            # One hour. Without times a query is rendered for all of the history.
            hour = {"start": "2026-11-01 10:00:00", "end": "2026-11-01 11:00:00"}
            found.append(Statement(model.name, model.render_query_or_raise(**hour)))
        for audit, arguments in model.audits_with_args:
            found.append(Statement(audit.name, model.render_audit_query(audit, **arguments)))
    return found


@pytest.fixture(scope="module")
def context(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Context:
    return built.clone(tmp_path_factory.mktemp("rendered"), data=False).context()


@pytest.fixture(scope="module")
def uses(context: Context) -> dict[str, set[str]]:
    """The models and audits that use each construct."""
    uses: dict[str, set[str]] = {}
    for statement in statements(context):
        for name in constructs(statement.tree):
            uses.setdefault(name, set()).add(statement.source)
    return uses


def constructs(tree: exp.Expr) -> set[str]:
    return {name for node in tree.walk() if (name := construct(node))}


def construct(node: exp.Expr) -> str | None:
    """The name of this node in the table: its keyword or operator in Snowflake's SQL. None for STRUCTURE."""
    if type(node) in OPERATORS:
        return OPERATORS[type(node)]
    if isinstance(node, STRUCTURE) or (isinstance(node, exp.If) and isinstance(node.parent, exp.Case)):
        return None
    if isinstance(node, exp.Join):
        return f"{node.side or node.kind or 'INNER'} JOIN"
    if isinstance(node, exp.Cast):
        return f"::{node.to.this.value}"
    word = re.match(r"\w+", node.sql(dialect="snowflake")) if isinstance(node, exp.Func) else None
    return word.group().upper() if word else type(node).__name__.upper()


@pytest.fixture(scope="module")
def tables(project: Path) -> list[list[list[list[str]]]]:
    """The texts in `backticks` per cell and row of the table of constructs, and of the table of hazards."""
    text = (project / "docs/snowflake-functions.md").read_text(encoding="utf-8")
    return [
        [
            [re.findall(r"`([^`]+)`", cell.replace(r"\|", "|")) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in part.splitlines()
            if line.startswith("| `")
        ]
        for part in text.split("## Hazards reported")
    ]


def test_the_table_has_a_row_for_each_construct_used_and_for_no_other(uses: dict[str, set[str]], tables: Any) -> None:
    assert sorted(name for cells in tables[0] for name in cells[0]) == sorted(uses)


def test_each_row_names_models_and_audits_that_use_it(uses: dict[str, set[str]], tables: Any) -> None:
    assert all(users for _, users, *_ in tables[0])
    users_of = [(names, set(users) - set().union(*(uses[name] for name in names))) for names, users, *_ in tables[0]]
    assert [(names, wrong) for names, wrong in users_of if wrong] == []


def test_each_row_names_tests_that_exist(tables: Any, project: Path) -> None:
    files = [*project.glob("tests/**/test_*.py"), *project.glob("tests/models/**/*.yaml")]
    start = re.compile(r"^(?:def )?(test_\w+)[(:]", re.MULTILINE)
    written = {name for file in files for name in start.findall(file.read_text(encoding="utf-8"))}
    assert {name for *_, names in tables[0] for name in names} - written == set()


DOCUMENTED = {
    "10 - 2 + 3 * 4": 20,
    "NULL + 1": None,
    "2.345::DECIMAL(9, 3)::DECIMAL(9, 2)": Decimal("2.35"),
    "-2.345::DECIMAL(9, 3)::DECIMAL(9, 2)": Decimal("-2.35"),
    "2.5::DECIMAL(2, 1)::INT": 3,
    "2.5::DECIMAL(2, 1)::BIGINT": 3,
    "ROUND(-0.125::DECIMAL(9, 3), 2)": Decimal("-0.13"),
    "CASE WHEN NULL THEN 1 ELSE 2 END": 2,
    "IFF(NULL, 1, 2)": 2,
    "COALESCE(NULL, '')": "",
    "NULLIF('a', 'a') IS NULL": True,
    "'' IS NULL": False,
    "(1 = 1)::BOOLEAN": True,
    "GREATEST(1, 3, 2)": 3,
    "GREATEST(1, NULL)": None,
    "LEAST(1, 3, 2)": 1,
    "LEAST(1, NULL)": None,
    "'a' || NULL": None,
    "LOWER('ÀB')": "àb",
    "LTRIM(', , a, b', ', ')": "a, b",
    "TRIM('  a b ')": "a b",
    "TRIM('\ta')": "\ta",
    "REGEXP_LIKE('ab', '[a-b]*')": True,
    "REGEXP_LIKE('xaby', '[a-b]*')": False,
    "REGEXP_LIKE(NULL, '[a-b]*')": None,
    "REGEXP_REPLACE('a  b   c', ' +', ' ')": "a b c",
    "TRANSLATE('čaj\tabc', 'čja\t', 'cy')": "cybc",
    "MD5('é')": "66ddcd97cfdeabb2f6fb8a999b4bc76f",
    "12::VARCHAR": "12",
    "'a_b' LIKE 'a_b'": True,
    "'acb' LIKE 'a_b'": True,
    "'A' LIKE 'a'": False,
    "1 IN (2, NULL)": None,
    "'a' < 'B'": False,
    "1 <> 2 AND 1 <= 2 AND 2 > 1 AND 2 >= 1": True,
    "NULL IS NOT DISTINCT FROM NULL": True,
    "1 IS DISTINCT FROM NULL": True,
    "'2026-11-01 23:59:59.999999'::TIMESTAMPNTZ::DATE": date(2026, 11, 1),
    "DATEADD(DAY, 1, '2028-02-28'::DATE)::DATE": date(2028, 2, 29),
    "DATEADD(DAY, 1, '2026-10-25 02:30:00'::TIMESTAMP)::TIMESTAMPNTZ::VARCHAR": "2026-10-26 02:30:00",
    "SYSDATE() > '2026-01-01'::TIMESTAMPNTZ": True,
    "DATEDIFF(DAY, '2026-11-01'::DATE, '2026-10-31'::DATE)": -1,
    "DATE_TRUNC('MONTH', '2028-02-29'::DATE)::DATE": date(2028, 2, 1),
    "YEAR('2026-11-01'::DATE)": 2026,
    "QUARTER('2026-11-01'::DATE)": 4,
    "MONTH('2026-11-01'::DATE)": 11,
    "DAY('2026-11-01'::DATE)": 1,
    "DAYOFWEEKISO('2026-11-01'::DATE)": 7,
    "(SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 10)))": 10,
    "(SELECT COUNT(x) FROM (SELECT 1 AS x UNION ALL SELECT NULL))": 1,
    "(SELECT COUNT(DISTINCT x) FROM (SELECT 1 AS x UNION ALL SELECT 1 UNION ALL SELECT NULL))": 1,
    "(SELECT COUNT(*) FROM (SELECT DISTINCT x FROM (SELECT NULL AS x UNION ALL SELECT NULL)))": 1,
    "(SELECT COUNT_IF(x) FROM (SELECT TRUE AS x UNION ALL SELECT NULL))": 1,
    "(SELECT MAX(x) - MIN(x) FROM (SELECT 1 AS x UNION ALL SELECT 3 UNION ALL SELECT NULL))": 2,
    "(SELECT SUM(x) FROM (SELECT 0.1 AS x UNION ALL SELECT 0.2 UNION ALL SELECT NULL))": Decimal("0.3"),
    "(SELECT SUM(x) FROM (SELECT 1 AS x) WHERE x > 1)": None,
    "(SELECT MEDIAN(x) FROM (SELECT 2::DECIMAL(9, 1) AS x UNION ALL SELECT 5 UNION ALL SELECT NULL))": Decimal("3.5"),
    "(SELECT n FROM (SELECT x, ROW_NUMBER() OVER (ORDER BY x DESC) AS n FROM (SELECT 1 AS x UNION ALL SELECT NULL)) "
    "WHERE x IS NULL)": 1,
    "(SELECT n FROM (SELECT x, ROW_NUMBER() OVER (ORDER BY x) AS n FROM (SELECT 1 AS x UNION ALL SELECT NULL)) "
    "WHERE x IS NULL)": 2,
    "(SELECT MAX(y) FROM (SELECT LEAD(x) OVER (ORDER BY x) AS y FROM (SELECT 1 AS x UNION ALL SELECT 2)))": 2,
    "(SELECT MAX(y) FROM (SELECT LAG(x) OVER (ORDER BY x) AS y FROM (SELECT 1 AS x UNION ALL SELECT 2)))": 1,
    "(SELECT MIN(y) FROM (SELECT FIRST_VALUE(x) OVER (ORDER BY x DESC) AS y FROM (SELECT 1 AS x UNION ALL SELECT 2)"
    "))": 2,
    "(SELECT MAX_BY(x, y) FROM (SELECT 'a' AS x, 2 AS y UNION ALL SELECT 'b', 1 UNION ALL SELECT 'c', NULL))": "a",
    "(SELECT MIN(n) FROM (SELECT COUNT(*) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n "
    "FROM (SELECT 1 AS x UNION ALL SELECT 1)))": 1,
    "(SELECT COUNT(*) FROM (SELECT NULL AS x EXCEPT SELECT NULL))": 0,
    "(SELECT COUNT(*) FROM (SELECT 1 AS x UNION ALL SELECT 2) AS a CROSS JOIN (SELECT NULL AS x) AS b)": 2,
    "(SELECT COUNT(*) FROM (SELECT NULL AS x) AS a FULL JOIN (SELECT NULL AS x) AS b ON a.x = b.x)": 2,
    "(SELECT COUNT(*) FROM (SELECT NULL AS x) AS a LEFT JOIN (SELECT NULL AS x) AS b ON a.x = b.x)": 1,
    "(SELECT COALESCE(LISTAGG(x, ',') WITHIN GROUP (ORDER BY x), '') FROM (SELECT 2 AS x UNION ALL SELECT 1))": "1,2",
    "(SELECT COUNT(*) FROM (SELECT NULL AS x) AS a INNER JOIN (SELECT NULL AS x) AS b ON a.x = b.x)": 0,
}  # fmt: skip


@pytest.mark.parametrize("sql", DOCUMENTED)
def test_duckdb_returns_what_snowflake_documents(sql: str) -> None:
    """Run in the SQL that SQLGlot writes for DuckDB."""
    (select,) = transpile(f"SELECT {sql}", read="snowflake", write="duckdb")
    (value,) = duckdb.sql(select).fetchone() or ()
    assert (value, isinstance(value, bool)) == (DOCUMENTED[sql], isinstance(DOCUMENTED[sql], bool))


def test_each_construct_used_has_a_documented_value(uses: dict[str, set[str]]) -> None:
    shown = set().union(*(constructs(parse_one(f"SELECT {sql}", dialect="snowflake")) for sql in DOCUMENTED))
    assert set(uses) - shown == set()


def ties(tree: exp.Expr, context: Context) -> Iterator[str]:
    """Functions that depend on the row order while rows may tie: each run may return another row."""
    ctes = {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}
    for function in tree.find_all(exp.Window, exp.ArgMax, exp.ArgMin):
        select = function.find_ancestor(exp.Select)
        if isinstance(function, exp.Window):
            if not isinstance(function.this, POSITIONAL) and function.args.get("spec") is None:
                continue
            order = function.args.get("order")
            clauses = [*(function.args.get("partition_by") or []), *([order] if order else [])]
            name = function.this.key
        else:
            clauses = [*select.args["group"].expressions, function.expression]
            name = function.key
        keys = {column.name for clause in clauses for column in clause.find_all(exp.Column)}
        grains: list[set[str]] = []
        read = select.find(exp.From).this
        while isinstance(read, exp.Table) and not read.db and read.name in ctes:
            source = ctes[read.name]
            if group := source.args.get("group"):
                grains.append({column.name for column in group.expressions})
                break
            read = source.find(exp.From).this
        model = context.get_model(exp.table_name(read, dialect="snowflake")) if isinstance(read, exp.Table) else None
        if model:
            grains += [{column.name.upper() for column in grain.find_all(exp.Column)} for grain in model.grains]
            grains += audited_keys(model, select)
        elif not grains:
            if not select.find(exp.Generator):  # rows of a generator are all equal
                yield f"{function.sql('snowflake')[:40]} reads no table whose grain is known"
            continue
        needed = set(model.columns_to_types_or_raise) - DERIVED if model else set.union(*grains)
        if not any(grain <= keys for grain in grains) and (left := needed - keys):
            yield f"{name} over {model.name if model else read.name} leaves ties to {', '.join(sorted(left)).lower()}"


def audited_keys(model: Model, select: exp.Select) -> Iterator[set[str]]:
    """The columns that are unique, by an audit of the model, among the rows that the query selects by a flag."""
    where = select.args.get("where")
    flags = {column.name for column in where.find_all(exp.Column)} if where else set()
    for audit, arguments in model.audits_with_args:
        if audit.name == "unique_combination_of_columns" and "condition" in arguments:
            condition = {column.name.upper() for column in arguments["condition"].find_all(exp.Column)}
            if condition - {"_LOADED_AT"} and condition - {"_LOADED_AT"} <= flags:
                yield {column.name.upper() for column in arguments["columns"].find_all(exp.Column)}


def narrow(tree: exp.Expr, context: Context) -> Iterator[str]:
    """Products of DECIMAL that may need more digits than their type on the engine has."""
    schema = MappingSchema(dialect="snowflake")
    for model in context.models.values():
        schema.add_table(exp.to_table(model.fqn), model.columns_to_types, match_depth=False)
    typed = annotate_types(qualify(tree.copy(), schema=schema, dialect="snowflake"), schema, dialect="snowflake")
    for product in typed.find_all(exp.Mul):
        (one, scale), (other, other_scale) = digits(product.this), digits(product.expression)
        text = product.sql("snowflake")
        text = re.sub(r'"\w+"\.|"', "", text).lower()
        if (needed := sum(digits(product))) > 38:
            yield f"{text} may need {needed} digits, NUMBER has 38"
        if scale + other_scale and max(one + scale, other + other_scale) <= 18 < needed:
            yield f"{text} may need {needed} digits, DuckDB makes it a DECIMAL(18)"


def digits(number: exp.Expr) -> tuple[int, int]:
    """The number of digits before and after the decimal point, by Snowflake's rules for results of operations."""
    if isinstance(number, (exp.Paren, exp.Neg, exp.Abs)):
        return digits(number.this)
    if isinstance(number, exp.Literal):
        before, _, after = number.name.partition(".")
        return len(before), len(after)
    if isinstance(number, (exp.Mul, exp.Add, exp.Sub)):
        (one, scale), (other, other_scale) = digits(number.this), digits(number.expression)
        if isinstance(number, exp.Mul):
            return one + other, min(scale + other_scale, max(scale, other_scale, 12))
        return max(one, other) + 1, max(scale, other_scale)
    assert number.type is not None
    if number.type.this in INTEGER_DIGITS:
        return INTEGER_DIGITS[number.type.this], 0
    precision, scale = (int(size.name) for size in number.type.expressions)
    return precision - scale, scale


def lower_case_names(tree: exp.Expr, context: Context) -> Iterator[str]:
    """Quoted names that are not upper case: on Snowflake, `name` without quotes is another column."""
    for identifier in tree.find_all(exp.Identifier):
        # SQLGlot calls the only column of a subquery _col_0, and quotes it wherever it is used.
        if identifier.name != identifier.name.upper() and not re.fullmatch(r"_col_\d+", identifier.name):
            yield f'"{identifier.name}" has to be quoted in every query'


def shadowed_columns(tree: exp.Expr, context: Context) -> Iterator[str]:
    """Unqualified names that are a column and, in the same SELECT, the alias of something else."""
    for select in tree.find_all(exp.Select):
        aliases = {
            item.alias for item in select.selects if isinstance(item, exp.Alias) and item.this.name != item.alias
        }
        for column in select.find_all(exp.Column):
            if column.name in aliases and not column.table and column.find_ancestor(exp.Select) is select:
                yield f"{column.name.lower()} is a column and an alias"


def trimmed_spaces(tree: exp.Expr, context: Context) -> Iterator[str]:
    """TRIM without characters: blanks on Snowflake, every Unicode space (U+00A0 …) on DuckDB."""
    for trim in tree.find_all(exp.Trim):
        if trim.expression is None:
            yield "TRIM has no characters: write TRIM(…, ' ')"


def mapped_timestamps(tree: exp.Expr, context: Context) -> Iterator[str]:
    """TIMESTAMP depends on the session's TIMESTAMP_TYPE_MAPPING. SQLMesh writes interval bounds, literals, with it."""
    for cast in tree.find_all(exp.Cast):
        if cast.to.sql("snowflake") == "TIMESTAMP" and not isinstance(cast.this, exp.Literal):
            yield "::TIMESTAMP depends on TIMESTAMP_TYPE_MAPPING: write ::TIMESTAMPNTZ"


def control_characters(tree: exp.Expr, context: Context) -> Iterator[str]:
    """Control characters in texts. SQLGlot escapes two in a way that Snowflake reads as the letters a and v."""
    for literal in tree.find_all(exp.Literal):
        if literal.is_string and (characters := re.findall(r"[\x00-\x1f\x7f]", re.sub(r"[\t\n\r]", "", literal.name))):
            yield f"a text contains {characters[0]!a}"


HAZARDS = {
    hazard.__name__: hazard
    for hazard in (
        ties, narrow, lower_case_names, shadowed_columns, trimmed_spaces, mapped_timestamps, control_characters,
    )
}  # fmt: skip


def found(hazard: str, context: Context) -> dict[str, set[str]]:
    """The messages about the hazard, by model and audit."""
    messages: dict[str, set[str]] = {}
    for statement in statements(context):
        if not isinstance(statement.tree, exp.Merge):
            for message in HAZARDS[hazard](statement.tree, context):
                messages.setdefault(statement.source, set()).add(message)
    return messages


@pytest.mark.parametrize("hazard", HAZARDS)
def test_no_model_or_audit_has_a_hazard_but_those_reported(hazard: str, context: Context, tables: Any) -> None:
    messages = found(hazard, context)
    assert set(messages) == {name for (named,), names, *_ in tables[1] if named == hazard for name in names}, messages


# A replacement in a file, its hazard, the model or audit that has it, and how the message begins. They don't overlap.
FAULTS = [
    ("models/retail/dim_product.sql", "lines.order_id DESC)", "lines.ordered_at DESC)",
     "ties", "retail.dim_product", "rownumber over intermediate.int_retail__sales_validated leaves ties to "),
    ("models/shared/dim_location.sql", "MAX_BY(city, order_date)", "MAX_BY(city, net_revenue_amount)",
     "ties", "shared.dim_location", "argmax over intermediate.int_retail__sales_aggregated leaves ties to "),
    ("models/intermediate/int_retail__sales_aggregated.sql", "SUM(sales.shipping_amount)",
     "SUM(sales.total_discount_amount * sales.unit_price_amount)",
     "narrow", "intermediate.int_retail__sales_aggregated", "total_discount_amount * unit_price_amount may need "),
    ("models/edtech/dim_course.sql", "courses.credits::INT", "(courses.credits * 1.5::DECIMAL(10, 1))::INT",
     "narrow", "edtech.dim_course", "credits * cast(1.5 as decimal(10, 1)) may need 20 digits, DuckDB makes it a"),
    ("models/pii/student.sql", "AS email,", 'AS "email",',
     "lower_case_names", "pii.student", '"email" has to be quoted'),
    ("audits/row_counts_reconcile.sql", "SUM(key_counts.loaded_count)", "SUM(loaded_count)",
     "shadowed_columns", "row_counts_reconcile", "loaded_count is a column and an alias"),
    ("models/shared/dim_location.sql", "locations.city::VARCHAR", "TRIM(locations.city)::VARCHAR",
     "trimmed_spaces", "shared.dim_location", "TRIM has no characters"),
    ("models/retail/fct_sales.sql", "updated_at::TIMESTAMPNTZ", "updated_at::TIMESTAMP",
     "mapped_timestamps", "retail.fct_sales", "::TIMESTAMP depends on TIMESTAMP_TYPE_MAPPING"),
    ("models/retail/dim_product.sql", "product_category::VARCHAR",
     "REPLACE(product_category, '\v', ' ')::VARCHAR",
     "control_characters", "retail.dim_product", "a text contains '\\x0b'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def faulty(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Context:
    workspace = built.clone(tmp_path_factory.mktemp("faulty"), data=False)
    for file, old, new, *_ in FAULTS:
        workspace.edit(file, old, new)
    return workspace.context()


@pytest.mark.parametrize(("hazard", "source", "message"), [fault[3:] for fault in FAULTS])
def test_a_planted_hazard_is_found(hazard: str, source: str, message: str, faulty: Context) -> None:
    messages = found(hazard, faulty)
    assert any(text.startswith(message) for text in messages.get(source, ())), messages
