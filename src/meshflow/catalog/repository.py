"""Where the project's files can be read on the web."""

import re
import subprocess
from pathlib import Path

REMOTE = re.compile(r"(?:(?:https?|ssh)://(?:[^@/]+@)?|[^@/:]+@)([\w.-]+)(?::\d+)?[/:](.+?)(?:\.git)?/?")
"""The host and the path of a remote, as `https://host/path`, `ssh://git@host/path` and `git@host:path`."""


def files_address(folder: Path) -> str:
    """The address of the files in `folder` at its commit, such as `https://github.com/acme/shop/blob/0f3c…/`.

    GitHub's and GitLab's. Empty if the folder isn't in a repository, or none of its remotes has the commit.
    """
    try:
        if not _git(folder, "for-each-ref", "--contains", "HEAD", "--count", "1", "refs/remotes"):
            return ""
        remote = REMOTE.fullmatch(_git(folder, "remote", "get-url", "origin"))
        commit, prefix = _git(folder, "rev-parse", "HEAD"), _git(folder, "rev-parse", "--show-prefix")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"https://{remote[1]}/{remote[2]}/blob/{commit}/{prefix}" if remote else ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
