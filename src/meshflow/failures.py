"""What is public about an error, and where its full text is.

The text of an error may quote a row: `Could not convert string 'ann@example.org' to INT64`. Everybody who can read the
repository can read a job's log, summary, checks and comments. So they get the error's class, its codes, the model, the
audits and the query's id. The full text goes to LOG, which only its owner can read. Workflows upload that file
encrypted, as the artifact `errors`. Snowflake's query history has it too, by the query's id.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from meshflow.names import table_name

LOG = Path("logs/errors.log")
"""Below the working directory, beside SQLMesh's own logs."""

LOG_BYTES = 5_000_000
"""The size at which the log is rotated. One older file is kept."""

DRIVERS = ("duckdb", "_duckdb", "psycopg", "psycopg2", "snowflake")
"""Modules whose errors are the reason, whatever they are wrapped in or caused by."""

RUNBOOK = "docs/runbooks/errors.md"

logger = logging.getLogger(__name__)


def explain(error: BaseException) -> str:
    """Write `error` with its traceback to LOG, and return its public text with where the full one is."""
    logger.error("%s", type(error).__name__, exc_info=error)
    return f"{describe(error)}. Full text: {full_text(error)} ({RUNBOOK})"


def describe(error: BaseException) -> str:
    """One line about `error` and its causes without their texts.

    It has the model, the class of the error and its codes, the audits with their counts of rows, and Snowflake's id of
    the query: `retail.fct_sales: ProgrammingError 100038 (22018), query 01b2-03c4`.
    """
    chain = list(_chain(error))
    model = next(filter(None, map(_model, chain)), "")
    reason = ", ".join(_audits(chain)) or _kind(_reason(chain))
    query = query_id(error)
    return f"{model and f'{model}: '}{reason}{query and f', query {query}'}"


def full_text(error: BaseException) -> str:
    """Where somebody with access finds what `describe` omits."""
    file = "artifact `errors` of this run, encrypted" if os.environ.get("GITHUB_ACTIONS") else str(LOG)
    return f"{file}; Snowflake's query history" if query_id(error) else file


def query_id(error: BaseException) -> str:
    """Snowflake's id of the query that failed, or ''."""
    found = (getattr(one, "sfqid", None) for one in _chain(error))
    return next((text for text in map(str, found) if re.fullmatch(r"[0-9a-f][0-9a-f-]+", text)), "")


def log_errors() -> None:
    """Write errors and warnings of all packages to LOG, instead of to standard error."""
    handler = _PrivateLog(LOG, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    formatter = logging.Formatter("%(asctime)s UTC %(process)d %(name)s %(levelname)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.handlers = [*(one for one in root.handlers if not isinstance(one, _PrivateLog)), handler]


class _PrivateLog(RotatingFileHandler):
    """A log in a folder that only its owner can enter. The folder is created with the first record.

    A log that can't be written stops no command, and prints nothing.
    """

    def _open(self) -> Any:
        from meshflow.environment import make_private  # noqa: PLC0415 - it needs a package that AWS doesn't have

        folder = Path(self.baseFilename).parent
        folder.mkdir(exist_ok=True)
        make_private(folder)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, its cause, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _reason(chain: list[BaseException]) -> BaseException:
    """A driver's error if there is one, otherwise the last cause that was raised on purpose."""
    drivers = (error for error in chain if type(error).__module__.partition(".")[0] in DRIVERS)
    causes = [chain[0]]
    while causes[-1].__cause__ in chain:
        causes.append(causes[-1].__cause__)
    return next(drivers, causes[-1])


def _kind(error: BaseException) -> str:
    # psycopg calls SQLSTATE sqlstate, psycopg2 pgcode. Snowflake has a number too. Other attributes may be anything.
    number, state = (getattr(error, name, None) for name in ("errno", "sqlstate"))
    state = state or getattr(error, "pgcode", None)
    codes = [str(number)] if isinstance(number, int) and number > 0 else []
    codes += [f"({state})"] if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state) else []
    return " ".join([type(error).__name__, *codes])


def _model(error: BaseException) -> str:
    """`retail.fct_sales` of SQLMesh's NodeExecutionFailedError or AuditError."""
    # By their attributes: importing SQLMesh takes seconds, and not all commands need it.
    node = getattr(error, "node", None)
    name = getattr(node, "snapshot_name", None) or getattr(node, "name", None) or getattr(error, "model_name", None)
    return table_name(name) if isinstance(name, str) else ""


def _audits(chain: list[BaseException]) -> Iterator[str]:
    """The audits of SQLMesh's NodeAuditsErrors, or one AuditError."""
    for error in chain:
        several = getattr(error, "errors", None)
        for one in several if isinstance(several, list) else [error]:
            name, count = getattr(one, "audit_name", None), getattr(one, "count", None)
            if isinstance(name, str) and isinstance(count, int):
                yield f"audit {name} found {count:,} row{'' if count == 1 else 's'}"
