"""What has landed."""

import duckdb


def checksum(data: str) -> int:
    """Equal for equal rows of retail.sales in equal types, whatever their order; `_landed_at` aside."""
    with duckdb.connect(f"{data}/landed_raw.duckdb", read_only=True) as warehouse:
        [(checksum,)] = warehouse.execute(
            "SELECT sum(hash(row, typeof(row))) FROM (SELECT sales AS row FROM "
            "(SELECT * EXCLUDE _landed_at FROM retail.sales) AS sales)"
        ).fetchall()
    return int(checksum)
