"""The warehouse that workflows work on: sources in PostgreSQL, an emulated Snowflake, SQLMesh's state."""

import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
from act import git
from emulated import Snowflake
from fake_github import FakeGitHub, PullRequest
from sources import Sources
from workspace import table_writes

from meshflow.ci.checkout import Checkout
from meshflow.source.traffic import write_batch

BIN = Path(__file__).parents[2] / ".venv" / "bin"
WRITTEN_AT = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
"""When the sources' rows were written."""


@dataclass(frozen=True)
class Warehouse:
    """Prod, built from `main` as it was at first, and the environments of pull requests."""

    main: Path
    """A checkout."""
    snowflake: Snowflake
    sources: Sources
    state: Mapping[str, str]

    def write(self, seed: int, sales: int = 300) -> None:
        """New rows and corrections in the sources."""
        with psycopg.connect(self.sources.url) as connection:
            write_batch(connection, np.random.default_rng(seed), sales=sales, fault_rate=0.1, now=WRITTEN_AT, days=10)

    def load(self) -> None:
        self.command("meshflow", "load", "--gateway", "snowflake", "--json")

    def sqlmesh(self, *arguments: str) -> str:
        return self.command("sqlmesh", "--gateway", "snowflake", *arguments)

    def build(self, github: FakeGitHub, pull: PullRequest, folder: Path) -> str:
        """Build the environment of a pull request, without its checks, and return the tree that was built.

        `folder` takes the checkout.
        """
        git("clone", "--quiet", github.git_dir, folder, at=self.main)
        change = Checkout.merged(folder, pull.base_sha, pull.head_sha)
        ci = {"MESHFLOW_SNOWFLAKE_USER": "CI", "MESHFLOW_SNOWFLAKE_PRIVATE_KEY": self.snowflake.keys.private("CI")}
        plan = ("plan", f"pr_{pull.number}", "--auto-apply", "--skip-tests")
        self.command("sqlmesh", "--paths", str(folder), "--gateway", "snowflake", *plan, **ci)
        return change.tree

    def command(self, name: str, *arguments: str, **variables: str) -> str:
        """What a command prints, run by somebody with all rights and `main` checked out."""
        environment = os.environ | self.snowflake.environment | self.sources.environment | dict(self.state)
        done = subprocess.run(
            [BIN / name, *arguments],
            cwd=self.main,
            env=environment | {"PYTHONPATH": str(self.main / "src")} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stdout
        return done.stdout

    def forget(self, table: str) -> None:
        """Have a model's table, such as rpt_net_revenue_by_country, due again: no interval of it is processed."""
        with closing(psycopg.connect(**self._state)) as connection, connection:
            pattern = f'%."{table.upper()}"'
            connection.execute("DELETE FROM sqlmesh._intervals WHERE name LIKE %s", [pattern])

    def environments(self) -> set[str]:
        """Names of the environments that haven't expired, as SQLMesh's state has them."""
        with closing(psycopg.connect(**self._state)) as connection:
            rows = connection.execute("SELECT name, expiration_ts FROM sqlmesh._environments").fetchall()
        now = datetime.now(UTC).timestamp() * 1000
        return {name for name, expires in rows if expires is None or expires > now}

    @property
    def _state(self) -> dict[str, str]:
        """How psycopg reaches SQLMesh's state."""
        return {
            name: self.state[f"MESHFLOW_STATE_{name.upper().replace('DBNAME', 'DATABASE')}"]
            for name in ("host", "port", "user", "password", "dbname")
        }

    def prod(self) -> dict[str, str]:
        """What prod's views select from: it changes with every promotion."""
        return self.snowflake.definitions()


def tables_written(statements: list[str]) -> set[str]:
    """Names of the tables that were created or written to, without their version: RETAIL__DIM_PRODUCT."""
    plain = [re.sub(r"/\*.*?\*/", "", one).strip() for one in statements]
    written = [re.findall(r'"SQLMESH_\w+"\."(\w+?__\w+?)__\d+(?:__dev)?"', one)[:1] for one in table_writes(plain)]
    return {table for found in written for table in found}
