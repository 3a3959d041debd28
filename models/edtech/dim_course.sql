MODEL (
  name edtech.dim_course,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain course_id,
  tags (edtech, mart),
  description 'One row per course. Answers: which courses are ongoing? Which start soon, and at which level? The level is derived from the credits via shared.ref_course_level. The status is as of the current date in UTC, or of the variable as_of_date where it is set.',
  audits (
    unique_combination_of_columns(columns := course_id),
    not_null(columns := (course_id, course_name, course_level, start_date, end_date))
  )
);

SELECT
  courses.course_id::BIGINT AS course_id, /* Course */
  courses.course_name::VARCHAR AS course_name, /* Title of the course */
  courses.instructor_name::VARCHAR AS instructor_name, /* Name of the instructor */
  courses.credits::INT AS credits, /* Credits the course earns */
  levels.course_level::VARCHAR AS course_level, /* Beginner, Intermediate or Advanced */
  courses.start_date::DATE AS start_date, /* First day of the course */
  courses.end_date::DATE AS end_date, /* Last day of the course */
  @course_status(courses.start_date, courses.end_date, @as_of_date())::VARCHAR AS course_status, /* Yet to Start, Ongoing (first and last day included) or Ended */
  (
    @as_of_date() BETWEEN courses.start_date AND courses.end_date
  )::BOOLEAN AS is_active, /* Whether course_status is Ongoing */
  GREATEST(DATEDIFF(DAY, @as_of_date(), courses.start_date), 0)::INT AS days_until_start /* Days until the first day, 0 once the course has started */
FROM intermediate.int_edtech__courses_validated AS courses
LEFT JOIN shared.ref_course_level AS levels
  ON courses.credits BETWEEN levels.credits_from AND levels.credits_to
WHERE
  courses.reject_reasons IS NULL AND NOT courses.is_deleted
