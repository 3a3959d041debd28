"""What stands in a folder: a commit, never executed here."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click


@dataclass(frozen=True)
class Checkout:
    """A commit and the folder that it is checked out in."""

    path: Path
    sha: str
    tree: str
    parents: list[str]

    @classmethod
    def at(cls, path: Path) -> Self:
        """Raises click.ClickException if `path` is no clean checkout."""
        # Of the commit itself: in a shallow clone, git log says that there are no parents.
        lines = git(path, "cat-file", "commit", "HEAD").partition("\n\n")[0].splitlines()
        fields = [line.split(" ", 1) for line in lines]
        if changed := git(path, "status", "--porcelain", "--untracked-files=no"):
            raise click.ClickException(f"{path} is not as it was checked out:\n{changed}")
        return cls(
            path,
            git(path, "rev-parse", "HEAD"),
            next(value for name, value in fields if name == "tree"),
            [value for name, value in fields if name == "parent"],
        )


def git(path: Path, *arguments: str) -> str:
    """What git answers. Raises click.ClickException if it doesn't."""
    command = ["git", "-C", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - commands of this file
    if done.returncode:
        raise click.ClickException(f"{path}: git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
