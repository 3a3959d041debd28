"""A git commit checked out in a folder. Nothing in it is executed here.

Pull requests are merged with main here. GitHub updates refs/pull/N/merge after a push to the pull request, but not
after a push to main (since February 2026). A pull request that conflicts or is closed has no such ref.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import click

DOCUMENTS = ("docs/*", "*.md", "LICENSE")
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Checkout:
    """A commit and the folder that it is checked out in."""

    path: Path
    sha: str
    tree: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """Raises click.ClickException if `path` is not a clean checkout."""
        if changed := git(path, "status", "--porcelain", "--untracked-files=no"):
            raise click.ClickException(f"{path} has uncommitted changes:\n{changed}")
        return cls(path, git(path, "rev-parse", "HEAD"), git(path, "rev-parse", "HEAD^{tree}"))

    @classmethod
    def merge(cls, path: Path, main: str, head: str) -> Self:
        """Merge commits `main` and `head` in `path`, a clone that has both, and leave the result checked out.

        Raises ConflictError, or click.ClickException if `path` is not a clean checkout or lacks a commit.
        """
        cls.at(path)
        for commit in (main, head):
            git(path, "cat-file", "-e", f"{commit}^{{commit}}")
        git(path, "checkout", "--quiet", "--detach", main)
        try:
            git(path, *COMMITTER, "merge", "--quiet", "--no-ff", "--no-edit", head)
        except click.ClickException:
            git(path, "merge", "--abort")
            raise ConflictError from None
        return cls.at(path)


class ConflictError(Exception):
    """Two commits that change the same lines."""


def changes_besides_documents(path: Path, main: str) -> list[str]:
    """The files that differ between HEAD in the clone `path` and commit `main`, without those that no command reads."""
    changed = git(path, "diff", "--name-only", "--no-renames", "-z", main, "HEAD").split("\0")
    return [one for one in changed if one and not (is_utf8(one) and any(fnmatchcase(one, name) for name in DOCUMENTS))]


COMMITTER = ("-c", "user.name=meshflow", "-c", "user.email=meshflow@localhost")


def git(path: Path, *arguments: str) -> str:
    """Return what git prints in `path`. Raises click.ClickException if git fails.

    Bytes that aren't UTF-8 become surrogates, as in Python's paths: no two paths become the same text.
    """
    done = run_git(path, *arguments)
    if done.returncode:
        raise click.ClickException(f"{path}: git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def run_git(path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in `path`. It gets no token, and no program of this machine's configuration.

    The `.gitattributes` of a change names filters, which git runs when it checks out a file. GitHub's runners may have
    one: that of LFS sends requests to the address in the change's `.lfsconfig`.
    """
    command = ["git", "-C", str(path), *arguments]
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_LFS_SKIP_SMUDGE": "1"}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
    return subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603 - see the callers


def is_utf8(path: str) -> bool:
    """Whether a path that `git` returned is UTF-8."""
    return not SURROGATES.search(path)
