"""`meshflow catalog`. Each command imports what it needs, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path

import click

GATEWAY = click.option("--gateway", help="SQLMesh gateway.  [default: the project's]")


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
def build(output: Path, gateway: str | None) -> None:
    """Write the catalog to a folder. Open its index.html, or publish the folder."""
    from meshflow.catalog.site import write

    html, count = _build(gateway)
    try:
        target = write(html, output)
    except OSError as error:
        raise click.ClickException(f"The catalog can't be written to {output}: {error.strerror}") from None
    click.echo(f"Wrote a catalog of {count} models to {target} ({target.stat().st_size / 1e6:.1f} MB)")


@catalog.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for a free port.")
@GATEWAY
def serve(port: int, gateway: str | None) -> None:
    """Build the catalog and serve it on localhost until Ctrl-C."""
    from meshflow.catalog.site import server

    html, count = _build(gateway)
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


def _build(gateway: str | None) -> tuple[str, int]:
    """The HTML of the project in this folder, and its number of models."""
    from datetime import UTC, datetime

    from sqlmesh.core.context import Context
    from sqlmesh.utils.errors import SQLMeshError

    from meshflow.catalog.contents import Reader
    from meshflow.catalog.site import page

    if not any(Path(name).exists() for name in ("config.yaml", "config.yml", "config.py")):
        raise click.ClickException(f"No SQLMesh project in {Path.cwd()}: change to the folder of config.yaml")
    try:
        context = Context(paths=".", gateway=gateway)
        contents = Reader(context, datetime.now(UTC)).catalog()
    except SQLMeshError as error:
        raise click.ClickException(" ".join(str(error).split())) from None
    return page(contents), len(contents.models)
