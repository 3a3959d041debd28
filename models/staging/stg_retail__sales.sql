MODEL (
  name staging.stg_retail__sales,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (retail, staging),
  description 'One row per order line as loaded, renamed and typed. The source gives the discount as a rate; here it also becomes money per unit, because a quantity times a rate is not money. Types are wide enough for every impossible value: intermediate.int_retail__sales_validated decides. Whoever multiplies a price makes it DECIMAL(19, 2) first: up to 18 digits DuckDB multiplies in 64 bits, where an impossible value ends the run.'
);

SELECT
  order_id::BIGINT AS order_id, /* Order */
  product_id::BIGINT AS product_id, /* Product */
  customer_id::BIGINT AS customer_id, /* Customer */
  cust_name::VARCHAR AS customer_name, /* Name of the customer */
  product::VARCHAR AS product_name, /* Name of the product */
  product_category::VARCHAR AS product_category, /* Category of the product */
  city::VARCHAR AS city, /* City the line was shipped to */
  province::VARCHAR AS province, /* Province or state of the city */
  country::VARCHAR AS country, /* Country of the province */
  quantity::INT AS quantity, /* Units sold */
  price::DECIMAL(18, 2) AS unit_price_amount, /* Price per unit in USD */
  discount::DECIMAL(9, 4) AS discount_rate, /* Discount as a rate of the price */
  (
    price::DECIMAL(19, 2) * discount::DECIMAL(9, 4)
  )::DECIMAL(28, 6) AS unit_discount_amount, /* Discount per unit in USD, exact: rounded only on the line */
  shipping_cost::DECIMAL(18, 2) AS shipping_amount, /* Shipping of this line in USD */
  order_date_at::TIMESTAMPNTZ AS ordered_at, /* When the order was placed, UTC */
  purchased_at::TIMESTAMPNTZ AS purchased_at, /* When the order was paid, UTC */
  order_date_at::DATE AS order_date, /* Day the order was placed, UTC */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  deleted_at::TIMESTAMPNTZ AS deleted_at, /* When the source deleted the row, UTC; empty while it lives */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.retail.sales
