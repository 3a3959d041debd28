"""The warehouse that workflows use: source database in PostgreSQL, emulated Snowflake, SQLMesh's state."""

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
from sources import SourceDatabase
from workspace import writes

from meshflow.ci.checkout import Checkout
from meshflow.source.traffic import write_batch

BIN = Path(__file__).parents[2] / ".venv" / "bin"
WRITTEN_AT = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
"""Write time of the rows in the sources."""


@dataclass(frozen=True)
class Warehouse:
    """Prod, built from the first commit of main, and the environments of pull requests."""

    main: Path
    """A checkout."""
    snowflake: Snowflake
    sources: SourceDatabase
    state: Mapping[str, str]

    def write(self, seed: int, sales: int = 300) -> None:
        """Write new rows and corrections to the sources."""
        with psycopg.connect(self.sources.url) as connection:
            write_batch(connection, np.random.default_rng(seed), sales=sales, fault_rate=0.1, now=WRITTEN_AT, days=10)

    def load(self) -> None:
        self.command("meshflow", "load", "--gateway", "snowflake", "--json")

    def sqlmesh(self, *arguments: str) -> str:
        return self.command("sqlmesh", "--gateway", "snowflake", *arguments)

    def build(self, github: FakeGitHub, pull: PullRequest, folder: Path) -> str:
        """Build the environment of a pull request in a checkout in `folder`, without its checks; the built tree."""
        git("clone", "--quiet", github.git_dir, folder, at=self.main)
        change = Checkout.merge(folder, pull.base_sha, pull.head_sha)
        ci = {"MESHFLOW_SNOWFLAKE_USER": "CI", "MESHFLOW_SNOWFLAKE_PRIVATE_KEY": self.snowflake.keys.private("CI")}
        plan = ("plan", f"pr_{pull.number}", "--auto-apply", "--skip-tests")
        self.command("sqlmesh", "--paths", str(folder), "--gateway", "snowflake", *plan, **ci)
        return change.tree

    def command(self, name: str, *arguments: str, **variables: str) -> str:
        """Run a command in a checkout of main, with all credentials; its output."""
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

    def delete_intervals(self, table: str) -> None:
        """Make a model due again, such as rpt_net_revenue_by_country, by deleting its processed intervals."""
        with closing(psycopg.connect(**self._state)) as connection, connection:
            pattern = f'%."{table.upper()}"'
            connection.execute("DELETE FROM sqlmesh._intervals WHERE name LIKE %s", [pattern])

    def environments(self) -> set[str]:
        """Names of the environments in SQLMesh's state that haven't expired."""
        with closing(psycopg.connect(**self._state)) as connection:
            rows = connection.execute("SELECT name, expiration_ts FROM sqlmesh._environments").fetchall()
        now = datetime.now(UTC).timestamp() * 1000
        return {name for name, expires in rows if expires is None or expires > now}

    @property
    def _state(self) -> dict[str, str]:
        """Connection parameters of psycopg for SQLMesh's state."""
        return {
            name: self.state[f"MESHFLOW_STATE_{name.upper().replace('DBNAME', 'DATABASE')}"]
            for name in ("host", "port", "user", "password", "dbname")
        }

    def prod(self) -> dict[str, str]:
        """Definitions of prod's views, which change with every promotion."""
        return self.snowflake.definitions()


def built(statements: list[str]) -> set[str]:
    """Names of tables and views of models that were created or written to, without the version: RETAIL__DIM_PRODUCT."""
    plain = [re.sub(r"/\*.*?\*/", "", one).strip() for one in statements]
    target = re.compile(r'[A-Z ]+ "ANALYTICS"\."SQLMESH_\w+"\."(\w+?__\w+?)__\d+(?:__dev)?"')
    return {found[1] for one in writes(plain) if (found := target.match(one))}
