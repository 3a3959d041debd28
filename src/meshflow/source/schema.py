"""The sources' tables, and what the loader may do with them."""

from contextlib import suppress
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg import sql

SCHEMAS = ("edtech", "retail")


def install(connection: psycopg.Connection) -> None:
    """Create whatever of the sources' tables is missing; nothing changes if all are there.

    `connection` is that of the owner-to-be. Commits.
    """
    with connection.transaction():
        connection.execute(files("meshflow.source").joinpath("schema.sql").read_bytes())
    # Shows the owner the sessions of other roles, for meshflow.oldest_write(). Without the right to grant it, loads are
    # still exact but read more than they need.
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute("GRANT pg_read_all_stats TO CURRENT_USER")


def admit_loader(connection: psycopg.Connection, role: str) -> None:
    """Let `role` read the sources' tables and ask for the oldest open write: all that a load needs. Commits."""
    reader = sql.Identifier(role)
    with connection.transaction():
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA meshflow TO {}").format(reader))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION meshflow.oldest_write() TO {}").format(reader))
        for schema in map(sql.Identifier, SCHEMAS):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, reader))
            connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, reader))


def contents(connection: psycopg.Connection) -> list[tuple[str, int, int, datetime | None]]:
    """Of each table: name, rows, of which deleted, and when it was last written."""
    tables = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
    count = sql.SQL("SELECT {}, count(*), count(deleted_at), max(updated_at) FROM {}")
    query = sql.SQL(" UNION ALL ").join(count.format(table, sql.Identifier(*table.split("."))) for table in tables)
    return connection.execute(query).fetchall()
