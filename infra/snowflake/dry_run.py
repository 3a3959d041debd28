"""Write new_account.sql: the DDL that a new Snowflake account gets after bootstrap.sql. Needs no account.

SnowDDL itself runs, on a connection that answers every question with no rows, and what it would execute is kept in order.
Names, keys and addresses are those of account.example.yaml. Errors: those of `snowddl validate`, with its exit code 1.
"""

import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Any

from snowddl.app.base import BaseApp
from snowddl.engine import SnowDDLEngine

HERE = Path(__file__).parent
# The steps of a deployment (docs/runbooks/snowflake-account.md). Roles may use masking policies, which SnowDDL makes
# after roles: so policies come first, on their own.
POLICIES = ("--include-object-types=database,schema,masking_policy", "--apply-masking-policy")
ROLES_AND_USERS = (
    "--exclude-object-types=database,schema,masking_policy",
    "--apply-network-policy",
    "--apply-resource-monitor",
)
ADMINISTRATOR = {
    "CURRENT_ACCOUNT": "NEW",
    "CURRENT_REGION": "",
    "CURRENT_SESSION": "",
    "CURRENT_USER": "SNOWDDL",
    "CURRENT_ROLE": "SNOWDDL_ADMIN",
    "CURRENT_WAREHOUSE": None,
    "IS_ACCOUNT_ADMIN": True,
    "IS_SYS_ADMIN": True,
    "IS_SECURITY_ADMIN": True,
    "BOOTSTRAP_ACCOUNT": dumps({"serverVersion": "", "accountInfo": {"serviceLevelName": "ENTERPRISE"}}),
    "ACTIVE_BUNDLES": "[]",
}


class NewAccount:
    """What SnowDDL uses of a connection and its cursor, to an account that holds what bootstrap.sql makes."""

    def cursor(self, _rows_as: type) -> "NewAccount":
        return self

    def execute(self, sql: str, **_: Any) -> Iterator[dict[str, Any]]:
        if "CURRENT_ACCOUNT()" in sql:
            return Rows([ADMINISTRATOR])
        if sql.startswith("SHOW ROLES") and "U\\\\_ROLE" in sql:
            return Rows([{"name": "CI__U_ROLE", "owner": "SNOWDDL_ADMIN", "comment": None}])
        return Rows([])

    def close(self) -> None:
        pass


class Rows(list[dict[str, Any]]):
    """An executed cursor."""

    def fetchone(self) -> dict[str, Any]:
        return self[0]


class Deployment(BaseApp):
    """`snowddl apply` to a new account. `ddl`: what it executed, in order."""

    def get_connection(self) -> NewAccount:
        return NewAccount()

    def output_engine_stats(self, engine: SnowDDLEngine) -> None:
        if engine.suggested_ddl:
            sys.exit(f"A deployment would only suggest this: {engine.suggested_ddl[0]}")
        self.ddl = engine.executed_ddl


def deploy(*flags: str) -> list[str]:
    sys.argv = [
        "snowddl",
        f"-c{HERE / 'config'}",
        f"--placeholder-path={HERE / 'account.example.yaml'}",
        *("-a-", "-u-", "-p-", "--log-level=WARNING"),
        "--max-workers=1",  # one order, every time
        "--apply-unsafe",
        *flags,
        "apply",
    ]
    deployment = Deployment()
    deployment.execute()
    return deployment.ddl


def main() -> None:
    """Each statement ends its last line with a semicolon; a blank line stands before what makes something."""
    text = "-- Written by dry_run.py: what SnowDDL executes on an account after bootstrap.sql. Don't edit.\n"
    for statement in deploy(*POLICIES) + deploy(*ROLES_AND_USERS):
        lines = [line.rstrip() for line in statement.splitlines() if line.strip()]
        text += ("\n" if lines[0].startswith("CREATE") else "") + "\n".join(lines) + ";\n"
    (HERE / "new_account.sql").write_text(text)


if __name__ == "__main__":
    main()
