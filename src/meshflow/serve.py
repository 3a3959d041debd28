"""Queries of dashboards, run read-only on a snapshot of a DuckDB warehouse or on Snowflake."""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import duckdb
import pandas as pd  # type: ignore[import-untyped]
from sqlglot import exp, parse_one

from meshflow import isolated
from meshflow.isolated import TIME_LIMIT_SECONDS
from meshflow.own_sql import LOCKED, Translation, quote, translate
from meshflow.publish import SERVED, Snapshot, WarehouseBusyError, latest, publish
from meshflow.snowflake import arguments, login

SCHEMAS = tuple(sorted({table.partition(".")[0] for table in SERVED}))
CACHE_TTL_SECONDS = 600
"""How long a result from Snowflake is cached."""
ROW_LIMIT = 10_000
"""Rows of a person's own query. One more is read, to know that there are others."""
OBJECT_NOT_FOUND = {904, 2003, 2043}
"""Snowflake's error numbers for a column, table or schema that doesn't exist or isn't authorized."""
QUERY_FAILED = range(1, 200_000)
"""Those of a statement. The connector's own begin at 250,000, those of a session at 390,000."""


@dataclass(frozen=True)
class Query:
    """A SELECT in Snowflake's dialect on the tables of prod; parameters are bound to its `?`, in SELECT or WHERE."""

    sql: str
    parameters: tuple[Any, ...] = ()
    is_own: bool = False
    """Whether a person has written it. It is then translated and run in processes of its own, and has limits."""

    def only(self, column: str, values: Sequence[Any]) -> "Query":
        """Keep rows whose `column`, such as `locations.country`, is one of `values`; all rows if `values` is empty.

        The condition is added to the SELECT that reads `locations`. No `?` may follow it.
        """
        if not values:
            return self
        condition = exp.to_column(column).isin(*[exp.Placeholder() for _ in values])
        tree, name = parse_one(self.sql, dialect="snowflake"), column.partition(".")[0]
        [table] = [one for one in tree.find_all(exp.Table) if one.alias_or_name == name]
        select = table.find_ancestor(exp.Select)
        assert select, "a table is read by a SELECT"  # noqa: S101 - for the type checker
        select.where(condition, copy=False)
        return replace(self, sql=tree.sql(dialect="snowflake"), parameters=(*self.parameters, *values))

    @cached_property
    def tables(self) -> list[str]:
        """The tables that it reads, such as `retail.fct_sales`, sorted."""
        return self._translate("prod", "snowflake").tables

    def to_sql(self, environment: str, dialect: str) -> str:
        """SQL in the `dialect` of an engine that reads the views of `environment`.

        Raises click.ClickException if a person's own query isn't one SELECT.
        """
        return self._translate(environment, dialect).sql

    def _translate(self, environment: str, dialect: str) -> Translation:
        if self.is_own:
            return isolated.translate(self.sql, environment, dialect, ROW_LIMIT + 1)
        return translate(self.sql, environment, dialect)


ENVIRONMENTS = Query("SELECT DISTINCT table_schema FROM information_schema.tables")


@dataclass(frozen=True)
class State:
    """A warehouse at one point in time: all queries on one state return consistent results."""

    version: str
    """States with different results have different versions."""
    snapshot: Snapshot | None = None
    """The snapshot of a DuckDB warehouse."""
    note: str = ""
    """A message for the page, such as that this state is older than the warehouse."""


class Warehouse(ABC):
    """Runs queries. All sessions share one instance, so it keeps no state of a session."""

    title: str
    is_sample: bool
    """Whether it contains the sample data, which never change."""

    @abstractmethod
    def now(self) -> State:
        """The newest state. Raises click.ClickException if there is none."""

    @abstractmethod
    def run(self, state: State, environment: str, query: Query) -> pd.DataFrame:
        """The rows; columns in lower case, money as Decimal.

        Raises click.ClickException if the environment lacks a table or column, or the warehouse can't be reached.
        """


def environments(schemas: pd.DataFrame) -> list[str]:
    """Environments that may be read, prod first, from the result of ENVIRONMENTS."""
    parts = [str(schema).lower().partition("__") for schema in schemas["table_schema"]]
    found = {environment or "prod" for schema, _, environment in parts if schema in SCHEMAS}
    return sorted(found, key=lambda environment: (environment != "prod", environment))


class SnapshotWarehouse(Warehouse):
    """A DuckDB warehouse, read from its newest snapshot."""

    def __init__(self, gateway: str, data: Path) -> None:
        """`data` is the folder of the DuckDB files; snapshots go to `data/dashboards`."""
        self._file, self._folder = data / f"{gateway}_analytics.duckdb", data / "dashboards"
        self.title = {"local": "Sample data", "live": "Live data"}[gateway]
        self.is_sample = gateway == "local"

    def now(self) -> State:
        """The warehouse as it is, or its previous snapshot while a process writes it or it can't be copied."""
        try:
            snapshot = publish(self._file, self._folder)
            return State(str(snapshot.path), snapshot)
        except WarehouseBusyError:
            problem = "A plan is building the warehouse. It can be read when that has finished."
            reason = "A plan or run is in progress"
        except click.ClickException as error:
            problem = reason = error.message
        previous = latest(self._file, self._folder)
        if not previous:
            raise click.ClickException(problem)
        return State(str(previous.path), previous, f"{reason}. This page shows the previous snapshot of the warehouse.")

    def run(self, state: State, environment: str, query: Query) -> pd.DataFrame:
        assert state.snapshot, "a state of this warehouse has one"  # noqa: S101 - for the type checker
        if query.is_own:
            columns, rows = isolated.run(state.snapshot.path, query.to_sql(environment, "duckdb"))
            return _to_frame(columns, rows)
        try:
            with (
                closing(duckdb.connect(str(state.snapshot.path), read_only=True, config=LOCKED)) as connection,
                _interrupted_after(TIME_LIMIT_SECONDS, connection),
            ):
                cursor = connection.execute(query.to_sql(environment, "duckdb"), list(query.parameters))
                return _to_frame([column[0] for column in cursor.description], cursor.fetchall())
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise _not_found(environment, query, error) from None
        except duckdb.InterruptException:
            raise click.ClickException(f"The query was stopped after {TIME_LIMIT_SECONDS} s.") from None
        except duckdb.IOException as error:
            raise click.ClickException(f"The warehouse's snapshot can't be read: {quote(error)}") from None
        except duckdb.Error as error:
            raise click.ClickException(f"The query failed: {quote(error)}") from None


class Snowflake(Warehouse):
    """Production, as the user DASHBOARDS, whose role reads marts and `ops` only (infra/snowflake)."""

    title = "Snowflake"
    is_sample = False

    def __init__(self) -> None:
        self._connection: Any = None
        self._login_lock = threading.Lock()

    def now(self) -> State:
        """A new state every CACHE_TTL_SECONDS. Tables may be inconsistent for minutes while a run writes them."""
        return State(f"snowflake {int(time.time() // CACHE_TTL_SECONDS)}")

    def run(self, state: State, environment: str, query: Query) -> pd.DataFrame:  # noqa: ARG002 - reads current tables
        connector = _connector()
        with self._login_lock:
            if self._connection is None:
                try:
                    self._connection = connector.connect(**credentials())
                except connector.errors.Error as error:
                    raise _unavailable(error) from None
            connection = self._connection
        try:
            with connection.cursor() as cursor:
                sql = query.to_sql(environment, "snowflake")
                cursor.execute(sql, query.parameters or None, timeout=TIME_LIMIT_SECONDS)
                return _to_frame([column[0] for column in cursor.description], cursor.fetchall())
        except connector.errors.Error as error:
            if error.errno in OBJECT_NOT_FOUND:
                raise _not_found(environment, query, error) from None
            if error.errno in QUERY_FAILED:
                raise click.ClickException(f"The query failed: {quote(error)}.") from None
            self._connection = None  # the next query logs in again: sessions expire after hours
            raise _unavailable(error) from None


def warehouses(data: Path) -> dict[str, Warehouse]:
    """Available warehouses by gateway: production, then live data, then sample data."""
    found: dict[str, Warehouse] = {}
    if os.environ.get("MESHFLOW_SNOWFLAKE_ACCOUNT"):
        found["snowflake"] = Snowflake()
    for gateway in ("live", "local"):
        if (data / f"{gateway}_analytics.duckdb").exists():
            found[gateway] = SnapshotWarehouse(gateway, data)
    return found


def credentials() -> dict[str, Any]:
    """Arguments of Snowflake's connector, with the dashboard user's key pair or OAuth token.

    Raises click.ClickException with the names of missing variables.
    """
    return {
        **arguments(login("DASHBOARDS", warehouse="BI")),
        "database": "ANALYTICS",
        "paramstyle": "qmark",  # parameters are bound by the server, never written into the SQL
        "client_session_keep_alive": True,
        "session_parameters": {"QUERY_TAG": "meshflow dashboards", "TIMEZONE": "UTC"},
    }


@contextmanager
def _interrupted_after(seconds: float, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _to_frame(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=[column.lower() for column in columns])


def _unavailable(error: Exception) -> click.ClickException:
    return click.ClickException(f"Snowflake can't be queried: {quote(error)}")


def _not_found(environment: str, query: Query, error: Exception) -> click.ClickException:
    return click.ClickException(
        f"{environment} doesn't have every table and column that this needs, or they may not be read: "
        f"{', '.join(query.tables)}. Update the environment with `sqlmesh plan {environment}`. ({quote(error)})"
    )


def _connector() -> Any:
    try:
        import snowflake.connector  # noqa: PLC0415 - takes seconds, and DuckDB doesn't need it
    except ModuleNotFoundError:
        raise click.ClickException(
            "Snowflake's connector is not installed: run `make .venv/snowflake.installed` and restart the dashboards"
        ) from None
    return snowflake.connector
