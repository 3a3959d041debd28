"""The demo's tables in the source database, and the loader's privileges on them."""

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
