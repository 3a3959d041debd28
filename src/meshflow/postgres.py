"""Connections to PostgreSQL, whose errors are one clear line and never show a password."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meshflow.failures import explain

POOLER_ERROR = "unsupported startup parameter"
"""PgBouncer's, for the time zone and other options of a session. In a shared session, a load would lose its lock."""

NO_SSL_ERROR = "server does not support SSL"
"""libpq's, if the URL requires it."""

POOLER_ADVICE = "This is a pooler such as PgBouncer: write the host and port of PostgreSQL itself into the URL"

IS_REQUIRED = """attnotnull AND NOT EXISTS (
    SELECT 1 FROM pg_constraint
    WHERE conrelid = attrelid AND conkey = ARRAY[attnum] AND contype = 'n' AND NOT convalidated
)"""
"""SQL on pg_attribute: whether no row has NULL in the column. From version 18 on, NOT NULL may be NOT VALID."""

FOREIGN = "f"
"""A foreign table in pg_class.relkind."""
FOREIGN_ADVICE = "it is a foreign table, which may change between two queries; load it from its own server"

OPERATIONAL = {"08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"}
"""Classes of SQLSTATE whose messages name objects and settings: `permission denied for table sales`. Others may quote
values, such as 22 and 23."""

LOCAL_HOST = r"(localhost|127\.[\d.]+|::1|/.*|@.*)?"
"""Names and addresses of this machine, and folders of its sockets."""


def connect(url: str, *, autocommit: bool = False) -> psycopg.Connection:
    """Connect to `url`, a libpq URL; in UTC, if it has no options of its own, whatever the environment has.

    Raises click.ClickException with the user, the host and the server's message.
    """
    address(url)
    for name in ("PGTZ", "PGDATESTYLE"):  # libpq would send them, too, and they prevail over options
        os.environ.pop(name, None)
    parameters: dict[str, Any] = {"connect_timeout": 10, "options": "-c timezone=UTC", **conninfo_to_dict(url)}
    try:
        return psycopg.connect(autocommit=autocommit, **parameters)
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None


def address(url: str) -> str:
    """`url` as `user@host:port/database`, without its password.

    Raises click.ClickException if libpq can't parse the URL; libpq's own message would quote it. Where a password has
    a bare @ or /, libpq parses parts of it as host, port and database: those must not be shown either.
    """
    try:
        parts = conninfo_to_dict(url)
        host, port, database = (str(parts.get(name, "")) for name in ("host", "port", "dbname"))
        readable = "@" not in host + database and re.fullmatch(r"[\d,]*", port)
    except psycopg.ProgrammingError:
        readable = None
    if not readable:
        raise click.ClickException(
            "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL: write postgresql://user:password@host:port/name, "
            "with %-escapes for characters such as @ and / in the password"
        )
    user = parts.get("user", "?")
    return f"{user}@{host or 'localhost'}:{port or 5432}/{database or user}"


def identifier(connection: psycopg.Connection, *names: str) -> str:
    """A name, qualified by those before it, in SQL that a person is to execute: quoted only where it must be."""
    statement = "SELECT string_agg(quote_ident(name), '.') FROM unnest(%s::text[]) AS name"
    row = connection.execute(statement, [list(names)]).fetchone()
    return str(row and row[0])


def unverified(url: str) -> str | None:
    """What to say if the identity of the server at `url`, on another machine, isn't verified."""
    address(url)
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    mode = parts.get("sslmode") or os.environ.get("PGSSLMODE", "prefer")
    hosts = (parts.get("host") or parts.get("hostaddr") or "").split(",")
    if mode in {"verify-ca", "verify-full"} or all(re.fullmatch(LOCAL_HOST, host) for host in hosts):
        return None
    return (
        f"The connection to {address(url)} has sslmode={mode}, which doesn't verify the server: another one could "
        "answer instead, and see the password. Add ?sslmode=verify-full&sslrootcert=FILE to the URL, with the file of "
        "its authority's certificate, or sslrootcert=system if that is a public one"
    )


def without_password(url: str) -> tuple[str, str | None]:
    """`url` as a connection string without its password, and the password if it has one."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    password = parts.pop("password", None)
    return make_conninfo(**parts), password


@contextmanager
def clear_errors(url: str) -> Iterator[None]:
    """Raise click.ClickException for any error of PostgreSQL at `url` in the block."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None
    except psycopg.Error as error:
        raise click.ClickException(f"PostgreSQL at {address(url)}: {reason(error)}") from None


def unreachable(url: str, error: Exception) -> click.ClickException:
    """The error for a server at `url` that can't be reached or has closed the connection."""
    if POOLER_ERROR in str(error):
        advice = POOLER_ADVICE
    elif NO_SSL_ERROR in str(error):
        advice = "Enable SSL on the server, or remove sslmode from the URL"
    else:
        advice = "Check that the server is running (`meshflow source up`) and that the URL is right"
    return click.ClickException(f"PostgreSQL at {address(url)}: {reason(error)}. {advice}")


def reason(error: BaseException) -> str:
    """The message of a server or a driver, without the prefix that repeats the address.

    Others may quote a row: of them, what is public.
    """
    state = str(getattr(error, "sqlstate", None) or "")[:2]
    # By name: each driver has its own. Of OSError, only those of the system: Arrow's quote the server.
    is_operational = any(base.__name__ == "OperationalError" for base in type(error).__mro__)
    is_operational |= isinstance(error, OSError) and error.errno is not None
    if state not in OPERATIONAL and (state or not is_operational):
        return explain(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    message = next((line for line in lines if "FATAL:" in line), lines[0])
    return message.rpartition("FATAL:")[2].rpartition("failed: ")[2].strip().rstrip(".")
