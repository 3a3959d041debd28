"""The error of a command: one line on standard error with what failed, where and what to do, and its trace in a log.

In a job of GitHub Actions everybody can read the line. There it has what is public only (meshflow.failures).
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from meshflow import failures
from meshflow.failures import LOG

CONFLICT = re.compile(r'lock on file "(?P<file>.*?)": Conflicting lock is held in .*\(PID (?P<process>\d+)\)')
"""In DuckDB's error for a file that another process has open."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Raise click.ClickException with one line for every error in the block, and write its trace to LOG."""
    try:
        yield
    except (click.exceptions.Exit, click.exceptions.Abort, click.exceptions.NoArgsIsHelpError):
        raise
    except click.UsageError as error:
        advice = f". See `{error.ctx.command_path} --help`" if error.ctx else ""
        raise _Error(f"{error.format_message().rstrip('.')}{advice}", error.exit_code) from None
    except click.ClickException as error:
        if error.__cause__:
            _log(error)
        raise _Error(error.format_message(), error.exit_code) from None
    except ModuleNotFoundError as error:
        lock = "snowflake" if str(error.name).startswith(("snowflake", "github")) else "loading"
        raise _Error(f"{error.name} is not installed: `make .venv/{lock}.installed` installs it") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # `| head` has read enough
        log = _log(error)
        if os.environ.get("GITHUB_ACTIONS"):
            raise _Error(f"{failures.describe(error)}. Full text: {failures.full_text(error)}") from None
        raise _Error(describe(error) + (f". Trace: {log}" if log else "")) from None


class _Error(click.ClickException):
    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        vars(self)["exit_code"] = exit_code  # click declares it for the class


def describe(error: BaseException) -> str:
    """`error` in one line, with what to do if that is known. It may quote a value: it is for who runs the command."""
    cause = error.__cause__ or error.__context__
    text = str(error).strip() or type(error).__name__
    # By its module: importing a driver takes seconds, and one that isn't installed has raised nothing.
    match type(error).__module__.partition(".")[0].lstrip("_"):
        case "duckdb":
            if conflict := CONFLICT.search(text):
                text = (
                    f"Process {conflict['process']} has {conflict['file']} open, and DuckDB lets one process in: wait "
                    "for it to end, or stop it"
                )
            else:
                text = f"DuckDB: {text}"
        case "psycopg2":  # SQLMesh's driver, and PostgreSQL has its state
            text = (
                f"{_state()}: {_reason(text)}. Check that it runs (`meshflow source up`), and MESHFLOW_STATE_* in .env"
            )
        case "psycopg":
            text = f"PostgreSQL: {_reason(text)}"
        case "snowflake":
            text = f"Snowflake: {text.splitlines()[0]}. Check MESHFLOW_SNOWFLAKE_* in .env"
        case _ if isinstance(error, OSError):
            text = f"{error.filename or 'A file'}: {error.strerror or text}"
        case "sqlmesh" | "sqlglot":
            if cause and str(cause) not in text:
                text = f"{text}: {describe(cause)}"
        case _:
            text = f"{type(error).__name__}: {text}"
    return " ".join(text.split()).rstrip(".")


def _state() -> str:
    user, host, database = (os.environ.get(f"MESHFLOW_STATE_{name}", "?") for name in ("USER", "HOST", "DATABASE"))
    return f"SQLMesh's state, {user}@{host}:{os.environ.get('MESHFLOW_STATE_PORT') or 5432}/{database}"


def _reason(text: str) -> str:
    """The message of the server or of libpq, without the address and the hints on further lines."""
    return text.splitlines()[0].rpartition("failed: ")[2].rpartition("FATAL:")[2].strip().rstrip(".")


def _log(error: BaseException) -> Path | None:
    """Add the trace of `error` to LOG; None if that is impossible, or if this folder has no project."""
    if not Path("config.yaml").exists():
        return None
    failures.logger.error("%s", type(error).__name__, exc_info=error)
    return LOG if LOG.exists() else None
