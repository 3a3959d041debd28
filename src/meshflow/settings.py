"""Settings from the environment and from .env, which SQLMesh reads too."""

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
    """The folder of the databases. Raises click.ClickException if it doesn't exist."""
    folder = Path(os.environ.get("MESHFLOW_DATA", "data"))
    if not folder.is_dir():
        raise click.ClickException(
            f"There is no folder {folder.resolve()}: create it, or set MESHFLOW_DATA to one that exists"
        )
    return folder


def server() -> Server:
    return Server(data().resolve() / "postgres")


def own_server() -> bool:
    """Whether the source database is on a server of your own and not on the embedded one."""
    return bool(os.environ.get("MESHFLOW_SOURCE_URL"))


def source_url() -> str:
    """The URL of the sources: MESHFLOW_SOURCE_URL, else the embedded server as the owner of the tables."""
    return os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("source")


def loader_url() -> str:
    """The URL of the loader: MESHFLOW_LOADER_URL, else MESHFLOW_SOURCE_URL, else the embedded server as `loader`."""
    return os.environ.get("MESHFLOW_LOADER_URL") or os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("loader")


def loader_role() -> str | None:
    """The loader's role on a server of your own, which needs read access; None without MESHFLOW_LOADER_URL."""
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
            # The statement of a killed load is aborted, which releases its lock on the table.
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


def write_state_settings(embedded: Server) -> None:
    """Write the connection to SQLMesh's state to .env; all other lines stay as they are."""
    ENV_FILE.touch()
    ENV_FILE.chmod(0o600)  # a copy of .env.example is readable by everybody
    for name, value in embedded.state.items():
        set_key(ENV_FILE, name, value, quote_mode="never")


def _embedded(role: str) -> str:
    embedded = server()
    if not embedded.exists:
        raise click.ClickException(
            "There is no source database yet: run `meshflow source up`, or set MESHFLOW_SOURCE_URL"
        )
    return embedded.url(role)
