"""`meshflow catalog`. Each command imports what it needs, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from meshflow.catalog.contents import Catalog
    from meshflow.catalog.server import CatalogServer

PATHS = click.option(
    "-p",
    "--paths",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Folder of the SQLMesh project, any project's.  [default: this one]",
)
GATEWAY = click.option("--gateway", help="SQLMesh gateway.  [default: the project's]")
RUNS = click.option(
    "--runs",
    "environment",
    metavar="ENVIRONMENT",
    help="Show last runs, audit results and freshness of this environment, from the warehouse of --gateway.",
)
PROFILE = click.option(
    "--profile",
    "profiled",
    metavar="ENVIRONMENT",
    help="Show rows, NULLs and distinct values of marts and ops, with minimum and maximum where they aren't personal. "
    "They are data: mind where the catalog goes.",
)


@click.group()
def catalog() -> None:
    """Models and columns of any SQLMesh project, with descriptions and lineage, in one HTML file without a server."""


@catalog.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="data/catalog",
    show_default=True,
    help="Folder for index.html.",
)
@PATHS
@GATEWAY
@RUNS
@PROFILE
def build(output: Path, folder: Path, gateway: str | None, environment: str | None, profiled: str | None) -> None:
    """Write the catalog to a folder. Open its index.html, or publish the folder."""
    from meshflow.catalog.site import write

    html, count = _build(folder, gateway, environment, profiled)
    try:
        target = write(html, output)
    except OSError as error:
        raise click.ClickException(f"The catalog can't be written to {output}: {error.strerror}") from None
    click.echo(f"Wrote a catalog of {count} models to {target} ({target.stat().st_size / 1e6:.1f} MB)")


@catalog.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for a free port.")
@click.option("--watch", is_flag=True, help="Build it again when a file of the project changes.")
@PATHS
@GATEWAY
@RUNS
def serve(port: int, folder: Path, gateway: str | None, environment: str | None, *, watch: bool) -> None:
    """Build the catalog and serve it on localhost until Ctrl-C."""
    from threading import Thread

    from meshflow.catalog.server import CatalogServer, ProjectFiles

    try:
        server = CatalogServer(port)
    except OSError as error:
        raise click.ClickException(f"Can't listen on port {port}: {error.strerror}. Try --port 0") from None
    with server:
        project_files = ProjectFiles(folder)  # edits while it is built count
        html, count = _build(folder, gateway, environment)
        server.show(html)
        click.echo(f"Serving a catalog of {count} models at http://127.0.0.1:{server.server_port}/ until Ctrl-C")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            while watch:
                project_files.wait_for_changes()
                _rebuild(server, folder, gateway, environment)
            thread.join()
        except KeyboardInterrupt:
            click.echo()
        finally:
            server.shutdown()


@catalog.command()
@click.option("--format", "format_", type=click.Choice(["openlineage", "dbt"]), required=True, help="Of the files.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="data/catalog",
    show_default=True,
    help="Folder for openlineage.jsonl, or for manifest.json and catalog.json.",
)
@click.option(
    "--namespace",
    help="OpenLineage's namespace of the tables, such as snowflake://org-account.  [default: the project's name]",
)
@PATHS
@GATEWAY
def export(format_: str, output: Path, namespace: str | None, folder: Path, gateway: str | None) -> None:
    """Write the catalog for DataHub, OpenMetadata, Marquez and other tools that read OpenLineage or dbt's artifacts."""
    import json

    from meshflow.catalog.export import Dbt, OpenLineage

    contents = _contents(folder, gateway)
    if format_ == "openlineage":
        events = OpenLineage(contents, namespace or contents.project).events()
        files = {"openlineage.jsonl": "".join(f"{json.dumps(event)}\n" for event in events)}
    else:
        artifacts = Dbt(contents)
        files = {
            "manifest.json": json.dumps(artifacts.manifest()),
            "catalog.json": json.dumps(artifacts.columns()),
        }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"The export can't be written to {output}: {error.strerror}") from None
    click.echo(f"Wrote {len(contents.models)} models to {' and '.join(str(output / name) for name in files)}")


BUILT = click.Path(exists=True, path_type=Path)


@catalog.command()
@click.argument("before", type=BUILT)
@click.argument("after", type=BUILT)
def diff(before: Path, after: Path) -> None:
    """Print what differs between two built catalogs, BEFORE and AFTER: folders, or files index.html."""
    from meshflow.catalog.diff import differences

    found = differences(_read(before), _read(after))
    for name, lines in found.items():
        click.echo(f"{name}\n" + "".join(f"  {line}\n" for line in lines))
    click.echo(f"{len(found)} of the models differ" if found else "The catalogs are equal")


def _read(built: Path) -> dict[str, Any]:
    from meshflow.catalog.site import read

    file = built / "index.html" if built.is_dir() else built
    try:
        return read(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise click.ClickException(f"{file} can't be read: {error}. Build it with `meshflow catalog build`") from None


def _rebuild(server: "CatalogServer", folder: Path, gateway: str | None, environment: str | None) -> None:
    """Serve the project as it is now, or the last good catalog if it can't be loaded."""
    from meshflow.error_lines import one_line_errors

    try:
        with one_line_errors():
            html, count = _build(folder, gateway, environment)
    except click.ClickException as error:
        click.echo(f"Serving the last good catalog: {error.format_message()}", err=True)
    except SystemExit as error:  # of a macro
        click.echo(f"Serving the last good catalog: a file of the project calls exit({error.code})", err=True)
    else:
        server.show(html)
        click.echo(f"Built a catalog of {count} models. Reload the page")


def _build(folder: Path, gateway: str | None, environment: str | None, profiled: str | None = None) -> tuple[str, int]:
    """The HTML of the project in a folder, and its number of models."""
    from meshflow.catalog.site import page

    contents = _contents(folder, gateway, environment, profiled)
    return page(contents), len(contents.models)


def _contents(
    folder: Path, gateway: str | None, environment: str | None = None, profiled: str | None = None
) -> "Catalog":
    """The catalog of the project in a folder, with the runs of one environment and the profile of another if given."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from sqlmesh.core.environment import Environment

    from meshflow.catalog.contents import Reader
    from meshflow.catalog.operations import read_operations
    from meshflow.catalog.profile import profiled_columns, read_profile
    from meshflow.environment import data_folder
    from meshflow.project import open_project

    now = datetime.now(UTC)
    reader = Reader(open_project(gateway, path=folder, reads_state=False), now)
    contents = reader.catalog()
    if environment is not None:
        name = Environment.sanitize_name(environment)
        contents = replace(contents, operations=read_operations(reader.gateway, name, data_folder().resolve(), now))
    if profiled is not None:
        name = Environment.sanitize_name(profiled)
        tables = profiled_columns(reader.context.models.values())
        contents = replace(contents, profile=read_profile(reader.gateway, name, data_folder().resolve(), now, tables))
    return contents
