"""What the models cost now, beside what they cost at an earlier commit: queries, merges and audits, at the limit.

The results go to benchmarks/results/since.json and, as a table, to the README beside this file.
"""

import io
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from lifecycle.run import DELAY, Life, begin, pin
from process import PROJECT, Run, machine, now, run, spreads, versions
from report import publish
from since.report import table

FIRST = "6a7a247"
"""The commit before the first cost that these benchmarks showed was mended."""
SMOKE = 20_000


@dataclass(frozen=True)
class Side:
    """A warehouse made by the models of one commit, beside another over the same landed rows."""

    life: Life
    home: Path
    project: Path

    @property
    def rendered(self) -> Path:
        return self.home / "rendered.json"

    def render(self) -> None:
        self.home.mkdir()
        (self.home / "landed_raw.duckdb").symlink_to(self.life.data / "landed_raw.duckdb")
        arguments = (self.rendered, *self.life.moments)
        run("lifecycle.render:render", *arguments, environment=self.life.environment, folder=self.project)

    def work(self, step: str, *arguments: object) -> Run:
        return run(f"lifecycle.limit:{step}", self.home, self.rendered, *arguments, environment={})

    def contents(self) -> dict[str, Any]:
        database = self.home / "limit_analytics.duckdb"
        found: dict[str, Any] = run(
            "lifecycle.contents:checksums", database, "ANALYTICS", self.rendered, environment={}
        ).result
        return found


@click.command()
@click.argument("commit", default=FIRST)
@click.option("--sales", default=10_000_000, show_default=True, help="Order lines.")
@click.option("--smoke", is_flag=True, help="Few rows; the results are printed and not kept.")
def since(*, commit: str, sales: int, smoke: bool) -> None:
    """A full build and an hour, by the models of COMMIT and by those that stand here."""
    started, circumstances = now(), machine()
    sales = SMOKE if smoke else sales
    steps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder:
        then = Path(folder) / "then"
        _check_out(commit, then)
        pin(then)
        before, after = _live(Path(folder) / "life", then, sales, steps)
    results = {
        "date": started,
        "machine": circumstances,
        "versions": versions("sqlmesh", "duckdb"),
        "settings": {"commit": commit, "sales": sales, "repeat": 1},
        "tables": len(before.keys() & after.keys()),
        "differing": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
        "steps": steps,
    }
    publish("since", results, table, smoke=smoke)


def _live(home: Path, then: Path, sales: int, steps: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Note what each step takes; returns what stands in the tables of both sides in the end."""
    with begin(home, sales) as life:
        sides = {"before": Side(life, home / "before", then), "now": Side(life, home / "now", life.project)}
        for side in sides.values():
            side.render()
        for step, arguments in (("build", ()), ("hour", (1,))):
            if step == "hour":
                run("lifecycle.rows:change", life.data, sales, 1, life.moments[1] + DELAY, environment={})
            for name, side in sides.items():
                done = side.work(step, *arguments)
                click.echo(f"{step}, {name}: {done.seconds:.1f} s", err=True)
                steps[f"{step}, {name}"] = {**spreads([done]), "parts": done.result["parts"]}
        return sides["before"].contents(), sides["now"].contents()


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
