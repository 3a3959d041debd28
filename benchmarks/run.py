"""What it costs: `make bench`, or one benchmark by its name."""

import click
from commands.run import commands
from landing.run import landing
from lifecycle.run import lifecycle
from traffic.run import traffic


@click.group(help=__doc__)
def main() -> None: ...


for benchmark in (lifecycle, commands, landing, traffic):
    main.add_command(benchmark)

if __name__ == "__main__":
    main()
