-- Best-selling categories of the last seven days
-- Up to the newest order that isn't dated after its load.
WITH newest AS (
    SELECT MAX(order_date) AS last_day FROM retail.fct_sales WHERE order_date <= _loaded_at::DATE
)
SELECT
    products.product_category AS category,
    SUM(sales.quantity) AS units,
    SUM(sales.net_revenue_amount) AS net_revenue_usd
FROM retail.fct_sales AS sales
INNER JOIN newest ON sales.order_date BETWEEN DATEADD(DAY, -6, newest.last_day) AND newest.last_day
INNER JOIN retail.dim_product AS products ON sales.product_id = products.product_id
GROUP BY products.product_category
ORDER BY net_revenue_usd DESC, category
