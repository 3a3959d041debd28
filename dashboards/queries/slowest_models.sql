-- Slowest models of all recorded runs
SELECT models.model, COUNT(*) AS runs, ROUND(AVG(models.duration_seconds), 2) AS average_seconds
FROM ops.model_runs AS models
GROUP BY models.model
ORDER BY average_seconds DESC NULLS LAST, models.model
LIMIT 20
