"""What the models cost now, beside what they cost at an earlier commit: queries, merges and audits, at the limit.

The results go to benchmarks/results/since.json and, as a table, to the README beside this file.
"""

import io
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from lifecycle.run import DELAY, begin, pin
from process import PROJECT, machine, now, run, spreads, versions
from report import publish
from since.report import table

FIRST = "6a7a247"
"""The commit before the first cost that these benchmarks showed was fixed."""
SMOKE = 20_000
LOADED = "live_raw.duckdb"


@click.command()
@click.argument("commit", default=FIRST)
@click.option("--sales", default=10_000_000, show_default=True, help="Order lines.")
@click.option("--smoke", is_flag=True, help="Few rows; the results are printed and not kept.")
def since(*, commit: str, sales: int, smoke: bool) -> None:
    """A full build and an hour, by the models of COMMIT and by those that stand here."""
    started, circumstances = now(), machine()
    sales = SMOKE if smoke else sales
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
        before = Path(folder) / "before"
        _check_out(commit, before / "project")
        pin(before / "project")
        steps, contents = _live(Path(folder) / "now", before, sales)
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


def _live(home: Path, earlier: Path, sales: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each step takes; and by side, what stands in the tables in the end."""
    steps = {}
    with begin(home, sales) as life:
        before = replace(life, home=earlier)
        before.data.mkdir()
        (before.data / LOADED).symlink_to(life.data / LOADED)
        before.render()
        sides = {"before": before, "now": life}
        for step, arguments in (("build", ()), ("hour", (1,))):
            if step == "hour":
                run("lifecycle.rows:change", life.data, sales, 1, life.moments[1] + DELAY, environment={})
            for name, side in sides.items():
                done = side.limit(step, *arguments)
                click.echo(f"{step}, {name}: {done.seconds:.1f} s", err=True)
                steps[f"{step}, {name}"] = {**spreads([done]), "parts": done.result["parts"]}
        return steps, {name: side.contents("limit") for name, side in sides.items()}


def _check_out(commit: str, folder: Path) -> None:
    """The files of a commit, without tests. Raises click.ClickException if it isn't in the history."""
    done = subprocess.run(  # noqa: S603
        ["git", "archive", commit, "--", ".", ":(exclude)tests"],  # noqa: S607
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"Commit {commit} is not in the history here: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
