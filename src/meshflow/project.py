"""Opens the SQLMesh project of a checkout, which executes its own models and never the state's."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, overload

import click
from jinja2 import TemplateError
from ruamel.yaml.error import YAMLError
from sqlmesh.core import constants as c
from sqlmesh.core.config import Config, DuckDBConnectionConfig, load_configs
from sqlmesh.core.config.common import ALL_CONFIG_FILENAMES
from sqlmesh.core.context import Context
from sqlmesh.core.environment import Environment
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot
from sqlmesh.utils.errors import SQLMeshError
from sqlmesh.utils.yaml import load as load_yaml

from meshflow.environment import data_folder
from meshflow.state import Project

YAML_ERRORS = (YAMLError, TemplateError, UnicodeDecodeError)
"""What SQLMesh raises for a YAML file that can't be read. It renders Jinja in them."""

SETTINGS = {
    "live": "run `meshflow source up`, or set MESHFLOW_STATE_HOST",
    "snowflake": "set MESHFLOW_SNOWFLAKE_ACCOUNT (docs/runbooks/snowflake-account.md)",
}
"""What defines a gateway that config.yaml has only if a variable is set."""

P = TypeVar("P", bound=Context)


@overload
def open_project(
    gateway: str | None = None, *, path: Path = ..., load: bool = ..., reads_state: bool = ...
) -> Project: ...


@overload
def open_project(
    gateway: str | None = None, *, kind: type[P], path: Path = ..., load: bool = ..., **options: Any
) -> P: ...


def open_project(
    gateway: str | None = None,
    *,
    path: Path = Path(),
    load: bool = True,
    reads_state: bool = True,
    kind: type[Any] = Project,
    **options: Any,
) -> Any:
    """Open the project at `path`, with its models if `load`, on `gateway` or the project's default.

    It is a `kind` of context, made with `options`. Without `reads_state` no database is opened.
    Raises click.ClickException if there is no project or no such gateway, or if a file of the project is wrong.
    """
    if not any((path / name).exists() for name in ALL_CONFIG_FILENAMES):
        raise click.ClickException(f"No SQLMesh project in {path.resolve()}: change to the folder of config.yaml")
    try:
        configs = load_config(path)
        [config] = configs.values()
        gateway = gateway and gateway.lower()  # as SQLMesh does with those of the configuration
        _require_gateway(config, gateway)
        if reads_state and config.get_state_connection(gateway) is None:
            _open_state(config, gateway)
        return kind(paths=str(path), config=configs, gateway=gateway, load=load, **options)
    except SQLMeshError as error:
        raise click.ClickException(" ".join(str(error).split())) from error
    except YAML_ERRORS as error:
        text = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise click.ClickException(f"{_unreadable_file(path) or 'The project'} can't be read: {text}") from error


def load_config(path: Path) -> dict[Path, Config]:
    """SQLMesh's configuration in `path`, with the login of GitHub's jobs to Snowflake, which YAML can't express."""
    configs: dict[Path, Config] = load_configs(None, Config, path)
    for config in configs.values():
        snowflake = config.gateways.get("snowflake")
        connection = snowflake and snowflake.connection
        if connection and snowflake and getattr(connection, "authenticator", None) == "workload_identity":
            from meshflow.keyless import KeylessConnectionConfig  # noqa: PLC0415 - only jobs need its connector

            snowflake.connection = KeylessConnectionConfig(
                **connection.dict(by_alias=True, exclude_computed_fields=True)
            )
    return configs


def count_intervals(snapshot: Snapshot, intervals: int) -> int:
    """How many of `intervals` a model really processes.

    SQLMesh records every hour for every kind, but computes a model that is not incremental once for all of them.
    """
    if not snapshot.is_model:
        return 1
    kind = snapshot.model.kind
    # SQLMesh doesn't call a CUSTOM kind incremental, but replace_by_key is.
    return intervals if kind.is_incremental or kind.is_custom else 1


def find_environment(context: Context, name: str) -> Environment:
    """The environment of that name, which may be written as in `sqlmesh plan`: `Feature/ABC-12.x` is feature_abc_12_x.

    Raises click.ClickException, naming those that exist, if it has never been built.
    """
    name = Environment.sanitize_name(name)
    built = context.state_reader.get_environment(name)
    if built is None:
        known = sorted(known.name for known in context.state_reader.get_environments())
        gateway = context.selected_gateway
        raise click.ClickException(
            f"There is no environment '{name}' on gateway {gateway}: `sqlmesh --gateway {gateway} plan {name}` "
            f"builds it. Built are: {', '.join(known) or 'none yet'}"
        )
    return built


def deployability(built: Environment, snapshots: Collection[Snapshot]) -> DeployabilityIndex:
    """Which of its `snapshots` an environment shows by their own tables, and which by tables for development."""
    if built.name == c.PROD:
        return DeployabilityIndex.all_deployable()
    return DeployabilityIndex.create(snapshots, start=built.start_at)


def _require_gateway(config: Config, gateway: str | None) -> None:
    known = config.gateways if isinstance(config.gateways, dict) else {}
    if gateway is None or gateway in known:
        return
    if gateway in SETTINGS:
        raise click.ClickException(f"Gateway {gateway} isn't set up yet: {SETTINGS[gateway]}")
    raise click.ClickException(f"There is no gateway '{gateway}': choose from {', '.join(sorted(known))}")


def _open_state(config: Config, gateway: str | None) -> None:
    """Open the state in the warehouse, if that is DuckDB's. Raises duckdb.Error if another process has it open.

    SQLMesh ignores that error while it looks for its state, goes on in memory, and finds no environment.
    """
    connection = config.get_connection(gateway)
    if isinstance(connection, DuckDBConnectionConfig):
        data_folder()
        adapter = connection.create_engine_adapter()
        try:
            adapter.cursor  # noqa: B018 - opens it. The context uses the same adapter.
        except Exception:
            adapter.close()
            raise


def _unreadable_file(path: Path) -> Path | None:
    """The configuration or the first file of unit tests that can't be read: SQLMesh doesn't name it."""
    for file in (path / "config.yaml", *sorted((path / "tests").rglob("test*.y*ml"))):
        try:
            load_yaml(file)
        except YAML_ERRORS:
            return file
        except (OSError, SQLMeshError):
            continue
    return None
