"""Where things are: from the environment, and from .env, which SQLMesh reads too."""

import os
from pathlib import Path
from typing import Any

import click
from dotenv import set_key
from psycopg.conninfo import conninfo_to_dict

from meshflow.postgres import address
from meshflow.snowflake import TIMEOUTS, login
from meshflow.source.server import Server

ENV_FILE = Path(".env")


def data() -> Path:
    """The folder of databases. Raises click.ClickException if there is none."""
    folder = Path(os.environ.get("MESHFLOW_DATA", "data"))
    if not folder.is_dir():
        raise click.ClickException(
            f"There is no folder {folder.resolve()}: make it, or set MESHFLOW_DATA to one that exists"
        )
    return folder


def server() -> Server:
    return Server(data().resolve() / "postgres")


def own_server() -> bool:
    """Whether the sources live on a server of your own and not on the embedded one."""
    return bool(os.environ.get("MESHFLOW_SOURCE_URL"))


def source_url() -> str:
    """Where the sources write: MESHFLOW_SOURCE_URL, else the embedded server as the role that owns the tables."""
    return os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("source")


def loader_url() -> str:
    """Where the loader reads: MESHFLOW_LOADER_URL, else MESHFLOW_SOURCE_URL, else the embedded server as the loader."""
    return os.environ.get("MESHFLOW_LOADER_URL") or os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("loader")


def loader_role() -> str | None:
    """The role to grant reading to on a server of your own, if it has one for the loader."""
    url = os.environ.get("MESHFLOW_LOADER_URL")
    return str(conninfo_to_dict(url)["user"]) if url and address(url) else None


def snowflake() -> dict[str, Any]:
    """The loader's credentials for Snowflake, as dlt takes them: a user's key, or an OAuth token.

    Raises click.ClickException, naming the variables, if something is missing.
    """
    loader = login("LOADER", warehouse="LOAD")
    credentials: dict[str, Any] = {
        "host": loader.account,
        "username": loader.user,
        "role": loader.role,
        "warehouse": loader.warehouse,
        "database": "RAW",
        "query": {
            # What a killed load had running stops, and with it its lock on the table.
            "session_parameters": {"QUERY_TAG": "meshflow load", "ABORT_DETACHED_QUERY": True},
            **TIMEOUTS,
        },
    }
    if loader.token:
        credentials |= {"authenticator": "oauth", "token": loader.token}
    else:
        credentials |= {"private_key": loader.private_key, "private_key_passphrase": loader.passphrase or None}
    if loader.host:
        credentials["query"] |= {"host": loader.host, "port": loader.port}
    return credentials


def note_state(embedded: Server) -> None:
    """Write where SQLMesh's state is to .env, leaving everything else there as it is."""
    ENV_FILE.touch()
    ENV_FILE.chmod(0o600)  # a copy of .env.example is everybody's to read
    for name, value in embedded.state.items():
        set_key(ENV_FILE, name, value, quote_mode="never")


def _embedded(role: str) -> str:
    embedded = server()
    if not embedded.exists:
        raise click.ClickException(
            "There are no sources yet: `meshflow source up` starts them, or set MESHFLOW_SOURCE_URL"
        )
    return embedded.url(role)
