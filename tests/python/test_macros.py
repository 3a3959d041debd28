"""Results of the macros, expanded by SQLMesh, rendered for DuckDB and for Snowflake, and run on rows.

No Snowflake is available, so its SQL is parsed, rendered for DuckDB and run there: it has to return the same rows.
"""

import calendar
import csv
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp, transpile
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.dialect import MacroFunc, parse
from sqlmesh.core.macros import MacroRegistry, RuntimeStage, macro
from sqlmesh.core.model import load_sql_based_model
from sqlmesh.utils.errors import ConfigError
from sqlmesh.utils.metaprogramming import import_python_file

Rows = Sequence[Sequence[object]]
Run = Callable[[Rows], list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def registry(project: Path) -> Iterator[MacroRegistry]:
    """The macros of the project, imported as SQLMesh does."""
    standard = macro.get_registry()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(project)
        for file in sorted((project / "macros").glob("*.py")):
            import_python_file(file, project)
    yield macro.get_registry()
    macro.set_registry(standard)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


class Planted:
    """SELECT … FROM planted, with macros, over rows of the given columns."""

    def __init__(self, registry: MacroRegistry, connection: duckdb.DuckDBPyConnection) -> None:
        self._registry = registry
        self._connection = connection

    def expand(self, select: str, variables: Mapping[str, object] | None = None) -> exp.Query:
        model = load_sql_based_model(
            parse(f"MODEL (name tests.subject, kind FULL); {select}", default_dialect="snowflake"),
            macros=self._registry,
            dialect="snowflake",
            variables=dict(variables or {}),
        )
        return model.render_query_or_raise(execution_time="2026-03-04 05:06:07")

    def query(self, select: str, columns: Mapping[str, str], variables: Mapping[str, object] | None = None) -> Run:
        """Expand the macros once; the function returned runs the query on rows."""
        query = self.expand(select, variables)
        duckdb_sql = query.sql(dialect="duckdb")
        (from_snowflake_sql,) = transpile(query.sql(dialect="snowflake"), read="snowflake", write="duckdb")
        definition = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
        insert = f"INSERT INTO planted VALUES ({', '.join('?' * len(columns))})"

        def run(rows: Rows) -> list[tuple[object, ...]]:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE planted ({definition})")
            if rows:
                self._connection.executemany(insert, rows)
            result = self._connection.execute(duckdb_sql).fetchall()
            assert self._connection.execute(from_snowflake_sql).fetchall() == result, "Snowflake SQL returns other rows"
            return result

        return run


@pytest.fixture(scope="module")
def planted(registry: MacroRegistry, connection: duckdb.DuckDBPyConnection) -> Planted:
    return Planted(registry, connection)


@pytest.fixture(scope="module")
def completed_years(planted: Planted) -> Run:
    return planted.query("SELECT @completed_years(since, until) FROM planted", {"since": "DATE", "until": "DATE"})


@pytest.mark.parametrize(
    ("since", "until", "years"),
    [
        ("2008-11-01", "2026-10-31", 17),
        ("2008-11-01", "2026-11-01", 18),
        ("2008-11-01", "2026-11-02", 18),
        ("2008-11-01", "2026-12-01", 18),
        ("2008-12-31", "2026-01-01", 17),
        ("2008-02-29", "2026-02-28", 17),
        ("2008-02-29", "2026-03-01", 18),
        ("2008-02-29", "2028-02-28", 19),
        ("2008-02-29", "2028-02-29", 20),
        ("2008-02-28", "2028-02-29", 20),
        ("1900-01-01", "2026-11-01", 126),
        ("2026-11-01", "2026-11-01", 0),
        (None, "2026-11-01", None),
        ("2008-11-01", None, None),
    ],
)
def test_a_year_is_completed_on_its_anniversary(
    completed_years: Run, since: str | None, until: str | None, years: int | None
) -> None:
    assert completed_years([(since, until)]) == [(years,)]


@settings(max_examples=100, deadline=None)
@given(
    since=st.dates(date(1900, 1, 1), date(2026, 12, 31)) | st.just(date(2004, 2, 29)),
    days=st.integers(0, 40_000) | st.integers(0, 100).map(lambda years: round(years * 365.2425)),
)
def test_completed_years_count_the_birthdays_that_have_come(completed_years: Run, since: date, days: int) -> None:
    until = since + timedelta(days=days)
    years = 0
    while birthday(since, since.year + years + 1) <= until:
        years += 1
    assert completed_years([(since, until)]) == [(years,)]


def birthday(born: date, year: int) -> date:
    """The birthday in a year; 1 March for 29 February where there is none."""
    if (born.month, born.day) == (2, 29) and not calendar.isleap(year):
        return date(year, 3, 1)
    return born.replace(year=year)


def test_completed_years_keep_their_parentheses_in_arithmetic(planted: Planted) -> None:
    run = planted.query("SELECT 10 * @completed_years(since, until) FROM planted", {"since": "DATE", "until": "DATE"})
    assert run([("2008-11-01", "2026-10-31")]) == [(170,)]


def test_as_of_date_is_the_variable_where_it_is_set(planted: Planted) -> None:
    run = planted.query("SELECT @as_of_date() FROM planted", {"id": "INT"}, {"as_of_date": "2026-11-01"})
    assert run([(1,)]) == [(date(2026, 11, 1),)]


@pytest.mark.parametrize("time_zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_as_of_date_is_the_date_in_utc_whenever_it_is_read(
    planted: Planted, connection: duckdb.DuckDBPyConnection, time_zone: str
) -> None:
    """Kiritimati is 14 hours ahead, GMT+12 12 hours behind: at any time the date of one of them isn't that of UTC."""
    run = planted.query("SELECT @as_of_date() FROM planted", {"id": "INT"})
    before = datetime.now(UTC).date()
    connection.execute(f"SET TimeZone = '{time_zone}'")
    try:
        [(today,)] = run([(1,)])
    finally:
        connection.execute("RESET TimeZone")
    assert before <= today <= datetime.now(UTC).date()


def test_an_as_of_date_that_is_no_date_is_reported(planted: Planted) -> None:
    with pytest.raises(ConfigError, match="variable as_of_date: 'yesterday' is not a date like 2026-11-01"):
        planted.expand("SELECT @as_of_date() FROM planted", {"as_of_date": "yesterday"})


@pytest.mark.parametrize(
    ("as_of", "status"),
    [
        ("2026-08-31", "Yet to Start"),
        ("2026-09-01", "Ongoing"),
        ("2026-10-15", "Ongoing"),
        ("2026-11-30", "Ongoing"),
        ("2026-12-01", "Ended"),
    ],
)
def test_a_course_is_ongoing_from_its_first_to_its_last_day(planted: Planted, as_of: str, status: str) -> None:
    run = planted.query(
        "SELECT @course_status(first_day, last_day, @as_of_date()) FROM planted",
        {"first_day": "DATE", "last_day": "DATE"},
        {"as_of_date": as_of},
    )
    assert run([("2026-09-01", "2026-11-30")]) == [(status,)]


@pytest.fixture(scope="module")
def money(planted: Planted) -> Run:
    return planted.query("SELECT @money(amount) FROM planted", {"amount": "DECIMAL(38, 6)"})


@pytest.mark.parametrize(
    ("amount", "cents"),
    [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("2.675", "2.68"),
        ("1.005", "1.01"),
        ("-1.005", "-1.01"),
        ("0.004999", "0.00"),
        ("-0.004999", "0.00"),
        ("9999999999999999.994999", "9999999999999999.99"),
        ("9999999999999999.985", "9999999999999999.99"),
        (None, None),
    ],
)
def test_half_a_cent_is_rounded_away_from_zero(money: Run, amount: str | None, cents: str | None) -> None:
    assert money([(amount,)]) == [(None if cents is None else Decimal(cents),)]


@settings(max_examples=100, deadline=None)
@given(
    amount=st.decimals(Decimal(-(10**15)), Decimal(10**15), places=6)
    | st.integers(-(10**15), 10**15).map(lambda cents: Decimal(cents) / 100 + Decimal("0.005"))
)
def test_money_is_rounded_as_decimal_rounds_half_up(money: Run, amount: Decimal) -> None:
    assert money([(amount,)]) == [(amount.quantize(Decimal("0.01"), ROUND_HALF_UP),)]


@settings(max_examples=50, deadline=None)
@given(
    quantity=st.integers(1, 10_000),
    price=st.decimals(0, Decimal("99999.99"), places=2),
    rate=st.decimals(0, 1, places=4),
)
def test_the_discount_of_a_line_is_exact_before_it_is_rounded(
    planted: Planted, quantity: int, price: Decimal, rate: Decimal
) -> None:
    run = planted.query(
        "SELECT @money(quantity * unit_discount_amount) FROM planted",
        {"quantity": "INT", "unit_discount_amount": "DECIMAL(38, 6)"},
    )
    assert run([(quantity, price * rate)]) == [((quantity * price * rate).quantize(Decimal("0.01"), ROUND_HALF_UP),)]


def test_money_rounds_the_result_of_an_expression(planted: Planted) -> None:
    run = planted.query(
        "SELECT 2 * @money(one - other) FROM planted", {"one": "DECIMAL(18, 4)", "other": "DECIMAL(18, 4)"}
    )
    assert run([("1.0100", "0.0050")]) == [(Decimal("2.02"),)]


def test_money_is_rounded_to_cents_on_snowflake_too(planted: Planted) -> None:
    sql = planted.expand("SELECT @money(one - other) AS amount FROM planted").sql(dialect="snowflake")
    assert re.search(r'CAST\(ROUND\("?\w*"?\.?"ONE" - "?\w*"?\.?"OTHER", 2\) AS DECIMAL\(18, 2\)\)', sql), sql


MONTHS = [f"{month.lower()}_visit_count" for month in calendar.month_name[1:]]


@pytest.fixture(scope="module")
def month_pivot(planted: Planted) -> Run:
    return planted.query("SELECT @month_pivot(day, visit) FROM planted", {"day": "DATE"})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.dates(date(2020, 1, 1), date(2026, 12, 31)), max_size=40).filter(any))
def test_each_date_is_counted_in_its_month_and_in_the_total(month_pivot: Run, days: list[date | None]) -> None:
    known = [day.month for day in days if day]
    assert month_pivot([(day,) for day in days]) == [(*(known.count(month) for month in range(1, 13)), len(known))]


def test_a_month_without_a_date_is_zero_even_if_all_dates_are_missing(month_pivot: Run) -> None:
    assert month_pivot([(None,), (None,)]) == [(0,) * 13]


def test_a_month_pivot_has_a_column_per_month_and_a_total_all_integers_and_described(planted: Planted) -> None:
    query = planted.expand("SELECT @month_pivot(day, visit) FROM planted")
    assert [column.alias.lower() for column in query.selects] == [*MONTHS, "total_visit_count"]
    assert all(column.unalias().is_type("int") for column in query.selects)
    described = [comment.strip() for column in query.selects for comment in column.comments or []]
    assert described[0] == "Visits in January"
    assert described[-1] == "Visits in the year"
    assert len(set(described)) == len(described) == len(MONTHS) + 1


def test_each_given_column_has_its_bounds_in_columns_of_their_own(planted: Planted) -> None:
    run = planted.query(
        "SELECT @bounds(numbers := price, dates := (day, end_day)) FROM planted",
        {
            "column_name": "VARCHAR", "lowest_number": "INT", "highest_number": "INT", "lowest_date": "DATE",
            "highest_date": "DATE",
        },
    )  # fmt: skip
    rows = [("end_day", None, None, date(2026, 1, 3), date(2026, 1, 4)), ("price", 1, 9, None, None)]
    assert run(rows) == [(1, 9, None, None, date(2026, 1, 3), date(2026, 1, 4))]


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ((1, "Ada", 5), None),
        ((None, "Ada", 5), "missing_id"),
        ((1, "", 5), "empty_name"),
        ((1, "Ada", -1), "negative_age"),
        ((None, "Ada", -1), "missing_id, negative_age"),
        ((None, "", -1), "missing_id, empty_name, negative_age"),
        ((1, None, None), None),
    ],
    ids=["none", "the first", "the middle one", "the last", "two", "all", "conditions that are NULL"],
)
def test_reject_reasons_are_those_that_apply(planted: Planted, row: tuple[object, ...], reasons: str | None) -> None:
    run = planted.query(
        """
        SELECT @reject_reasons(
          missing_id := id IS NULL,
          empty_name := name = '',
          negative_age := age < 0 OR age > 150
        ) FROM planted
        """,
        {"id": "INT", "name": "VARCHAR", "age": "INT"},
    )
    assert run([row]) == [(reasons,)]


def test_a_single_reject_reason_has_no_separator(planted: Planted) -> None:
    run = planted.query("SELECT @reject_reasons(missing_id := id IS NULL) FROM planted", {"id": "INT"})
    assert run([(None,), (1,)]) == [("missing_id",), (None,)]


def test_models_use_exactly_the_reject_reasons_of_the_seed(project: Path) -> None:
    with (project / "seeds" / "ops" / "ref_reject_reason.csv").open(encoding="utf-8", newline="") as file:
        described = [(row["source_table"], row["reject_reason"]) for row in csv.DictReader(file)]
    used = [
        (source_table(path), argument.name)
        for path in sorted((project / "models").rglob("*.sql"))
        for expression in parse(path.read_text(encoding="utf-8"), default_dialect="snowflake")
        for call in expression.find_all(MacroFunc)
        if call.name.lower() == "reject_reasons"
        for argument in call.this.expressions
    ]
    assert len(set(described)) == len(described)
    assert sorted(used) == sorted(described)


def source_table(model: Path) -> str:
    """'edtech.students' for int_edtech__students_validated.sql."""
    found = re.fullmatch(r"int_(\w+?)__(\w+)_validated", model.stem)
    assert found, f"{model} rejects rows, but its name doesn't contain the loaded table"
    return ".".join(found.groups())


@pytest.fixture(scope="module")
def normalized(planted: Planted) -> Run:
    return planted.query("SELECT @normalized(name) FROM planted", {"name": "VARCHAR"})


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (["Québec", "QUEBEC ", "  que\u0301bec", "qu\u00e9bec"], "quebec"),
        (["Saint John", "SAINT  JOHN", "\tSaint\nJohn\r\n", "Saint\u00a0John", "saint\u3000\u2009john"], "saint john"),
        (["Zürich", "zu\u0308rich", "ZÜRICH", "Zü\u200brich", "\ufeffZürich"], "zurich"),
        (["Hà Nội", "HÀ NỘI", "ha\u0300 no\u0323\u0302i"], "ha noi"),
        (["Łódź", "lodz", "ŁÓDŹ"], "lodz"),
        (["Tromsø", "TROMSØ"], "tromso"),
        (["Đà Nẵng"], "da nang"),
        (["Trois-Rivières", "TROIS-RIVIERES"], "trois-rivieres"),
        (["St. John's"], "st. john's"),
        (["東京", " 東京 "], "東京"),
        (["Ереван", "ЕРЕВАН"], "ереван"),  # noqa: RUF001
        (["", " ", "\t", "\u200b"], ""),
        ([None], None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_spellings_of_one_name_are_normalized_to_one_key(
    normalized: Run, spellings: list[str | None], key: str | None
) -> None:
    assert normalized([(spelling,) for spelling in spellings]) == [(key,)] * len(spellings)


@pytest.mark.parametrize("character", [chr(code) for code in range(1, 0x3001) if chr(code).isspace()], ids=ascii)
def test_any_white_space_separates_words(normalized: Run, character: str) -> None:
    assert normalized([(f"{character}a{character}{character}b{character}",)]) == [("a b",)]


LATIN = [
    character
    for character in map(chr, [*range(0x20, 0x7F), *range(0xA1, 0x250), *range(0x1E00, 0x1F00)])
    if unicodedata.category(character) in {"Ll", "Lu", "Pd", "Po", "Nd"}
]


@settings(max_examples=200, deadline=None)
@given(st.text(LATIN, max_size=20))
def test_composed_and_decomposed_letters_have_one_key_which_is_its_own(normalized: Run, name: str) -> None:
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    [(key,), (other,)] = normalized([(form,) for form in forms])
    assert key == other
    assert normalized([(key,)]) == [(key,)]


@pytest.mark.parametrize("name", ["Αθήνα", "Йошкар-Ола", "Київ"])
def test_composed_and_decomposed_letters_of_other_scripts_have_one_key(normalized: Run, name: str) -> None:
    [(key,), (other,)] = normalized([(unicodedata.normalize(form, name),) for form in ("NFC", "NFD")])
    assert key == other


@settings(max_examples=200, deadline=None)
@given(st.text([chr(code) for code in range(0x20, 0x7F)], max_size=20))
def test_names_in_ascii_differ_only_in_case_and_blanks(normalized: Run, name: str) -> None:
    assert normalized([(name,)]) == [(" ".join(name.lower().split()),)]


HISTORY_START = datetime(2026, 10, 25)
HOUR = datetime(2026, 11, 2, 10)
EARLIER = datetime(2026, 11, 1, 9, 0, 0, 123456)


class Subject:
    """The model tests.subject, its table, and the rows of its parent, on DuckDB."""

    def __init__(self, registry: MacroRegistry) -> None:
        self._registry = registry
        self.adapter = DuckDBConnectionConfig(catalogs={"ANALYTICS": ":memory:"}).create_engine_adapter()
        self.adapter.execute("CREATE SCHEMA tests")
        self.adapter.execute("CREATE TABLE tests.subject (id INT, _loaded_at TIMESTAMP)")
        self.adapter.execute("CREATE TABLE tests.parent (id INT, _loaded_at TIMESTAMP)")

    def insert(self, table: str, *rows: tuple[int | None, datetime]) -> None:
        for key, loaded_at in rows:
            self.adapter.execute(f"INSERT INTO tests.{table} VALUES ({'NULL' if key is None else key}, '{loaded_at}')")

    def query(self, select: str, start: datetime, stage: RuntimeStage = RuntimeStage.EVALUATING) -> exp.Query:
        """The query as SQLMesh renders it for the hour from `start`."""
        model = load_sql_based_model(
            parse(f"MODEL (name tests.subject, kind INCREMENTAL_UNMANAGED); {select}", default_dialect="snowflake"),
            macros=self._registry,
            dialect="snowflake",
            default_catalog="ANALYTICS",
            variables={"history_start": f"{HISTORY_START:%Y-%m-%d}"},
        )
        return model.render_query_or_raise(
            start=start,
            end=start + timedelta(hours=1),
            execution_time=start + timedelta(hours=2),
            runtime_stage=stage,
            engine_adapter=self.adapter,
        )

    def rows(self, select: str, start: datetime) -> list[tuple[object, ...]]:
        return list(self.adapter.fetchall(self.query(select, start)))


@pytest.fixture
def subject(registry: MacroRegistry) -> Iterator[Subject]:
    subject = Subject(registry)
    yield subject
    subject.adapter.close()


SINCE = "SELECT @since() AS since"


@pytest.mark.parametrize(
    ("start", "newest", "since"),
    [
        (HOUR, HOUR + timedelta(minutes=10), HOUR),
        (HOUR, EARLIER, EARLIER + timedelta(microseconds=1)),
        (HOUR, None, HISTORY_START),
        (HISTORY_START, EARLIER, HISTORY_START),
    ],
    ids=[
        "the interval's start",
        "just after the newest row of its own table, if that is older",
        "the start of history for an empty table",
        "the start of history in a full refresh",
    ],
)
def test_since_is(subject: Subject, start: datetime, newest: datetime | None, since: datetime) -> None:
    if newest:
        subject.insert("subject", (1, newest), (2, newest - timedelta(days=3)))
    assert subject.rows(SINCE, start) == [(since,)]


def test_since_is_a_timestamp_without_a_time_zone_on_snowflake(subject: Subject) -> None:
    sql = subject.query(SINCE, HISTORY_START).sql(dialect="snowflake")
    assert "CAST('2026-10-25 00:00:00.000000' AS TIMESTAMPNTZ)" in sql


def test_since_is_the_start_of_the_interval_where_no_table_may_be_read(subject: Subject) -> None:
    subject.insert("subject", (1, EARLIER))
    sql = subject.query(SINCE, HOUR, RuntimeStage.LOADING).sql(dialect="snowflake")
    assert "'2026-11-02 10:00:00.000000'" in sql


def test_a_new_table_gets_all_of_its_history_whatever_interval_is_computed_first(subject: Subject) -> None:
    sql = subject.query(SINCE, HOUR, RuntimeStage.CREATING).sql(dialect="snowflake")
    assert f"'{HISTORY_START:%Y-%m-%d} 00:00:00.000000'" in sql


AFFECTED = """
    WITH affected AS (SELECT parent.id FROM tests.parent AS parent WHERE parent._loaded_at >= @since())
    SELECT parent.id FROM tests.parent AS parent WHERE @is_affected(parent.id) ORDER BY parent.id
"""
LOADED = ((1, EARLIER), (1, HOUR), (2, EARLIER), (None, HOUR))


def test_all_rows_of_a_key_are_affected_if_one_has_been_loaded(subject: Subject) -> None:
    subject.insert("parent", *LOADED)
    subject.insert("subject", (1, HOUR))
    assert subject.rows(AFFECTED, HOUR) == [(1,), (1,)]


def test_a_table_that_lags_behind_catches_up(subject: Subject) -> None:
    subject.insert("parent", *LOADED, (3, EARLIER), (3, EARLIER + timedelta(microseconds=1)))
    subject.insert("subject", (2, EARLIER))
    assert subject.rows(AFFECTED, HOUR) == [(1,), (1,), (3,), (3,)]


@pytest.mark.parametrize(("start", "newest"), [(HISTORY_START, HOUR), (HOUR, None)], ids=["restated", "empty"])
def test_every_key_is_affected_in_a_full_refresh_and_none_is_looked_up(
    subject: Subject, start: datetime, newest: datetime | None
) -> None:
    subject.insert("parent", *LOADED)
    if newest:
        subject.insert("subject", (1, newest))
    assert subject.rows(AFFECTED, start) == [(1,), (1,), (2,)]
    assert not subject.query(AFFECTED, start).find(exp.In)
