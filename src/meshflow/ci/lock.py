"""The prod lock: one process at a time changes prod, on GitHub or elsewhere."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import click
import psycopg2  # type: ignore[import-untyped]
import psycopg2.errors  # type: ignore[import-untyped]

LOCK_NAME = "meshflow prod"
POOLER_ERROR = "unsupported startup parameter"
"""PgBouncer's, for SESSION_OPTIONS."""

# Both ends notice within a minute that the other has died without closing the session, such as a stopped runner.
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
SESSION_OPTIONS = "-c timezone=UTC -c idle_session_timeout=0 " + " ".join(
    f"-c tcp_{key}={value}" for key, value in KEEPALIVE.items()
)


@dataclass(frozen=True)
class Lock:
    """The exclusive right to change prod, as long as the session in SQLMesh's state database lives."""

    _session: "psycopg2.extensions.connection"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """For `pass_fds` of a subprocess that changes prod: it keeps the session, and so the lock, open.

        If this process is killed, the subprocess continues. Prod stays locked until that has ended too.
        """
        return (self._session.fileno(),)

    def check(self) -> None:
        """Raises click.ClickException if the session has ended, which releases the lock."""
        try:
            with self._session.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            raise click.ClickException(f"The prod lock was lost: {_reason(error)}") from None


@contextmanager
def prod_lock(purpose: str, wait: float = 0) -> Iterator[Lock | str]:
    """Lock prod for the block, after waiting up to `wait` seconds.

    It is a PostgreSQL advisory lock in SQLMesh's state database (MESHFLOW_STATE_…). The server releases it when the
    session ends, even if this process is killed. A pooler must not share the session among transactions.
    If another process has the lock, yields its holder as text:
    `deploy #12 on runner-7, process 812, since 2026-11-21 14:00:00 UTC`.
    Raises click.ClickException if the server can't be reached.
    """
    name = f"{purpose} on {socket.gethostname()}, process {os.getpid()}"
    with closing(_connect(name)) as session, session.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(1, round(wait * 1000))}ms"])
        try:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [LOCK_NAME])
        except psycopg2.errors.LockNotAvailable:
            yield _holder(cursor)
        else:
            yield Lock(session)


def _holder(cursor: "psycopg2.extensions.cursor") -> str:
    cursor.execute(
        """
        SELECT application_name || ', since ' || to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
        FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND granted AND pg_database.datname = current_database()
          AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 0)
        """,
        [LOCK_NAME],
    )
    row = cursor.fetchone()
    return str(row[0]) if row else "a process that has just ended"


def _connect(name: str) -> "psycopg2.extensions.connection":
    def get(part: str, default: str | None = None) -> str:
        value = os.environ.get(f"MESHFLOW_STATE_{part}", default)
        if not value:
            raise click.ClickException(f"MESHFLOW_STATE_{part} isn't set: the prod lock is in SQLMesh's state database")
        return value

    host, port, database = get("HOST"), get("PORT", "5432"), get("DATABASE")
    try:
        session = psycopg2.connect(
            host=host,
            port=port,
            user=get("USER"),
            password=get("PASSWORD"),
            dbname=database,
            sslmode=get("SSLMODE", "prefer"),
            application_name=name[:63],  # PostgreSQL cuts it there, and sends a notice
            options=SESSION_OPTIONS,
            connect_timeout=10,
            **KEEPALIVE,
        )
    except psycopg2.OperationalError as error:
        advice = ". Connect to PostgreSQL itself, not to a pooler" if POOLER_ERROR in str(error) else ""
        raise click.ClickException(f"SQLMesh's state at {host}:{port}/{database}: {_reason(error)}{advice}") from None
    session.autocommit = True  # a session idle in a transaction would hold back the vacuum
    return session


def _reason(error: psycopg2.Error) -> str:
    """The reason in an error of the server or libpq, without the address that precedes it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition("FATAL:")[2].rpartition("failed: ")[2].strip().rstrip(".")
