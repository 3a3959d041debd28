"""`meshflow catalog`. Each command imports what it needs, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path

import click

GATEWAY = click.option("--gateway", help="SQLMesh gateway.  [default: the project's]")
RUNS = click.option(
    "--runs",
    "environment",
    metavar="ENVIRONMENT",
    help="Show last runs, audit results and freshness of this environment, from the warehouse of --gateway.",
)


@click.group()
def catalog() -> None:
    """Models and columns with descriptions and lineage, in one HTML file that needs no server."""


@catalog.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="data/catalog",
    show_default=True,
    help="Folder for index.html.",
)
@GATEWAY
@RUNS
def build(output: Path, gateway: str | None, environment: str | None) -> None:
    """Write the catalog to a folder. Open its index.html, or publish the folder."""
    from meshflow.catalog.site import write

    html, count = _build(gateway, environment)
    try:
        target = write(html, output)
    except OSError as error:
        raise click.ClickException(f"The catalog can't be written to {output}: {error.strerror}") from None
    click.echo(f"Wrote a catalog of {count} models to {target} ({target.stat().st_size / 1e6:.1f} MB)")


@catalog.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for a free port.")
@GATEWAY
@RUNS
def serve(port: int, gateway: str | None, environment: str | None) -> None:
    """Build the catalog and serve it on localhost until Ctrl-C."""
    from meshflow.catalog.site import server

    html, count = _build(gateway, environment)
    try:
        httpd = server(html, port)
    except OSError as error:
        raise click.ClickException(f"Can't listen on port {port}: {error.strerror}. Try --port 0") from None
    with httpd:
        click.echo(f"Serving a catalog of {count} models at http://127.0.0.1:{httpd.server_port}/ until Ctrl-C")
        try:
            httpd.serve_forever()
        except KeyboardInterrupt:
            click.echo()


def _build(gateway: str | None, environment: str | None) -> tuple[str, int]:
    """The HTML of the project in this folder, and its number of models."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from sqlmesh.core.environment import Environment

    from meshflow import settings
    from meshflow.catalog.contents import Reader
    from meshflow.catalog.operations import read_operations
    from meshflow.catalog.site import page
    from meshflow.project import open_project

    now = datetime.now(UTC)
    reader = Reader(open_project(gateway, reads_state=False), now)
    contents = reader.catalog()
    if environment:
        name = Environment.sanitize_name(environment)
        contents = replace(contents, operations=read_operations(reader.gateway, name, settings.data(), now))
    return page(contents), len(contents.models)
