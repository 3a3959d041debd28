"""One batch of traffic for each scheduled event of AWS EventBridge, as infra/aws/template.yaml deploys it.

The environment holds all there is to set:

- PGHOST, PGPORT, PGDATABASE, PGSSLROOTCERT: libpq's own;
- PGSSLMODE: libpq's own, but verify-full where it isn't set;
- MESHFLOW_SECRET_ARN: the secret that RDS keeps for the owner of the tables, JSON with `username` and `password`;
- MESHFLOW_SALES: sales in a batch; MESHFLOW_FAULT_RATE: share of them with a fault, 0 to 1.
"""

import json
import logging
import os
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from numpy.random import default_rng

from meshflow.source.schema import install
from meshflow.source.traffic import write_batch

logger = logging.getLogger(__name__)

TIMEOUT = 60
"""Seconds that the template gives a batch. A Lambda out of time may leave its connection open: PostgreSQL then ends the
transaction itself, or loads would wait for its rows until TCP gives up, hours later."""


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Write the batch due at `event["time"]`, all or nothing, and return that time and the counts of `Written`.

    What the batch holds follows from that time and the rows that are there. An event that EventBridge delivers twice,
    as it may, makes two batches of one time.
    Raises ValueError if `event` is not a scheduled one, and what psycopg and boto3 raise; none of them quotes a secret.
    """
    now = scheduled_time(event)
    install_once()
    with connect() as connection:  # commits, or rolls back if anything is raised
        written = write_batch(
            connection,
            default_rng(int(now.timestamp())),
            sales=int(os.environ["MESHFLOW_SALES"]),
            fault_rate=float(os.environ["MESHFLOW_FAULT_RATE"]),
            now=now,
        )
    batch = {"time": now.isoformat(), **asdict(written)}
    logger.info("wrote a batch", extra={"batch": batch})
    return batch


def scheduled_time(event: dict[str, Any]) -> datetime:
    """When `event` was due; aware. Raises ValueError if it isn't a scheduled event of EventBridge."""
    try:
        time = datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("Not a scheduled event of EventBridge: its `time` has to be such as 2026-11-01T10:03:00Z")
    return time


@cache
def install_once() -> None:
    """Create the tables if they are missing; once for each start of a Lambda, because it waits for others who write."""
    with connect() as connection:
        install(connection)


def connect() -> psycopg.Connection:
    """A new connection as the owner of the tables, in UTC.

    New for each batch, every few minutes: RDS changes the password every week, and may have restarted in between.
    """
    import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - in AWS Lambda's runtime, not this project's

    secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["MESHFLOW_SECRET_ARN"])
    owner = json.loads(secret["SecretString"])
    return psycopg.connect(
        user=owner["username"],
        password=owner["password"],
        sslmode=os.environ.get("PGSSLMODE", "verify-full"),
        connect_timeout=10,
        options=f"-c timezone=UTC -c transaction_timeout={TIMEOUT}s",
    )
