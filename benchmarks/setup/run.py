"""Measure the set-up of a fresh clone: an installation, `make dev`, `make demo`, `make test`.

An earlier commit and HEAD are measured step by step, each in a folder and with caches of its own. The results go to
benchmarks/results/setup.json and, as a table, to the README in this folder.
"""

import os
import shutil
import subprocess
import tempfile
import time
from itertools import islice
from pathlib import Path

import click
from process import PROJECT, machine, now, versions
from report import publish
from setup.report import table

DEFAULT_COMMIT = "e7ad238"
"""The last commit that installs without uv."""
STEPS = {
    "an environment from requirements/base.lock": ".venv/base.installed",
    "`make dev` after that": "dev",
    "`make demo` after that": "demo",
}
"""Targets of make, by the name of the step."""
TESTS = {
    "the environment of `make test`, after that": ".venv/dev.installed",
    "`make test`": "test",
}
"""Steps of `--tests`: half an hour more."""
SMOKE = dict(islice(STEPS.items(), 1))


@click.command()
@click.argument("commit", default=DEFAULT_COMMIT)
@click.option("--tests", is_flag=True, help="Measure `make test` too.")
@click.option("--smoke", is_flag=True, help="Only the first step; the results are only printed.")
def setup(*, commit: str, tests: bool, smoke: bool) -> None:
    """Measure the set-up of a fresh clone, at COMMIT and at HEAD."""
    started, circumstances = now(), machine()
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
        variants = {"before": _clone(commit, Path(folder, "before")), "now": _clone("HEAD", Path(folder, "now"))}
        try:
            for step, target in (SMOKE if smoke else STEPS | TESTS if tests else STEPS).items():
                seconds[step] = {}
                # The second finds the caches of disk and network filled, so the starting variant alternates.
                variants = dict(reversed(variants.items()))
                for variant, clone in variants.items():
                    seconds[step][variant] = _make(clone, target)
                    click.echo(f"{step}, {variant}: {seconds[step][variant]:.1f} s", err=True)
        finally:
            for clone in variants.values():
                _stop(clone)
    results = {
        "date": started,
        "machine": circumstances,
        "versions": versions(),
        "settings": {"commit": commit, "repeat": 1},
        "seconds": seconds,
    }
    publish("setup", results, table, smoke=smoke)


def _clone(commit: str, folder: Path) -> Path:
    """Clone into `folder`. Raises click.ClickException if the commit isn't in this history."""
    for command in (["clone", "--quiet", "--no-checkout", PROJECT, folder], ["-C", folder, "checkout", "-q", commit]):
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if done.returncode:
            raise click.ClickException(f"Commit {commit} is not in this history: {done.stderr.strip()}")
    return folder


def _make(clone: Path, target: str) -> float:
    """Make `target`; returns the seconds. Raises click.ClickException with the end of its output, if it fails."""
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [str(shutil.which("make")), target],
        cwd=clone,
        env=_environment(clone),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"make {target} failed in {clone}: {done.stdout[-1500:]}")
    return time.perf_counter() - started


def _environment(clone: Path) -> dict[str, str]:
    """The environment of a new shell, with caches that are empty at first."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MESHFLOW_", "SQLMESH", "VIRTUAL_ENV", "PYTHON", "MAKE", "MFLAGS"))
    }
    return inherited | {"PIP_CACHE_DIR": str(clone / ".cache/pip"), "UV_CACHE_DIR": str(clone / ".cache/uv")}


def _stop(clone: Path) -> None:
    """The demo leaves its source systems running."""
    if (clone / "data/postgres").exists():
        subprocess.run([clone / ".venv/bin/meshflow", "source", "down"], cwd=clone, capture_output=True, check=False)  # noqa: S603
