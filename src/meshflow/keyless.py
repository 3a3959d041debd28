"""SQLMesh's connection to Snowflake from a job of GitHub Actions, without a key."""

from collections.abc import Callable
from typing import Any

from sqlmesh.core.config.connection import SnowflakeConnectionConfig

from meshflow.snowflake import workload_identity


class KeylessConnectionConfig(SnowflakeConnectionConfig):
    """SQLMesh's own configuration lacks the provider of an identity, and would use one token for all logins.

    Tokens are valid for minutes, and SQLMesh logs in once per thread and again after an idle hour.
    """

    @property
    def _connection_factory(self) -> Callable[..., Any]:
        connect = super()._connection_factory
        return lambda **arguments: connect(**arguments | workload_identity())
