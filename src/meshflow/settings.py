"""The settings of the sources, the loader and SQLMesh's state."""

import os
from pathlib import Path
from typing import Any

import click
from dotenv import set_key
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meshflow.environment import ENV_FILE, data_folder, make_private, require_supported
from meshflow.postgres import address
from meshflow.snowflake import TIMEOUTS, login
from meshflow.source.server import Server


def data() -> Path:
    """The absolute path of the folder of the databases.

    Raises click.ClickException if `data_folder` does, or if nothing can be written to it.
    """
    folder = data_folder().resolve()
    require_supported(folder)  # dlt writes the absolute path into SQL
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.ClickException(f"{folder} can't be written: set MESHFLOW_DATA to a folder of your own")
    return folder


def server() -> Server:
    return Server(data() / "postgres")


def own_server() -> bool:
    """Whether the source database is on a server of your own and not on the embedded one."""
    return bool(os.environ.get("MESHFLOW_SOURCE_URL"))


def own_state() -> str | None:
    """The connection string of SQLMesh's state on a server of your own; None if that is the embedded one, or none."""
    host, password = os.environ.get("MESHFLOW_STATE_HOST"), os.environ.get("MESHFLOW_STATE_PASSWORD")
    if not host or server().has_password("sqlmesh", password):
        return None
    names = {"port": "PORT", "user": "USER", "dbname": "DATABASE", "sslmode": "SSLMODE"}
    found = {name: os.environ.get(f"MESHFLOW_STATE_{variable}") for name, variable in names.items()}
    return make_conninfo(host=host, password=password, **{name: value for name, value in found.items() if value})


def source_url() -> str:
    """The URL of the sources: MESHFLOW_SOURCE_URL, else the embedded server as the owner of the tables."""
    return os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("source")


def loader_url() -> str:
    """The URL of the loader: MESHFLOW_LOADER_URL, else MESHFLOW_SOURCE_URL, else the embedded server as `loader`."""
    return os.environ.get("MESHFLOW_LOADER_URL") or os.environ.get("MESHFLOW_SOURCE_URL") or _embedded("loader")


def loader_role() -> str | None:
    """The loader's role on a server of your own, which needs read access; None without MESHFLOW_LOADER_URL.

    Raises click.ClickException if the URL is none, or names no role.
    """
    url = os.environ.get("MESHFLOW_LOADER_URL")
    if not url or not address(url):
        return None
    role = conninfo_to_dict(url).get("user") or os.environ.get("PGUSER")
    if not role:
        raise click.ClickException("MESHFLOW_LOADER_URL names no role: write postgresql://user:password@host:port/name")
    return str(role)


def snowflake() -> dict[str, Any]:
    """The loader's credentials for Snowflake, as dlt takes them: a key, an OAuth token, or a GitHub job's identity.

    Raises click.ClickException, naming the variables, if something is missing.
    """
    loader = login("LOADER", warehouse="TRANSFORM", keyless=True)
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
    elif loader.private_key:
        credentials |= {"private_key": loader.private_key, "private_key_passphrase": loader.passphrase or None}
    else:
        credentials |= {"authenticator": "workload_identity"}
    if loader.host:
        credentials["query"] |= {"host": loader.host, "port": loader.port}
    return credentials


def write_state_settings(embedded: Server) -> None:
    """Write the connection to SQLMesh's state to .env; all other lines stay as they are.

    If .env is a link, its target is written. Raises click.ClickException if it can't be written.
    """
    try:
        ENV_FILE.touch(0o600)
        make_private(ENV_FILE)
        for name, value in embedded.state.items():
            set_key(ENV_FILE, name, value, quote_mode="never", follow_symlinks=True)
    except OSError as error:
        raise click.ClickException(f"{ENV_FILE.resolve()} can't be written: {error.strerror}") from None


def _embedded(role: str) -> str:
    embedded = server()
    if not embedded.exists:
        raise click.ClickException(
            "There is no source database yet: run `meshflow source up`, or set MESHFLOW_SOURCE_URL"
        )
    return embedded.url(role)
