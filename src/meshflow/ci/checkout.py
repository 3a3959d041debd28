"""What stands in a folder: a commit, never executed here.

Pull requests are merged with main by ourselves: GitHub makes refs/pull/N/merge anew when the pull request is pushed to,
but not when main moves on (since February 2026), and has none for one that conflicts or is closed.
"""

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

    @classmethod
    def at(cls, path: Path) -> Self:
        """Raises click.ClickException if `path` is no clean checkout."""
        if changed := git(path, "status", "--porcelain", "--untracked-files=no"):
            raise click.ClickException(f"{path} is not as it was checked out:\n{changed}")
        return cls(path, git(path, "rev-parse", "HEAD"), git(path, "rev-parse", "HEAD^{tree}"))

    @classmethod
    def merged(cls, path: Path, main: str, head: str) -> Self:
        """Commit `main` and commit `head` merged, checked out at `path`, a clone that has both.

        Raises ConflictError, or click.ClickException if `path` is no clean checkout or lacks a commit.
        """
        cls.at(path)
        for commit in (main, head):
            git(path, "cat-file", "-e", f"{commit}^{{commit}}")
        git(path, "checkout", "--quiet", "--detach", main)
        try:
            git(path, *MERGER, "merge", "--quiet", "--no-ff", "--no-edit", head)
        except click.ClickException:
            git(path, "merge", "--abort")
            raise ConflictError from None
        return cls.at(path)


class ConflictError(Exception):
    """Two commits that change the same lines."""


MERGER = ("-c", "user.name=meshflow", "-c", "user.email=meshflow@localhost")


def git(path: Path, *arguments: str) -> str:
    """What git answers. Raises click.ClickException if it doesn't."""
    command = ["git", "-C", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - commands of this file
    if done.returncode:
        raise click.ClickException(f"{path}: git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
