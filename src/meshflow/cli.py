"""The `meshflow` command, for what SQLMesh's own command doesn't do. Commands import their modules when they run."""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from meshflow.catalog.command import catalog
from meshflow.ci.command import ci
from meshflow.environment import load_env
from meshflow.error_lines import one_line_errors
from meshflow.failures import log_errors
from meshflow.options import AS_JSON, AS_JSON_LINES, SECONDS, FiniteRange
from meshflow.sample import write


class Commands(click.Group):
    """Every error of a command, its arguments included, becomes one line."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with one_line_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        log_errors()
        with one_line_errors():
            return super().invoke(ctx)


@click.group(cls=Commands)
@click.version_option(package_name="meshflow", message="%(version)s")
def main() -> None:
    """Load, reconcile, monitor, document and deploy the meshflow warehouse. `sqlmesh` plans and runs its models."""
    load_env()


main.add_command(catalog)
main.add_command(ci)


@main.command()
@click.argument("environment", default="prod")
@AS_JSON
def examples(environment: str, *, as_json: bool) -> None:
    """Run example queries in ENVIRONMENT and print queries and results."""
    from meshflow.examples import examples as show_examples

    show_examples(environment, as_json=as_json)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="seeds")
def sample(directory: Path) -> None:
    """Write the sample rows to DIRECTORY. They are the same every time."""
    write(directory)


@main.group()
def source() -> None:
    """Manage the source database: an embedded PostgreSQL below data/, or the server at MESHFLOW_SOURCE_URL."""


@source.command()
def up() -> None:
    """Start the embedded PostgreSQL: the source database of the demo, and SQLMesh's state.

    With a source of your own (MESHFLOW_SOURCE_URL) it has the state only, and nothing is created in the source.
    """
    from meshflow import settings
    from meshflow.postgres import address, connect

    if settings.own_server():
        url, state = settings.loader_url(), settings.own_state()
        connect(url).close()
        if state:
            try:
                connect(state).close()
            except click.ClickException as error:
                raise click.ClickException(
                    f"SQLMesh's state can't be reached. {error.message}. Correct MESHFLOW_STATE_* in .env, or remove "
                    "these lines for an embedded one"
                ) from None
        click.echo(f"The source is your own: {address(url)}. Nothing is created in it")
        if state:
            click.echo(f"SQLMesh's state is your own: {address(state)}")
            return
    server = settings.server()
    server.up(with_source=not settings.own_server())
    settings.write_state_settings(server)
    database = "sqlmesh" if settings.own_server() else "source"
    running_at = address(server.url(database, database))
    click.echo(f"PostgreSQL is running at {running_at}; .env has the connection to SQLMesh's state")


@source.command()
def down() -> None:
    """Stop the embedded PostgreSQL. Its data stay in data/postgres."""
    from meshflow import settings

    server = settings.server()
    if settings.own_server() and not server.exists:
        raise click.ClickException("The sources are on a server of your own (MESHFLOW_SOURCE_URL): stop it there")
    server.down()
    click.echo("PostgreSQL is stopped")


@source.command()
def install_demo() -> None:
    """Create the demo's tables on a server of your own, and let the loader's role read them."""
    from meshflow import settings
    from meshflow.postgres import address, clear_errors, connect
    from meshflow.source.schema import grant_loader_access, install

    url, role = settings.source_url(), settings.loader_role()
    with clear_errors(url), closing(connect(url)) as connection:
        install(connection)
        if role:
            grant_loader_access(connection, role)
    click.echo(f"The demo's tables are ready at {address(url)}")


@source.command()
@AS_JSON
def status(*, as_json: bool) -> None:
    """Show the connection to the source database and the row counts of the contract's tables."""
    from meshflow import settings
    from meshflow.loading.contract import contract, source_tables
    from meshflow.postgres import address, clear_errors, connect
    from meshflow.source.tables import table_counts
    from meshflow.terminal import echo_json, grid, show

    url = settings.source_url()
    with clear_errors(url), closing(connect(url)) as connection:
        connection.execute("SET lock_timeout = '30s'")  # a migration may hold a table for hours
        version = connection.info.parameter_status("server_version")
        counts = list(table_counts(connection, source_tables(contract())))
    if as_json:
        names = ("table", "rows", "deleted", "last_write_at")
        tables = [dict(zip(names, row, strict=True)) for row in counts]
        echo_json({"address": address(url), "postgresql": version, "tables": tables})
        return
    click.echo(f"{address(url)}, PostgreSQL {version}")
    table = grid("table", "rows", "deleted", "last write, UTC", right={"rows", "deleted"})
    for name, rows, deleted, last in counts:
        count = "" if deleted is None else f"{deleted:,}"
        table.add_row(name, f"{rows:,}", count, f"{last:%Y-%m-%d %H:%M:%S}" if last else "")
    show(table)


@source.command()
@click.argument("tables", nargs=-1, metavar="[SCHEMA.TABLE]...")
@click.option("--all", "schemas", multiple=True, metavar="SCHEMA", help="Add all tables of SCHEMA. May be repeated.")
def add(tables: tuple[str, ...], schemas: tuple[str, ...]) -> None:
    """Add tables of the source database to the project: contract, models, unit tests. Copies no row."""
    from meshflow import settings
    from meshflow.postgres import clear_errors, connect
    from meshflow.source.add import add as add_tables
    from meshflow.source.add import select

    if not tables and not schemas:
        raise click.UsageError("Name a table, such as public.orders, or a schema with --all")
    root, url = Path(), settings.loader_url()
    with clear_errors(url), closing(connect(url)) as connection:
        connection.execute("SET search_path = pg_catalog")
        selected = list(select(root, connection, tables, schemas))
    if not selected:
        raise click.ClickException(f"No table of {', '.join(schemas)} is left that can be added")
    for path in add_tables(root, selected):
        click.echo(f"Wrote {path}")
    for table in selected:
        if not table.key:
            click.echo(f"{table} has no key in the source: a load replaces all of its rows, and they aren't validated")
    click.echo(
        "Next: `make lint` checks the files, `meshflow load` loads the rows, and "
        "`sqlmesh --gateway live plan dev` builds the tables"
    )


@source.command()
@AS_JSON
def check(*, as_json: bool) -> None:
    """Check that the loader can read every table of the contract. Loads nothing; exit status 1 if it can't."""
    from meshflow import settings
    from meshflow.loading.check import check_tables

    if not check_tables(settings.loader_url(), as_json=as_json):
        raise SystemExit(1)


@source.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL_OPTION]...")
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the source database, as the owner of its tables. Takes psql's options, such as -c."""
    import os
    import shutil

    from meshflow import settings
    from meshflow.postgres import clear_errors, connect, without_password
    from meshflow.source.server import BIN

    url = settings.source_url()
    with clear_errors(url), closing(connect(url)):
        pass  # psql's own error has several lines
    connection, password = without_password(url)
    program = shutil.which("psql") or str(BIN / "psql")  # the embedded server's has no line editing
    # In the environment, which only the same user can read. All users can read a command line.
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    os.execve(program, [program, "--dbname", connection, *arguments], environment)  # noqa: S606


@main.command()
@click.option(
    "--sales",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="New order lines per batch. Other rows scale with them.",
)
@click.option("--batches", type=click.IntRange(1), help="Number of batches.  [default: 1, or unlimited with --every]")
@click.option("--every", type=SECONDS, help="Seconds between the starts of two batches.")
@click.option(
    "--days",
    type=click.IntRange(0, 36_500),
    default=0,
    show_default=True,
    help="Number of past days to spread new rows over.",
)
@click.option(
    "--fault-rate",
    type=FiniteRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of new rows with a synthetic fault.",
)
@click.option("--seed", type=int, help="Random seed. With --at, the same tables get the same rows again.")
@click.option("--at", type=click.DateTime(), help="Time of the first batch, UTC.  [default: now]")
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
    """Write realistic transactions to the source database: orders, enrollments, corrections, cancellations, faults."""
    from meshflow import settings
    from meshflow.source.report import TrafficReporter
    from meshflow.source.traffic import run_traffic

    with TrafficReporter() as reporter:
        run_traffic(
            settings.source_url(),
            sales=sales,
            batches=batches or (None if every else 1),
            every=every or 0,
            seed=seed,
            at=at and at.replace(tzinfo=UTC),
            fault_rate=fault_rate,
            days=days,
            on_batch=reporter.committed,
        )


@main.command()
@click.option(
    "--gateway",
    type=click.Choice(["live", "snowflake"]),
    default="live",
    show_default=True,
    help="Destination gateway.",
)
@click.option("--only", multiple=True, metavar="TABLE", help="Load this table, such as retail.sales. May be repeated.")
@click.option("--full-refresh", is_flag=True, help="Read and merge all rows, not only new and changed ones.")
@click.option("--wait", type=SECONDS, default=60.0, show_default=True, help="Seconds to wait for the DuckDB lock.")
@AS_JSON_LINES
def load(gateway: str, only: tuple[str, ...], wait: float, *, full_refresh: bool, as_json: bool) -> None:
    """Load new and changed rows from the source database."""
    from meshflow import settings
    from meshflow.loading.contract import contract, source_tables
    from meshflow.loading.load import load_tables, session
    from meshflow.loading.report import ConsoleReporter, JsonReporter

    known = [str(table) for table in source_tables(contract())]
    if unknown := sorted(set(only) - set(known)):
        raise click.ClickException(f"There is no table {', '.join(unknown)} to load: choose from {', '.join(known)}")
    try:
        with (
            JsonReporter() if as_json else ConsoleReporter() as reporter,
            session(settings.loader_url(), gateway, settings.data(), wait, reporter) as opened,
        ):
            complete = opened is None or load_tables(opened, reporter, only=only, full_refresh=full_refresh)
    except click.ClickException:
        # Its text has the address of the source, and an alert is public.
        _output_incident({"all tables": "The load has failed: see its log"})
        raise
    if not complete:
        _output_incident(reporter.rejections)
        raise SystemExit(1)


def _output_incident(reasons: dict[str, str]) -> None:
    """Tell the job of GitHub Actions, if this is one, why tables aren't loaded: its alert has that."""
    if "GITHUB_OUTPUT" in os.environ:
        from meshflow.ci.github import code, write_outputs

        lines = [f"- {code(reason)} (docs/runbooks/stuck-load.md)" for reason in reasons.values()]
        name = f"Not loaded: {', '.join(map(code, reasons))}"
        write_outputs(incident="\n".join([name, "", *lines]))


@main.command()
@click.option(
    "--gateway",
    type=click.Choice(["live", "snowflake"]),
    default="live",
    show_default=True,
    help="Destination gateway.",
)
@click.option("--repair", is_flag=True, help="Mark rows that are missing in the source as deleted.")
@click.option("--wait", type=SECONDS, default=60.0, show_default=True, help="Seconds to wait for the DuckDB lock.")
@AS_JSON_LINES
def reconcile(gateway: str, wait: float, *, repair: bool, as_json: bool) -> None:
    """Load new and changed rows, then compare the active rows of the sources with RAW, in one snapshot.

    Finds what loads don't compare: values, and the keys of very large tables. Of soft-deleted rows it compares nothing,
    of doubles 15 decimals below 1e15. Prints the results at once.
    The table ops.source_reconciliation shows them after the first run of the next day (UTC), or earlier. Exit status 1
    if anything differs.
    """
    from meshflow import settings
    from meshflow.loading.load import session
    from meshflow.loading.reconcile import reconcile_all
    from meshflow.loading.report import ConsoleReporter, JsonReporter

    with (
        JsonReporter() if as_json else ConsoleReporter() as reporter,
        session(settings.loader_url(), gateway, settings.data(), wait, reporter) as opened,
    ):
        equal = opened is None or reconcile_all(opened, reporter, repair=repair)
    if not equal:
        raise SystemExit(1)


@main.command()
@click.option(
    "--page",
    type=click.Choice(["retail", "edtech", "data_quality"]),
    default="retail",
    show_default=True,
    help="Page of the dashboards.",
)
@click.option("--view", default="", help="What is selected, as in the page's URL: 'period=last+month&country=Canada'.")
@click.option(
    "--to",
    "targets",
    type=click.Choice(["file", "slack", "email"]),
    multiple=True,
    default=["file"],
    show_default=True,
    help="Picture and text in --output; text to MESHFLOW_SLACK_WEBHOOK; both by MESHFLOW_SMTP_URL.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="data/reports",
    show_default=True,
    help="Folder of the files.",
)
def report(page: str, view: str, targets: tuple[str, ...], output: Path) -> None:
    """Send a page of the dashboards: a picture, and its figures as text."""
    from meshflow.report import mail, post_to_slack, read, write

    found = read(page, view, Path.cwd())
    name = f"{page}-{datetime.now(UTC):%Y-%m-%d}"
    if "file" in targets:
        click.echo("\n".join(map(str, write(found, output, name))))
    if "slack" in targets:
        post_to_slack(found)
    if "email" in targets:
        mail(found, name)


SQLMESH_OPTIONS: dict[str, Any] = {"add_help_option": False, "context_settings": {"ignore_unknown_options": True}}
"""Of a command that takes all arguments and options of SQLMesh's own, and adds some."""


@main.command(**SQLMESH_OPTIONS, epilog="--gateway NAME: the SQLMesh gateway.")
@click.option("--gateway", envvar="SQLMESH_GATEWAY")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ENVIRONMENT] [OPTION]...")
def plan(gateway: str | None, arguments: tuple[str, ...]) -> None:
    """Plan ENVIRONMENT as `sqlmesh plan` does, and record it in ops.runs if it is applied."""
    from meshflow.runs import sqlmesh

    sqlmesh("plan", gateway, arguments)


@main.command(**SQLMESH_OPTIONS, epilog="--gateway NAME: the SQLMesh gateway. --load: run `meshflow load` first.")
@click.option("--gateway", envvar="SQLMESH_GATEWAY")
@click.option("--load", "loads_first", is_flag=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ENVIRONMENT] [OPTION]...")
@click.pass_context
def run(ctx: click.Context, gateway: str | None, arguments: tuple[str, ...], *, loads_first: bool) -> None:
    """Run ENVIRONMENT as `sqlmesh run` does, and record it in ops.runs.

    If the load of --load fails, the rows loaded before are computed, and the exit status is 1.
    """
    from meshflow.runs import sqlmesh

    if loads_first and gateway not in {"live", "snowflake"}:
        raise click.UsageError("--load needs --gateway live or --gateway snowflake: sample data aren't loaded")
    is_loaded = True
    if loads_first:
        try:
            ctx.invoke(load, gateway=gateway)
        except (SystemExit, click.ClickException) as error:
            is_loaded = False
            click.echo(getattr(error, "message", "The load failed: see above"), err=True)
    sqlmesh("run", gateway, arguments)
    if not is_loaded:
        raise SystemExit(1)


@main.command()
@click.argument("environment", default="prod")
@click.option("--gateway", default="live", show_default=True, help="SQLMesh gateway.")
@AS_JSON
def freshness(environment: str, gateway: str, *, as_json: bool) -> None:
    """Show how far each model of ENVIRONMENT has processed its sources, late ones first. Exit status 1 if one is late.

    Variable freshness_hours in config.yaml sets when a model is late.
    Run it from a different scheduler than the one it monitors.
    """
    from meshflow.freshness import show_freshness

    show_freshness(environment, gateway, as_json=as_json)


@main.command()
@click.option("--gateway", default="live", show_default=True, help="SQLMesh gateway.")
@AS_JSON
def audit(gateway: str, *, as_json: bool) -> None:
    """Run all audits of prod over its entire history. Exit status 1 if a blocking audit fails."""
    from meshflow.audit import audit as audit_prod

    if failed := audit_prod(gateway, as_json=as_json):
        raise click.ClickException(f"{failed} blocking audits of prod failed: their remedies are listed above")


@main.command()
def demo() -> None:
    """Run the end-to-end demo: load from two live sources, build, and compare figures before and after."""
    from meshflow.demo import demo as run_demo

    run_demo()
