-- Students without an enrollment, by month of sign-up
SELECT DATE_TRUNC('MONTH', students.enrollment_date)::DATE AS sign_up_month, COUNT(*) AS students
FROM edtech.dim_student AS students
LEFT JOIN edtech.fct_enrollment AS enrollments ON students.student_id = enrollments.student_id
WHERE enrollments.enrollment_id IS NULL
GROUP BY DATE_TRUNC('MONTH', students.enrollment_date)
ORDER BY sign_up_month DESC
