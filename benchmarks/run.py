"""Measure time, memory and statements: `make bench`, or one benchmark by its name."""

import click
from commands.run import commands
from lifecycle.run import lifecycle
from loading.run import loading
from recording.run import recording
from setup.run import setup
from since.run import since
from traffic.run import traffic

BENCHMARKS = (lifecycle, setup, commands, loading, recording, traffic, since)
FULL_SIZES = (1_000_000, 10_000_000, 50_000_000)
"""Order lines."""


@click.group(help=__doc__)
def main() -> None: ...


@main.command("all")
@click.option("--full", is_flag=True, help="Up to fifty million order lines: hours, 30 GB of disk.")
@click.pass_context
def run_all(context: click.Context, *, full: bool) -> None:
    """Run every benchmark, one after another."""
    for benchmark in BENCHMARKS:
        sizes = {"sizes": FULL_SIZES} if full and benchmark is lifecycle else {}
        context.invoke(benchmark, **sizes)


for benchmark in BENCHMARKS:
    main.add_command(benchmark)

if __name__ == "__main__":
    main()
