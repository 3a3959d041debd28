"""The source tables, and the loader's privileges on them."""

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


def grant_loader_access(connection: psycopg.Connection, role: str) -> None:
    """Grant `role` all that a load needs: to read the source tables. Commits."""
    grantee = sql.Identifier(role)
    with connection.transaction():
        for schema in map(sql.Identifier, SCHEMAS):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, grantee))
            connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, grantee))


def table_counts(connection: psycopg.Connection) -> list[tuple[str, int, int, datetime | None]]:
    """For each source table: its name, row count, count of soft-deleted rows, and newest updated_at."""
    tables = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
    count = sql.SQL("SELECT {}, count(*), count(deleted_at), max(updated_at) FROM {}")
    query = sql.SQL(" UNION ALL ").join(count.format(table, sql.Identifier(*table.split("."))) for table in tables)
    return connection.execute(query).fetchall()
