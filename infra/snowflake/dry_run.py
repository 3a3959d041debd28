"""Write new_account.sql: the DDL that a new Snowflake account gets after bootstrap.sql. Needs no account.

SnowDDL itself runs, on a connection that answers every question with no rows, and what it would execute is kept.
Names, keys and addresses are those of account.example.yaml. Errors: those of `snowddl validate`, with its exit code 1.
"""

import sys
from json import dumps
from pathlib import Path
from typing import Any, Self

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


class Rows(list[dict[str, Any]]):
    """An executed cursor."""

    def fetchone(self) -> dict[str, Any]:
        return self[0]


class NewAccount:
    """What SnowDDL uses of a connection and its cursor, to an account that holds what bootstrap.sql makes."""

    def cursor(self, _rows_as: type) -> Self:
        return self

    def execute(self, sql: str, **_: Any) -> Rows:
        return Rows([ADMINISTRATOR] if "CURRENT_ACCOUNT()" in sql else self.answer(sql))

    def answer(self, question: str) -> list[dict[str, Any]]:
        """The rows of SHOW and the like."""
        if question.startswith("SHOW ROLES") and question.endswith("U\\\\_ROLE'"):
            return [{"name": "CI__U_ROLE", "owner": "SNOWDDL_ADMIN", "comment": None}]
        return []

    def close(self) -> None:
        pass


class Deployment(BaseApp):
    """`snowddl apply` to an account. `ddl`: what it executed, in order."""

    def __init__(self, account: NewAccount, *flags: str) -> None:
        self.account = account
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
        super().__init__()
        self.execute()

    def get_connection(self) -> NewAccount:
        return self.account

    def output_engine_stats(self, engine: SnowDDLEngine) -> None:
        if engine.suggested_ddl:
            sys.exit(f"A deployment would only suggest this: {engine.suggested_ddl[0]}")
        self.ddl = engine.executed_ddl


def new_account() -> str:
    """The file's text: a statement ends with a semicolon, and a blank line stands before what makes something."""
    text = "-- Written by dry_run.py: what SnowDDL executes on an account after bootstrap.sql. Don't edit.\n"
    for flags in (POLICIES, ROLES_AND_USERS):
        for statement in Deployment(NewAccount(), *flags).ddl:
            lines = [line.rstrip() for line in statement.splitlines() if line.strip()]
            text += ("\n" if lines[0].startswith("CREATE") else "") + "\n".join(lines) + ";\n"
    return text


if __name__ == "__main__":
    (HERE / "new_account.sql").write_text(new_account())
