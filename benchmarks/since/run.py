"""Measure queries, merges and audits of the models, at an earlier commit and now, as the baseline runs them.

The results go to benchmarks/results/since.json and, as a table, to the README in this folder.
"""

import io
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from lifecycle.run import LOAD_DELAY, pin, prepare
from process import PROJECT, machine, now, run, summarize_runs, versions
from report import publish
from since.report import table

BEFORE = "8a7e7a7"
"""The last commit whose models rewrite histories, dimensions and reports in every run."""
SMOKE_SALES = 20_000
RAW = "live_raw.duckdb"


@click.command()
@click.argument("commit", default=BEFORE)
@click.option("--sales", default=10_000_000, show_default=True, help="Order lines.")
@click.option("--smoke", is_flag=True, help="Few rows; the results are only printed.")
def since(*, commit: str, sales: int, smoke: bool) -> None:
    """Measure a full build and an hourly run, with the models of COMMIT and with those of the working tree."""
    started, circumstances = now(), machine()
    sales = SMOKE_SALES if smoke else sales
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
        before = Path(folder) / "before"
        check_out(commit, before / "project")
        pin(before / "project")
        steps, contents = _measure(Path(folder) / "now", before, sales)
    common = contents["before"].keys() & contents["now"].keys()
    results = {
        "date": started,
        "machine": circumstances,
        "versions": versions("sqlmesh", "duckdb"),
        "settings": {"commit": commit, "sales": sales, "repeat": 1},
        "tables": len(common),
        "differing": sorted(name for name in common if contents["before"][name] != contents["now"][name]),
        "steps": steps,
    }
    publish("since", results, table, smoke=smoke)


def _measure(home: Path, earlier: Path, sales: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of each step, and by variant the checksums of the tables after the last one."""
    steps = {}
    with prepare(home, sales) as scenario:
        before = replace(scenario, home=earlier)
        before.data.mkdir()
        (before.data / RAW).symlink_to(scenario.data / RAW)
        before.render()
        variants = {"before": before, "now": scenario}
        for step, arguments in (("build", ()), ("hour", (1,))):
            if step == "hour":
                loaded_at = scenario.interval_ends[1] + LOAD_DELAY
                run("lifecycle.rows:change", scenario.data, sales, 1, loaded_at, environment={})
            for name, variant in variants.items():
                done = variant.baseline(step, *arguments)
                click.echo(f"{step}, {name}: {done.seconds:.1f} s", err=True)
                steps[f"{step}, {name}"] = {**summarize_runs([done]), "parts": done.result["parts"]}
        return steps, {name: variant.contents("baseline") for name, variant in variants.items()}


def check_out(commit: str, folder: Path) -> None:
    """Write the files of a commit, without tests, to `folder`.

    Raises click.ClickException if it isn't in this history, or can't read the rows that this benchmark loads.
    """
    done = subprocess.run(  # noqa: S603
        ["git", "archive", commit, "--", ".", ":(exclude)tests"],  # noqa: S607
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"Commit {commit} is not in this history: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    if "\n  live:\n" not in (folder / "config.yaml").read_text():
        raise click.ClickException(
            f"Commit {commit} has no gateway `live` in config.yaml: its models can't read the rows loaded here. "
            "Choose a later commit, or run the benchmark of an older checkout"
        )
