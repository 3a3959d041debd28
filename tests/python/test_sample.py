"""The sample rows: the committed files equal the output of the code, and contain the documented cases."""

import csv
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from sqlmesh.core.context import Context

from meshflow.sample import write

AS_OF = date(2026, 11, 1)


@dataclass(frozen=True)
class Source:
    """A loaded table of the sample, and the models that receive its rows."""

    name: str
    key: tuple[str, ...]
    validated: str
    quarantine: str

    @property
    def file(self) -> str:
        return f"{self.name.replace('.', '/')}.csv"

    def __str__(self) -> str:
        return self.name


SOURCES = (
    Source("edtech.students", ("student_id",), "int_edtech__students_validated", "edtech_student"),
    Source("edtech.courses", ("course_id",), "int_edtech__courses_validated", "edtech_course"),
    Source("edtech.enrollments", ("enrollment_id",), "int_edtech__enrollments_validated", "edtech_enrollment"),
    Source("retail.sales", ("order_id", "product_id"), "int_retail__sales_validated", "retail_sales"),
)
RECONCILIATIONS = "loader/reconciliations.csv"
FILES = (*(source.file for source in SOURCES), RECONCILIATIONS)
each_source = pytest.mark.parametrize("source", SOURCES, ids=str)

Identity = tuple[str, ...]
"""Key and updated_at as text, '' for NULL: distinguishes rows with the same key."""


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def fetch(warehouse: Context, sql: str) -> list[tuple[object, ...]]:
    return list(warehouse.engine_adapter.fetchall(sql))


def identities_in_file(source: Source, seeds: Path) -> list[Identity]:
    return [tuple(row[column] for column in (*source.key, "updated_at")) for row in read(seeds / source.file)]


def identities_in_table(source: Source, table: str, warehouse: Context) -> list[Identity]:
    columns = ", ".join(f"COALESCE({column}::VARCHAR, '')" for column in (*source.key, "updated_at"))
    return [tuple(map(str, row)) for row in fetch(warehouse, f"SELECT {columns} FROM {table}")]


@pytest.fixture(scope="module")
def seeds(project: Path) -> Path:
    return project / "seeds"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("seeds")
    write(directory)
    return directory


def test_the_sample_has_exactly_five_files(written: Path) -> None:
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert files == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_the_committed_file_equals_the_output_of_the_code(file: str, written: Path, seeds: Path) -> None:
    assert (seeds / file).read_bytes() == (written / file).read_bytes(), "run `meshflow sample`"


@pytest.mark.parametrize("file", FILES)
def test_writing_over_older_files_gives_the_same_bytes(file: str, written: Path, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    for older in (path, path.with_suffix(".csv.tmp")):  # the second is left by a write that was killed
        older.write_text("a longer file than the new one\n" * 10_000)
    write(tmp_path)
    assert path.read_bytes() == (written / file).read_bytes()


@each_source
def test_a_row_is_created_before_it_is_updated_and_updated_before_it_is_loaded(source: Source, seeds: Path) -> None:
    for row in read(seeds / source.file):
        assert row["created_at"] <= row["updated_at"] <= row["_loaded_at"], row


@each_source
def test_every_day_of_writes_is_reconciled_and_equal(source: Source, seeds: Path) -> None:
    rows = read(seeds / source.file)
    written = Counter(row["updated_at"][:10] for row in rows)
    deleted = Counter(row["updated_at"][:10] for row in rows if row["deleted_at"])
    days = [day for day in read(seeds / RECONCILIATIONS) if day["source_table"] == source.name]
    assert {day["updated_date"] for day in days} == set(written)
    for day in days:
        assert int(day["source_deleted_count"]) == deleted[day["updated_date"]]
        assert int(day["source_count"]) == written[day["updated_date"]] - deleted[day["updated_date"]]
        assert (int(day["source_checksum"]) > 0) == (int(day["source_count"]) > 0)
        for figure in ("count", "deleted_count", "checksum"):
            assert day[f"source_{figure}"] == day[f"raw_{figure}"]
        assert day["missing_in_raw_count"] == day["missing_in_source_count"] == "0"
        assert day["counted_at"] > max(row["_loaded_at"] for row in rows)


def test_the_sample_is_complete_from_the_source_to_the_marts(warehouse: Context) -> None:
    days = fetch(
        warehouse,
        "SELECT is_equal, raw_count + raw_deleted_count - loaded_count, missing_count FROM ops.source_reconciliation",
    )
    assert len(days) > 1000
    assert set(days) == {(True, 0, 0)}


def test_every_reject_reason_occurs(warehouse: Context) -> None:
    defined = fetch(warehouse, "SELECT source_table, reject_reason FROM ops.ref_reject_reason")
    occurring = fetch(warehouse, "SELECT DISTINCT source_table, reject_reason FROM ops.rejected_rows")
    assert set(occurring) == set(defined)


def test_some_row_has_several_reject_reasons(warehouse: Context) -> None:
    reasons = fetch(warehouse, "SELECT reject_reasons FROM quarantine.retail_sales")
    assert max(str(row[0]).count(", ") for row in reasons) >= 2


@each_source
def test_the_rejected_rows_are_the_faulty_rows_at_the_end_of_the_file(
    source: Source, seeds: Path, warehouse: Context
) -> None:
    rejected = identities_in_table(source, f"quarantine.{source.quarantine}", warehouse)
    assert len(rejected) > 0
    assert Counter(rejected) == Counter(identities_in_file(source, seeds)[-len(rejected) :])


@each_source
def test_every_row_of_the_file_is_validated(source: Source, seeds: Path, warehouse: Context) -> None:
    validated = identities_in_table(source, f"intermediate.{source.validated}", warehouse)
    assert Counter(validated) == Counter(identities_in_file(source, seeds))


def test_courses_have_ended_are_ongoing_and_are_yet_to_start(warehouse: Context) -> None:
    statuses = fetch(warehouse, "SELECT DISTINCT course_status FROM edtech.dim_course")
    assert set(statuses) == {("Ended",), ("Ongoing",), ("Yet to Start",)}


@pytest.mark.parametrize("day", ["start_date", "end_date"])
def test_a_course_starts_and_a_course_ends_on_the_as_of_date(warehouse: Context, day: str) -> None:
    courses = fetch(
        warehouse,
        f"SELECT course_status, is_active, days_until_start FROM edtech.dim_course WHERE {day} = '{AS_OF}'",
    )
    assert set(courses) == {("Ongoing", True, 0)}


@pytest.mark.parametrize(
    ("born", "age_years"), [(date(2008, 11, 1), 18), (date(2004, 2, 29), 22)], ids=["birthday today", "leap day"]
)
def test_a_student_was_born_on_an_edge_case_of_age(warehouse: Context, born: date, age_years: int) -> None:
    ages = fetch(
        warehouse,
        f"SELECT age_years FROM edtech.dim_student JOIN pii.student USING (student_id) WHERE date_of_birth = '{born}'",
    )
    assert set(ages) == {(age_years,)}


def test_different_students_share_an_email(warehouse: Context) -> None:
    shared = fetch(warehouse, "SELECT first_name, email FROM pii.student WHERE is_email_shared")
    assert len({name for name, _ in shared}) > len({email for _, email in shared}) > 0


@pytest.mark.parametrize("character", ['"', "'", ",", "é", "ễ", "ø", "ñ"])
def test_texts_contain_characters_that_need_escaping_and_encoding(
    character: str, seeds: Path, warehouse: Context
) -> None:
    texts = {text for source in SOURCES for row in read(seeds / source.file) for text in row.values()}
    difficult = {text for text in texts if character in text}
    assert difficult
    names = fetch(
        warehouse,
        "SELECT full_name FROM edtech.dim_student UNION SELECT course_name FROM edtech.dim_course "
        "UNION SELECT product_name FROM retail.dim_product UNION SELECT city FROM shared.dim_location",
    )
    assert any(character in str(name) for (name,) in names), "the character is missing in the marts"


def test_some_rows_are_deleted_and_some_are_flagged_but_valid(warehouse: Context) -> None:
    for source in SOURCES:
        deleted = f"SELECT COUNT(*) FROM intermediate.{source.validated} WHERE is_deleted AND reject_reasons IS NULL"
        assert fetch(warehouse, deleted) > [(0,)], source
    flags = fetch(
        warehouse, "SELECT BOOL_OR(is_before_sign_up), BOOL_OR(is_after_course_end) FROM edtech.fct_enrollment"
    )
    assert flags == [(True, True)]
