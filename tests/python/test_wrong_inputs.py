"""Every command with wrong inputs: one line on standard error, an exit status, no traceback, and nothing built.

Commands and options come from click's own definition, so a new command or option is tested, or fails this file until it
is. Most cases run in this process, in a project without models.
"""

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner, Result

from meshflow.cli import main

CLOSED = "127.0.0.1:1"
"""A port on which nothing listens."""

PARTS = ("config.yaml", "audits", "external_models", "linter", "macros", "materializations", "signals")

PASSWORD = "quark"  # noqa: S105  # pragma: allowlist secret - of no server

STATE = {
    "MESHFLOW_STATE_HOST": "127.0.0.1",
    "MESHFLOW_STATE_PORT": "1",
    "MESHFLOW_STATE_USER": "sqlmesh",
    "MESHFLOW_STATE_PASSWORD": PASSWORD,
    "MESHFLOW_STATE_DATABASE": "sqlmesh",
}

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands below `group`, with their names, such as `source status`."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands(main))


@dataclass(frozen=True)
class Wrong:
    """Arguments and the folder and variables of `situation` that are wrong, and what the error line has to contain."""

    arguments: tuple[str, ...] = ()
    situation: str = "project"
    message: str = ""


def from_definition(command: click.Command) -> list[Wrong]:
    """Wrong inputs of the command's parameters, as click defines them."""
    if command.context_settings.get("ignore_unknown_options"):
        return []  # it passes all arguments on
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    found = [("--nope",)]
    if all(one.nargs == 1 for one in arguments):
        found.append(("x",) * (len(arguments) + 1))
    for option in (one for one in command.params if isinstance(one, click.Option)):
        name = option.opts[-1]
        if option.is_flag:
            found.append((f"{name}=1",))
            continue
        found.append((name,))
        is_any_text = isinstance(option.type, click.types.StringParamType)
        if not is_any_text and not (isinstance(option.type, click.Path) and not option.type.exists):
            found.append((name, "no-such"))
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType) and name != "--seed":
            found.append((name, "-1"))
        if isinstance(option.type, click.types.FloatParamType):
            found.append((name, "nan"))
    return [Wrong(one) for one in found]


ENV_FILES = [Wrong((), name, ".env isn't plain UTF-8") for name in ("UTF-16", "byte order mark", "NUL")]
DATA = [
    Wrong((), "no data", "There is no folder"),
    Wrong((), "data is a file", "There is no folder"),
    Wrong((), "data of all users", "is for all users"),
    Wrong((), "data in quotes", "Databases can't be in"),
]
URLS = [
    Wrong((), "source is closed", os.strerror(errno.ECONNREFUSED)),
    Wrong((), "source is unknown", "failed to resolve host"),
    Wrong((), "source is no URL", "is no URL"),
    Wrong((), "bare @ in the password", "is no URL"),
]
SOURCE = [*URLS, Wrong((), "project", "There is no source database yet")]
CONFIGURATION = [
    Wrong((), "models", "No SQLMesh project in"),
    Wrong((), "config is no YAML", "config.yaml can't be read"),
    Wrong((), "config is no Jinja", "config.yaml can't be read"),
    Wrong((), "config has an unknown setting", "Invalid field 'default_gatewy'"),
]
GATEWAYS = [
    Wrong(("--gateway", "nope"), "project", "There is no gateway 'nope': choose from local"),
    Wrong(("--gateway", "live"), "project", "Gateway live isn't set up yet: run `meshflow source up`"),
    Wrong(("--gateway", "snowflake"), "project", "Gateway snowflake isn't set up yet: set MESHFLOW_SNOWFLAKE_ACCOUNT"),
]
LOCAL = ("--gateway", "local")
FILES = [
    Wrong(LOCAL, "a model is broken", "fct_sales.sql"),
    Wrong(LOCAL, "a unit test is broken", "tests/models/retail/test_fct_sales.yaml can't be read"),
    Wrong(LOCAL, "a macro is broken", "broken.py"),
]
BUSY = Wrong(LOCAL, "warehouse is open elsewhere", "local_analytics.duckdb open, and DuckDB lets one process in")
NO_STATE = Wrong(("--gateway", "live"), "state is closed", f"SQLMesh's state, sqlmesh@{CLOSED}/sqlmesh")
RUNS = [
    *(Wrong((*LOCAL, "--runs", one), "project", "Gateway local has no warehouse to read from") for one in ("", "'")),
    Wrong((*LOCAL, "--runs", ""), "an empty warehouse", "There is no environment ''"),
    Wrong((*LOCAL, "--runs", "Feature/X"), "an empty warehouse", "There is no environment 'feature_x'"),
    Wrong((*LOCAL, "--runs", "prod"), "a warehouse that is none", "local_analytics.duckdb can't be read"),
    *(Wrong((*one.arguments, "--runs", "prod"), one.situation, one.message) for one in GATEWAYS),
]
CLONE = ("--path", ".")
CONFIGURED = [Wrong(("x",), one.situation) for one in CONFIGURATION]
JOB = [
    Wrong((), "project", "isn't set: this command is for a job of GitHub Actions"),
    Wrong((), "no event", "event.json: No such file or directory"),
    Wrong((), "event is no JSON", "JSONDecodeError"),
]


def job(*arguments: str) -> list[Wrong]:
    """Wrong inputs of a command of a job that needs these arguments and the event of a pull request."""
    return [*ENV_FILES, *(Wrong(arguments, one.situation, one.message) for one in JOB)]


WRONG: dict[str, list[Wrong]] = {
    "examples": [
        *ENV_FILES, *CONFIGURATION, DATA[0], Wrong((), BUSY.situation, BUSY.message),
        Wrong(("Feature/ABC-12.x",), "project", "There is no environment 'feature_abc_12_x' on gateway local"),
    ],
    "sample": [
        *ENV_FILES, Wrong(("config.yaml",), "project", "is a file"),
        Wrong(("config.yaml/seeds",), "project", "config.yaml"),
        Wrong(("/proc/nope",), "project", "/proc/nope"), Wrong(("x" * 300,), "project", "File name too long"),
        Wrong(("a\0b",), "project", "null"), Wrong(("source",), "a file instead of a folder", "edtech"),
    ],
    "source up": [*ENV_FILES, *DATA, *URLS],
    "source down": [*ENV_FILES, *DATA, Wrong((), "source is closed", "on a server of your own")],
    "source install-demo": [*ENV_FILES, *DATA, *SOURCE],
    "source status": [*ENV_FILES, *DATA, *SOURCE],
    "source add": [
        *ENV_FILES, *[Wrong(("public.orders",), one.situation, one.message) for one in SOURCE],
        Wrong((), "project", "Name a table"),
    ],
    "source check": [*ENV_FILES, *DATA, *SOURCE],
    "source psql": [*ENV_FILES, *DATA, *SOURCE],
    "generate": [*ENV_FILES, *DATA, *SOURCE],
    "load": [
        *ENV_FILES, *DATA, *SOURCE, Wrong(("--only", "retail.orders"), "project", "There is no table retail.orders"),
    ],
    "reconcile": [*ENV_FILES, *DATA, *SOURCE],
    "report": [
        *ENV_FILES, Wrong(("--to", "fax"), "project", "'fax' is not one of"),
        Wrong(("--page", "sales"), "project", "'sales' is not one of"),
        Wrong(("--output", "config.yaml"), "project", "is a file"),
    ],
    "freshness": [
        *ENV_FILES, *CONFIGURATION, *GATEWAYS, NO_STATE,
        Wrong(("nope", *LOCAL), "project", "There is no environment 'nope' on gateway local"), BUSY,
    ],
    "audit": [
        *ENV_FILES, *CONFIGURATION, *GATEWAYS, *FILES, BUSY,
        Wrong(LOCAL, "project", "There is no prod on gateway local yet"),
    ],
    "demo": [*ENV_FILES, *DATA, Wrong((), "source is closed", "`meshflow source up` failed: see above")],
    "catalog build": [*ENV_FILES, *CONFIGURATION, *GATEWAYS[:1], *FILES[1:2], *RUNS],
    "catalog serve": [
        *ENV_FILES, *CONFIGURATION[:2], *GATEWAYS[:1],
        *(Wrong((*one.arguments, "--port", "0"), one.situation, one.message) for one in RUNS),
        Wrong((*LOCAL, "--port", "65536"), "project", "65536"),
        Wrong((*LOCAL, "--port", "{taken}"), "project", "Can't listen on port"),
    ],
    "catalog export": [
        *ENV_FILES, *(Wrong(("--format", "dbt"), one.situation, one.message) for one in CONFIGURATION[:2]),
        Wrong((), "project", "Missing option '--format'"), Wrong(("--format", "csv"), "project", "'csv' is not one of"),
    ],
    "catalog diff": [
        *ENV_FILES, Wrong(("config.yaml", "nope"), "project", "does not exist"),
        Wrong(("config.yaml", "config.yaml"), "project", "It isn't a catalog"),
        Wrong((), "project", "Missing argument 'BEFORE'"), Wrong(("data",), "project", "Missing argument 'AFTER'"),
        Wrong(("data", "data"), "project", "data/index.html can't be read: No such file or directory"),
    ],
    "ci admit": [*job(*CLONE), Wrong((*CLONE, "--path", "config.yaml"), "project", "is a file")],
    "ci merge": [
        *ENV_FILES, Wrong((*CLONE, "--main", "x", "--sha", "y"), "project", "git"),
        Wrong((*CLONE, "--main", "x"), "project", "Missing option '--sha'"),
    ],
    "ci gate": job(),
    "ci deploy": job(*CLONE, "--sha", "x"),
    "ci alert": [
        *ENV_FILES, Wrong(("failed", "--workflow", "Run"), "project", "isn't set: this command is for a job"),
        Wrong(("fails", "--workflow", "Run"), "project", "'fails' is not one of"),
        Wrong(("failed",), "project", "Missing option '--workflow'"),
        Wrong(("--workflow", "Run"), "project", "Missing argument"),
    ],
    "ci apply": [*ENV_FILES, *(Wrong((), one.situation) for one in CONFIGURATION), Wrong(("--gateway", "nope"))],
    "ci invalidate": [*ENV_FILES, *CONFIGURED, Wrong(("pr_1", "--gateway", "nope"))],
    "ci janitor": [*ENV_FILES, *(Wrong((), one.situation) for one in CONFIGURATION), Wrong(("--gateway", "nope"))],
    "ci export": [*ENV_FILES, *CONFIGURED, Wrong(("x.json", "--gateway", "nope"))],
    "ci lint": [
        *ENV_FILES, Wrong(CLONE, "project", "Missing option '--output'"),
        Wrong((*CLONE, "--output", "data"), "project", "is a directory"),
        Wrong(("--path", "config.yaml", "--output", "x.json"), "project", "is a file"),
    ],
    "ci build": [
        *ENV_FILES, Wrong((*CLONE, "--number", "1"), "project", "Missing option '--output'"),
        Wrong(("--path", "config.yaml", "--number", "1", "--output", "x.json"), "project", "is a file"),
    ],
    "ci current": job("--number", "1", "--sha", "x")[:4],
    "ci rebuild": [
        *job(), Wrong(("1",), "project", "unexpected extra argument"), Wrong(("--number", "1"), "project", "--number"),
    ],
    "ci report": job(
        "--number", "1", "--sha", "x", "--main", "x", "--results", "data", "--test", "success", "--build", "success",
    )[:4],
    "plan": [
        *ENV_FILES, *CONFIGURATION, *GATEWAYS, Wrong(("dev", "--nope"), "project", "No such option"),
        Wrong(("dev", "x"), "project", "unexpected extra argument"),
    ],
    "run": [
        *ENV_FILES, *CONFIGURATION, *GATEWAYS, Wrong(("dev", "--nope"), "project", "No such option"),
        Wrong(("dev", "--load"), "project", "--load needs --gateway"),
    ],
    "ci run": [*ENV_FILES, *(Wrong((), one.situation) for one in CONFIGURATION), Wrong(("--gateway", "nope"))],
}  # fmt: skip


SOURCES = {
    "source is closed": f"postgresql://loader:{PASSWORD}@{CLOSED}/source",
    "source is unknown": f"postgresql://loader:{PASSWORD}@nowhere.invalid/source",
    "source is no URL": PASSWORD,
    "bare @ in the password": f"postgresql://loader:{PASSWORD}@{PASSWORD}@localhost/source",
}
EDITS = {
    "config is no YAML": ("default_gateway: local", "default_gateway: ["),
    "config is no Jinja": ("default_gateway: local", "default_gateway: {{"),
    "config has an unknown setting": ("default_gateway:", "default_gatewy:"),
}
CONTENTS = {
    "UTF-16": (".env", "A=1".encode("utf-16")),
    "byte order mark": (".env", b"\xef\xbb\xbfA=1"),
    "NUL": (".env", b"A=1\0"),
    "a file instead of a folder": ("source/edtech", b""),
    "a model is broken": ("models/retail/fct_sales.sql", b"MODEL (name retail.fct_sales); SELECT FROM"),
    "a unit test is broken": ("tests/models/retail/test_fct_sales.yaml", b"test:\n  model: [retail"),
    "a warehouse that is none": ("data/local_analytics.duckdb", b"no database" * 1_000),
    "a macro is broken": ("macros/broken.py", b"def"),
    "event is no JSON": ("event.json", b"{"),
}
GITHUB = ("API_URL", "TOKEN", "REPOSITORY", "SERVER_URL", "RUN_ID")


def arrange(name: str, folder: Path, project: Path) -> dict[str, str]:
    """Make `folder` the root of a project without models, and what `name` says wrong. Returns the variables."""
    for part in PARTS:
        copy = shutil.copytree if (project / part).is_dir() else shutil.copy
        copy(project / part, folder / part)
    for new in ("data", "o'clock", "models"):
        (folder / new).mkdir()
    if name in EDITS:
        config = folder / "config.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace(*EDITS[name]), encoding="utf-8")
    if name in CONTENTS:
        file, content = CONTENTS[name]
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    if name == "an empty warehouse":
        duckdb.connect(str(folder / "data" / "local_analytics.duckdb")).close()
    (folder / "file").touch()
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o1777)
    data = {"no data": "missing", "data is a file": "file", "data of all users": "shared", "data in quotes": "o'clock"}
    variables = {"MESHFLOW_DATA": str(folder / data.get(name, "data")), "MESHFLOW_SOURCE_URL": SOURCES.get(name, "")}
    if "event" in name:
        variables |= {f"GITHUB_{one}": f"http://{CLOSED}" for one in GITHUB}
        variables["GITHUB_EVENT_PATH"] = str(folder / "event.json")
    return variables | (STATE if name == "state is closed" else {})


@pytest.fixture(scope="module")
def situations(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, str]]]:
    """The folders and variables of all situations, by name."""
    names = {one.situation for found in WRONG.values() for one in found} | {"project"}
    folders = {name: tmp_path_factory.mktemp("wrong") for name in names}
    return {name: (folder, arrange(name, folder, project)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def open_elsewhere(situations: dict[str, tuple[Path, dict[str, str]]]) -> Iterator[None]:
    """The warehouse of one situation is open in another process."""
    file = situations[BUSY.situation][0] / "data" / "local_analytics.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        yield
        process.kill()


CASES = [
    pytest.param(name, one, id=f"{name} {' '.join(one.arguments)[:60]} ({one.situation})".replace("\0", "NUL"))
    for name, command in COMMANDS.items()
    for one in [*from_definition(command), *WRONG.get(name, [])]
]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_ten_wrong_inputs(name: str) -> None:
    assert name in WRONG, "add its wrong inputs"
    assert len({*from_definition(COMMANDS[name]), *WRONG[name]}) >= 10


def test_no_wrong_input_is_of_a_command_that_is_gone() -> None:
    assert WRONG.keys() <= COMMANDS.keys()


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_a_wrong_input_ends_in_one_line(
    name: str,
    wrong: Wrong,
    situations: dict[str, tuple[Path, dict[str, str]]],
    taken_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, variables = situations[wrong.situation]
    for variable in [one for one in os.environ if one.startswith(("MESHFLOW_", "GITHUB_", "SQLMESH_", "PG"))]:
        monkeypatch.delenv(variable)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(folder / "models" if wrong.situation == "models" else folder)
    arguments = [one.format(taken=taken_port) for one in wrong.arguments]
    result = CliRunner().invoke(main, [*name.split(), *arguments])
    assert wrong.message in error_line(result)
    assert PASSWORD not in result.output


def error_line(result: Result) -> str:
    """The only line on standard error, without the word Error."""
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in {1, 2}, result.output
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("Error: ")
