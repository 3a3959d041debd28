"""One batch of traffic for each scheduled event of AWS EventBridge, as infra/aws/template.yaml deploys it.

All settings are environment variables:

- PGHOST, PGPORT, PGDATABASE, PGSSLROOTCERT: libpq's variables;
- PGSSLMODE: libpq's variable, by default verify-full;
- MESHFLOW_SECRET_ARN: the RDS secret of the owner of the tables, JSON with `username` and `password`;
- MESHFLOW_SALES: order lines per batch; MESHFLOW_FAULT_RATE: share of new rows with a fault, 0 to 1.
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
"""The template's timeout of a batch in seconds. A Lambda that times out may leave its connection open. PostgreSQL then
ends the transaction; otherwise loads would wait for its rows until TCP times out, hours later."""


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Write the batch scheduled for `event["time"]` in one transaction; return that time and its `RowCounts`.

    That time and the existing rows determine the batch. EventBridge may deliver an event twice, which writes two
    batches with the same time.
    Raises ValueError if `event` is no scheduled event, and the errors of psycopg and boto3, which contain no secret.
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
    """The scheduled time of `event`, timezone-aware. Raises ValueError if it is no scheduled event of EventBridge."""
    try:
        time = datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(
            "Not a scheduled event of EventBridge: `time` must be a timestamp such as 2026-11-01T10:03:00Z"
        )
    return time


@cache
def install_once() -> None:
    """Create missing tables. Runs once per Lambda start, because it waits for the locks of other transactions."""
    with connect() as connection:
        install(connection)


def connect() -> psycopg.Connection:
    """A new connection as the owner of the tables, in UTC.

    Each batch opens a new one, every few minutes: RDS rotates the password weekly and may restart at any time.
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
