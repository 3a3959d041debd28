"""How many rows a second the traffic generator writes, beside the row-at-a-time recipe that it replaces.

Starts a PostgreSQL of its own in a temporary folder. `--url` takes another,
which gets the applications' tables if it lacks them, and keeps the rows.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median

import click
import numpy as np
import psycopg

from meshflow import world
from meshflow.postgres import connect
from meshflow.source.schema import install
from meshflow.source.server import Server
from meshflow.source.traffic import copy_texts, sale_rows, write_batch

REPEATS = 5
"""The table gives the median of so many."""
SLOW_ROWS = 10_000
"""Rows for the recipe: minutes otherwise."""
INSERT = """INSERT INTO retail.sales (
    order_id, cust_name, product, product_category, quantity, price, purchased_at, product_id, customer_id,
    order_date_at, discount, shipping_cost, city, province, country
  ) VALUES (nextval('retail.order_ids'), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


@click.command(help=__doc__)
@click.option("--url", help="A PostgreSQL to write to, as postgresql://user:password@host:port/database.")
@click.option("--sales", default=200_000, show_default=True, help="Order lines in a large batch.")
def traffic(url: str | None, sales: int) -> None:
    click.echo(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; median of {REPEATS}")
    click.echo("| what | rows | rows/s |\n|---|--:|--:|")
    with embedded() if url is None else connect(url) as connection:
        install(connection)
        random = np.random.default_rng(1)
        write_batch(connection, random, sales=0, dirt=0, now=datetime.now(UTC))
        connection.commit()

        def generate(days: int) -> int:
            for _ in copy_texts(sale_rows(random, sales, np.arange, now=datetime.now(UTC), days=days)):
                pass
            return sales

        def batch(size: int, days: int = 0) -> int:
            written = write_batch(connection, random, sales=size, dirt=0.02, now=datetime.now(UTC), days=days)
            connection.commit()
            return written.rows

        measure("generated, not written", lambda: generate(0))
        measure("generated, not written, over a year", lambda: generate(365))
        measure("a large batch, committed", lambda: batch(sales))
        measure("a large batch, over a year, committed", lambda: batch(sales, 365))
        measure("100 batches of 200 sales, each committed", lambda: sum(batch(200) for _ in range(100)))
        measure("recipe: executemany", lambda: insert_many(connection))
        measure("recipe: INSERT by INSERT", lambda: insert_one_by_one(connection))


def measure(what: str, write: Callable[[], int]) -> None:
    """`write` once to warm up, then REPEATS times."""
    write()
    speeds = []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        rows = write()
        speeds.append(rows / (time.perf_counter() - started_at))
    click.echo(f"| {what} | {rows:,} | {median(speeds):,.0f} |")


def recipe() -> Iterator[tuple[object, ...]]:
    """Sales as made with Faker, row by row: every column drawn by itself, so nobody keeps a name or a city."""
    random = Random(1)  # noqa: S311 - not for secrets
    for _ in range(SLOW_ROWS):
        product, category, price = random.choice(world.PRODUCTS)
        ordered_at = datetime.now(UTC) - timedelta(seconds=random.randint(0, 300))
        yield (
            f"{random.choice(world.FIRST_NAMES)} {random.choice(world.LAST_NAMES)}",
            product,
            category,
            random.choice(world.QUANTITIES),
            Decimal(price),
            ordered_at + timedelta(minutes=random.randint(1, 40)),
            random.randint(1, world.PRODUCT_COUNT),
            random.randint(1, 50_000),
            ordered_at,
            Decimal(random.choice(world.DISCOUNTS)),
            Decimal(random.choice(world.SHIPPING_COSTS)),
            *random.choice(world.PLACES),
        )


def insert_many(connection: psycopg.Connection) -> int:
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, recipe())
    connection.commit()
    return SLOW_ROWS


def insert_one_by_one(connection: psycopg.Connection) -> int:
    for row in recipe():
        connection.execute(INSERT, row)
    connection.commit()
    return SLOW_ROWS


@contextmanager
def embedded() -> Iterator[psycopg.Connection]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "postgres")
        server.up()
        try:
            with connect(server.url("application")) as connection:
                yield connection
        finally:
            server.down()
