MODEL (
  name quarantine.retail_sales,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (order_id, product_id, recency_rank),
  tags (retail, quarantine),
  description 'One row per rejected order line. Answers: which rows are missing from the marts? Why, and since when? ops.ref_reject_reason describes each reason and its remedy.'
);

SELECT
  order_id, /* Order */
  product_id, /* Product */
  recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  customer_id, /* Customer */
  @mask(customer_name) AS customer_name, /* Name of the customer */
  product_name, /* Name of the product */
  product_category, /* Category of the product */
  city, /* Ship-to city */
  province, /* Province or state of the city */
  country, /* Country of the province or state */
  quantity, /* Units sold */
  unit_price_amount, /* Price per unit in USD */
  discount_rate, /* Discount as a rate of the unit price */
  shipping_amount, /* Shipping of this line in USD */
  ordered_at, /* When the order was placed, UTC */
  purchased_at, /* When the order was paid, UTC */
  reject_reasons, /* Comma-separated reject reasons */
  is_deleted, /* Whether the row is soft-deleted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_retail__sales_validated
WHERE
  NOT reject_reasons IS NULL
