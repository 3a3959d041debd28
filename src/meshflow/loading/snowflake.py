"""dlt's Snowflake with one session per load and fewer statements, and a login from GitHub Actions without a key."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.configuration import configspec
from dlt.destinations.impl.snowflake.configuration import SnowflakeCredentials
from dlt.destinations.impl.snowflake.snowflake import SnowflakeClient
from dlt.destinations.impl.snowflake.sql_client import SnowflakeSqlClient

from meshflow.snowflake import workload_identity


class OneSession(dlt.destinations.snowflake):
    """dlt's destination with one session for all of its steps, for which dlt itself logs in four times per table.

    The steps follow one another, as dlt loads with one worker.
    """

    def __init__(self, credentials: Any, **settings: Any) -> None:
        super().__init__(credentials, destination_name="snowflake", **settings)
        self.session: Any = None
        self.schemas: set[str] = set()
        """Those that are known to exist."""

    @property
    def client_class(self) -> type[SnowflakeClient]:
        return _Client

    def client(self, *args: Any, **settings: Any) -> Any:
        client: Any = super().client(*args, **settings)
        client.sql_client.owner = self
        return client

    def close(self) -> None:
        if self.session is not None:
            self.session.close()


class _SqlClient(SnowflakeSqlClient):
    owner: OneSession

    def open_connection(self) -> Any:
        if self.owner.session is None or self.owner.session.is_closed():
            self.owner.session = super().open_connection()
        self._conn = self.owner.session
        return self._conn

    def close_connection(self) -> None:
        """Leave the session open."""

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        # dlt switches the session's AUTOCOMMIT off and on: three statements instead of two.
        self.execute_sql("BEGIN")
        try:
            yield self
        except BaseException:  # the session goes on after Ctrl-C
            self._conn.rollback()
            raise
        self._conn.commit()

    def has_dataset(self) -> bool:
        # dlt looks four times per table.
        name = self.dataset_name
        if name not in self.owner.schemas and super().has_dataset():
            self.owner.schemas.add(name)
        return name in self.owner.schemas


class _Client(SnowflakeClient):
    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        names = self.create_dataset_names(schema, config)
        self.sql_client = _SqlClient(*names, config.credentials, capabilities)

    def complete_load(self, load_id: str) -> None:
        """Record nothing in dlt's log of loads: the load log is complete, and nothing reads dlt's."""


@configspec(init=False)
class KeylessCredentials(SnowflakeCredentials):
    """Credentials of a job of GitHub Actions, with a new token for each login. Tokens are valid for minutes."""

    def to_connector_params(self) -> dict[str, Any]:
        return super().to_connector_params() | workload_identity()
