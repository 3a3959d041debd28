"""EdTech: courses, enrollments over time, credits and ages. Aggregates only, no personal data."""

from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, select_values, show_panel, show_totals
from status import show_status

from meshflow.publish import MONTH_COLUMNS
from meshflow.serve import Query

TABLES = (
    "edtech.dim_course",
    "edtech.fct_enrollment",
    "edtech.rpt_course_enrollments_by_month",
    "edtech.rpt_student_credits",
    "edtech.rpt_student_enrollment_running_total",
    "edtech.rpt_students_by_age_band",
)
"""The tables that the page reads."""
LAST_LOAD = Query("SELECT MAX(_loaded_at) AS loaded_at FROM edtech.fct_enrollment")
COURSES = Query("SELECT course_name, course_level, course_status FROM edtech.dim_course")
YEARS = Query("SELECT DISTINCT enrollment_year FROM edtech.rpt_course_enrollments_by_month")

FIGURES = {
    "Courses": ("courses", "courses"),
    "Enrollments": ("enrollments", "enrollments"),
    "Students": ("students", "students"),
}

TOTAL = """
SELECT
    COUNT(DISTINCT courses.course_id) AS courses,
    COUNT(enrollments.enrollment_id) AS enrollments,
    COUNT(DISTINCT enrollments.student_id) AS students
FROM edtech.dim_course AS courses
LEFT JOIN edtech.fct_enrollment AS enrollments ON courses.course_id = enrollments.course_id
"""
BY_STATUS = """
SELECT courses.course_status AS status, courses.course_level AS level, COUNT(*) AS course_count
FROM edtech.dim_course AS courses
GROUP BY courses.course_status, courses.course_level
ORDER BY status, level
"""
BY_MONTH = """
SELECT months.*
FROM edtech.rpt_course_enrollments_by_month AS months
LEFT JOIN edtech.dim_course AS courses ON months.course_id = courses.course_id
WHERE months.enrollment_year = ?
ORDER BY months.course_name
"""
CUMULATIVE = """
SELECT
    enrollments.enrollment_date AS day,
    'enrollments' AS series,
    SUM(COUNT(*)) OVER (ORDER BY enrollments.enrollment_date) AS enrollment_count
FROM edtech.rpt_student_enrollment_running_total AS enrollments
LEFT JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
GROUP BY enrollments.enrollment_date
ORDER BY day
"""
CREDITS = """
SELECT total_credit_count AS credits, COUNT(*) AS student_count
FROM edtech.rpt_student_credits
GROUP BY total_credit_count
ORDER BY credits
"""
AGES = "SELECT age_band, student_count FROM edtech.rpt_students_by_age_band ORDER BY age_from"


def page(view: View) -> None:
    show_status(view, TABLES)
    courses = view.options(COURSES)
    if courses.empty:
        st.info("There are no courses yet: `edtech.dim_course` is empty.")
        return
    filters = {}
    for column, (name, label) in zip(
        st.columns(3),
        (("course_status", "Status"), ("course_level", "Level"), ("course_name", "Course")),
        strict=True,
    ):
        with column:
            filters[f"courses.{name}"] = select_values(label, courses[name], name)
        courses = courses[courses[name].isin(filters[f"courses.{name}"] or courses[name])]

    def filtered(sql: str, *values: object) -> Query:
        query = Query(sql, values)
        for name, selected in filters.items():
            query = query.only(name, selected)
        return query

    show_totals(view, filtered(TOTAL), FIGURES, LAST_LOAD)
    show = partial(show_panel, view)
    show(
        "Courses by status and level",
        filtered(BY_STATUS),
        partial(charts.stacks, x="status:N", measure="course_count", series="level", unit="courses"),
        maximum=lambda rows: rows.groupby("status")["course_count"].sum().max(),
    )
    years = sorted(view.options(YEARS)["enrollment_year"], reverse=True)
    if years:
        year = st.selectbox("Year", years, key="year", bind="query-params")
        show(
            f"Enrollments by course and month, {year}",
            filtered(BY_MONTH, year),
            _heat_map,
            last_load=LAST_LOAD,
            maximum=lambda rows: rows[list(MONTH_COLUMNS)].max(axis=None),
        )
    show(
        "Cumulative enrollments",
        filtered(CUMULATIVE),
        partial(charts.line, day="day", measure="enrollment_count", series="series", unit="enrollments", steps=True),
        last_load=LAST_LOAD,
        maximum=lambda rows: rows["enrollment_count"].max(),
    )
    show(
        "Students by credits taken",
        Query(CREDITS),
        partial(charts.bars, by="credits", measure="student_count", unit="students"),
        last_load=LAST_LOAD,
        maximum=lambda rows: rows["student_count"].max(),
        note="All students with an enrollment. The filters don't apply.",
    )
    show(
        "Students by age",
        Query(AGES),
        partial(charts.bars, by="age_band", measure="student_count", unit="students"),
        maximum=lambda rows: rows["student_count"].max(),
        note="All students. The filters don't apply.",
    )


def _heat_map(rows: pd.DataFrame, scale_max: float) -> alt.LayerChart:
    """A cell per course and month, from the table's column per month."""
    cells = rows.melt(["course_name"], list(MONTH_COLUMNS), "month", "enrollments")
    cells["month"] = cells["month"].str[:3].str.capitalize()
    return charts.heat_map(cells, scale_max, x="month", y="course_name", measure="enrollments", unit="enrollments")
