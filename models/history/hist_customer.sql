MODEL (
  name history.hist_customer,
  kind SCD_TYPE_2_BY_COLUMN (
    unique_key customer_id,
    columns (customer_name, location_id),
    execution_time_as_valid_from TRUE,
    invalidate_hard_deletes TRUE,
    time_data_type TIMESTAMPNTZ
  ),
  owner retail_analytics,
  cron @cadence,
  grain (customer_id, valid_from),
  tags (retail, history),
  description 'One row per customer and version of name and location. Answers: which name and location did the customer have at a given time? The source has no table of customers, so a version begins with the run that found the change.',
  audits (
    scd2_no_overlaps(key := customer_id),
    unique_combination_of_columns(columns := (customer_id, valid_from))
  )
);

SELECT
  customer_id::BIGINT AS customer_id, /* Customer */
  customer_name::VARCHAR AS customer_name, /* Name on the newest order; personal, masked on Snowflake */
  location_id::VARCHAR AS location_id, /* Ship-to location of the newest order */
  city::VARCHAR AS city, /* City of the newest order */
  province::VARCHAR AS province, /* Province or state of the newest order */
  country::VARCHAR AS country /* Country of the newest order */
FROM intermediate.int_retail__customers_derived;

ON_VIRTUAL_UPDATE_BEGIN;
@mask(mask_text, customer_name);
ON_VIRTUAL_UPDATE_END;
