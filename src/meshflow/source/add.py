"""Add source tables to the project: `meshflow source add`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import psycopg
from sqlglot import exp
from sqlglot.errors import SqlglotError

from meshflow.loading.contract import MAX_ROWS, read_entries
from meshflow.source.files import (
    NewTable,
    entity,
    new_files,
    rejected_name,
    with_contract,
    with_readme_rows,
    with_reasons,
)
from meshflow.source.tables import SourceTable, describe, tables_of


def add(root: Path, tables: Iterable[SourceTable]) -> list[Path]:
    """Write the files of `tables` to the project at `root`, all or none, and return their paths.

    Raises click.ClickException if the project has one of the tables or files already, or if a name can't be used.
    """
    known = known_tables(root)
    files: dict[str, str] = {}
    for table in tables:
        files = _with_table(root, files, table, known)
        known[str(table).lower()] = str(table)
    changed = {
        root / path: text
        for path, text in files.items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    }
    _write(changed)
    return list(changed)


def _with_table(root: Path, files: Mapping[str, str], table: SourceTable, known: Mapping[str, str]) -> dict[str, str]:
    """`files`, the texts by path to be written to the project at `root`, with those of `table`.

    Raises click.ClickException if the project can't have it beside the `known` tables.
    """
    _require_room(table, known)
    new, files = NewTable(table), dict(files)

    def current(path: str) -> str:
        file = root / path
        return files.get(path) or (file.read_text(encoding="utf-8") if file.exists() else "")

    try:
        own = dict(new_files(new))
    except SqlglotError:
        raise click.ClickException(
            f"{table}: one of its names is a word of SQL that SQLMesh can't read; add a view that names it otherwise"
        ) from None
    for path, text in own.items():
        if current(path) not in {"", text}:
            raise click.ClickException(
                f"{table}: {path} exists with another content; remove it if it is yours, or add a view of another name"
            )
    files |= own
    for path, change in (
        ("models/README.md", with_readme_rows),
        ("seeds/ops/ref_reject_reason.csv", with_reasons),
    ):
        if text := current(path):
            files[path] = change(text, new)
    # The contract last: without it, a command that was killed is repeated and completes the files.
    path = f"external_models/{table.schema.lower()}.yaml"
    text = with_contract(current(path), new)
    files.pop(path, None)
    files[path] = text
    return files


def select(
    root: Path, connection: psycopg.Connection, names: Iterable[str], schemas: Iterable[str]
) -> Iterator[SourceTable]:
    """The source tables `names`, such as 'public.orders', and those of `schemas` that the project at `root` lacks.

    Raises click.ClickException if one of `names` can't be added. Prints those of `schemas` that can't.
    """
    known = known_tables(root)
    taken, files = dict(known), dict[str, str]()
    for name in names:
        schema, _, table = name.partition(".")
        if not table:
            raise click.ClickException(f"{name} has no schema: write it as public.{name}")
        found = describe(connection, schema, table)
        files = _with_table(root, files, found, taken)
        _warn_of_size(found)
        taken[str(found).lower()] = str(found)
        yield found
    for schema in schemas:
        for table in tables_of(connection, schema):
            if f"{schema}.{table}" in taken.values():
                continue
            try:
                found = describe(connection, schema, table)
                files = _with_table(root, files, found, taken)
            except click.ClickException as error:
                click.echo(f"Left out: {error.message}", err=True)
            else:
                _warn_of_size(found)
                taken[str(found).lower()] = str(found)
                yield found


def _warn_of_size(table: SourceTable) -> None:
    if not table.key and table.rows > MAX_ROWS:
        click.echo(
            f"{table} has no key and about {table.rows:,} rows. Loads reject it above {MAX_ROWS:,}, and no model of "
            f"{table.schema} gets new rows. Create a key in the source first, or set `physical_properties: "
            f"{{max_rows: …}}` in external_models/{table.schema.lower()}.yaml",
            err=True,
        )


def _require_room(table: SourceTable, known: Mapping[str, str]) -> None:
    """Raises click.ClickException if the project can't have `table` beside those of the contract."""
    if (other := known.get(str(table).lower())) == str(table):
        raise click.ClickException(f"{table} is in the contract already")
    if other:
        raise click.ClickException(f"{table}: RAW, which has no case, has {other}; add a view that names it otherwise")
    models = [("its staging model", entity)]
    if table.key:
        models.append(("the model of its rejected rows", rejected_name))
    for model, name_of in models:
        if other := {name_of(name): name for name in known.values()}.get(name_of(str(table))):
            raise click.ClickException(f"{table}: {model} would be that of {other}; add a view that names it otherwise")


def known_tables(root: Path) -> dict[str, str]:
    """The tables of the contract by their names in lower case, because RAW has no case.

    Raises click.ClickException if there is no contract.
    """
    if not (root / "external_models").is_dir():
        raise click.ClickException(
            f"No contract in {root.resolve()}/external_models: run meshflow in the folder of config.yaml"
        )
    entries = [entry for file in sorted(root.glob("external_models/*.yaml")) for entry in read_entries(file)]
    names = [exp.to_table(entry["name"]) for entry in entries]
    return {f"{name.db}.{name.name}".lower(): f"{name.db}.{name.name}" for name in names}


def _write(files: dict[Path, str]) -> None:
    """Write all files, or none if that fails or is interrupted. A file is written completely or not at all."""
    before = {path: path.read_bytes() if path.exists() else None for path in files}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
    except BaseException as error:
        for path, content in before.items():
            path.with_name(f"{path.name}.unfinished").unlink(missing_ok=True)
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        if isinstance(error, OSError):
            raise click.ClickException(f"{error.filename} can't be written: {error.strerror}") from None
        raise
