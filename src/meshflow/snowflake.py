"""How services log in to Snowflake: with the variables that .env.example has for each."""

import os
from dataclasses import dataclass, field

import click

TIMEOUTS = {"login_timeout": 30, "network_timeout": 120}
"""Seconds for which a host that doesn't answer is tried again; the connector's own limits are 120 and none."""


@dataclass(frozen=True)
class Login:
    """A user's key, or an OAuth token; what isn't set is empty."""

    account: str
    user: str
    role: str
    warehouse: str
    token: str = field(repr=False)
    private_key: str = field(repr=False)
    """PEM, or the base64 of its DER."""
    passphrase: str = field(repr=False)
    host: str
    """Where the account is, if not where Snowflake would have it."""
    port: str


def login(service: str, warehouse: str) -> Login:
    """The login of `service`, such as LOADER, which works in `warehouse` unless a variable says otherwise.

    Raises click.ClickException, naming the variables, if something is missing.
    """

    def get(name: str, default: str = "") -> str:
        return os.environ.get(f"MESHFLOW_SNOWFLAKE_{name}") or default

    means = "TOKEN" if get(f"{service}_TOKEN") else "PRIVATE_KEY"
    names = ("ACCOUNT", f"{service}_USER", f"{service}_{means}")
    if missing := [f"MESHFLOW_SNOWFLAKE_{name}" for name in names if not get(name)]:
        raise click.ClickException(f"Snowflake can't be reached without {' and '.join(missing)}: see .env.example")
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
