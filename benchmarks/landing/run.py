"""Measure the loader against the lower limit: `make bench-landing`.

Starts a PostgreSQL of its own, fills retail.sales, and runs each step in a fresh process. The results go to
benchmarks/results/landing.json and, as a table, to the README beside this file.
"""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click
from process import PROJECT, Run, run
from report import write_table

from meshflow.postgres import connect
from meshflow.source.server import Server

LIBRARIES = ("meshflow", "dlt", "duckdb", "adbc-driver-postgresql", "pyarrow", "psycopg")
RESULTS = PROJECT / "benchmarks" / "results" / "landing.json"
README = Path(__file__).with_name("README.md")


@dataclass
class Step:
    """What was measured of one step, in each repetition."""

    name: str
    limit: str | None
    """The step that does no more than has to be done."""
    runs: list[Run] = field(default_factory=list)
    checksum: int = 0
    """Of what it left in the warehouse."""


@contextmanager
def applications(home: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL of our own with empty tables, as the environment that tells steps where it is."""
    server = Server(home)
    try:
        server.up()
        yield {"MESHFLOW_SOURCE_URL": server.url("application"), "MESHFLOW_LOADER_URL": server.url("loader")}
    finally:
        server.down()


class Benchmark:
    def __init__(self, home: Path, environment: dict[str, str], repeat: int) -> None:
        self._home, self._environment, self._repeat = home, environment, repeat
        self.steps
