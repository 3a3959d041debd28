"""The environment of every command: the settings in .env, the folder of the databases, and who may read them."""

import os
import re
import stat
from contextlib import suppress
from io import StringIO
from pathlib import Path

import click
from dotenv import load_dotenv

ENV_FILE = Path(".env")

MISREAD = re.compile(r"['?%\x00-\x1f\x7f]|^~|^[^/]*:")
"""What the path of databases must not contain. SQLMesh and dlt write it into SQL without escaping a '. dlt formats text
with %. DuckDB puts its write-ahead log elsewhere after a ?, expands ~, and takes what precedes a : for an extension."""


def load_env() -> None:
    """Set the variables in .env. It takes precedence over the environment, as in SQLMesh.

    Raises click.ClickException as `read_env` does.
    """
    load_dotenv(stream=StringIO(read_env(ENV_FILE)), override=True)


def read_env(file: Path) -> str:
    """The text of `file`, which becomes private because it may have passwords; '' if there is no such file.

    Raises click.ClickException if it can't be read or made private, or has an encoding that SQLMesh misreads.
    """
    if not file.exists() or file.is_dir():  # a folder .env is a virtual environment
        return ""
    make_private(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file.resolve()} can't be read: {error.strerror}") from None
    with suppress(UnicodeDecodeError):
        text = content.decode()
        if not text.startswith("\ufeff") and "\0" not in text:  # a byte order mark; UTF-16
            return text
    raise click.ClickException(f"{file.resolve()} isn't plain UTF-8: save it as UTF-8 without a byte order mark")


def data_folder() -> Path:
    """The folder of the databases, which becomes private.

    Raises click.ClickException if it doesn't exist, can't be made private, or has a name that isn't supported.
    """
    folder = Path(os.environ.get("MESHFLOW_DATA") or "data")
    if not folder.is_dir():
        raise click.ClickException(
            f"There is no folder {folder.resolve()}: create it, or set MESHFLOW_DATA to one that exists"
        )
    require_supported(folder)
    make_private(folder)
    return folder


def require_supported(folder: Path) -> None:
    """Raise click.ClickException if databases can't be in `folder` because of a character in its path."""
    if found := MISREAD.search(str(folder)):
        character = repr(found[0][-1])
        raise click.ClickException(
            f"Databases can't be in {str(folder)!r}, because of the {character}: set MESHFLOW_DATA to another folder"
        )


def make_private(path: Path) -> None:
    """Let only its owner read a file, or enter a folder and so reach the files in it.

    Raises click.ClickException if that is impossible, or if it is a folder for everybody, such as /tmp.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    folder = path.resolve()
    if path.is_dir() and (mode & stat.S_ISVTX or folder == folder.parent):
        raise click.ClickException(f"{folder} is for all users, and databases need a private folder: create one in it")
    try:
        path.chmod(mode & stat.S_IRWXU)
    except OSError as error:
        raise click.ClickException(
            f"Other users can read {folder}: {error.strerror}. Its owner has to run `chmod go-rwx {folder}`"
        ) from None
