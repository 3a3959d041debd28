"""EdTech: courses, enrollments over time, completion, credits, cohorts and ages. Aggregates only, no personal data."""

from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from charts import COURSE_STATUSES, LEVEL_COLORS, Measure
from panel import View, count_outside, select_values, show_panel, show_totals
from period import select_period
from status import show_status

from meshflow.publish import MONTH_COLUMNS
from meshflow.serve import Query

TABLES = (
    "edtech.dim_course",
    "edtech.dim_student",
    "edtech.fct_enrollment",
    "edtech.rpt_course_enrollments_by_month",
    "edtech.rpt_student_credits",
    "edtech.rpt_student_enrollment_running_total",
    "edtech.rpt_students_by_age_band",
    "shared.dim_date",
)
"""The tables that the page reads."""
LAST_LOAD = Query("SELECT MAX(_loaded_at) AS loaded_at FROM edtech.fct_enrollment")
DAYS = Query(
    "SELECT MAX(IFF(enrollment_date <= _loaded_at::DATE, enrollment_date, NULL)) AS last_day FROM edtech.fct_enrollment"
)
"""An enrollment dated after it was loaded is an anomaly: it would set the newest day to any year."""
COURSES = Query("SELECT course_name, course_level, course_status FROM edtech.dim_course")
YEARS = Query("SELECT DISTINCT enrollment_year FROM edtech.rpt_course_enrollments_by_month")

MEASURES = (
    Measure("Courses", "courses", "courses", "All courses; the period doesn't apply"),
    Measure("Enrollments", "enrollments", "enrollments"),
    Measure("… yet to start", "yet_to_start", "enrollments", "Enrollments in courses that start later"),
    Measure("… ongoing", "ongoing", "enrollments", "Enrollments in courses that are running"),
    Measure("… ended", "ended", "enrollments", "Enrollments in courses that have ended"),
    Measure("Students", "students", "students", "Students with an enrollment"),
    Measure("Credits", "credits", "credits", "Credits of the courses, for each enrollment"),
)
ENROLLMENTS = Measure("Enrollments", "enrollment_count", "enrollments")
STUDENTS = Measure("Students", "student_count", "students")

STATUS_ORDER = "CASE courses.course_status WHEN 'Yet to Start' THEN 1 WHEN 'Ongoing' THEN 2 ELSE 3 END"
LEVEL_ORDER = "CASE courses.course_level WHEN 'Beginner' THEN 1 WHEN 'Intermediate' THEN 2 ELSE 3 END"
TOTAL = """
SELECT
    COUNT(DISTINCT courses.course_id) AS courses,
    COUNT(enrollments.enrollment_id) AS enrollments,
    COUNT(IFF(courses.course_status = 'Yet to Start', enrollments.enrollment_id, NULL)) AS yet_to_start,
    COUNT(IFF(courses.course_status = 'Ongoing', enrollments.enrollment_id, NULL)) AS ongoing,
    COUNT(IFF(courses.course_status = 'Ended', enrollments.enrollment_id, NULL)) AS ended,
    COUNT(DISTINCT enrollments.student_id) AS students,
    COALESCE(SUM(IFF(enrollments.enrollment_id IS NULL, 0, courses.credits)), 0) AS credits
FROM edtech.dim_course AS courses
LEFT JOIN edtech.fct_enrollment AS enrollments
    ON courses.course_id = enrollments.course_id AND enrollments.enrollment_date BETWEEN ? AND ?
"""
OUTSIDE = """
SELECT
    COUNT_IF(enrollments.enrollment_date < ?) AS earlier_count,
    COUNT_IF(enrollments.enrollment_date > ?) AS later_count
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
"""
ENROLLED_BY_MONTH = f"""
SELECT DATE_TRUNC('MONTH', enrollments.enrollment_date)::DATE AS month, courses.course_level AS level,
    COUNT(*) AS enrollment_count
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
WHERE enrollments.enrollment_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', enrollments.enrollment_date), courses.course_level
ORDER BY month, {LEVEL_ORDER}
"""
COMPLETION = f"""
SELECT courses.course_status AS status, courses.course_level AS level, COUNT(*) AS enrollment_count
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
WHERE enrollments.enrollment_date BETWEEN ? AND ?
GROUP BY courses.course_status, courses.course_level
ORDER BY {STATUS_ORDER}, {LEVEL_ORDER}
"""
BY_STATUS = f"""
SELECT courses.course_status AS status, courses.course_level AS level, COUNT(*) AS course_count
FROM edtech.dim_course AS courses
GROUP BY courses.course_status, courses.course_level
ORDER BY {STATUS_ORDER}, {LEVEL_ORDER}
"""
CREDITS_BY_LEVEL = f"""
SELECT courses.course_level AS level, SUM(courses.credits) AS credit_count, COUNT(*) AS enrollment_count
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
WHERE enrollments.enrollment_date BETWEEN ? AND ?
GROUP BY courses.course_level
ORDER BY {LEVEL_ORDER}
"""
BY_MONTH = """
SELECT months.*
FROM edtech.rpt_course_enrollments_by_month AS months
LEFT JOIN edtech.dim_course AS courses ON months.course_id = courses.course_id
WHERE months.enrollment_year = ?
ORDER BY months.course_name
"""
CUMULATIVE = """
SELECT days.date_day AS day, COALESCE(SUM(enrolled.enrollment_count), 0) AS enrollment_count
FROM (SELECT date_day FROM shared.dim_date WHERE date_day BETWEEN ? AND ?) AS days
LEFT JOIN (
    SELECT enrollments.enrollment_date AS day, COUNT(*) AS enrollment_count
    FROM edtech.rpt_student_enrollment_running_total AS enrollments
    LEFT JOIN edtech.dim_course AS courses ON enrollments.course_id = courses.course_id
    GROUP BY enrollments.enrollment_date
) AS enrolled ON enrolled.day <= days.date_day
GROUP BY days.date_day
ORDER BY day
"""
COHORTS = """
SELECT
    cohorts.cohort,
    DATEDIFF(MONTH, cohorts.cohort, months.month) AS months_since_sign_up,
    cohorts.student_count,
    COUNT(DISTINCT enrolled.student_id) AS enrolled_student_count,
    ROUND(100 * COUNT(DISTINCT enrolled.student_id) / cohorts.student_count, 2) AS enrolled_percent
FROM (
    SELECT DATE_TRUNC('MONTH', enrollment_date)::DATE AS cohort, COUNT(*) AS student_count
    FROM edtech.dim_student
    WHERE enrollment_date BETWEEN ? AND ?
    GROUP BY DATE_TRUNC('MONTH', enrollment_date)
) AS cohorts
INNER JOIN (
    SELECT DISTINCT month_start_date AS month FROM shared.dim_date WHERE date_day BETWEEN ? AND ?
) AS months ON cohorts.cohort <= months.month
LEFT JOIN (
    SELECT
        DATE_TRUNC('MONTH', students.enrollment_date)::DATE AS cohort,
        DATE_TRUNC('MONTH', enrollments.enrollment_date)::DATE AS month,
        enrollments.student_id
    FROM edtech.fct_enrollment AS enrollments
    INNER JOIN edtech.dim_student AS students ON enrollments.student_id = students.student_id
) AS enrolled ON cohorts.cohort = enrolled.cohort AND months.month = enrolled.month
GROUP BY cohorts.cohort, months.month, cohorts.student_count
ORDER BY cohorts.cohort, months_since_sign_up
"""
"""The enrollment_date of a student is the day of sign-up."""
CREDITS = """
SELECT total_credit_count AS credits, COUNT(*) AS student_count
FROM edtech.rpt_student_credits
GROUP BY total_credit_count
ORDER BY credits
"""
AGES = "SELECT age_band, student_count FROM edtech.rpt_students_by_age_band ORDER BY age_from"


def page(view: View) -> None:
    show_status(view, TABLES)
    courses, bounds = view.options(COURSES), view.options(DAYS).dropna()
    if courses.empty or bounds.empty:
        empty = "edtech.dim_course" if courses.empty else "edtech.fct_enrollment"
        st.info(f"No courses or enrollments yet: `{empty}` is empty. `meshflow load` and `meshflow run` fill it.")
        return
    filters = {}
    with st.container(horizontal=True):
        period = select_period(bounds["last_day"].max(), "last 12 months", "enrolled")
        for name, label, order in (
            ("course_status", "Status", COURSE_STATUSES),
            ("course_level", "Level", LEVEL_COLORS),
            ("course_name", "Course", ()),
        ):
            filters[f"courses.{name}"] = select_values(label, courses[name], name, order)
            courses = courses[courses[name].isin(filters[f"courses.{name}"] or courses[name])]
    if not period:
        return

    def filtered(sql: str, *values: object) -> Query:
        query = Query(sql, values)
        for name, selected in filters.items():
            query = query.only(name, selected)
        return query

    days = period.days
    note = f"By day of enrollment, {period}." + count_outside(view, filtered(OUTSIDE, *days), "enrollments")
    show_totals(view, filtered(TOTAL, *days), MEASURES, LAST_LOAD, note)
    show = partial(show_panel, view)
    show(
        "Enrollments by month",
        filtered(ENROLLED_BY_MONTH, *days),
        lambda rows, scale_max: charts.stacks(
            rows.assign(month=period.labels(rows["month"])),
            scale_max,
            x="month",
            measure=ENROLLMENTS,
            series="level",
            colors=LEVEL_COLORS,
            every_x=period.labels(period.months),
        ),
        keys=2,
        maximum=lambda rows: rows.groupby("month")["enrollment_count"].sum().max(),
        note=period.star,
        last_load=LAST_LOAD,
    )
    show(
        "Cumulative enrollments",
        filtered(CUMULATIVE, *days),
        lambda rows, scale_max: charts.line(
            rows.assign(series="enrollments", is_partial=False),
            scale_max,
            time="day",
            measure=ENROLLMENTS,
            series="series",
        ),
        is_overlaid=True,
        last_load=LAST_LOAD,
        maximum=lambda rows: rows["enrollment_count"].max(),
        note="Includes those before the period.",
    )
    show(
        "Enrollments by status of the course",
        filtered(COMPLETION, *days),
        partial(charts.stacks, x="status", measure=ENROLLMENTS, series="level", colors=LEVEL_COLORS),
        keys=2,
        maximum=lambda rows: rows.groupby("status")["enrollment_count"].sum().max(),
        note="An enrollment is completed when its course has ended: the source records no other end.",
        last_load=LAST_LOAD,
    )
    show(
        "Credits by level",
        filtered(CREDITS_BY_LEVEL, *days),
        partial(charts.bars, by="level", measure=Measure("Credits", "credit_count", "credits")),
        is_overlaid=True,
        maximum=lambda rows: rows["credit_count"].max(),
        last_load=LAST_LOAD,
    )
    show(
        "Courses by status and level",
        filtered(BY_STATUS),
        partial(
            charts.stacks,
            x="status",
            measure=Measure("Courses", "course_count", "courses"),
            series="level",
            colors=LEVEL_COLORS,
        ),
        keys=2,
        maximum=lambda rows: rows.groupby("status")["course_count"].sum().max(),
        note="The period doesn't apply.",
    )
    show(
        "Students enrolled by month since sign-up, % of the cohort",
        Query(COHORTS, (days[0].replace(day=1), days[1], days[0].replace(day=1), days[1])),
        _cohorts,
        keys=2,
        maximum=lambda rows: rows["enrolled_percent"].max(),
        note="A cohort is the students of one sign-up month, which is month 0. The filters don't apply.",
        last_load=LAST_LOAD,
    )
    years = sorted(view.options(YEARS)["enrollment_year"], reverse=True)
    if years:
        year = st.selectbox("Year", years, key="year", bind="query-params")
        show(
            f"Enrollments by course and month, {year}",
            filtered(BY_MONTH, year),
            _heat_map,
            keys=3,
            last_load=LAST_LOAD,
            maximum=lambda rows: rows[list(MONTH_COLUMNS)].max(axis=None),
        )
    show(
        "Students by credits taken",
        Query(CREDITS),
        partial(charts.columns, x="credits", measure=STUDENTS),
        is_overlaid=True,
        last_load=LAST_LOAD,
        maximum=lambda rows: rows["student_count"].max(),
        note="All students with an enrollment. Period and filters don't apply.",
    )
    show(
        "Students by age",
        Query(AGES),
        partial(charts.bars, by="age_band", measure=STUDENTS),
        is_overlaid=True,
        maximum=lambda rows: rows["student_count"].max(),
        note="All students. Period and filters don't apply.",
    )


def _cohorts(rows: pd.DataFrame, scale_max: float) -> alt.LayerChart:
    rows = rows.assign(
        cohort=[
            f"{cohort:%Y-%m} ({count:,.0f})"
            for cohort, count in zip(rows["cohort"], rows["student_count"], strict=True)
        ]
    )
    measure = Measure("Enrolled", "enrolled_percent", "%")
    return charts.heat_map(rows, scale_max, x="months_since_sign_up", y="cohort", measure=measure)


def _heat_map(rows: pd.DataFrame, scale_max: float) -> alt.LayerChart:
    """A cell per course and month, from the table's column per month."""
    cells = rows.melt(["course_name"], list(MONTH_COLUMNS), "month", "enrollments")
    cells["month"] = cells["month"].str[:3].str.capitalize()
    measure = Measure("Enrollments", "enrollments", "enrollments")
    return charts.heat_map(cells, scale_max, x="month", y="course_name", measure=measure)
