"""Run a step in a fresh process and measure it: imports, time and peak memory are its own."""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click

HERE = Path(__file__).parent
PROJECT = HERE.parent
"""Default working folder of a step: the loader reads its contract from there."""
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in one ru_maxrss."""
RESULT_PREFIX = "measured: "
"""Start of the last line that a step's process prints."""


@dataclass(frozen=True)
class Run:
    """The figures of one step."""

    import_seconds: float
    """Of the module that contains the step, with everything it needs."""
    seconds: float
    """From its first line until everything is committed and closed; without the imports."""
    cpu_seconds: float
    """Of all its threads and child processes, in those seconds."""
    peak_mb: float
    """Peak memory in 10⁶ bytes: Python, libraries and DuckDB's cache."""
    result: Any
    """What the step returned, as JSON."""
    wall_seconds: float = 0
    """Of the process, from its start to its end."""


def run(
    step: str,
    *arguments: str | float | Path,
    environment: Mapping[str, str],
    folder: Path = PROJECT,
    python: Path | None = None,
    benchmarks: Path = HERE,
) -> Run:
    """Run `step`, named as 'loading.loader:load' below `benchmarks`, in a process of its own.

    Numbers and strings are passed as they are, a path as a string. `folder` is the working folder, `python` another
    interpreter than this one, `benchmarks` this folder or that of another commit. The caller has to stay small:
    ru_maxrss of a process starts at what its parent had in memory. Raises click.ClickException with the last output of
    a step that fails.
    """
    command = [str(python or sys.executable), str(benchmarks / "process.py"), step, json.dumps(arguments, default=str)]
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    wall_seconds = time.perf_counter() - started
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith(RESULT_PREFIX):
        output = (done.stderr.strip() or done.stdout.strip() or "none")[-1500:]
        raise click.ClickException(f"{step} {' '.join(map(str, arguments))} failed. Its last output: {output}")
    return Run(**{**json.loads(lines[-1].removeprefix(RESULT_PREFIX)), "wall_seconds": wall_seconds})


def machine() -> dict[str, Any]:
    """The machine that is measured on. Call it before the first step: the load average must not include the steps."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "platform": platform.platform(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions(*libraries: str) -> dict[str, str]:
    """Versions of Python and of libraries of this interpreter."""
    return {"Python": platform.python_version(), **{library: version(library) for library in libraries}}


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def summarize(values: list[float]) -> dict[str, Any]:
    """One figure over all repetitions."""
    return {"median": round(median(values), 3), "minimum": round(min(values), 3), "all": [round(v, 3) for v in values]}


def summarize_runs(runs: list[Run]) -> dict[str, Any]:
    """Every figure of one step over all repetitions."""
    measured = ("seconds", "wall_seconds", "cpu_seconds", "peak_mb")
    return {figure: summarize([getattr(run, figure) for run in runs]) for figure in measured}


def copy_project(target: Path, *parts: str) -> None:
    """Copy the project, or parts of it, from the working tree, committed or not.

    Without .env: a step has settings of its own.
    """
    listed = subprocess.run(  # noqa: S603
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *parts],  # noqa: S607
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for file in listed.split("\0"):
        if file and (PROJECT / file).exists():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / file, target / file)


def _cpu_seconds() -> float:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    step, arguments = sys.argv[1:]
    module, function = step.split(":")
    started = time.perf_counter()
    called = getattr(import_module(module), function)
    imported, cpu = time.perf_counter(), _cpu_seconds()
    result = called(*json.loads(arguments))
    finished = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / 1e6
    measured = Run(imported - started, finished - imported, _cpu_seconds() - cpu, peak, result)
    print(f"\n{RESULT_PREFIX}{json.dumps(asdict(measured))}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
