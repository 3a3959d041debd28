"""docs/runbooks/erase-person.md: its statements leave no trace of a person, and change no figure."""

import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from loads import insert
from sources import SourceDatabase
from sqlglot import exp, parse_one
from workspace import Workspace

# Of the sample data. No other person has one of these names. An older row of the student is in quarantine.
STUDENT, CUSTOMER, INSTRUCTOR = 11, 3, "Bram García"
TRACES = ("koffi.côté11@example.org", "Koffi Côté", "Older Côté", "A Former Name", "José Jansen", INSTRUCTOR)

VALIDATED = "ANALYTICS.intermediate.int_edtech__students_validated"
FIGURES = """
    SELECT
        (SELECT COUNT(*) FROM ANALYTICS.edtech.dim_student),
        (SELECT COUNT(*) FROM ANALYTICS.edtech.fct_enrollment),
        (SELECT COUNT(*) FROM ANALYTICS.history.hist_student),
        (SELECT COUNT(*) FROM ANALYTICS.retail.dim_customer),
        (SELECT SUM(net_revenue_amount) FROM ANALYTICS.retail.fct_sales),
        (SELECT SUM(rejected_count) FROM ANALYTICS.ops.rejected_rows)
"""


@dataclass(frozen=True)
class Runbook:
    """The page, with other numbers and another instructor than in its examples."""

    text: str

    @classmethod
    def of(cls, project: Path, *, student: int, customer: int, instructor: str) -> "Runbook":
        text = (project / "docs/runbooks/erase-person.md").read_text(encoding="utf-8")
        examples = {"student_id = 42": f"student_id = {student}", "customer_id = 7": f"customer_id = {customer}"}
        for example, actual in {**examples, "Ada Lovelace": instructor}.items():
            assert example in text
            text = text.replace(example, actual)
        return cls(text)

    @property
    def sql(self) -> list[str]:
        """The statements for the source, and erase.sql."""
        return re.findall(r"```sql\n(.*?)```", self.text, re.DOTALL)

    @property
    def program(self) -> str:
        """The Python program that executes the results of erase.sql on DuckDB."""
        [program] = re.findall(r"<<'EOF'\n(.*?)\nEOF\n", self.text, re.DOTALL)
        return program


@dataclass(frozen=True)
class Warehouse:
    """A copy of the built warehouse under the names of gateway `live`."""

    root: Path

    def execute(self, statement: str) -> list[tuple]:
        with closing(duckdb.connect()) as connection:
            for name in ("raw", "analytics"):
                connection.execute(f"ATTACH '{self.root}/data/live_{name}.duckdb' AS {name.upper()}")
            return connection.execute(statement).fetchall()

    def tables_with(self, *texts: str) -> set[str]:
        """The tables and views with one of `texts` in a row, as schema.table in lower case."""
        columns = self.execute(
            "SELECT table_catalog, table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE data_type = 'VARCHAR' AND table_catalog IN ('RAW', 'ANALYTICS') ORDER BY ordinal_position"
        )
        names: dict[str, list[str]] = {}
        for catalog, schema, table, column in columns:
            names.setdefault(f'"{catalog}"."{schema}"."{table}"', []).append(f'"{column}"')
        literals = [exp.Literal.string(text).sql("duckdb") for text in texts]
        found: list[tuple] = self.execute(
            " UNION ALL ".join(
                # The full name of a student may be in two columns.
                f"SELECT '{table}' FROM {table} WHERE "
                + " OR ".join(f"contains(concat_ws(' ', {', '.join(columns)}), {text})" for text in literals)
                for table, columns in names.items()
            )
        )
        return {table.replace('"', "").lower().partition(".")[2] for (table,) in found}

    def files_with(self, *texts: str) -> set[str]:
        files = [path for path in (self.root / "data").rglob("*") if path.is_file()]
        return {path.name for path in files if any(text.encode() in path.read_bytes() for text in texts)}


@pytest.fixture
def warehouse(built: Workspace, tmp_path: Path) -> Warehouse:
    """A student has a former name, and a table of an earlier version still exists."""
    (tmp_path / "data").mkdir()
    for name in ("raw", "analytics"):
        shutil.copy(built.data / f"local_{name}.duckdb", tmp_path / "data" / f"live_{name}.duckdb")
    warehouse = Warehouse(tmp_path)
    schema = "ANALYTICS.SQLMESH_INTERMEDIATE"
    warehouse.execute(f"CREATE TABLE {schema}.INTERMEDIATE__INT_EDTECH__STUDENTS_VALIDATED__1 AS FROM {VALIDATED}")
    [(versions,)] = warehouse.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'INTERMEDIATE__%STUDENT_VERSIONS__%'"
    )
    warehouse.execute(
        f"INSERT INTO {schema}.{versions} SELECT * REPLACE ('A Former Name' AS full_name, "
        f"_loaded_at - INTERVAL 1 DAY AS _loaded_at) FROM {schema}.{versions} WHERE student_id = {STUDENT}"
    )
    return warehouse


def test_erasing_a_person_leaves_no_trace_and_changes_no_figure(project: Path, warehouse: Warehouse) -> None:
    runbook = Runbook.of(project, student=STUDENT, customer=CUSTOMER, instructor=INSTRUCTOR)
    assert warehouse.tables_with(*TRACES) >= {
        "edtech.students", "pii.student", "history.hist_student", "quarantine.edtech_student", "retail.dim_customer",
        "edtech.dim_course", "sqlmesh_intermediate.intermediate__int_edtech__students_validated__1",
    }  # fmt: skip
    assert warehouse.files_with(*TRACES) == {"live_raw.duckdb", "live_analytics.duckdb"}
    before = warehouse.execute(FIGURES)

    (warehouse.root / "erase.sql").write_text(runbook.sql[1], encoding="utf-8")
    subprocess.run([sys.executable, "-c", runbook.program], cwd=warehouse.root, check=True)

    assert warehouse.tables_with(*TRACES) == set()
    assert warehouse.files_with(*TRACES) == set()
    assert warehouse.execute(FIGURES) == before
    [student] = warehouse.execute(f"FROM ANALYTICS.pii.student WHERE student_id = {STUDENT}")
    assert student == (STUDENT, "erased", None, None, False, None)
    assert {
        name
        for (name,) in warehouse.execute(
            f"SELECT full_name FROM ANALYTICS.history.hist_student WHERE student_id = {STUDENT}"
        )
    } == {"erased"}


def test_the_query_writes_the_same_statements_on_snowflake(project: Path, warehouse: Warehouse) -> None:
    _, query = Runbook.of(project, student=STUDENT, customer=CUSTOMER, instructor=INSTRUCTOR).sql
    translated = parse_one(query, dialect="snowflake").sql("duckdb")
    assert set(warehouse.execute(translated)) == set(warehouse.execute(query)) != set()


def test_the_statements_for_the_source_leave_no_trace(project: Path, source: SourceDatabase) -> None:
    insert(source, "edtech.students", [{"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org"}])
    insert(source, "edtech.courses", [{"course_name": "Logic", "instructor_name": "Ada Lovelace"}])
    insert(source, "retail.sales", [{"order_id": 1, "product_id": 1, "customer_id": 7, "cust_name": "Ada Lovelace"}])
    statements, _ = Runbook.of(project, student=1, customer=7, instructor="Ada Lovelace").sql
    for statement in statements.split(";\n")[:-1]:
        source.execute(statement)
    for table in ("edtech.students", "edtech.courses", "retail.sales"):
        [(row,)] = source.execute(f"SELECT it::text FROM {table} AS it")
        assert "erased" in row
        assert not re.search("ada|lovelace", row, re.IGNORECASE), table
