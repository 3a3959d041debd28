"""Build what takes long once a session: the first process that needs it builds it, the others copy it."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
from filelock import FileLock

from meshflow.source.server import Server


def build_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder` once `make` has filled it, here or in another process."""
    marker = folder.with_name(f"{folder.name}.built")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left behind by a process that failed
            folder.mkdir()
            make(folder)
            marker.touch()
    return folder


def make_server(home: Path) -> None:
    """Make a server in the folder `home` and stop it. Tests copy it."""
    server = Server(home)
    server.up()
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        # A test's server needn't survive a crash, and with fsync it would take a minute to stop.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    server.down()
    (home / "port").unlink()  # each copy gets a port of its own


def new_server(template: Path, home: Path) -> Server:
    """Copy the server in the folder `template` to `home` and start it."""
    subprocess.run(["cp", "-a", f"{template}/.", home], check=True)  # noqa: S607 - as root, the server's files are another user's
    server = Server(home)
    server.up()
    return server
