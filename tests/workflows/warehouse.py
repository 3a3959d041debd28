"""The warehouse that workflows use: source database in PostgreSQL, emulated Snowflake, SQLMesh's state."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
from act import git
from emulated import Snowflake
from fake_github import FakeGitHub, PullRequest
from psycopg import sql
from sources import SourceDatabase
from workspace import writes

from meshflow.ci.checkout import Checkout
from meshflow.source.server import Server
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
    ci_password: str
    """Of the role sqlmesh_ci in the database of the state."""

    @property
    def ci_state(self) -> dict[str, str]:
        """The variables with which pull requests sign in to the state."""
        return {"MESHFLOW_STATE_USER": "sqlmesh_ci", "MESHFLOW_STATE_PASSWORD": self.ci_password}

    def create_ci_role(self, postgres: Server) -> None:
        """As in docs/runbooks/snowflake-account.md, steps 5 and 7."""
        database, role = sql.Identifier(self.state["MESHFLOW_STATE_DATABASE"]), sql.Identifier("sqlmesh_ci")
        with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(self.ci_password)))
            connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
        grants = (self.main / "infra/postgres/ci.sql").read_text()
        with closing(psycopg.connect(**self._state)) as connection, connection:
            connection.execute(grants.encode())

    def as_ci(self, statement: str) -> None:
        """Execute a statement on the state with the rights of pull requests."""
        login = {"user": "sqlmesh_ci", "password": self.ci_password}
        with closing(psycopg.connect(**self._state | login)) as connection, connection:
            connection.execute(statement.encode())

    def write(self, seed: int, sales: int = 300) -> None:
        """Write new rows and corrections to the sources."""
        with psycopg.connect(self.sources.url) as connection:
            write_batch(connection, np.random.default_rng(seed), sales=sales, fault_rate=0.1, now=WRITTEN_AT, days=10)

    def load(self) -> None:
        self.command("meshflow", "load", "--gateway", "snowflake", "--json")

    def sqlmesh(self, *arguments: str) -> str:
        return self.command("sqlmesh", "--gateway", "snowflake", *arguments)

    def build(self, github: FakeGitHub, pull: PullRequest, folder: Path) -> str:
        """Build the environment of a pull request in a checkout in `folder`, as its workflow does; the built tree."""
        git("clone", "--quiet", github.git_dir, folder, at=self.main)
        change = Checkout.merge(folder, pull.base_sha, pull.head_sha)
        login = {
            "SQLMESH__DEFAULT_GATEWAY": "snowflake",
            "MESHFLOW_SNOWFLAKE_USER": "CI",
            "MESHFLOW_SNOWFLAKE_ROLE": "CI__U_ROLE",
            "MESHFLOW_SNOWFLAKE_PRIVATE_KEY": self.snowflake.keys.private("CI"),
        }
        options = ("--path", str(folder), "--number", str(pull.number), "--over-budget", "true")
        self.command("meshflow", "ci", "build", *options, "--output", os.devnull, **login, **self.ci_state)
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

    def state_rows(self) -> list[tuple[object, ...]]:
        """What the state has of models, environments and intervals, by table."""
        tables = ("_snapshots", "_environments", "_intervals", "_versions")
        with closing(psycopg.connect(**self._state)) as connection:
            return [
                row
                for table in tables
                for row in connection.execute(f"SELECT md5(t::text) FROM sqlmesh.{table} t ORDER BY 1".encode())
            ]

    @contextmanager
    def planted(self, model: str, statement: str) -> Iterator[None]:
        """Add a Python statement to the macros of all versions of a model in the state while the block runs."""
        store = "UPDATE sqlmesh._snapshots SET snapshot = %s WHERE name = %s AND identifier = %s"
        with closing(psycopg.connect(**self._state, autocommit=True)) as connection:
            pattern = '%."' + model.replace(".", '"."') + '"'
            query = "SELECT snapshot, name, identifier FROM sqlmesh._snapshots WHERE name LIKE %s"
            rows = connection.execute(query, [pattern]).fetchall()
            assert rows
            for text, *key in rows:
                snapshot = json.loads(text)
                for executable in snapshot["node"]["python_env"].values():
                    if executable["kind"] == "definition":
                        executable["payload"] = f"{statement}\n{executable['payload']}"
                connection.execute(store, [json.dumps(snapshot), *key])
            yield
            for text, *key in rows:
                connection.execute(store, [text, *key])

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
