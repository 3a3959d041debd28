"""The `meshflow` command: what SQLMesh's own command doesn't do. Imports wait until a command needs them."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from dotenv import load_dotenv

from meshflow.catalog.command import catalog
from meshflow.ci.command import ci
from meshflow.sample import write


class Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; sample data need less to be installed than loads do."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            lock = "snowflake" if str(error.name).startswith(("snowflake", "github")) else "loader"
            raise click.ClickException(
                f"{error.name} is not installed: `make .venv/{lock}.installed` installs it"
            ) from None


@click.group(cls=Commands)
def main() -> None:
    """Everything around the models. The models themselves: `sqlmesh --help`."""
    load_dotenv(".env", override=True)  # as SQLMesh does: what stands there wins over the environment


main.add_command(catalog)
main.add_command(ci)


@main.command()
@click.argument("environment", default="prod")
def examples(environment: str) -> None:
    """Ask ENVIRONMENT three questions and print queries and answers."""
    from meshflow.examples import examples as show_examples

    show_examples(environment)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="seeds")
def sample(directory: Path) -> None:
    """Write the sample rows to DIRECTORY; the same rows every time."""
    write(directory)


@main.group()
def source() -> None:
    """The two sources in PostgreSQL: an embedded server below data/, or the one at MESHFLOW_SOURCE_URL."""


@source.command()
def up() -> None:
    """Start the sources' database and bring its tables up to date."""
    from meshflow import settings
    from meshflow.postgres import address, clear_errors, connect
    from meshflow.source.schema import admit_loader, install

    if settings.own_server():
        url = settings.source_url()
        with clear_errors(url), closing(connect(url)) as connection:
            install(connection)
            if role := settings.loader_role():
                admit_loader(connection, role)
        click.echo(f"Tables are in place at {address(url)}")
        return
    server = settings.server()
    server.up()
    settings.note_state(server)
    click.echo(f"PostgreSQL runs at {address(server.url('source'))}; where SQLMesh keeps its state is in .env")


@source.command()
def down() -> None:
    """Stop the embedded server. Its data stay in data/postgres."""
    from meshflow import settings

    if settings.own_server():
        raise click.ClickException("The sources are on a server of your own (MESHFLOW_SOURCE_URL): stop it there")
    settings.server().down()
    click.echo("PostgreSQL is stopped")


@source.command()
def status() -> None:
    """Say where the sources are, and what they hold."""
    from meshflow import settings
    from meshflow.postgres import address, clear_errors, connect
    from meshflow.source.schema import contents
    from meshflow.terminal import grid, show

    url = settings.source_url()
    with clear_errors(url), closing(connect(url)) as connection:
        click.echo(f"{address(url)}, PostgreSQL {connection.info.parameter_status('server_version')}")
        table = grid("table", "rows", "deleted", "last write, UTC", right={"rows", "deleted"})
        for name, rows, deleted, last in contents(connection):
            table.add_row(name, f"{rows:,}", f"{deleted:,}", f"{last:%Y-%m-%d %H:%M:%S}" if last else "")
        show(table)


@main.command()
@click.option(
    "--sales",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="New order lines in a batch; the rest follows.",
)
@click.option("--batches", type=click.IntRange(1), help="How many batches.  [default: 1, or no end with --every]")
@click.option("--every", type=click.FloatRange(0), help="Seconds from one batch to the next.")
@click.option("--days", type=click.IntRange(0), default=0, show_default=True, help="Spread orders over the last days.")
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of new rows that are faulty or odd.",
)
@click.option("--seed", type=int, help="With --at: the same traffic again, on the same rows.")
@click.option("--at", type=click.DateTime(), help="When the first batch happens, UTC.  [default: now]")
def generate(  # noqa: PLR0913 - its options
    *,
    sales: int,
    batches: int | None,
    every: float | None,
    days: int,
    fault_rate: float,
    seed: int | None,
    at: datetime | None,
) -> None:
    """Write believable traffic to the sources: orders, enrollments, corrections, cancellations, faults."""
    from meshflow import settings
    from meshflow.source.report import Counter
    from meshflow.source.traffic import run_traffic

    with Counter() as counter:
        run_traffic(
            settings.source_url(),
            sales=sales,
            batches=batches or (None if every else 1),
            every=every or 0,
            seed=seed,
            at=at and at.replace(tzinfo=UTC),
            fault_rate=fault_rate,
            days=days,
            on_batch=counter.add,
        )


@main.command()
@click.option(
    "--gateway", type=click.Choice(["live", "snowflake"]), default="live", show_default=True, help="Where to."
)
@click.option("--only", multiple=True, metavar="TABLE", help="Load this table, such as retail.sales; may be repeated.")
@click.option("--full-refresh", is_flag=True, help="Read everything again and merge it, not only what is new.")
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for another process to leave DuckDB.")
@click.option("--json", "as_json", is_flag=True, help="Tell what happens as JSON, an object a line.")
def load(gateway: str, only: tuple[str, ...], wait: float, *, full_refresh: bool, as_json: bool) -> None:
    """Load what the sources have written since the last load."""
    from meshflow import settings
    from meshflow.loading.contract import contract, source_tables
    from meshflow.loading.load import load_tables, session
    from meshflow.loading.report import ConsoleReporter, JsonReporter

    known = [str(table) for table in source_tables(contract())]
    if unknown := sorted(set(only) - set(known)):
        raise click.ClickException(f"There is no table {', '.join(unknown)} to load: choose from {', '.join(known)}")
    with (
        JsonReporter() if as_json else ConsoleReporter() as reporter,
        session(settings.loader_url(), gateway, settings.data(), wait, reporter) as held,
    ):
        complete = held is None or load_tables(held, reporter, only=only, full_refresh=full_refresh)
    if not complete:
        raise SystemExit(1)


@main.command()
@click.option("--gateway", type=click.Choice(["live", "snowflake"]), default="live", show_default=True, help="Where.")
@click.option("--repair", is_flag=True, help="Mark rows that the sources no longer have as deleted.")
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for another process to leave DuckDB.")
@click.option("--json", "as_json", is_flag=True, help="Tell what happens as JSON, an object a line.")
def reconcile(gateway: str, wait: float, *, repair: bool, as_json: bool) -> None:
    """Load what is new, then compare every row of the sources with what has loaded, at one moment.

    Finds what loads can't see: rows deleted for good, and writes that didn't move updated_at. ops.source_reconciliation
    shows the outcome. Exits 1 if anything differs.
    """
    from meshflow import settings
    from meshflow.loading.load import session
    from meshflow.loading.reconcile import reconcile_all
    from meshflow.loading.report import ConsoleReporter, JsonReporter

    with (
        JsonReporter() if as_json else ConsoleReporter() as reporter,
        session(settings.loader_url(), gateway, settings.data(), wait, reporter) as held,
    ):
        equal = held is None or reconcile_all(held, reporter, repair=repair)
    if not equal:
        raise SystemExit(1)


@main.command()
@click.argument("environment", default="prod")
@click.option("--gateway", default="live", show_default=True, help="SQLMesh's gateway.")
@click.option("--after", default=2.0, show_default=True, help="Hours that may pass without progress.")
def freshness(environment: str, gateway: str, after: float) -> None:
    """Fail if ENVIRONMENT hasn't moved for hours: a dead load, a dead run, a dead scheduler.

    Run it from another scheduler than the one it watches.
    """
    from datetime import timedelta

    from meshflow.freshness import require_fresh

    found = require_fresh(environment, gateway, timedelta(hours=after))
    click.echo(f"{environment} is processed until {found.until:%Y-%m-%d %H:%M} UTC")


@main.command()
@click.option("--gateway", default="live", show_default=True, help="SQLMesh's gateway.")
def audit(gateway: str) -> None:
    """Run every audit of prod over all of its history. Exits 1 if one fails that would stop a run."""
    from meshflow.audit import audit as audit_prod

    if failed := audit_prod(gateway):
        raise click.ClickException(
            f"{failed} blocking audits of prod find rows: the column `problem` of an audit's query says what to do"
        )


@main.command()
def demo() -> None:
    """Show the whole way, from two live sources to figures before and after."""
    from meshflow.demo import demo as show

    show()
