"""What dashboards ask, and whom: the published copy of a DuckDB warehouse, or Snowflake. Both only read."""

import base64
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import duckdb
import pandas as pd  # type: ignore[import-untyped]
from sqlglot import exp, parse_one

from meshflow.publish import SERVED, Copy, WarehouseBusyError, latest, publish
from meshflow.snowflake import TIMEOUTS, Login, login

SCHEMAS = tuple(sorted({table.partition(".")[0] for table in SERVED}))
CACHE_TTL_SECONDS = 600
"""Seconds for which an answer of Snowflake is shown again."""
OBJECT_NOT_FOUND = {904, 2003, 2043}
"""Snowflake's numbers for a column, and for a table or schema, that isn't there or may not be read."""


@dataclass(frozen=True)
class Query:
    """A SELECT in Snowflake's dialect on the tables of prod; values are bound to its `?`, in SELECT or WHERE."""

    sql: str
    parameters: tuple[Any, ...] = ()

    def only(self, column: str, values: Sequence[Any]) -> "Query":
        """The rows whose `column`, such as `locations.country`, is one of `values`; all rows if there are none."""
        if not values:
            return self
        condition = exp.to_column(column).isin(*[exp.Placeholder() for _ in values])
        select = parse_one(self.sql, into=exp.Select, dialect="snowflake").where(condition)
        return replace(self, sql=select.sql(dialect="snowflake"), parameters=(*self.parameters, *values))

    @cached_property
    def tables(self) -> list[str]:
        """What it reads, such as `retail.fct_sales`."""
        return sorted({f"{table.db}.{table.name}".lower() for table in self._tree().find_all(exp.Table)})

    def written(self, environment: str, dialect: str) -> str:
        """The SQL that reads the views of `environment` in the `dialect` of an engine."""
        tree = self._tree()
        if environment != "prod":
            for table in tree.find_all(exp.Table):
                table.set("db", exp.to_identifier(f"{table.db}__{environment}"))
        return tree.sql(dialect=dialect)

    def _tree(self) -> exp.Expr:
        return parse_one(self.sql, dialect="snowflake")


ENVIRONMENTS = Query("SELECT DISTINCT table_schema FROM information_schema.tables")


@dataclass(frozen=True)
class Answer:
    rows: pd.DataFrame
    """Columns in lower case; money as Decimal."""
    as_of: datetime
    """The moment whose state the rows show, UTC."""


@dataclass(frozen=True)
class State:
    """A warehouse at one time: answers to what is asked of one state agree with each other."""

    version: str
    """Differs from that of another state in which answers may differ."""
    copy: Copy | None = None
    """Where a DuckDB warehouse is as it was then."""
    note: str = ""
    """What whoever looks at it should know, such as that it is older than the warehouse."""


class Warehouse(ABC):
    """Something that answers queries. Sessions share it, so it keeps nothing of theirs."""

    title: str
    is_sample: bool
    """Whether it holds the sample, which stands still on purpose."""

    @abstractmethod
    def now(self) -> State:
        """The newest state there is. Raises click.ClickException if there is none to look at."""

    @abstractmethod
    def run(self, state: State, environment: str, query: Query) -> Answer:
        """Raises click.ClickException if the environment lacks a table or column, or nobody answers."""


def environments(schemas: pd.DataFrame) -> list[str]:
    """Those that may be read, prod first, from the answer to ENVIRONMENTS."""
    parts = [str(schema).lower().partition("__") for schema in schemas["table_schema"]]
    found = {environment or "prod" for schema, _, environment in parts if schema in SCHEMAS}
    return sorted(found, key=lambda environment: (environment != "prod", environment))


class Published(Warehouse):
    """A DuckDB warehouse, as of when nobody was writing it."""

    def __init__(self, gateway: str, data: Path) -> None:
        """`data` is the folder of the DuckDB files, and of copies below it."""
        self._file, self._folder = data / f"{gateway}_analytics.duckdb", data / "dashboards"
        self.title = {"local": "Sample data", "live": "Live data"}[gateway]
        self.is_sample = gateway == "local"

    def now(self) -> State:
        """The warehouse as it is, or if somebody writes it or it can't be copied, the copy from before."""
        try:
            copy = publish(self._file, self._folder)
            return State(str(copy.path), copy)
        except WarehouseBusyError:
            problem = "The warehouse is being built. It shows here as soon as that has ended."
            reason = "A plan or a run is at work"
        except click.ClickException as error:
            problem = reason = error.message
        before = latest(self._file, self._folder)
        if not before:
            raise click.ClickException(problem)
        return State(str(before.path), before, f"{reason}. What you see is the warehouse as it was before.")

    def run(self, state: State, environment: str, query: Query) -> Answer:
        assert state.copy, "a state of this warehouse has one"  # noqa: S101 - for the type checker
        try:
            with closing(duckdb.connect(str(state.copy.path), read_only=True)) as connection:
                cursor = connection.execute(query.written(environment, "duckdb"), list(query.parameters))
                return Answer(_frame(cursor.description, cursor.fetchall()), state.copy.written_at)
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise _lacking(environment, query, error) from None
        except duckdb.Error as error:
            raise click.ClickException(f"The copy of the warehouse can't be read: {_first_line(error)}") from None


class Snowflake(Warehouse):
    """Production, as the user of dashboards, whose role reads marts and nothing else (infra/snowflake)."""

    title = "Snowflake"
    is_sample = False

    def __init__(self) -> None:
        self._connection: Any = None
        self._logging_in = threading.Lock()

    def now(self) -> State:
        """Every CACHE_TTL_SECONDS seconds another one. Tables that a run is writing may still disagree for its minutes."""
        return State(f"snowflake {int(time.time() // CACHE_TTL_SECONDS)}")

    def run(self, state: State, environment: str, query: Query) -> Answer:  # noqa: ARG002 - Snowflake has no past here
        connector = _connector()
        with self._logging_in:
            if self._connection is None:
                try:
                    self._connection = connector.connect(**credentials())
                except connector.errors.Error as error:
                    raise _silent(error) from None
            connection = self._connection
        try:
            with connection.cursor() as cursor:
                cursor.execute(query.written(environment, "snowflake"), query.parameters or None)
                return Answer(_frame(cursor.description, cursor.fetchall()), datetime.now(UTC))
        except connector.errors.Error as error:
            if error.errno in OBJECT_NOT_FOUND:
                raise _lacking(environment, query, error) from None
            self._connection = None  # the next question logs in again: sessions expire after hours
            raise _silent(error) from None


def warehouses(data: Path) -> dict[str, Warehouse]:
    """What there is to look at, by gateway: production, then live data, then the sample."""
    found: dict[str, Warehouse] = {}
    if os.environ.get("MESHFLOW_SNOWFLAKE_ACCOUNT"):
        found["snowflake"] = Snowflake()
    for gateway in ("live", "local"):
        if (data / f"{gateway}_analytics.duckdb").exists():
            found[gateway] = Published(gateway, data)
    return found


def credentials() -> dict[str, Any]:
    """How dashboards log in to Snowflake, as its connector takes it: a user's key, or an OAuth token.

    Raises click.ClickException, naming the variables, if something is missing.
    """
    dashboards = login("DASHBOARDS", warehouse="BI")
    settings: dict[str, Any] = {
        "account": dashboards.account,
        "user": dashboards.user,
        "role": dashboards.role,
        "warehouse": dashboards.warehouse,
        "database": "ANALYTICS",
        "paramstyle": "qmark",  # values go to the server beside the SQL, never inside it
        "client_session_keep_alive": True,
        "session_parameters": {"QUERY_TAG": "meshflow dashboards", "TIMEZONE": "UTC"},
        **TIMEOUTS,
    }
    if dashboards.token:
        settings |= {"authenticator": "oauth", "token": dashboards.token}
    else:
        settings |= {"authenticator": "SNOWFLAKE_JWT", "private_key": _private_key(dashboards)}
    if dashboards.host:
        settings |= {"host": dashboards.host, "port": int(dashboards.port)}
    return settings


def _private_key(dashboards: Login) -> Any:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - comes with the connector
        load_der_private_key,
        load_pem_private_key,
    )

    text, passphrase = dashboards.private_key, dashboards.passphrase.encode() or None
    try:
        if text.startswith("-"):
            return load_pem_private_key(text.replace("\\n", "\n").encode(), passphrase)
        return load_der_private_key(base64.b64decode(text), passphrase)
    except (TypeError, ValueError):
        raise click.ClickException(
            "MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY is no key, or its passphrase is wrong: see .env.example"
        ) from None


def _frame(description: Sequence[Any], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=[column[0].lower() for column in description])


def _silent(error: Exception) -> click.ClickException:
    return click.ClickException(f"Snowflake doesn't answer: {_first_line(error)}")


def _lacking(environment: str, query: Query, error: Exception) -> click.ClickException:
    return click.ClickException(
        f"{environment} doesn't have what this needs of {', '.join(query.tables)}, or it may not be read: "
        f"`sqlmesh plan {environment}` brings the environment up to date. ({_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _connector() -> Any:
    try:
        import snowflake.connector  # noqa: PLC0415 - takes seconds, and DuckDB needs none of it
    except ModuleNotFoundError:
        raise click.ClickException(
            "Snowflake's connector is not installed: `make .venv/snowflake.installed`, then start the dashboards again"
        ) from None
    return snowflake.connector
