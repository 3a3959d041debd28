"""A source database per test, on the server that all tests share."""

from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql

from meshflow.source.schema import grant_loader_access, install
from meshflow.source.server import Server

SPECIAL_NAME = """sp ace"$HOME`id`\\{a}: #b 😀[1]*"""
"""A folder's name with characters that are special in shells, YAML, Jinja or file patterns."""


@dataclass(frozen=True)
class SourceDatabase:
    server: Server
    database: str

    @classmethod
    def new(cls, server: Server, options: str = "") -> "SourceDatabase":
        """A database with the empty tables of the demo. `options` are those of CREATE DATABASE."""
        source = cls(server, new_database(server, "source", options))
        with closing(psycopg.connect(source.url)) as connection:
            install(connection)
            grant_loader_access(connection, "loader")
        return source

    @property
    def url(self) -> str:
        """The URL for the owner of the tables."""
        return self.server.url("source", self.database)

    @property
    def loader_url(self) -> str:
        return self.server.url("loader", self.database)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make the `meshflow` command use this database."""
        return {"MESHFLOW_SOURCE_URL": self.url, "MESHFLOW_LOADER_URL": self.loader_url}

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Execute one statement as the owner and commit."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


def new_database(server: Server, owner: str, options: str = "") -> str:
    name = f"{owner}_{uuid4().hex[:12]}"
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        statement = sql.SQL("CREATE DATABASE {} OWNER {} {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(owner), sql.SQL(options)))
    return name


def new_state(server: Server) -> dict[str, str]:
    """A new state database for gateway `live`, as the variables that config.yaml reads."""
    return {**server.state, "MESHFLOW_STATE_DATABASE": new_database(server, "sqlmesh")}
