"""`meshflow source`: the source database on the embedded PostgreSQL, or on a server of your own."""

import errno
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from dotenv import dotenv_values
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sources import SPECIAL_NAME, SourceDatabase, new_database

from meshflow.source.schema import install
from meshflow.source.server import NOBODY_UID, Server

MESHFLOW = Path(sys.executable).with_name("meshflow")


@dataclass(frozen=True)
class Project:
    """A working directory for `meshflow source`."""

    root: Path

    @property
    def server(self) -> Server:
        return Server(self.root / "data" / "postgres")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `meshflow source ARGUMENTS` in a new process and process group."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
        return subprocess.Popen(
            [MESHFLOW, "source", *arguments],
            cwd=self.root,
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run `meshflow source ARGUMENTS`; return exit status, standard output and standard error."""
        process = self.start(*arguments, **environment)
        output, errors = process.communicate()
        return process.returncode, output, errors


@contextmanager
def new_project(root: Path) -> Iterator[Project]:
    (root / "data").mkdir(parents=True)
    (root / "external_models").symlink_to(Path(__file__).parents[2] / "external_models")
    project = Project(root)
    yield project
    project.server.down()


@contextmanager
def watched_processes() -> Iterator[set[bytes]]:
    """Collect the command lines of all processes on the machine during the block, every 5 ms."""
    commands: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # it has ended
                    commands.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield commands
    finally:
        stop.set()
        watcher.join()


@dataclass(frozen=True)
class Installed(Project):
    commands: frozenset[bytes] = frozenset()
    """The command lines of all processes during the first `meshflow source up`."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A project with an existing .env after its first `meshflow source up`. Shared: leave the server running."""
    root = tmp_path_factory.mktemp("installed")
    with new_project(root) as project:
        (root / ".env").write_text("# mine\nMESHFLOW_STATE_PORT=1\nSNOWFLAKE_ACCOUNT='an account'\n")
        with watched_processes() as commands:
            status, output, errors = project.run("up")
        assert (status, errors) == (0, ""), errors
        assert f"127.0.0.1:{project.server.port}" in output
        yield Installed(root, frozenset(commands))


def error_line(status: int, output: str, errors: str) -> str:
    """The error of a failed command: one line, and no other output."""
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("Error: ")
    return line


def passwords(server: Server) -> dict[str, str]:
    return json.loads((server.home / "passwords.json").read_text())


def names(server: Server) -> list[str]:
    """The first names of the students that the loader reads."""
    with closing(psycopg.connect(server.url("loader"))) as connection:
        return [name for (name,) in connection.execute("SELECT first_name FROM edtech.students ORDER BY student_id")]


def write_name(server: Server, name: str) -> None:
    with psycopg.connect(server.url("source")) as connection:
        connection.execute("INSERT INTO edtech.students (first_name) VALUES (%s)", [name])


def postmaster(server: Server) -> str:
    return (server.cluster / "postmaster.pid").read_text().splitlines()[0]


def test_up_writes_the_state_connection_to_env_and_keeps_other_settings(installed: Installed) -> None:
    text = (installed.root / ".env").read_text()
    assert text.startswith("# mine\n")
    settings = dotenv_values(installed.root / ".env")
    assert settings["SNOWFLAKE_ACCOUNT"] == "an account"
    assert settings["MESHFLOW_STATE_PORT"] == str(installed.server.port)
    with closing(
        psycopg.connect(
            host=settings["MESHFLOW_STATE_HOST"],
            port=settings["MESHFLOW_STATE_PORT"],
            user=settings["MESHFLOW_STATE_USER"],
            password=settings["MESHFLOW_STATE_PASSWORD"],
            dbname=settings["MESHFLOW_STATE_DATABASE"],
        )
    ) as connection:
        connection.execute("CREATE SCHEMA sqlmesh_of_a_test")


def test_up_again_changes_nothing(installed: Installed) -> None:
    write_name(installed.server, "Ada")
    files = [installed.root / ".env", installed.server.home / "passwords.json", installed.server.home / "port"]
    before = postmaster(installed.server), [file.read_bytes() for file in files], names(installed.server)
    status, _, errors = installed.run("up")
    assert (status, errors) == (0, "")
    assert (postmaster(installed.server), [file.read_bytes() for file in files], names(installed.server)) == before


def test_status_shows_connection_and_row_counts(installed: Installed) -> None:
    with psycopg.connect(installed.server.url("source")) as connection:
        connection.execute(
            "INSERT INTO retail.sales (order_id, product_id, deleted_at) "
            "SELECT id, 1, CASE WHEN id <= 34 THEN now() END FROM generate_series(1, 1234) AS id"
        )
    status, output, errors = installed.run("status")
    assert (status, errors) == (0, "")
    assert f"source@127.0.0.1:{installed.server.port}/source" in output
    words = {line.split()[0]: line.split() for line in output.splitlines() if "retail.sales" in line}
    assert words["retail.sales"][1:3] == ["1,234", "34"]
    assert f"{datetime.now(UTC):%Y-%m-%d}" in words["retail.sales"]


def test_rows_and_port_stay_the_same_after_down_and_up(installed: Installed) -> None:
    write_name(installed.server, "Grace")
    before = installed.server.port, names(installed.server)
    assert installed.run("down") == (0, "PostgreSQL is stopped\n", "")
    assert not installed.server.is_running
    for command in ("status", "psql"):
        assert os.strerror(errno.ECONNREFUSED) in error_line(*installed.run(command))
    assert installed.run("down")[0] == 0, "a second `down` should succeed"
    assert installed.run("up")[0] == 0
    assert (installed.server.port, names(installed.server)) == before


def test_up_uses_and_records_another_port_if_its_own_is_in_use(installed: Installed) -> None:
    write_name(installed.server, "Emmy")
    port, before = installed.server.port, names(installed.server)
    installed.server.down()
    with socket.create_server(("127.0.0.1", port)):
        status, output, errors = installed.run("up")
    assert (status, errors) == (0, "")
    assert installed.server.port != port
    assert f"127.0.0.1:{installed.server.port}" in output
    assert dotenv_values(installed.root / ".env")["MESHFLOW_STATE_PORT"] == str(installed.server.port)
    assert names(installed.server) == before


def test_up_restarts_a_server_that_crashed(installed: Installed) -> None:
    write_name(installed.server, "Lise")
    before = names(installed.server)
    os.kill(int(postmaster(installed.server)), signal.SIGQUIT)
    while installed.server.is_running:
        time.sleep(0.01)
    assert installed.run("up")[0] == 0
    assert names(installed.server) == before


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the server's user may signal. It has as many arguments as are compared."""
    become = ["setpriv", f"--reuid={NOBODY_UID}", f"--regid={NOBODY_UID}", "--clear-groups"]
    with subprocess.Popen([*(become if os.geteuid() == 0 else []), "sleep", "600", "0"]) as process:
        # Otherwise pg_ctl would wait for its number to disappear.
        threading.Thread(target=process.wait).start()
        yield process
        process.kill()


def test_up_and_down_spare_a_process_that_has_the_number_of_a_dead_server(
    installed: Installed, stranger: subprocess.Popen[bytes]
) -> None:
    write_name(installed.server, "Sofja")
    before = names(installed.server)
    lock = installed.server.cluster / "postmaster.pid"
    _, *rest = lock.read_text().splitlines(keepends=True)
    installed.server.down()

    lock.write_text("".join([f"{stranger.pid}\n", *rest]))
    assert installed.run("down") == (0, "PostgreSQL is stopped\n", "")
    assert installed.run("up")[0] == 0
    assert postmaster(installed.server) != str(stranger.pid)
    assert names(installed.server) == before
    assert stranger.poll() is None, "the process got a signal"


def test_down_spares_the_server_whose_folder_was_copied(installed: Installed, tmp_path: Path) -> None:
    copied = Server(tmp_path / "copied")
    copied.cluster.mkdir(parents=True)
    for name in ("PG_VERSION", "postmaster.pid"):
        shutil.copy(installed.server.cluster / name, copied.cluster / name)
    assert not copied.is_running
    copied.down()
    assert installed.server.is_running


def test_the_server_runs_without_a_home_and_in_a_folder_with_special_characters(tmp_path: Path) -> None:
    with new_project(tmp_path / SPECIAL_NAME) as project:
        assert project.run("up", HOME="/dev/null/home")[0] == 0
        write_name(project.server, "Mary")
        assert project.run("psql", "-Atc", "SELECT first_name FROM edtech.students") == (0, "Mary\n", "")
        assert project.run("down")[0] == 0
        assert not project.server.is_running


def test_psql_opens_the_source_database_without_a_password_on_its_command_line(installed: Installed) -> None:
    assert installed.run("psql", "-Atc", "SELECT current_user, current_database()") == (0, "source|source\n", "")
    status, command, errors = installed.run("psql", "-c", r"\! tr '\0' '\n' < /proc/$PPID/cmdline")
    assert (status, errors) == (0, "")
    assert f"port={installed.server.port}" in command
    assert passwords(installed.server)["source"] not in command


def test_the_error_of_a_server_that_does_not_start_contains_the_reason(installed: Installed) -> None:
    installed.server.down()
    settings = installed.server.cluster / "postgresql.auto.conf"
    before = settings.read_bytes()
    settings.write_bytes(before + b"shared_preload_libraries = 'nonsense'\n")
    error = error_line(*installed.run("up"))
    settings.write_bytes(before)
    assert installed.run("up")[0] == 0
    assert str(installed.server.home) in error
    assert 'FATAL: could not access file "nonsense"' in error


def test_only_the_owner_can_read_passwords(installed: Installed) -> None:
    for file in (installed.root / ".env", installed.server.home / "passwords.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(installed.server.cluster.stat().st_mode) == 0o700


def test_passwords_appear_in_no_other_file_and_no_command_line(installed: Installed) -> None:
    by_role = passwords(installed.server)
    assert set(by_role) == {"postgres", "source", "loader", "sqlmesh"}
    files = [path for path in (installed.root / "data").rglob("*") if path.is_file()]
    assert installed.server.cluster / "log" in files
    assert any(b"initdb" in command for command in installed.commands)
    assert any(command.endswith(b"source\0up\0") for command in installed.commands)
    for role, password in by_role.items():
        assert len(password) >= 32, role
        assert [path for path in files if password.encode() in path.read_bytes()] == [
            installed.server.home / "passwords.json"
        ]
        assert not [command for command in installed.commands if password.encode() in command], role


def test_git_ignores_env_and_data(project: Path) -> None:
    git = shutil.which("git")
    ignored = subprocess.run(
        [git, "check-ignore", ".env", "data/postgres/passwords.json"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.split() == [".env", "data/postgres/passwords.json"]


def test_no_file_of_the_repository_contains_a_url_with_a_password(project: Path) -> None:
    git = shutil.which("git")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    url = re.compile(rb"\w+://[^\s/:@'\"]*:([^\s/@]+)@")
    placeholder = re.compile(rb"password|\{.*\}|p")
    found = {
        (name, password)
        for name in listed.stdout.splitlines()
        if (project / name).is_file()
        for password in url.findall((project / name).read_bytes())
        if not placeholder.fullmatch(password)
    }
    assert not found


def test_two_concurrent_ups_create_one_server(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        both = [project.start("up"), project.start("up")]
        for process in both:
            output, errors = process.communicate()
            assert (process.returncode, errors) == (0, "")
            assert f"127.0.0.1:{project.server.port}" in output
        assert names(project.server) == []


def test_up_completes_a_first_up_that_was_killed(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        first = project.start("up")
        while not (project.server.home / "unfinished" / "PG_VERSION").exists():
            assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        assert not project.server.exists
        assert "There is no source database yet: run `meshflow source up`" in error_line(*project.run("status"))
        assert project.run("up")[0] == 0
        assert names(project.server) == []
        left = {path.name for path in project.server.home.iterdir()}
        assert not left & {"unfinished", "postgres.password", "passwords.unfinished"}


def test_an_unprivileged_user_can_run_the_server_in_a_private_folder(tmp_path: Path) -> None:
    home = tmp_path / "closed" / "postgres"
    home.parent.mkdir(mode=0o700)
    server = "import sys, pathlib; from meshflow.source.server import Server; Server(pathlib.Path(sys.argv[1]))"
    become: list[str] = []
    if os.geteuid() == 0:
        daemon = pwd.getpwnam("daemon")
        os.chown(home.parent, daemon.pw_uid, daemon.pw_gid)
        # Python may be in root's home, so the server needs to read all files, also for access(), which initdb calls.
        capabilities = [
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
            "--securebits=+no_setuid_fixup",
        ]
        become = ["setpriv", f"--reuid={daemon.pw_uid}", f"--regid={daemon.pw_gid}", "--clear-groups", *capabilities]
    subprocess.run([*become, sys.executable, "-c", f"{server}.up()", home], check=True)
    try:
        assert names(Server(home)) == []
        owner = home.parent.stat().st_uid
        assert Path(f"/proc/{postmaster(Server(home))}").stat().st_uid == owner != 0
    finally:
        subprocess.run([*become, sys.executable, "-c", f"{server}.down()", home], check=True)
    assert not Server(home).is_running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up capabilities")
def test_root_in_a_container_can_run_the_server(tmp_path: Path) -> None:
    docker_defaults = (
        "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,"
        "+mknod,+audit_write,+setfcap"
    )
    become = ["setpriv", f"--bounding-set=-all,{docker_defaults}"]
    program = "import sys, pathlib; from meshflow.source.server import Server; Server(pathlib.Path(sys.argv[1])).up()"
    server = Server(tmp_path / "closed" / "postgres")
    server.home.parent.mkdir(mode=0o700)
    subprocess.run([*become, sys.executable, "-c", program, server.home], check=True)
    assert names(server) == []
    server.down()


@pytest.fixture
def own(postgres: Server, tmp_path: Path) -> Iterator[tuple[Project, dict[str, str]]]:
    """A project with its own source server, without tables. The loader's role and password have special characters."""
    role, password = f"the loader@{uuid4().hex[:8]}", "%41:/@ '\""
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        connection.execute(create)
    database = new_database(postgres, "source")
    address = f"127.0.0.1:{postgres.port}/{database}"
    with new_project(tmp_path) as project:
        yield (
            project,
            {
                "MESHFLOW_SOURCE_URL": postgres.url("source", database),
                "MESHFLOW_LOADER_URL": f"postgresql://{quote(role, safe='')}:{quote(password, safe='')}@{address}",
            },
        )


def test_up_creates_nothing_on_a_source_of_your_own_and_starts_a_server_for_the_state(
    own: tuple[Project, dict[str, str]], postgres: Server
) -> None:
    project, environment = own
    relations = "SELECT oid::regclass::text FROM pg_class UNION ALL SELECT nspname FROM pg_namespace ORDER BY 1"
    with closing(psycopg.connect(environment["MESHFLOW_SOURCE_URL"], autocommit=True)) as source:
        before = source.execute(relations).fetchall()
        for _ in range(2):
            status, output, errors = project.run("up", **environment)
            assert (status, errors) == (0, "")
            assert "Nothing is created in it" in output
            assert "PostgreSQL is running at sqlmesh@127.0.0.1" in output
            settings = dotenv_values(project.root / ".env")
            project.run("down", **environment)
        project.run("up", **environment)
        assert source.execute(relations).fetchall() == before
    with closing(psycopg.connect(project.server.url("sqlmesh", "sqlmesh"))) as state:
        assert settings["MESHFLOW_STATE_DATABASE"] == "sqlmesh"
        roles = state.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin ORDER BY 1").fetchall()
        assert roles == [("postgres",), ("sqlmesh",)]
    assert project.run("down", **environment)[0] == 0
    assert not project.server.is_running
    assert postgres.is_running


def test_up_keeps_a_state_of_your_own(own: tuple[Project, dict[str, str]], postgres: Server) -> None:
    project, environment = own
    port = int(environment["MESHFLOW_SOURCE_URL"].split(":")[-1].split("/")[0])
    state = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "sqlmesh", "DATABASE": "sqlmesh"}
    state["PASSWORD"] = conninfo_to_dict(postgres.url("sqlmesh", "sqlmesh"))["password"]
    variables = {f"MESHFLOW_STATE_{name}": value for name, value in state.items()}
    status, output, _ = project.run("up", **environment, **variables)
    assert status == 0
    assert f"SQLMesh's state is your own: sqlmesh@127.0.0.1:{port}/sqlmesh" in output
    message = error_line(*project.run("up", **environment, **variables | {"MESHFLOW_STATE_PASSWORD": "another"}))
    assert "SQLMesh's state can't be reached. " in message
    assert "password authentication failed" in message
    assert not (project.root / ".env").exists()
    assert not project.server.home.exists()
    assert "server of your own" in error_line(*project.run("down", **environment))


def test_the_tables_of_the_demo_are_created_on_request_and_the_loader_may_read_them(
    own: tuple[Project, dict[str, str]],
) -> None:
    project, environment = own
    for _ in range(2):
        status, output, errors = project.run("install-demo", **environment)
        assert (status, errors) == (0, "")
        assert "The demo's tables are ready at source@127.0.0.1" in output
    with closing(psycopg.connect(environment["MESHFLOW_LOADER_URL"], autocommit=True)) as loader:
        for table in ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales"):
            assert loader.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)
    assert project.run("status", **environment)[0] == 0


def test_an_error_of_your_own_server_is_printed_in_one_line(
    own: tuple[Project, dict[str, str]], postgres: Server
) -> None:
    project, environment = own
    assert 'relation "edtech.students" does not exist' in error_line(1, "", project.run("status", **environment)[2])
    nobody = {**environment, "MESHFLOW_LOADER_URL": f"postgresql://nobody:p@127.0.0.1:{postgres.port}/postgres"}
    assert 'role "nobody" does not exist' in error_line(*project.run("install-demo", **nobody))
    assert 'password authentication failed for user "nobody"' in error_line(*project.run("up", **nobody))
    nameless = {**environment, "MESHFLOW_LOADER_URL": f"postgresql://127.0.0.1:{postgres.port}/postgres"}
    assert "MESHFLOW_LOADER_URL names no role" in error_line(*project.run("install-demo", **nameless))
    foreign = {**environment, "MESHFLOW_SOURCE_URL": postgres.url("source", "sqlmesh")}
    assert 'permission denied for database "sqlmesh"' in error_line(*project.run("install-demo", **foreign))


def test_the_error_names_a_missing_data_folder(tmp_path: Path) -> None:
    assert f"There is no folder {tmp_path}/data" in error_line(*Project(tmp_path).run("up"))


def test_the_database_sets_created_at_and_updated_at_and_ignores_other_values(source: SourceDatabase) -> None:
    wrong = "'1999-01-01', '1999-01-01'"
    ((before,),) = source.execute("SELECT clock_timestamp()")
    source.execute(f"INSERT INTO edtech.students (first_name, created_at, updated_at) VALUES ('Ada', {wrong})")
    ((created, updated),) = source.execute("SELECT created_at, updated_at FROM edtech.students")
    assert before < created <= updated

    source.execute(f"UPDATE edtech.students SET last_name = 'Lovelace', (created_at, updated_at) = ({wrong})")
    ((still_created, later),) = source.execute("SELECT created_at, updated_at FROM edtech.students")
    assert still_created == created
    assert later > updated


@pytest.mark.parametrize("table", ["edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales"])
def test_updated_at_is_the_time_of_the_write_and_not_of_the_transaction(source: SourceDatabase, table: str) -> None:
    columns, values = ("order_id, product_id", "1, 1") if table == "retail.sales" else ("created_at", "NULL")
    with psycopg.connect(source.url) as connection:
        connection.execute("SELECT 1")
        ((between,),) = source.execute("SELECT clock_timestamp()")
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})".encode())
        assert connection.execute("SELECT now() < %s", [between]).fetchone() == (True,)
    ((created, updated),) = source.execute(f"SELECT created_at, updated_at FROM {table}")
    assert between < created <= updated


@pytest.mark.parametrize(
    "statement",
    [
        *(
            statement.format(table)
            for table in ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
            for statement in (
                "INSERT INTO {} DEFAULT VALUES", "UPDATE {} SET deleted_at = now()", "DELETE FROM {}", "TRUNCATE {}",
                "SELECT * FROM {} FOR UPDATE", "ALTER TABLE {} ADD it int", "CREATE INDEX ON {} (created_at)",
            )
        ),
        *(f"CREATE TABLE {schema}.it (it int)" for schema in ("edtech", "retail", "meshflow", "public")),
        "CREATE SCHEMA it",
        "CREATE ROLE it",
        "SELECT nextval('retail.order_ids')",
        "COPY retail.sales TO PROGRAM 'cat'",
        "SELECT * FROM pg_authid",
        "CREATE OR REPLACE FUNCTION meshflow.set_updated_at() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
    ],
)  # fmt: skip
def test_the_loader_can_only_read_the_tables(source: SourceDatabase, statement: str) -> None:
    with (
        closing(psycopg.connect(source.loader_url)) as loader,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)),
    ):
        loader.execute(statement.encode())


def test_the_loader_cannot_connect_to_the_state_where_it_could_take_the_lock_of_prod(postgres: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match='permission denied for database "sqlmesh"'):
        psycopg.connect(postgres.url("loader", "sqlmesh"))


def test_the_loader_sees_no_queries_of_other_roles(source: SourceDatabase) -> None:
    with closing(psycopg.connect(source.url)) as writer, closing(psycopg.connect(source.loader_url)) as loader:
        writer.execute("SELECT 'a secret'")
        queries = loader.execute("SELECT query, xact_start FROM pg_stat_activity WHERE usename = 'source'").fetchall()
        assert set(queries) == {("<insufficient privilege>", None)}


def test_an_upgrade_drops_the_function_that_ran_with_the_rights_of_its_owner(source: SourceDatabase) -> None:
    source.execute(
        "CREATE FUNCTION meshflow.oldest_write() RETURNS timestamptz LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT min(granted::text)::timestamptz FROM pg_locks'"
    )
    with closing(psycopg.connect(source.url)) as connection:
        install(connection)
    assert source.execute("SELECT proname FROM pg_proc WHERE prosecdef AND proname = 'oldest_write'") == []


def test_no_function_runs_with_the_rights_of_its_owner(source: SourceDatabase) -> None:
    """One that did could be made to use a caller's pg_temp objects."""
    functions = source.execute(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND pronamespace <> 'pg_catalog'::regnamespace"
    )
    assert functions == []
