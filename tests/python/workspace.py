"""A copy of the project with databases of its own, for tests that change models, load rows or run in the future."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from sqlmesh.core.config import Config, load_configs
from sqlmesh.core.context import Context

PARTS = (
    "config.yaml", "audits", "external_models", "linter", "macros", "materializations", "models", "seeds", "signals",
    "tests/models",
)  # fmt: skip

STATE_TABLE = re.compile(r'"sqlmesh"\."_\w+"')
DRY_RUN_TABLE = re.compile(r"_schema_tmp\"")
C = TypeVar("C", bound=Context)
WRITE = re.compile(r"(CREATE|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|DROP|ALTER)\b[^(]*", re.IGNORECASE)


@dataclass(frozen=True)
class Workspace:
    """A project in a folder of its own, with its databases next to it."""

    root: Path
    state: dict[str, str] = field(default_factory=dict)
    """Variables that locate the SQLMesh state of gateway `live`, which needs them (sources.new_state)."""

    @classmethod
    def copy_of(cls, project: Path, root: Path, state: dict[str, str] | None = None) -> "Workspace":
        for part in PARTS:
            source, target = project / part, root / "project" / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        (root / "data").mkdir()
        return cls(root, state or {})

    def clone(self, root: Path, state: dict[str, str] | None = None, *, data: bool = True) -> "Workspace":
        """Copy it, with the databases as they are now unless `data` is false. The state isn't copied."""
        databases = () if data else ("*.duckdb", "*.wal", "*_spill")
        # SQLMesh writes a file of its cache under another name first, and another process may be loading this.
        ignored = shutil.ignore_patterns("*__tmp*", *databases)
        shutil.copytree(self.root, root, dirs_exist_ok=True, ignore=ignored)
        clone = Workspace(root, state or {})
        # SQLMesh names the cached files of a model by the configuration, which contains the folder of databases.
        # A project loads in 4.1 s without its cache, in 1.7 s with it.
        before, after = self._fingerprint, clone._fingerprint
        for file in clone.path.glob(".cache/model_definition/*"):
            file.rename(file.with_name(file.name.replace(before, after)))
        return clone

    @property
    def _fingerprint(self) -> str:
        with patch.dict(os.environ, self.environment):
            [config] = load_configs(None, Config, str(self.path)).values()
        return config.fingerprint

    @property
    def path(self) -> Path:
        return self.root / "project"

    @property
    def environment(self) -> dict[str, str]:
        return {"MESHFLOW_DATA": str(self.data), **self.state}

    @property
    def data(self) -> Path:
        return self.root / "data"

    def context(self, gateway: str = "local", kind: type[C] = Context) -> C:
        """Load the project as it is now."""
        with patch.dict(os.environ, self.environment):
            return kind(paths=str(self.path), gateway=gateway)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which must occur in `file` exactly once."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file}, not once"
        path.write_text(text.replace(old, new), encoding="utf-8")


def plan(context: Context, environment: str, at: datetime | None = None) -> None:
    """`sqlmesh plan ENVIRONMENT --auto-apply`, without the unit tests, which `make test` runs before.

    As if it were `at`, UTC; by default now.
    """
    context.plan(environment, execution_time=at, auto_apply=True, no_prompts=True, skip_tests=True)


RUN = """
import sys
from datetime import datetime
from meshflow.runs import RecordedContext

at = datetime.fromisoformat(sys.argv[1])
status = RecordedContext(paths=".", gateway="local").run("prod", end=at, execution_time=at, skip_janitor=True)
sys.exit(not status.is_success)
"""


@contextmanager
def run_elsewhere(workspace: Workspace, data: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run prod as of two hours from now, on the databases in `data`, in another process while the block runs.

    Fails unless the run succeeds.
    """
    at = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=2)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(at)],
        cwd=workspace.path,
        env=os.environ | {"MESHFLOW_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        output, _ = process.communicate()
        assert process.returncode == 0, output


def run(context: Context, at: datetime, select: Collection[str] = ()) -> None:
    """`sqlmesh run` as if it were `at`, UTC, which may be in the future."""
    status = context.run("prod", end=at, execution_time=at, select_models=select or None, skip_janitor=True)
    assert status.is_success, status


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Every statement that an engine adapter of SQLMesh sends while the block runs, in order."""
    statements: list[str] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if message.startswith("Executing SQL: "):
                statements.append(re.sub(r"/\*.*?\*/", "", message.removeprefix("Executing SQL: ")).strip())

    logger, recorder = logging.getLogger("sqlmesh.core.engine_adapter.base"), Recorder()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(recorder)
    try:
        yield statements
    finally:
        logger.removeHandler(recorder)
        logger.setLevel(level)
        logger.propagate = propagate


def writes(statements: list[str]) -> list[str]:
    """The statements that change the warehouse.

    Leaves out SQLMesh's state, and the empty tables `…_schema_tmp`. A promotion creates and drops them to check
    whether a query is valid.
    """
    return [
        statement
        for statement in statements
        if (start := WRITE.match(statement))
        and not STATE_TABLE.search(start.group())
        and not DRY_RUN_TABLE.search(start.group())
    ]


def table_writes(statements: list[str]) -> list[str]:
    """The `writes` that create tables or change rows: all but views, schemas and comments."""
    no_rows = re.compile(r"(CREATE (OR REPLACE )?VIEW|CREATE SCHEMA|(ALTER|DROP) VIEW)\b")
    return [statement for statement in writes(statements) if not no_rows.match(statement)]
