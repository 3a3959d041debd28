-- New customers by month
SELECT DATE_TRUNC('MONTH', first_order_date)::DATE AS month, COUNT(*) AS new_customers
FROM retail.dim_customer
GROUP BY DATE_TRUNC('MONTH', first_order_date)
ORDER BY month DESC
