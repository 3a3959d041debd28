MODEL (
  name staging.stg_retail__sales,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (retail, staging),
  description 'One row per loaded order line, with renamed and cast columns. The source contains the discount as a rate; unit_discount_amount is the same in USD per unit. Types are wide enough for every impossible value: intermediate.int_retail__sales_validated ranks and validates the rows. Cast a price to DECIMAL(19, 2) before multiplying it: DuckDB multiplies up to 18 digits in 64 bits, where an impossible value fails the run.',
  signals (
    source_loaded(source := 'retail', gateway := @gateway)
  ),
  audits (
    max_deletion_rate(max_rate := 0.2)
  )
);

SELECT
  order_id::BIGINT AS order_id, /* Order */
  product_id::BIGINT AS product_id, /* Product */
  customer_id::BIGINT AS customer_id, /* Customer */
  cust_name::VARCHAR AS customer_name, /* Name of the customer */
  product::VARCHAR AS product_name, /* Name of the product */
  product_category::VARCHAR AS product_category, /* Category of the product */
  city::VARCHAR AS city, /* Ship-to city */
  province::VARCHAR AS province, /* Province or state of the city */
  country::VARCHAR AS country, /* Country of the province or state */
  quantity::INT AS quantity, /* Units sold */
  price::DECIMAL(18, 2) AS unit_price_amount, /* Price per unit in USD */
  discount::DECIMAL(9, 4) AS discount_rate, /* Discount as a rate of the unit price */
  (
    price::DECIMAL(19, 2) * discount::DECIMAL(9, 4)
  )::DECIMAL(28, 6) AS unit_discount_amount, /* Discount per unit in USD, exact: rounded only on the line */
  shipping_cost::DECIMAL(18, 2) AS shipping_amount, /* Shipping of this line in USD */
  order_date_at::TIMESTAMPNTZ AS ordered_at, /* When the order was placed, UTC */
  purchased_at::TIMESTAMPNTZ AS purchased_at, /* When the order was paid, UTC */
  order_date_at::DATE AS order_date, /* Day the order was placed, UTC */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  COALESCE(deleted_at::TIMESTAMPNTZ, _deleted_at::TIMESTAMPNTZ) AS deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC; NULL while the row is active */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.retail.sales
