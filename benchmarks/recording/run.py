"""Measure what recording adds to a plan and to hourly runs.

The results go to benchmarks/results/recording.json and, as a table, to the README in this folder.
"""

import tempfile
from pathlib import Path

import click
from lifecycle.run import HOURS, LOAD_DELAY, prepare
from process import Run, machine, now, run, summarize, summarize_runs, versions
from recording.report import table
from report import publish

SMOKE_SALES = 20_000


@click.command()
@click.option("--sales", default=10_000_000, show_default=True, help="Order lines.")
@click.option("--smoke", is_flag=True, help="Few rows; the results are only printed.")
def recording(*, sales: int, smoke: bool) -> None:
    """Measure the share of a plan and of hourly runs that recording takes."""
    started, circumstances = now(), machine()
    sales = SMOKE_SALES if smoke else sales
    steps: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="meshflow-") as folder, prepare(Path(folder) / "home", sales) as scenario:
        for hour in range(HOURS + 1):
            if hour:
                loaded_at = scenario.interval_ends[hour] + LOAD_DELAY
                run("lifecycle.rows:change", scenario.data, sales, hour, loaded_at, environment={})
            step = "run" if hour else "plan"
            done = scenario.meshflow("recorded", step, interval=hour)
            click.echo(
                f"{step}: {done.seconds:.2f} s, {done.result['recording_seconds']:.2f} s of it for recording", err=True
            )
            steps.setdefault(step, []).append(done)
    results = {
        "date": started,
        "machine": circumstances,
        "versions": versions("sqlmesh", "duckdb"),
        "settings": {"sales": sales, "repeat": HOURS},
        "steps": {
            step: {
                **summarize_runs(runs),
                "recording_seconds": summarize([done.result["recording_seconds"] for done in runs]),
                "share": summarize([done.result["recording_seconds"] / done.seconds for done in runs]),
            }
            for step, runs in steps.items()
        },
    }
    publish("recording", results, table, smoke=smoke)
