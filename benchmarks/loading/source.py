"""The rows to load: generated order lines in the source table."""

import os
from contextlib import closing
from datetime import UTC, datetime

import numpy as np

from meshflow.postgres import connect
from meshflow.source.traffic import write_batch

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
BATCH = 50_000
"""Order lines written at a time, about 100 MB of memory."""


def fill(rows: int) -> int:
    """Add order lines until there are `rows`, some of them corrected or cancelled; returns their number.

    Their updated_at is an hour ago: a load by updated_at reads back ten seconds, and would read newer rows twice.
    So the triggers that set the times are disabled meanwhile.
    """
    with closing(connect(os.environ["MESHFLOW_SOURCE_URL"], autocommit=True)) as connection:
        connection.execute("ALTER TABLE retail.sales DISABLE TRIGGER USER")
        for column in ("created_at", "updated_at"):
            connection.execute(
                f"ALTER TABLE retail.sales ALTER {column} SET DEFAULT clock_timestamp() - INTERVAL '1 hour'".encode()
            )
        [(count,)] = connection.execute("SELECT count(*) FROM retail.sales")
        random = np.random.default_rng(count)
        while count < rows:
            size = min(BATCH, rows - count)
            with connection.transaction():
                count += write_batch(connection, random, sales=size, fault_rate=0.01, now=AS_OF, days=365).sales
        connection.execute("ALTER TABLE retail.sales ENABLE TRIGGER USER")
        connection.execute("ALTER TABLE retail.sales ENABLE ALWAYS TRIGGER set_updated_at")
        # Otherwise the first reader would write to the table: it sets hint bits of committed rows.
        connection.execute("VACUUM (ANALYZE) retail.sales")
    return int(count)


def change(rows: int) -> int:
    """Change `rows` order lines, drawn from the entire table; returns their number."""
    with closing(connect(os.environ["MESHFLOW_SOURCE_URL"], autocommit=True)) as connection:
        return connection.execute(
            """
            UPDATE retail.sales SET shipping_cost = coalesce(shipping_cost, 0) + 1
            WHERE (order_id, product_id) IN
              (SELECT order_id, product_id FROM retail.sales ORDER BY hashint8(order_id), product_id LIMIT %s)
            """,
            [rows],
        ).rowcount


def drop_index(rows: int) -> int:
    """Drop the index on updated_at, so that loads use xmin; returns `rows`."""
    with closing(connect(os.environ["MESHFLOW_SOURCE_URL"], autocommit=True)) as connection:
        connection.execute("DROP INDEX retail.sales_updated_at")
    return rows
