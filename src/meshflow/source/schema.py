"""The source tables, and the loader's privileges on them."""

from contextlib import suppress
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg import sql

SCHEMAS = ("edtech", "retail")


def install(connection: psycopg.Connection) -> None:
    """Create the source tables that are missing. Existing tables stay as they are.

    The role of `connection` becomes their owner. Commits.
    """
    with connection.transaction():
        connection.execute(files("meshflow.source").joinpath("schema.sql").read_bytes())
    # Lets meshflow.oldest_write() see the sessions of other roles. If the owner may not grant it, loads are still exact
    # but read more than they need.
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute("GRANT pg_read_all_stats TO CURRENT_USER")


def grant_loader_access(connection: psycopg.Connection, role: str) -> None:
    """Grant `role` all that a load needs: to read the source tables and call meshflow.oldest_write(). Commits."""
    grantee = sql.Identifier(role)
    with connection.transaction():
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA meshflow TO {}").format(grantee))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION meshflow.oldest_write() TO {}").format(grantee))
        for schema in map(sql.Identifier, SCHEMAS):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, grantee))
            connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, grantee))


def table_counts(connection: psycopg.Connection) -> list[tuple[str, int, int, datetime | None]]:
    """For each source table: its name, row count, count of soft-deleted rows, and newest updated_at."""
    tables = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
    count = sql.SQL("SELECT {}, count(*), count(deleted_at), max(updated_at) FROM {}")
    query = sql.SQL(" UNION ALL ").join(count.format(table, sql.Identifier(*table.split("."))) for table in tables)
    return connection.execute(query).fetchall()
