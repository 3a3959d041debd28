"""`meshflow catalog`. Imports wait until a command needs them, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path

import click

GATEWAY = click.option("--gateway", help="SQLMesh's gateway.  [default: the project's]")


@click.group()
def catalog() -> None:
    """Every model and column, described, and where each comes from: one HTML file that works without a server."""


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
    """Write the catalog to a folder: open index.html there, or publish the folder."""
    from meshflow.catalog.site import write

    html, count = _build(gateway)
    try:
        target = write(html, output)
    except OSError as error:
        raise click.ClickException(f"The catalog can't be written to {output}: {error.strerror}") from None
    click.echo(f"{count} models are described in {target}, {target.stat().st_size / 1e6:.1f} MB")


@catalog.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@GATEWAY
def serve(port: int, gateway: str | None) -> None:
    """Build the catalog and show it to this machine until Ctrl-C."""
    from meshflow.catalog.site import server

    html, count = _build(gateway)
    try:
        httpd = server(html, port)
    except OSError as error:
        raise click.ClickException(f"Port {port} can't be listened on: {error.strerror}; try --port 0") from None
    with httpd:
        click.echo(f"{count} models are described at http://127.0.0.1:{httpd.server_port}/ until Ctrl-C")
        try:
            httpd.serve_forever()
        except KeyboardInterrupt:
            click.echo()


def _build(gateway: str | None) -> tuple[str, int]:
    """The page of the project in this folder, and how many models it describes."""
    from datetime import UTC, datetime

    from sqlmesh.core.context import Context
    from sqlmesh.utils.errors import SQLMeshError

    from meshflow.catalog.contents import Reader
    from meshflow.catalog.site import page

    if not any(Path(name).exists() for name in ("config.yaml", "config.yml", "config.py")):
        raise click.ClickException(f"There is no project in {Path.cwd()}: go to the folder that holds config.yaml")
    try:
        contents = Reader(Context(paths=".", gateway=gateway), datetime.now(UTC)).catalog()
    except SQLMeshError as error:
        raise click.ClickException(" ".join(str(error).split())) from None
    return page(contents), len(contents.models)
