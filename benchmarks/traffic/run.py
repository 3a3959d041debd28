"""Measure how many rows a second the traffic generator writes, compared with rows made one at a time.

Starts a PostgreSQL of its own. The results go to benchmarks/results/traffic.json and, as a table, to the README in
this folder.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import psycopg
from process import machine, now, summarize, versions
from report import publish
from traffic.report import table

from meshflow import reference_data
from meshflow.postgres import connect
from meshflow.source.schema import install
from meshflow.source.server import Server
from meshflow.source.traffic import copy_texts, sale_rows, write_batch

INSERT = """INSERT INTO retail.sales (
    order_id, cust_name, product, product_category, quantity, price, purchased_at, product_id, customer_id,
    order_date_at, discount, shipping_cost, city, province, country
  ) VALUES (nextval('retail.order_ids'), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


@dataclass(frozen=True)
class Settings:
    sales: int = 200_000
    """Order lines in a large batch."""
    small: int = 200
    """Order lines in a small batch, of which there are a hundred."""
    one_at_a_time: int = 10_000
    """Rows that are made one at a time; more would take minutes."""
    repeat: int = 5
    """Repetitions of each step, after a warm-up."""


SMOKE = Settings(sales=2_000, small=20, one_at_a_time=200, repeat=1)


@click.command()
@click.option("--sales", default=Settings.sales, show_default=True, help="Order lines in a large batch.")
@click.option("--repeat", default=Settings.repeat, show_default=True, help="Repetitions of each step.")
@click.option("--smoke", is_flag=True, help="Few rows, once; the results are only printed.")
def traffic(*, smoke: bool, **settings: int) -> None:
    """Measure the traffic generator against rows made one at a time."""
    publish("traffic", measure(SMOKE if smoke else Settings(**settings)), table, smoke=smoke)


def measure(settings: Settings) -> dict[str, Any]:
    """Run every step."""
    started, circumstances = now(), machine()
    with _source() as connection:
        install(connection)
        random = np.random.default_rng(1)
        write_batch(connection, random, sales=0, fault_rate=0, now=datetime.now(UTC))
        connection.commit()

        def generate(days: int) -> int:
            for _ in copy_texts(sale_rows(random, settings.sales, np.arange, now=datetime.now(UTC), days=days)):
                pass
            return settings.sales

        def batch(size: int, days: int = 0) -> int:
            written = write_batch(connection, random, sales=size, fault_rate=0.02, now=datetime.now(UTC), days=days)
            connection.commit()
            return written.rows

        writers: dict[str, tuple[str, Callable[[], int]]] = {
            "generated": ("generated, not written", lambda: generate(0)),
            "generated_year": ("generated, not written, over a year", lambda: generate(365)),
            "large": ("a large batch, committed", lambda: batch(settings.sales)),
            "large_year": ("a large batch, over a year, committed", lambda: batch(settings.sales, 365)),
            "small": (
                f"100 batches of {settings.small} sales, each committed",
                lambda: sum(batch(settings.small) for _ in range(100)),
            ),
            "executemany": ("one at a time: executemany", lambda: insert_many(connection, settings.one_at_a_time)),
            "insert": ("one at a time: one INSERT each", lambda: insert_each(connection, settings.one_at_a_time)),
        }
        steps = {name: _speed(what, write, settings.repeat) for name, (what, write) in writers.items()}
        [(server,)] = connection.execute("SHOW server_version")
    return {
        "date": started,
        "machine": circumstances,
        "versions": {"PostgreSQL": server, **versions("numpy", "psycopg")},
        "settings": asdict(settings),
        "steps": steps,
    }


def _speed(what: str, write: Callable[[], int], times: int) -> dict[str, Any]:
    """Call `write` once as a warm-up, then so many times; it returns the rows it has written."""
    rows, speeds = write(), []
    for _ in range(times):
        started = time.perf_counter()
        rows = write()
        speeds.append(rows / (time.perf_counter() - started))
    click.echo(f"{what}: {max(speeds):,.0f} rows/s", err=True)
    return {"what": what, "rows": rows, "rows_per_second": summarize(speeds)}


def independent_rows(rows: int) -> Iterator[tuple[object, ...]]:
    """Sales as made with Faker, one at a time: every column is drawn independently.

    So a customer has another name and city in each row. random.choice draws the values, which is faster than Faker.
    """
    random = Random(1)  # noqa: S311 - not for secrets
    for _ in range(rows):
        product, category, price = random.choice(reference_data.PRODUCTS)
        ordered_at = datetime.now(UTC) - timedelta(seconds=random.randint(0, 300))
        yield (
            f"{random.choice(reference_data.FIRST_NAMES)} {random.choice(reference_data.LAST_NAMES)}",
            product,
            category,
            random.choice(reference_data.QUANTITIES),
            Decimal(price),
            ordered_at + timedelta(minutes=random.randint(1, 40)),
            random.randint(1, reference_data.PRODUCT_COUNT),
            random.randint(1, 50_000),
            ordered_at,
            Decimal(random.choice(reference_data.DISCOUNTS)),
            Decimal(random.choice(reference_data.SHIPPING_COSTS)),
            *random.choice(reference_data.LOCATIONS),
        )


def insert_many(connection: psycopg.Connection, rows: int) -> int:
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, independent_rows(rows))
        written = cursor.rowcount
    connection.commit()
    return written


def insert_each(connection: psycopg.Connection, rows: int) -> int:
    written = sum(connection.execute(INSERT, row).rowcount for row in independent_rows(rows))
    connection.commit()
    return written


@contextmanager
def _source() -> Iterator[psycopg.Connection]:
    """A connection to a temporary PostgreSQL, as the owner of the source database."""
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
        server = Server(Path(folder) / "postgres")
        server.up()
        try:
            with connect(server.url("source")) as connection:
                yield connection
        finally:
            server.down()
