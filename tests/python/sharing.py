"""What takes long to make is made once in a session, by the first process that wants it, and copied by the others."""

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
from filelock import FileLock

from meshflow.source.server import Server


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder that `make` makes, or that another process has made."""
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def make_server(home: Path) -> None:
    """A server that has stopped. To be copied."""
    server = Server(home)
    server.up()
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        # A test's server needn't survive, and stopping it would take a minute.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    server.down()
    (home / "port").unlink()  # each copy has a port of its own


def new_server(template: Path, home: Path) -> Server:
    """A copy of the server in the folder `template`, running."""
    subprocess.run(["cp", "-a", f"{template}/.", home], check=True)  # noqa: S607 - as root, the server's files are another user's
    server = Server(home)
    server.up()
    return server
