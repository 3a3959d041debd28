"""Check on a real account what has only been read in Snowflake's documents or run on an emulator.

`make snowflake-check ACCOUNT=myorg-myaccount` runs CHECKS in order: first those that only read, then those in a
database that it creates and drops. With `--pipeline` it also runs STEPS, which write RAW and prod, and checks what
roles see and may do there. It writes a report in Markdown with names and figures of this module only: no row of data,
no text of an error, no secret. docs/snowflake-readiness.md has the same lists for people; a test compares them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from meshflow.environment import load_env
from meshflow.error_lines import one_line_errors
from meshflow.masking import masked_columns
from meshflow.project import open_project
from meshflow.snowflake import Login, arguments, login

DATABASE = "MESHFLOW_CHECK"
"""The database that the check creates and drops. It fails if one of this name exists."""

NOT_AUTHORIZED = 2003
"""Snowflake's error if a role has no privilege on an object, or if there is none of this name."""
INSUFFICIENT = 3001
"""Its error if a role has a privilege on an object, but not the one that the statement needs."""

REPORT = Path(".cache/snowflake-check.md")


@dataclass(frozen=True)
class Check:
    """Statements, and the rows that the last one should return."""

    name: str
    statements: tuple[str, ...]
    expected: tuple[tuple[Any, ...], ...] | None
    """Rows in order. None if any answer is fine: `meaning` says what it is good for."""

    meaning: str
    """What it means if the answer differs."""

    verified: str
    """Evidence before an account was available: emulator, documents, SnowDDL offline, or nothing."""

    role: str = ""
    """The role that runs the statements; empty for that of the login."""

    warehouse: str = ""
    """The warehouse of that role; empty for that of the login."""

    not_emulated: str = ""
    """Why an emulator can't answer."""

    writes: bool = True
    """Whether it needs the database DATABASE."""

    @property
    def answer(self) -> str:
        """What is expected, for people."""
        return written(self.expected)


@dataclass(frozen=True)
class Step:
    """A command that people run too. It should succeed."""

    name: str
    command: tuple[str, ...]
    meaning: str
    role: str = ""
    """The role that runs it, with warehouse CI; empty for that of prod."""

    changed: bool = False
    """Whether it runs in a copy of the project with CHANGE."""

    answer: str = "exit status 0"


@dataclass
class Result:
    check: Check | Step
    outcome: str
    """as expected, different, failed or skipped."""

    seen: str = ""
    """Rows, Snowflake's number of an error, or the reason for which it was skipped."""


READERS = ("ANALYST__B_ROLE", "PII_READER__B_ROLE", "CI__U_ROLE")
PREPARATION = (
    "CREATE OR REPLACE TABLE MESHFLOW_CHECK.PUBLIC.NUMBERS AS SELECT column1::INT AS n FROM VALUES (1), (2), (NULL)",
    """CREATE OR REPLACE VIEW MESHFLOW_CHECK.PUBLIC.MASKED AS SELECT CASE WHEN IS_ROLE_IN_SESSION('PII_READER__B_ROLE')
    OR IS_ROLE_IN_SESSION('CI__U_ROLE') THEN 'value' ELSE '***' END AS name""",
    *(
        statement
        for role in READERS
        for statement in (
            f"GRANT USAGE ON DATABASE MESHFLOW_CHECK TO ROLE {role}",
            f"GRANT USAGE ON SCHEMA MESHFLOW_CHECK.PUBLIC TO ROLE {role}",
            f'GRANT SELECT ON VIEW "MESHFLOW_CHECK"."PUBLIC"."MASKED" TO ROLE {role}',
        )
    ),
)
"""What the checks that write need."""


READERS_OF_CREATED = (
    "SHOW GRANTS ON VIEW MESHFLOW_CHECK.PUBLIC.CREATED",
    """SELECT COUNT(*)
    FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))
    WHERE "privilege" = 'SELECT' AND "grantee_name" = 'ANALYST__B_ROLE'""",
)
"""How often the view may be read by the role that a future grant names."""


def _mask(role: str, warehouse: str, shown: str) -> Check:
    return Check(
        name=f"Mask as {role}",
        statements=("USE SECONDARY ROLES NONE", "SELECT name FROM MESHFLOW_CHECK.PUBLIC.MASKED"),
        expected=((shown,),),
        meaning="Masks show too much or too little: load no personal data",
        verified="emulator, which evaluates the mask and enforces the grant",
        role=role,
        warehouse=warehouse,
    )


CHECKS = (
    Check(
        name="Behaviour bundle 2026_08",
        statements=("SELECT SYSTEM$BEHAVIOR_CHANGE_BUNDLE_STATUS('2026_08')",),
        expected=None,
        meaning="ENABLED or RELEASED: CREATE OR REPLACE copies grants, and a replaced view gets no future grant",
        verified="documents",
        not_emulated="it has no behaviour bundles",
        writes=False,
    ),
    Check(
        name="Generation of the warehouses",
        statements=(
            "SHOW WAREHOUSES",
            """SELECT DISTINCT "generation"
            FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))
            WHERE "name" IN ('BI', 'CI', 'TRANSFORM')""",
        ),
        expected=(("1",),),
        meaning="A credit buys another amount of time: correct benchmarks/cost.py and the quotas",
        verified="SnowDDL offline: it writes GENERATION = '1'",
        not_emulated="it has no warehouses",
        writes=False,
    ),
    Check(
        name="Second key of the dashboards",
        statements=(
            "DESCRIBE USER DASHBOARDS",
            """SELECT COALESCE(NULLIF("value", 'null'), 'none')
            FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))
            WHERE "property" = 'RSA_PUBLIC_KEY_2_FP'""",
        ),
        expected=(("none",),),
        meaning="A rotation of its key isn't finished: docs/runbooks/snowflake-account.md",
        verified="SnowDDL offline: both keys are in the DDL of the user",
        not_emulated="it has no DESCRIBE USER",
        writes=False,
    ),
    Check(
        name="Cost view",
        statements=("USE SECONDARY ROLES NONE", "SELECT COUNT(*) >= 0 FROM ANALYTICS.COST.DAILY_CREDITS"),
        expected=((True,),),
        meaning="Its owner can't read SNOWFLAKE.ACCOUNT_USAGE, or a column has another name",
        verified="emulator, with tables of the documented columns",
        role="DATA_TEAM__B_ROLE",
        warehouse="BI",
        not_emulated="it has no ACCOUNT_USAGE",
        writes=False,
    ),
    Check(
        name="Future grant on a view first created by CREATE OR REPLACE … COPY GRANTS",
        statements=(
            "GRANT SELECT ON FUTURE VIEWS IN SCHEMA MESHFLOW_CHECK.PUBLIC TO ROLE ANALYST__B_ROLE",
            "CREATE OR REPLACE VIEW MESHFLOW_CHECK.PUBLIC.CREATED COPY GRANTS AS SELECT 1 AS one",
            *READERS_OF_CREATED,
        ),
        expected=((1,),),
        meaning="Nobody reads a new model: grant SELECT ON ALL VIEWS after each deploy, and open an issue",
        verified="nothing. Documents: a view that is replaced with COPY GRANTS gets no future grant",
        not_emulated="it has no future grants",
    ),
    Check(
        name="Its grants after the view was replaced",
        statements=(
            "CREATE OR REPLACE VIEW MESHFLOW_CHECK.PUBLIC.CREATED COPY GRANTS AS SELECT 2 AS one",
            *READERS_OF_CREATED,
        ),
        expected=((1,),),
        meaning="A run takes the readers' rights on views",
        verified="documents",
        not_emulated="it has no SHOW GRANTS",
    ),
    Check(
        name="Join on IS NOT DISTINCT FROM alone: rows",
        statements=("SELECT COUNT(*) FROM NUMBERS AS a JOIN NUMBERS AS b ON a.n IS NOT DISTINCT FROM b.n",),
        expected=((3,),),
        meaning="NULL doesn't equal NULL in a join: diffs and conservation audits are wrong",
        verified="emulator",
    ),
    Check(
        name="Join on IS NOT DISTINCT FROM alone: plan",
        statements=(
            "EXPLAIN USING TABULAR SELECT COUNT(*) FROM NUMBERS AS a JOIN NUMBERS AS b ON a.n IS NOT DISTINCT FROM b.n",
            """SELECT COUNT(*)
            FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))
            WHERE "operation" ILIKE '%cartesian%'""",
        ),
        expected=((0,),),
        meaning="The join compares every pair of rows: too slow for large tables. Join on an encoded key",
        verified="nothing",
        not_emulated="its plans are DuckDB's",
    ),
    Check(
        name="Scalar subquery beside an aggregate",
        statements=("SELECT COUNT(*), (SELECT MAX(n) FROM NUMBERS) FROM NUMBERS",),
        expected=((3, 2),),
        meaning="Audits that compare totals fail: write the subquery as a join",
        verified="emulator",
    ),
    Check(
        name="COMMENT before CLUSTER BY",
        statements=(
            "CREATE OR REPLACE TABLE MESHFLOW_CHECK.PUBLIC.CLUSTERED (n INT) COMMENT='text' CLUSTER BY (n)",
            "SELECT COUNT(*) FROM MESHFLOW_CHECK.PUBLIC.CLUSTERED",
        ),
        expected=((0,),),
        meaning="A model with clustered_by can't be created: add it to none",
        verified="emulator, which ignores the key. Documents have the other order",
    ),
    Check(
        name="Last date",
        statements=("SELECT DATEADD(DAY, -1, '9999-12-31'::DATE)::VARCHAR, TRY_TO_DATE('10000-01-01') IS NULL",),
        expected=(("9999-12-30", True),),
        meaning="The loader rejects dates beyond 9999. If Snowflake reads them, the rejection is still right",
        verified="the loader's tests; of Snowflake nothing",
        not_emulated="it reads dates beyond 9999",
    ),
    Check(
        name="Changed history in a pull request",
        statements=(
            "CREATE OR REPLACE TABLE MESHFLOW_CHECK.PUBLIC.HISTORY CLONE MESHFLOW_CHECK.PUBLIC.NUMBERS",
            "ALTER TABLE MESHFLOW_CHECK.PUBLIC.HISTORY ADD COLUMN added INT",
            "SELECT COUNT(*), COUNT(added) FROM MESHFLOW_CHECK.PUBLIC.HISTORY",
        ),
        expected=((3, 0),),
        meaning="A pull request doesn't see the rows of a history that it changes",
        verified="emulator",
    ),
    _mask("ANALYST__B_ROLE", "BI", "***"),
    _mask("PII_READER__B_ROLE", "BI", "value"),
    _mask("CI__U_ROLE", "CI", "value"),
    Check(
        name="A role without a grant",
        statements=("USE SECONDARY ROLES NONE", "SELECT COUNT(*) FROM MESHFLOW_CHECK.PUBLIC.NUMBERS"),
        expected=((f"error {NOT_AUTHORIZED}",),),
        meaning="A role reads what nobody granted: stop, and look for grants to PUBLIC",
        verified="emulator, which enforces grants",
        role="ANALYST__B_ROLE",
        warehouse="BI",
    ),
)


ENVIRONMENT = "snowflake_check"
CHANGE = ("models/ops/table_freshness.sql", "  row_count::INT AS", "  (row_count + 0)::INT AS")
"""A file, a text in it and another one that gives the same rows: the change of a pull request."""
NEEDED = ("MESHFLOW_LOADER_URL", "MESHFLOW_SNOWFLAKE_LOADER_USER", "MESHFLOW_SNOWFLAKE_USER", "MESHFLOW_STATE_HOST")
"""Variables without which the pipeline is skipped."""
FLAGS = ("--auto-apply", "--no-prompts", "--skip-tests")
STEPS = (
    Step(
        name="Load",
        command=("meshflow", "load", "--gateway", "snowflake"),
        meaning="The loader's rights in RAW, or its statements",
    ),
    Step(
        name="Plan of prod",
        command=("meshflow", "plan", "--gateway", "snowflake", "prod", *FLAGS),
        meaning="The rights of TRANSFORMER, or the SQL of a model",
    ),
    Step(
        name="Masks and audits of prod",
        command=("meshflow", "audit", "--gateway", "snowflake"),
        meaning="A mask is missing, or an audit's SQL fails",
    ),
    Step(
        name="Environment of a pull request",
        command=("meshflow", "plan", "--gateway", "snowflake", ENVIRONMENT, *FLAGS),
        meaning="The rights of CI: to create schemas in ANALYTICS, and to read prod's tables",
        role="CI__U_ROLE",
        changed=True,
    ),
    Step(
        name="Promotion of its change",
        command=("meshflow", "plan", "--gateway", "snowflake", "prod", *FLAGS),
        meaning="The rights of TRANSFORMER on what CI built",
        changed=True,
    ),
    Step(
        name="Reversal of the promotion",
        command=("meshflow", "plan", "--gateway", "snowflake", "prod", *FLAGS),
        meaning="Prod still has the change, which gives the same rows: plan prod again",
    ),
    Step(
        name="Removal of the environment",
        command=("sqlmesh", "--gateway", "snowflake", "invalidate", ENVIRONMENT, "--sync"),
        meaning="The right to drop what CI created. The environment expires within a week",
    ),
)
"""With `--pipeline`. They write RAW and prod, as the runbook's first load and first plan do."""


def _rejected(name: str, role: str, warehouse: str, statement: str, error: int) -> Check:
    return Check(
        name=f"{name} as {role}",
        statements=("USE SECONDARY ROLES NONE", statement),
        expected=((f"error {error}",),),
        meaning="A grant in infra/snowflake/config doesn't hold: stop, and load no more personal data",
        verified="emulator, which enforces grants",
        role=role,
        warehouse=warehouse,
    )


COUNT_OF_LOADS = "SELECT COUNT(*) FROM RAW.LOADER.LOADS"
COUNT_OF_TABLES = "SELECT COUNT(*) FROM ANALYTICS.OPS.TABLE_FRESHNESS"
WRITE_IN_RAW = "DELETE FROM RAW.LOADER.LOADS WHERE FALSE"
WRITE_IN_PROD = "DELETE FROM ANALYTICS.RUN_LOG.EVENTS WHERE FALSE"
NEW_VIEW = "CREATE VIEW ANALYTICS.OPS.MESHFLOW_CHECK AS SELECT 1 AS one"
GRANTS = (
    _rejected("Read RAW", "ANALYST__B_ROLE", "BI", COUNT_OF_LOADS, NOT_AUTHORIZED),
    _rejected("Read another team's view", "ANALYST__B_ROLE", "BI", COUNT_OF_TABLES, NOT_AUTHORIZED),
    _rejected("Read prod", "LOADER__U_ROLE", "TRANSFORM", COUNT_OF_TABLES, NOT_AUTHORIZED),
    _rejected("Write RAW", "TRANSFORMER__U_ROLE", "TRANSFORM", WRITE_IN_RAW, INSUFFICIENT),
    _rejected("Write RAW", "CI__U_ROLE", "CI", WRITE_IN_RAW, INSUFFICIENT),
    _rejected("Write prod", "CI__U_ROLE", "CI", WRITE_IN_PROD, INSUFFICIENT),
    _rejected("Create a view in prod", "CI__U_ROLE", "CI", NEW_VIEW, INSUFFICIENT),
)
"""With `--pipeline`, after STEPS: what roles must not do with the tables of RAW and prod."""


def _masks(role: str, wrong: str) -> Check:
    count = f"SELECT COUNT(CASE WHEN {{column}}::VARCHAR {wrong} '***' THEN 1 END) FROM {{view}}"  # noqa: S608 - of the models
    return Check(
        name=f"Masked columns of the models as {role}",
        statements=("USE SECONDARY ROLES NONE", count),
        expected=((True, 0),),
        meaning="Masks show too much or too little: stop, and load no more personal data",
        verified="emulator, which evaluates masks and enforces grants",
        role=role,
        warehouse="BI",
    )


MASKS = (
    _masks("ANALYST__B_ROLE", "<>"),
    _masks("DASHBOARDS__B_ROLE", "<>"),
    _masks("DATA_TEAM__B_ROLE", "<>"),
    _masks("PII_READER__B_ROLE", "="),
)
"""With `--pipeline`, after STEPS, for each masked column. Whether the role reads any, and how many values are wrong."""


@dataclass
class Account:
    """Connections to one account, one for each role."""

    login: Login
    connections: dict[str, Any] = field(default_factory=dict)

    def rows(self, check: Check) -> tuple[tuple[Any, ...], ...]:
        """The rows of the check's last statement. Raises snowflake.connector.errors.Error."""
        return self.run(check.statements, check.role, check.warehouse)

    def run(self, statements: tuple[str, ...], role: str = "", warehouse: str = "") -> tuple[tuple[Any, ...], ...]:
        if role not in self.connections:
            self.connections[role] = self._connect(role or self.login.role, warehouse or self.login.warehouse)
        with closing(self.connections[role].cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(tuple(row) for row in cursor.fetchall())

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()

    def _connect(self, role: str, warehouse: str) -> Any:
        import snowflake.connector  # noqa: PLC0415 - not in every environment

        return snowflake.connector.connect(
            **arguments(replace(self.login, role=role, warehouse=warehouse)),
            session_parameters={"QUERY_TAG": "meshflow check", "TIMEZONE": "UTC"},
        )


def run_checks(account: Account, *, emulated: bool, show: Callable[[str], None]) -> Iterator[Result]:
    """Run CHECKS in order. The database exists from the first check that writes to the end, also after a failure."""
    for check in (check for check in CHECKS if not check.writes):
        yield run_check(account, check, emulated=emulated)
    with _database(account, show):
        for check in (check for check in CHECKS if check.writes):
            yield run_check(account, check, emulated=emulated)


def run_check(account: Account, check: Check, *, emulated: bool) -> Result:
    """Run one check. Of an error the result has the number only: its text may quote a row."""
    from snowflake.connector.errors import Error  # noqa: PLC0415 - not in every environment

    if emulated and check.not_emulated:
        return Result(check, "skipped", f"the emulator can't answer: {check.not_emulated}")
    try:
        return _compared(check, account.rows(check))
    except Error as error:
        rows = ((f"error {error.errno}",),)
        if rows != check.expected:
            return Result(check, "failed", f"{rows[0][0]}, query {error.sfqid}")
        return _compared(check, rows)


def _compared(check: Check, rows: tuple[tuple[Any, ...], ...]) -> Result:
    return Result(check, "as expected" if check.expected in (None, rows) else "different", written(rows))


def run_pipeline(account: Account, *, enabled: bool) -> Iterator[Result]:
    """Run STEPS, then GRANTS and MASKS on what they built."""
    missing = " and ".join(name for name in NEEDED if not os.environ.get(name))
    if not enabled or missing:
        reason = f"{missing} not set" if enabled else "it writes RAW and prod: only with --pipeline"
        yield from (Result(one, "skipped", reason) for one in (*STEPS, *GRANTS, *MASKS))
        return
    with _changed_project() as copy:
        yield from (run_step(step, copy if step.changed else Path()) for step in STEPS)
    yield from (run_check(account, check, emulated=False) for check in GRANTS)
    models = open_project("snowflake").models.values()
    columns = {f"ANALYTICS.{model.name}": sorted(masked_columns(model)) for model in models}
    yield from (run_masks(account, check, columns) for check in MASKS)


@contextmanager
def _changed_project() -> Iterator[Path]:
    """A copy of the project with CHANGE while the block runs. It has neither settings nor data."""
    file, old, new = CHANGE
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(Path(), copy, ignore=shutil.ignore_patterns(".*", "data", "logs"))
        text = (copy / file).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise click.ClickException(f"{file} doesn't have {old!r} once: adapt CHANGE in {__file__}")
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
        yield copy


def run_step(step: Step, folder: Path) -> Result:
    """Run one command in `folder`. Its output goes to the terminal, never to the report."""
    program, *arguments = step.command
    role = {"MESHFLOW_SNOWFLAKE_ROLE": step.role, "MESHFLOW_SNOWFLAKE_WAREHOUSE": "CI"} if step.role else {}
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    status = subprocess.run(command, cwd=folder, env=os.environ | role, check=False).returncode  # noqa: S603
    return Result(step, "failed" if status else "as expected", f"exit status {status}")


def run_masks(account: Account, check: Check, columns: Mapping[str, Collection[str]]) -> Result:
    """Run one of MASKS for each column, by view. The role reads only some of the views."""
    from snowflake.connector.errors import Error  # noqa: PLC0415 - not in every environment

    counts = []
    for view, names in columns.items():
        for column in names:
            statements = tuple(statement.format(view=view, column=column) for statement in check.statements)
            try:
                [[count]] = account.rows(replace(check, statements=statements))
                counts.append(count)
            except Error as error:
                if error.errno != NOT_AUTHORIZED:
                    return Result(check, "failed", f"error {error.errno}, query {error.sfqid}")
    return _compared(check, ((bool(counts), sum(counts)),))


def written(rows: tuple[tuple[Any, ...], ...] | None) -> str:
    """Rows as text: values separated by commas, rows by semicolons."""
    if rows is None:
        return "any"
    return "; ".join(", ".join("NULL" if value is None else str(value) for value in row) for row in rows)


@contextmanager
def _database(account: Account, show: Callable[[str], None]) -> Iterator[None]:
    """DATABASE with its tables while the block runs. One that exists already is left as it is, and raises an error."""
    account.run((f"CREATE DATABASE {DATABASE}",))
    try:
        account.run(PREPARATION)
        yield
    finally:
        try:
            account.run((f"DROP DATABASE {DATABASE}",))
        except Exception:
            show(f"The database {DATABASE} could not be dropped: DROP DATABASE {DATABASE}")
            raise
        show(f"Dropped the database {DATABASE}. It was all that the checks had created")


def report(results: list[Result], account: str, at: datetime) -> str:
    """The report in Markdown."""
    counted = {outcome: sum(result.outcome == outcome for result in results) for outcome in OUTCOMES}
    lines = [
        f"# Snowflake check of {account}, {at:%Y-%m-%d %H:%M} UTC",
        "",
        ", ".join(f"{number} {outcome}" for outcome, number in counted.items()),
        "",
        "| check | expected | seen | result | if it differs |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        check = result.check
        cells = (check.name, check.answer, result.seen, result.outcome, check.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


OUTCOMES = ("as expected", "different", "failed", "skipped")


def readiness(checks: tuple[Check, ...] = CHECKS) -> str:
    """A table of docs/snowflake-readiness.md."""
    lines = ["| # | check | run | expected | if it differs | verified so far by |", "|--:|---|---|---|---|---|"]
    for number, check in enumerate(checks, 1):
        code = "<br>".join(f"`{' '.join(statement.split())}`" for statement in check.statements)
        run = f"as `{check.role}`: {code}" if check.role else code
        cells = (check.name, run, f"`{check.answer}`", check.meaning, check.verified)
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """The table of docs/snowflake-readiness.md on STEPS."""
    lines = ["| step | command | if it fails, look at |", "|---|---|---|"]
    for step in STEPS:
        command = f"`{' '.join(step.command)}`" + (", with a change" if step.changed else "")
        lines.append(f"| {step.name} | {f'as `{step.role}`: ' if step.role else ''}{command} | {step.meaning} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("account")
@click.option("--emulated", is_flag=True, help="Skip what an emulator can't answer, and say so.")
@click.option("--pipeline", is_flag=True, help="Also load, plan prod and plan an environment. It writes RAW and prod.")
@click.option("--report", "file", type=click.Path(dir_okay=False, path_type=Path), default=REPORT, show_default=True)
def main(account: str, file: Path, *, emulated: bool, pipeline: bool) -> None:
    """Check ACCOUNT and write a report. Exit status 1 if an answer differs from what is expected."""
    with one_line_errors():
        load_env()
        os.environ["MESHFLOW_SNOWFLAKE_ACCOUNT"] = account
        results: list[Result] = []
        opened = Account(login("CHECK", warehouse="CI"))
        try:
            found = run_checks(opened, emulated=emulated, show=click.echo)
            for result in chain(found, run_pipeline(opened, enabled=pipeline)):
                click.echo(f"{result.outcome}: {result.check.name} ({result.seen})")
                results.append(result)
        finally:
            opened.close()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(report(results, account, datetime.now(UTC)), encoding="utf-8")
            click.echo(f"The report is in {file}")
        if wrong := [result for result in results if result.outcome in ("different", "failed")]:
            raise click.ClickException(
                f"{len(wrong)} of {len(results)} checks differ from what is expected: see {file}"
            )


if __name__ == "__main__":
    main()
