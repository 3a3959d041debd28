"""What takes long to make is made once in a session, by the first process that wants it, and copied by the others."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
from filelock import FileLock

from meshflow.source.server import Server


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder` once `make` has filled it, here or in another process."""
    made = folder.with_name(f"{folder.name}.made")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # where a process failed
            folder.mkdir()
            make(folder)
            made.touch()
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
