"""The lineage of hard queries, each with one thing that is easily missed."""

import pytest
from sqlglot import exp, parse_one
from sqlglot.optimizer.qualify import qualify

from meshflow.catalog.lineage import UNKNOWN, Input, Lineage

SCHEMA = {
    "t": {"id": "INT", "a": "INT", "b": "INT", "c": "INT", "at": "TIMESTAMP", "list": "ARRAY<INT>"},
    "u": {"id": "INT", "a": "INT", "x": "INT", "y": "INT"},
}


def lineage(sql: str, dialect: str = "snowflake") -> Lineage:
    query = qualify(parse_one(sql, dialect=dialect), schema=SCHEMA, dialect=dialect, validate_qualify_columns=False)
    assert isinstance(query, exp.Query)
    as_stored = str.upper if dialect == "snowflake" else str
    return Lineage(query, {f'"{as_stored(table)}"': list(map(as_stored, names)) for table, names in SCHEMA.items()})


def texts(inputs: frozenset[Input]) -> set[str]:
    """As 't.a FILTER'."""
    return {
        f"{one.table}.{one.column} {one.transformation}".replace('"', "")
        .lower()
        .replace(one.transformation.lower(), one.transformation)
        for one in inputs
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", "t.a IDENTITY"),
        ("(a)", "t.a IDENTITY"),
        ("a + b", "t.a TRANSFORMATION, t.b TRANSFORMATION"),
        ("a::VARCHAR", "t.a TRANSFORMATION"),
        ("1", ""),
        ("CASE WHEN a > 0 THEN b ELSE c END", "t.a CONDITIONAL, t.b TRANSFORMATION, t.c TRANSFORMATION"),
        ("CASE a WHEN 1 THEN b END", "t.a CONDITIONAL, t.b TRANSFORMATION"),
        ("IFF(a IS NULL, b, 0)", "t.a CONDITIONAL, t.b TRANSFORMATION"),
        ("IFF(a > 0, a, 0)", "t.a CONDITIONAL, t.a TRANSFORMATION"),
        ("DECODE(a, 1, b, c)", "t.a CONDITIONAL, t.b TRANSFORMATION, t.c TRANSFORMATION"),
        ("DECODE(a, 1, b, 2, c)", "t.a CONDITIONAL, t.b TRANSFORMATION, t.c TRANSFORMATION"),
        ("NVL2(a, b, c)", "t.a CONDITIONAL, t.b TRANSFORMATION, t.c TRANSFORMATION"),
        ("NULLIF(a, b)", "t.a TRANSFORMATION, t.b CONDITIONAL"),
        ("COALESCE(a, b)", "t.a TRANSFORMATION, t.b TRANSFORMATION"),
        ("ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC)", "t.a WINDOW, t.b WINDOW"),
        ("SUM(c) OVER (PARTITION BY a ORDER BY b)", "t.a WINDOW, t.b WINDOW, t.c AGGREGATION"),
        ("LAG(c) OVER (PARTITION BY a ORDER BY b)", "t.a WINDOW, t.b WINDOW, t.c TRANSFORMATION"),
        ("SUM(CASE WHEN a > 0 THEN b END)", "t.a CONDITIONAL, t.b AGGREGATION"),
        ("MAX_BY(a, b)", "t.a AGGREGATION, t.b SORT"),
        ("LISTAGG(a, ',') WITHIN GROUP (ORDER BY b)", "t.a AGGREGATION, t.b SORT"),
        ("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a)", "t.a AGGREGATION"),
        ("MODE() WITHIN GROUP (ORDER BY a)", "t.a AGGREGATION"),
        ("COUNT(*)", ""),
        ("COUNT(DISTINCT a)", "t.a AGGREGATION"),
        ("(SELECT MAX(u.x) FROM u WHERE u.id = t.id)", "t.id FILTER, u.id FILTER, u.x AGGREGATION"),
        ("EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND u.y > 0)", "t.id FILTER, u.id FILTER, u.y FILTER"),
        ("a IN (SELECT u.x FROM u WHERE u.y > 0)", "t.a TRANSFORMATION, u.x CONDITIONAL, u.y FILTER"),
    ],
)
def test_a_value_is_told_from_what_selects_it(expression: str, expected: str) -> None:
    found = lineage(f"SELECT {expression} AS one FROM t")
    assert texts(found.columns["ONE"]) == set(filter(None, expected.split(", ")))
    assert not found.rows


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT id FROM t WHERE a > 0", "t.a FILTER"),
        ("SELECT id FROM t WHERE CASE WHEN a > 0 THEN b END = 1", "t.a FILTER, t.b FILTER"),
        ("SELECT t.id FROM t JOIN u ON t.id = u.id AND u.y > 0", "t.id JOIN, u.id JOIN, u.y JOIN"),
        ("SELECT t.a FROM t LEFT JOIN u USING (id)", "t.id JOIN, u.id JOIN"),
        ("SELECT a, COUNT(*) AS n FROM t GROUP BY a", "t.a GROUP_BY"),
        ("SELECT a + b AS s, COUNT(*) AS n FROM t GROUP BY 1", "t.a GROUP_BY, t.b GROUP_BY"),
        ("SELECT a, COUNT(*) AS n FROM t GROUP BY ROLLUP (a, b)", "t.a GROUP_BY, t.b GROUP_BY"),
        ("SELECT a FROM t GROUP BY a HAVING SUM(c) > 1", "t.a GROUP_BY, t.c FILTER"),
        ("SELECT a FROM t ORDER BY b LIMIT 1", "t.b SORT"),
        ("SELECT a + 1 AS n FROM t ORDER BY n LIMIT 1", "t.a SORT"),
        ("SELECT DISTINCT a FROM t", "t.a GROUP_BY"),
        ("SELECT id FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) = 1", "t.a WINDOW, t.b WINDOW"),
        ("SELECT id FROM t QUALIFY MAX(c) OVER (PARTITION BY a) > 0", "t.a WINDOW, t.c FILTER"),
        ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)", "t.id FILTER, u.id FILTER"),
        ("SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.x = t.b)", "t.b FILTER, u.x FILTER"),
        ("SELECT id FROM t WHERE a IN (SELECT x FROM u WHERE y > 0)", "t.a FILTER, u.x FILTER, u.y FILTER"),
        ("SELECT id FROM t WHERE a > (SELECT AVG(x) FROM u)", "t.a FILTER, u.x FILTER"),
        ("SELECT id FROM t UNION ALL SELECT id FROM u WHERE y > 0", "u.y FILTER"),
        ("SELECT id FROM t UNION SELECT id FROM u", "t.id GROUP_BY, u.id GROUP_BY"),
        ("SELECT id FROM t EXCEPT SELECT x FROM u", "u.x FILTER"),
        ("SELECT id FROM (SELECT id FROM t WHERE a > 0) AS s", "t.a FILTER"),
        ("WITH s AS (SELECT id, b FROM t WHERE a > 0) SELECT id FROM s WHERE b > 0", "t.a FILTER, t.b FILTER"),
        (
            "WITH r AS (SELECT id, RANK() OVER (PARTITION BY a ORDER BY b) AS n FROM t) SELECT id FROM r WHERE n = 1",
            "t.a WINDOW, t.b WINDOW",
        ),
        ("WITH s AS (SELECT id, a + b AS n FROM t) SELECT id FROM s WHERE n > 0", "t.a FILTER, t.b FILTER"),
        ("WITH unused AS (SELECT x FROM u WHERE y > 0) SELECT id FROM t", ""),
        ("SELECT t.id FROM t CROSS JOIN (SELECT MAX(x) AS m FROM u WHERE y > 0) AS s", "u.y FILTER"),
        ("SELECT t.id FROM t, LATERAL FLATTEN(input => t.list) AS f", "t.list JOIN"),
        ("SELECT t.id FROM t, LATERAL (SELECT x FROM u WHERE u.id = t.id) AS f", "t.id FILTER, u.id FILTER"),
        ("SELECT x.id FROM (t AS x JOIN u ON x.id = u.id)", "t.id JOIN, u.id JOIN"),
        ("SELECT a, b + c AS d, SUM(id) AS n FROM t GROUP BY ALL", "t.a GROUP_BY, t.b GROUP_BY, t.c GROUP_BY"),
        ("SELECT a + SUM(b) AS n FROM t GROUP BY ALL", "t.a GROUP_BY"),
        ("SELECT RANK() OVER (PARTITION BY c ORDER BY SUM(b)) AS n FROM t GROUP BY ALL", "t.c GROUP_BY"),
        ("SELECT a, b FROM t ORDER BY ALL LIMIT 1", "t.a SORT, t.b SORT"),
        ("SELECT id AS n FROM t UNION ALL SELECT x FROM u ORDER BY n LIMIT 1", "t.id SORT, u.x SORT"),
        ("SELECT id AS n, a FROM t UNION ALL SELECT x, y FROM u ORDER BY 2 LIMIT 1", "t.a SORT, u.y SORT"),
        ("(SELECT id, a FROM t) ORDER BY a LIMIT 1", "t.a SORT"),
        ("SELECT b FROM t NATURAL JOIN u", "t.id JOIN, u.id JOIN, t.a JOIN, u.a JOIN"),
        ("SELECT b FROM t NATURAL JOIN (SELECT id, x FROM u) AS s", "t.id JOIN, u.id JOIN"),
        (
            "SELECT x FROM t ASOF JOIN u MATCH_CONDITION (t.c >= u.y) ON t.id = u.id",
            "t.c JOIN, u.y JOIN, t.id JOIN, u.id JOIN",
        ),
        ("SELECT id, RANK() OVER (PARTITION BY a ORDER BY b) AS n FROM t QUALIFY n = 1", "t.a WINDOW, t.b WINDOW"),
        ("SELECT a + b AS n FROM t QUALIFY RANK() OVER (ORDER BY n) = 1", "t.a WINDOW, t.b WINDOW"),
        (
            "WITH RECURSIVE s AS (SELECT id n, a m FROM t UNION ALL SELECT m, n FROM s WHERE n < 9) SELECT n FROM s",
            "t.id FILTER, t.a FILTER",
        ),
        (
            "WITH s AS (SELECT id, a, b FROM t WHERE c > 0) SELECT one FROM s PIVOT (SUM(b) FOR a IN (1 AS one)) AS p",
            "t.c FILTER, t.id GROUP_BY",
        ),
        ("SELECT v FROM t UNPIVOT (v FOR k IN (a, b)) AS p", "t.a FILTER, t.b FILTER"),
        ("SELECT v FROM t UNPIVOT INCLUDE NULLS (v FOR k IN (a, b)) AS p", ""),
    ],
)
def test_what_decides_about_rows_is_followed_through_ctes_and_subqueries(query: str, expected: str) -> None:
    found = lineage(query)
    assert texts(found.rows) == set(filter(None, expected.split(", ")))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "WITH s AS (SELECT a, SUM(b) AS n FROM t GROUP BY a), r AS (SELECT n * 2 AS n FROM s) SELECT n FROM r",
            "t.b AGGREGATION",
        ),
        (
            "WITH s AS (SELECT IFF(a > 0, b, 0) AS n FROM t) SELECT SUM(n) AS n FROM s",
            "t.a CONDITIONAL, t.b AGGREGATION",
        ),
        ("SELECT id AS n FROM t UNION ALL SELECT x AS m FROM u", "t.id IDENTITY, u.x IDENTITY"),
        ("SELECT id AS n FROM t EXCEPT SELECT x FROM u", "t.id IDENTITY"),
        ("(SELECT a AS n FROM t LIMIT 1) UNION ALL (SELECT x FROM u LIMIT 1)", "t.a IDENTITY, u.x IDENTITY"),
        (
            "WITH RECURSIVE s AS (SELECT id AS n FROM t UNION ALL SELECT n + 1 FROM s WHERE n < 9) SELECT n FROM s",
            "t.id IDENTITY, t.id TRANSFORMATION",
        ),
        ("SELECT f.value AS n FROM t, LATERAL FLATTEN(input => t.list) AS f", "t.list TRANSFORMATION"),
        ("SELECT f.x AS n FROM t, LATERAL (SELECT x FROM u WHERE u.id = t.id) AS f", "u.x IDENTITY"),
        ("SELECT v AS n FROM t UNPIVOT (v FOR k IN (a, b)) AS p", "t.a TRANSFORMATION, t.b TRANSFORMATION"),
        ("SELECT id AS n FROM t UNPIVOT (v FOR k IN (a, b)) AS p", "t.id IDENTITY"),
        ("WITH s AS (SELECT * FROM far.away) SELECT n FROM s", "far.away.n IDENTITY"),
        (
            "WITH RECURSIVE s AS (SELECT id AS n, a AS m FROM t UNION ALL SELECT m, n FROM s) SELECT n FROM s",
            "t.id IDENTITY, t.a IDENTITY",
        ),
        (
            "WITH RECURSIVE s AS (SELECT id n FROM t UNION ALL SELECT n + x FROM s, u) SELECT MAX(n) AS n FROM s",
            "t.id AGGREGATION, u.x AGGREGATION",
        ),
        (
            "SELECT m AS n FROM (SELECT id AS k, a AS m FROM t UNION ALL SELECT x, x FROM u) AS s",
            "t.a IDENTITY, u.x IDENTITY",
        ),
        ("WITH s AS (SELECT a, b + 1 AS c FROM t) SELECT COUNT(s.*) AS n FROM s", "t.a AGGREGATION, t.b AGGREGATION"),
        ("SELECT id FROM t NATURAL JOIN u", "t.id TRANSFORMATION, u.id TRANSFORMATION"),
        ("SELECT id FROM t LEFT JOIN u USING (id)", "t.id TRANSFORMATION, u.id TRANSFORMATION"),
        ("SELECT x FROM t ASOF JOIN u MATCH_CONDITION (t.c >= u.y) ON t.id = u.id", "u.x IDENTITY"),
    ],
)
def test_values_are_followed_through_ctes_unions_and_table_functions(query: str, expected: str) -> None:
    (found,) = lineage(query).columns.values()
    assert texts(found) == set(expected.split(", "))


@pytest.mark.parametrize(
    ("query", "columns", "rows"),
    [
        (
            "SELECT id AS n, a AS m FROM t UNION ALL BY NAME SELECT x AS m, y AS n FROM u",
            {"n": "t.id IDENTITY, u.y IDENTITY", "m": "t.a IDENTITY, u.x IDENTITY"},
            "",
        ),
        (
            "SELECT id AS n FROM t UNION BY NAME SELECT x AS m, y AS n FROM u",
            {"n": "t.id IDENTITY, u.y IDENTITY", "m": "u.x IDENTITY"},
            "t.id GROUP_BY, u.x GROUP_BY, u.y GROUP_BY",
        ),
        (
            "SELECT SUM(c) OVER w AS n FROM t WINDOW w AS (PARTITION BY a ORDER BY b)",
            {"n": "t.c AGGREGATION, t.a WINDOW, t.b WINDOW"},
            "",
        ),
        (
            "SELECT SUM(c) OVER (w ORDER BY b) AS n FROM t WINDOW w AS (PARTITION BY a)",
            {"n": "t.c AGGREGATION, t.a WINDOW, t.b WINDOW"},
            "",
        ),
        (
            "SELECT id FROM t WINDOW w AS (PARTITION BY a ORDER BY b) QUALIFY RANK() OVER w = 1",
            {"id": "t.id IDENTITY"},
            "t.a WINDOW, t.b WINDOW",
        ),
        ("SELECT a FROM t ORDER BY ALL DESC LIMIT 1", {"a": "t.a IDENTITY"}, "t.a SORT"),
        ("SELECT MODE() WITHIN GROUP (ORDER BY a) AS n FROM t", {"n": "t.a AGGREGATION"}, ""),
        (
            "SELECT t.b, u.x FROM t ASOF JOIN u USING (id, a)",
            {"b": "t.b IDENTITY", "x": "u.x IDENTITY"},
            "t.id JOIN, u.id JOIN, t.a JOIN, u.a JOIN",
        ),
        (
            "WITH s AS (SELECT id FROM u WHERE y > 0) SELECT t.a FROM t ANTI JOIN s ON s.id = t.id",
            {"a": "t.a IDENTITY"},
            "t.id JOIN, u.id JOIN, u.y FILTER",
        ),
        (
            "SELECT id, one_m FROM (SELECT id, a, b, c FROM t) PIVOT (SUM(b) AS s, MAX(c) AS m FOR a IN (1 AS one, 2))",
            {"id": "t.id IDENTITY", "one_m": "t.c AGGREGATION, t.a CONDITIONAL"},
            "t.id GROUP_BY",
        ),
        (
            'SELECT "1_3" AS n FROM t PIVOT (SUM(b) FOR a IN (1, 2) c IN (3, 4) GROUP BY id)',
            {"n": "t.b AGGREGATION, t.a CONDITIONAL, t.c CONDITIONAL"},
            "t.id GROUP_BY",
        ),
        (
            "SELECT k, v, w FROM t UNPIVOT ((v, w) FOR k IN ((a, b), (c, id))) AS p",
            {"k": "", "v": "t.a TRANSFORMATION, t.c TRANSFORMATION", "w": "t.b TRANSFORMATION, t.id TRANSFORMATION"},
            "t.a FILTER, t.b FILTER, t.c FILTER, t.id FILTER",
        ),
        ("SELECT g.i FROM t, generate_series(1, t.a) AS g(i)", {"i": "t.a TRANSFORMATION"}, "t.a JOIN"),
    ],
)
def test_what_only_duckdb_has_is_followed(query: str, columns: dict[str, str], rows: str) -> None:
    found = lineage(query, "duckdb")
    assert {name: texts(inputs) for name, inputs in found.columns.items()} == {
        name: set(filter(None, inputs.split(", "))) for name, inputs in columns.items()
    }
    assert texts(found.rows) == set(filter(None, rows.split(", ")))


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (
            "SELECT id, one FROM (SELECT id, a, b FROM t) PIVOT (SUM(b) FOR a IN (1 AS one, 2 AS two)) AS p",
            {"ID": "t.id IDENTITY", "ONE": "t.b AGGREGATION, t.a CONDITIONAL"},
        ),
        (
            "SELECT p.i, p.k FROM (SELECT id, a, b FROM t) PIVOT (SUM(b) FOR a IN (1, 2)) AS p (i, j, k)",
            {"I": "t.id IDENTITY", "K": "t.b AGGREGATION, t.a CONDITIONAL"},
        ),
        (
            "SELECT * FROM (SELECT id, a, b FROM t) PIVOT (SUM(b) FOR a IN (1 AS one, 2 AS two)) AS p (i, j, k)",
            {"I": "t.id IDENTITY", "J": "t.b AGGREGATION, t.a CONDITIONAL", "K": "t.b AGGREGATION, t.a CONDITIONAL"},
        ),
        (
            "SELECT p.x, p.y, p.z FROM (SELECT c, a, b FROM t) UNPIVOT (v FOR k IN (a AS first, b)) AS p (x, y, z)",
            {"X": "t.c IDENTITY", "Y": "", "Z": "t.a TRANSFORMATION, t.b TRANSFORMATION"},
        ),
    ],
)
def test_columns_of_pivot_and_unpivot_may_have_aliases(query: str, columns: dict[str, str]) -> None:
    found = {name: texts(inputs) for name, inputs in lineage(query).columns.items()}
    assert found == {name: set(filter(None, inputs.split(", "))) for name, inputs in columns.items()}


@pytest.mark.parametrize(
    ("dialect", "query"),
    [
        ("snowflake", "SELECT z FROM far.away AS f JOIN far.other AS o ON f.id = o.id"),
        ("snowflake", "SELECT OBJECT_CONSTRUCT(*) AS z FROM t"),
        ("snowflake", "WITH s AS (SELECT f.*, o.* FROM far.away AS f, far.other AS o) SELECT z FROM s"),
        ("snowflake", "SELECT id AS z FROM t UNION ALL SELECT * FROM far.away"),
        ("snowflake", "SELECT p.z FROM far.away PIVOT (SUM(b) FOR a IN (ANY)) AS p"),
        ("snowflake", "SELECT COALESCE(z, 0) AS z FROM far.away, far.other"),
        ("duckdb", "SELECT z FROM (PIVOT t ON a USING SUM(b) GROUP BY id)"),
        ("duckdb", "SELECT z FROM far.away UNPIVOT (z FOR k IN (COLUMNS(*))) AS p"),
    ],
)
def test_a_column_that_can_not_be_followed_is_unknown(dialect: str, query: str) -> None:
    [inputs] = lineage(query, dialect).columns.values()
    assert inputs >= UNKNOWN


@pytest.mark.parametrize(
    ("dialect", "query"),
    [
        ("snowflake", "SELECT t.b FROM t NATURAL JOIN far.away"),
        ("snowflake", "SELECT t.b FROM t, far.away AS f WHERE z > 0"),
        ("snowflake", "SELECT p.one FROM far.away PIVOT (SUM(b) FOR a IN (1 AS one)) AS p"),
        ("duckdb", "SELECT id FROM (PIVOT t ON a USING SUM(b) GROUP BY id)"),
        ("duckdb", "SELECT z FROM far.away UNPIVOT (z FOR k IN (COLUMNS(*))) AS p"),
    ],
)
def test_rows_that_depend_on_columns_that_can_not_be_followed_are_unknown(dialect: str, query: str) -> None:
    assert lineage(query, dialect).rows >= UNKNOWN


def test_a_pivoted_column_aggregates_on_a_condition() -> None:
    found = lineage('SELECT id, "1" AS one FROM (SELECT id, a, b FROM t) PIVOT (SUM(b) FOR a IN (1, 2)) AS p')
    assert texts(found.columns["ONE"]) == {"t.b AGGREGATION", "t.a CONDITIONAL"}
    assert texts(found.columns["ID"]) == {"t.id IDENTITY"}
