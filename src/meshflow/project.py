"""The SQLMesh project in the working directory."""

import os

import click
from sqlmesh.core.context import Context
from sqlmesh.utils.errors import SQLMeshError


def open_project(gateway: str | None = None, *, load: bool = True) -> Context:
    """Open the project, with its models if `load`, on `gateway` or the project's default.

    Raises click.ClickException if the configuration or a model is wrong, or if the gateway has no state yet.
    """
    if gateway == "live" and not os.environ.get("MESHFLOW_STATE_HOST"):
        raise click.ClickException(
            "Gateway live has no state yet: run `meshflow source up`, or set MESHFLOW_STATE_HOST"
        )
    try:
        return Context(paths=".", gateway=gateway, load=load)
    except SQLMeshError as error:
        raise click.ClickException(" ".join(str(error).split())) from None
