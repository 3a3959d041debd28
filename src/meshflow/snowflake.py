"""Logins of services to Snowflake, from the variables that .env.example lists for each."""

import os
from dataclasses import dataclass, field

import click

TIMEOUTS = {"login_timeout": 30, "network_timeout": 120}
"""Seconds to retry a host that doesn't respond; the connector's defaults are 120 and no limit."""


@dataclass(frozen=True)
class Login:
    """A user's key or an OAuth token. Variables that aren't set are empty."""

    account: str
    user: str
    role: str
    warehouse: str
    token: str = field(repr=False)
    private_key: str = field(repr=False)
    """PEM, or the base64 of its DER."""
    passphrase: str = field(repr=False)
    host: str
    """The host of the account, if it isn't Snowflake's default."""
    port: str


def login(service: str, warehouse: str) -> Login:
    """The login of `service`, such as LOADER. It uses `warehouse` unless a variable sets another one.

    Raises click.ClickException, naming the variables, if something is missing.
    """

    def get(name: str, default: str = "") -> str:
        return os.environ.get(f"MESHFLOW_SNOWFLAKE_{name}") or default

    credential = "TOKEN" if get(f"{service}_TOKEN") else "PRIVATE_KEY"
    names = ("ACCOUNT", f"{service}_USER", f"{service}_{credential}")
    if missing := [f"MESHFLOW_SNOWFLAKE_{name}" for name in names if not get(name)]:
        raise click.ClickException(f"A Snowflake login needs {' and '.join(missing)}: see .env.example")
    return Login(
        account=get("ACCOUNT"),
        user=get(f"{service}_USER"),
        role=get(f"{service}_ROLE", f"{service}__U_ROLE"),
        warehouse=get(f"{service}_WAREHOUSE", warehouse),
        token=get(f"{service}_TOKEN"),
        private_key=get(f"{service}_PRIVATE_KEY"),
        passphrase=get(f"{service}_PRIVATE_KEY_PASSPHRASE"),
        host=get("HOST"),
        port=get("PORT", "443"),
    )
