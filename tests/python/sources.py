"""The sources of a test, in a database of their own on the server that all tests share."""

from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql

from meshflow.source.schema import admit_loader, install
from meshflow.source.server import Server


@dataclass(frozen=True)
class Sources:
    server: Server
    database: str

    @classmethod
    def new(cls, server: Server) -> "Sources":
        """Empty tables, as `meshflow source up` makes them."""
        sources = cls(server, new_database(server, "source"))
        with closing(psycopg.connect(sources.url)) as connection:
            install(connection)
            admit_loader(connection, "loader")
        return sources

    @property
    def url(self) -> str:
        """The owner's."""
        return self.server.url("source", self.database)

    @property
    def loader_url(self) -> str:
        return self.server.url("loader", self.database)

    @property
    def environment(self) -> dict[str, str]:
        """What makes the `meshflow` command use these sources."""
        return {"MESHFLOW_SOURCE_URL": self.url, "MESHFLOW_LOADER_URL": self.loader_url}

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """As the sources do: one statement, committed."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


def new_database(server: Server, owner: str) -> str:
    name = f"{owner}_{uuid4().hex[:12]}"
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
    return name


def new_state(server: Server) -> dict[str, str]:
    """An empty state for SQLMesh's gateway `live`, as config.yaml asks for it."""
    return {**server.state, "MESHFLOW_STATE_DATABASE": new_database(server, "sqlmesh")}
