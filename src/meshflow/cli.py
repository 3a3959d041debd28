"""The `meshflow` command: what SQLMesh's own command doesn't do."""

from pathlib import Path

import click

from meshflow.sample import write


@click.group()
def main() -> None:
    """Everything around the models. The models themselves: `sqlmesh --help`."""


@main.command()
@click.argument("environment", default="prod")
def ask(environment: str) -> None:
    """Ask ENVIRONMENT three questions and print queries and answers."""
    from meshflow.ask import ask as ask_environment  # noqa: PLC0415 - SQLMesh takes 2 s that --help need not wait

    ask_environment(environment)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="seeds")
def sample(directory: Path) -> None:
    """Write the sample rows to DIRECTORY; the same rows every time."""
    write(directory)
