"""A step, run and measured in a fresh process: imports, time and peak memory are its own."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import click

PROJECT = Path(__file__).parents[2]
"""Where steps run: the loader finds its contract below the working folder."""
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in one ru_maxrss."""


@dataclass(frozen=True)
class Run:
    """What a step took."""

    import_seconds: float
    seconds: float
    """From its first line until everything is committed and closed; without the imports."""
    peak_mb: float
    """The most that was in memory at a time, Python, libraries and DuckDB's cache included, in 10⁶ bytes."""
    result: int
    """What it returned."""


def run(module: str, function: str, argument: int | Path, environment: dict[str, str]) -> Run:
    """Call `function` of a module in this folder with `argument` in a process of its own.

    The caller has to stay small: ru_maxrss of a process starts at what its parent had in memory.
    Raises click.ClickException with the last line that the process said if it fails.
    """
    command = [sys.executable, __file__, module, function, str(argument)]
    done = subprocess.run(  # noqa: S603
        command, cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise click.ClickException(f"{module}.{function}({argument}) failed and said: {said}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    module, function, argument = sys.argv[1:]
    started = time.perf_counter()
    step = getattr(import_module(module), function)
    imported = time.perf_counter()
    result = step(int(argument) if argument.isdigit() else Path(argument))
    finished = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / 1e6
    print(json.dumps(asdict(Run(imported - started, finished - imported, peak, result))))  # noqa: T201


if __name__ == "__main__":
    main()
