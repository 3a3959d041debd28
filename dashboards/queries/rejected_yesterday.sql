-- Rejected rows of the last two days, with reasons
-- By the day on which the source wrote them.
SELECT source_table, updated_date, reject_reason, rejected_count, remedy
FROM ops.rejected_rows
WHERE updated_date >= DATEADD(DAY, -1, CURRENT_DATE)
ORDER BY updated_date DESC, rejected_count DESC, source_table, reject_reason
