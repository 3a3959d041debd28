"""The lineage of hard queries, each with one thing that is easily missed."""

import pytest
from sqlglot import exp, parse_one
from sqlglot.optimizer.qualify import qualify

from meshflow.catalog.lineage import Input, Lineage

SCHEMA = {
    "t": {"id": "INT", "a": "INT", "b": "INT", "c": "INT", "at": "TIMESTAMP", "list": "ARRAY<INT>"},
    "u": {"id": "INT", "a": "INT", "x": "INT", "y": "INT"},
}


def lineage(sql: str) -> Lineage:
    query = qualify(
        parse_one(sql, dialect="snowflake"), schema=SCHEMA, dialect="snowflake", validate_qualify_columns=False
    )
    assert isinstance(query, exp.Query)
    return Lineage(query)


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
            "t.id IDENTITY",
        ),
        ("SELECT f.value AS n FROM t, LATERAL FLATTEN(input => t.list) AS f", "t.list TRANSFORMATION"),
        ("SELECT f.x AS n FROM t, LATERAL (SELECT x FROM u WHERE u.id = t.id) AS f", "u.x IDENTITY"),
        ("SELECT v AS n FROM t UNPIVOT (v FOR k IN (a, b)) AS p", "t.a TRANSFORMATION, t.b TRANSFORMATION"),
        ("SELECT id AS n FROM t UNPIVOT (v FOR k IN (a, b)) AS p", "t.id IDENTITY"),
        ("WITH s AS (SELECT * FROM far.away) SELECT n FROM s", "far.away.n IDENTITY"),
    ],
)
def test_values_are_followed_through_ctes_unions_and_table_functions(query: str, expected: str) -> None:
    (found,) = lineage(query).columns.values()
    assert texts(found) == set(expected.split(", "))


def test_a_pivoted_column_aggregates_on_a_condition() -> None:
    found = lineage('SELECT id, "1" AS one FROM (SELECT id, a, b FROM t) PIVOT (SUM(b) FOR a IN (1, 2)) AS p')
    assert texts(found.columns["ONE"]) == {"t.b AGGREGATION", "t.a CONDITIONAL"}
    assert texts(found.columns["ID"]) == {"t.id IDENTITY"}
