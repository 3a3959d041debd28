"""Translates and runs a SELECT. For SQL that a person writes, meshflow.isolated starts this file as a program.

The text isn't examined for what it may do. An earlier version did that, and a review found four ways around it. Its
process has a file of served columns and nothing else: no variable of ours, no other file, no network, no settings. It
writes no file, has little memory, and is killed when its time is up, also while it parses.

It imports nothing of meshflow, and only what its task needs: a process starts in half a second.
"""

import json
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "2GB",
    "lock_configuration": "true",
}
"""Settings of DuckDB: queries reach the snapshot alone. No file, no network, no variable of this process."""
LIMITED = LOCKED | {"memory_limit": "1GB", "temp_directory": "", "threads": 2}
"""Those of a process of its own: what needs more memory fails instead of filling the disk."""
MEMORY_BYTES = 4_000_000_000
"""Address space of a process. DuckDB's memory and what is loaded take 2 GB."""
RESULT_BYTES = 20_000_000
NAME = re.compile(r"\w+\.\w+", re.ASCII)
REJECTED = 3
"""Exit code if the text is to blame. The output is then one line for whoever wrote it."""


@dataclass(frozen=True)
class Translation:
    """A SELECT, and the tables of prod that it reads, such as `retail.fct_sales`, sorted."""

    sql: str
    tables: list[str]


def translate(sql: str, environment: str, dialect: str, limit: int | None = None) -> Translation:
    """A SELECT in Snowflake's dialect on tables of prod, as one in `dialect` that reads those of `environment`.

    With `limit`, it returns no more rows. Raises ValueError if it isn't one SELECT.
    """
    from sqlglot import ErrorLevel, exp, parse  # noqa: PLC0415
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    try:
        statements = [one for one in parse(sql, dialect="snowflake", error_level=ErrorLevel.RAISE) if one]
    except (SqlglotError, RecursionError) as error:
        raise ValueError(f"The SQL can't be parsed: {quote(error)}.") from None
    tree = statements[0] if len(statements) == 1 else None
    if not isinstance(tree, exp.Query):
        raise ValueError("Write a single SELECT. It may begin with WITH.")  # noqa: TRY004 - the text, not a type
    tables = [table for table in tree.find_all(exp.Table) if table.db]  # others are CTEs
    names = {f"{table.db}.{table.name}".lower() for table in tables}
    if unknown := [name for name in names if not NAME.fullmatch(name)]:
        raise ValueError(f"No table has such a name: {quote(unknown[0])}.")
    if environment != "prod":
        for table in tables:
            table.set("db", exp.to_identifier(f"{table.db}__{environment}"))
    if limit:
        own = tree.args.get("limit")
        number = own.expression if isinstance(own, exp.Limit) else None
        if not (isinstance(number, exp.Literal) and number.is_int and int(number.this) <= limit):
            tree.set("limit", exp.Limit(expression=exp.Literal.number(limit)))
    return Translation(tree.sql(dialect=dialect), sorted(names))


def run(file: str, sql: str) -> bytes:
    """The result of a SELECT on a DuckDB file, in Arrow's stream format. Raises ValueError."""
    import duckdb  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    try:
        with duckdb.connect(file, read_only=True, config=LIMITED) as connection:
            table = connection.execute(sql).to_arrow_table()
    except duckdb.Error as error:
        raise ValueError(f"The query failed: {quote(error)}.") from None
    if table.nbytes > RESULT_BYTES:
        raise ValueError(f"The result has {table.nbytes / 1e6:,.0f} MB, more than {RESULT_BYTES / 1e6:,.0f} MB.")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def quote(error: BaseException | str) -> str:
    """The first line of an error as a code span: pages show messages as Markdown, and anybody may have written it."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "`" + line.replace("`", "'") + "`"


TASKS: dict[str, Callable[..., bytes]] = {
    "translate": lambda *arguments: json.dumps(asdict(translate(*arguments))).encode(),
    "run": run,
}


def _limit() -> None:
    """Take from this process what it doesn't need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # macOS doesn't enforce it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _main() -> None:
    """Do the task that the first argument names, with arguments from the standard input."""
    arguments = json.load(sys.stdin)
    _limit()
    try:
        result = TASKS[sys.argv[1]](*arguments)
        code = 0
    except ValueError as error:
        result, code = str(error).encode(), REJECTED
    sys.stdout.buffer.write(result)
    sys.exit(code)


if __name__ == "__main__":
    _main()
