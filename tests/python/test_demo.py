"""The output of `meshflow demo`. `.ci/run` runs the entire demo."""

import re
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from meshflow.demo import COURSES, Figure, compare, figures


@pytest.fixture
def analytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse with two courses with the same name, and two enrollments in the first."""
    monkeypatch.setenv("MESHFLOW_DATA", str(tmp_path))
    database = tmp_path / "live_analytics.duckdb"
    with closing(duckdb.connect(str(database))) as connection:
        connection.execute("""
            CREATE SCHEMA edtech;
            CREATE TABLE edtech.dim_course AS FROM (VALUES (1, 'Logic'), (2, 'Logic')) AS t(course_id, course_name);
            CREATE TABLE edtech.fct_enrollment AS SELECT * FROM (VALUES (1, 1), (2, 1)) AS t(enrollment_id, course_id);
        """)
    return database


def test_two_courses_with_one_name_are_two_lines(analytics: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(COURSES)
    with closing(duckdb.connect(str(analytics))) as connection:
        connection.execute("INSERT INTO edtech.fct_enrollment VALUES (3, 2)")
    compare("Enrollments by course", before, figures(COURSES))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "Logic" in line]
    assert lines == [["Logic", "0", "1", "+1"], ["Logic", "2", "2", "+0"]]


def test_a_renamed_or_deleted_course_keeps_its_line(analytics: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(COURSES)
    with closing(duckdb.connect(str(analytics))) as connection:
        connection.execute("UPDATE edtech.dim_course SET course_name = 'Proofs' WHERE course_id = 2")
        connection.execute("DELETE FROM edtech.dim_course WHERE course_id = 1")
    compare("Enrollments by course", before, figures(COURSES))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "+" in line or "-2" in line]
    assert lines == [["Logic", "2", "0", "-2"], ["Proofs", "0", "0", "+0"]]


def test_the_readme_shows_the_output_of_the_demo(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (project / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```console\n\$ make demo\n…\n(.*?)\n…\n(.*)\n…\n```", readme, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^ (\w.*?) +([\d,.]+) +([\d,.]+) +\+", block[0], re.MULTILINE)
    before, after = (
        {label: Figure(label, Decimal(values[which].replace(",", ""))) for label, *values in rows} for which in (0, 1)
    )
    compare("Net revenue by province, USD", before, after)
    printed = [line.rstrip() for line in capsys.readouterr().out.strip("\n").splitlines()]
    assert len(rows) == 5
    assert printed == block[0].splitlines()
    demo = (project / "src/meshflow/demo.py").read_text(encoding="utf-8")
    assert '"Net revenue by province, USD"' in demo
    assert re.sub(r"[\d,]+", "…", block[1]) in re.sub(r"{\w+:,}", "…", demo)
