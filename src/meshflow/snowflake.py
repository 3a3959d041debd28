"""Logins of services to Snowflake, from the variables that .env.example lists for each."""

import base64
import os
from dataclasses import dataclass, field
from typing import Any

import click
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

TIMEOUTS = {"login_timeout": 30, "network_timeout": 120}
"""Seconds to retry a host that doesn't respond; the connector's defaults are 120 and no limit."""


AUDIENCE = "snowflakecomputing.com"
"""The audience of tokens that Snowflake accepts from users without an OIDC_AUDIENCE_LIST."""


@dataclass(frozen=True)
class Login:
    """A user's key or an OAuth token; neither of a GitHub job, see `workload_identity`. Unset variables are empty."""

    service: str
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


def login(service: str, warehouse: str, *, keyless: bool = False) -> Login:
    """The login of `service`, such as LOADER. It uses `warehouse` unless a variable sets another one.

    With `keyless`, a job of GitHub Actions that may request a token needs neither key nor OAuth token.
    Raises click.ClickException, naming the variables, if something is missing.
    """

    def get(name: str, default: str = "") -> str:
        return os.environ.get(f"MESHFLOW_SNOWFLAKE_{name}") or default

    names = ["ACCOUNT", f"{service}_USER"]
    if not get(f"{service}_TOKEN") and not (keyless and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")):
        names.append(f"{service}_PRIVATE_KEY")
    if missing := [f"MESHFLOW_SNOWFLAKE_{name}" for name in names if not get(name)]:
        raise click.ClickException(f"A Snowflake login needs {' and '.join(missing)}: see .env.example")
    return Login(
        service=service,
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


def arguments(found: Login) -> dict[str, Any]:
    """Arguments of Snowflake's connector for a login by key or OAuth token.

    Raises click.ClickException if the key can't be read.
    """
    settings = {
        "account": found.account,
        "user": found.user,
        "role": found.role,
        "warehouse": found.warehouse,
        **TIMEOUTS,
    }
    if found.token:
        settings |= {"authenticator": "oauth", "token": found.token}
    else:
        settings |= {"authenticator": "SNOWFLAKE_JWT", "private_key": _private_key(found)}
    if found.host:
        settings |= {"host": found.host, "port": int(found.port)}
    return settings


def _private_key(found: Login) -> Any:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - comes with the connector
        load_der_private_key,
        load_pem_private_key,
    )

    text, passphrase = found.private_key, found.passphrase.encode() or None
    try:
        if text.startswith("-"):
            return load_pem_private_key(text.replace("\\n", "\n").encode(), passphrase)
        return load_der_private_key(base64.b64decode(text), passphrase)
    except (TypeError, ValueError):
        raise click.ClickException(
            f"MESHFLOW_SNOWFLAKE_{found.service}_PRIVATE_KEY is invalid, or its passphrase is wrong: see .env.example"
        ) from None


def workload_identity() -> dict[str, str]:
    """Arguments of Snowflake's connector for one login as the running job of GitHub Actions.

    GitHub issues a token that names repository and environment, and is valid for minutes: call this for each login.
    Raises click.ClickException if GitHub issues none.
    """
    url, secret = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"], os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    retry = Retry(3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), raise_on_status=False)
    with requests.Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            answer = session.get(
                url, params={"audience": AUDIENCE}, headers={"Authorization": f"bearer {secret}"}, timeout=10
            )
            answer.raise_for_status()
            token = answer.json()["value"]
        except (requests.RequestException, KeyError, ValueError) as error:
            status = getattr(getattr(error, "response", None), "status_code", type(error).__name__)
            raise click.ClickException(
                f"GitHub issued no token for the login to Snowflake ({status}): re-run the job, and if it fails again "
                "check its permission `id-token: write`"
            ) from None
    return {"authenticator": "WORKLOAD_IDENTITY", "workload_identity_provider": "OIDC", "token": token}
