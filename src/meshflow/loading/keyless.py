"""dlt's login to Snowflake from a job of GitHub Actions, without a key."""

from typing import Any

from dlt.common.configuration import configspec
from dlt.destinations.impl.snowflake.configuration import SnowflakeCredentials

from meshflow.snowflake import workload_identity


@configspec(init=False)
class KeylessCredentials(SnowflakeCredentials):
    """dlt's own credentials would use one token for all logins of a load, and tokens are valid for minutes."""

    def to_connector_params(self) -> dict[str, Any]:
        return super().to_connector_params() | workload_identity()
