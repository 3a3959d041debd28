"""Add source tables to the project: `meshflow source add`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import psycopg
from sqlglot import exp

from meshflow.loading.contract import read_entries
from meshflow.source.files import (
    NewTable,
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

    def current(path: str) -> str:
        file = root / path
        return files.get(path) or (file.read_text(encoding="utf-8") if file.exists() else "")

    for table in tables:
        _require_room(table, known)
        known[str(table).lower()] = str(table)
        new = NewTable(table)
        for path, text in new_files(new):
            if current(path) not in {"", text}:
                raise click.ClickException(f"{table}: {path} exists with another content; remove it first")
            files[path] = text
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
    changed = {
        root / path: text
        for path, text in files.items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    }
    _write(changed)
    return list(changed)


def select(
    connection: psycopg.Connection, names: Iterable[str], schemas: Iterable[str], known: Mapping[str, str]
) -> Iterator[SourceTable]:
    """The source tables `names`, such as 'public.orders', and those of `schemas` that aren't `known`: known_tables().

    Raises click.ClickException if one of `names` can't be added. Prints those of `schemas` that can't.
    """
    taken = dict(known)
    for name in names:
        schema, _, table = name.partition(".")
        if not table:
            raise click.ClickException(f"{name} has no schema: write it as public.{name}")
        found = describe(connection, schema, table)
        taken[str(found).lower()] = str(found)
        yield found
    for schema in schemas:
        for table in tables_of(connection, schema):
            if f"{schema}.{table}" in taken.values():
                continue
            try:
                found = describe(connection, schema, table)
                NewTable(found)
                _require_room(found, taken)
            except click.ClickException as error:
                click.echo(f"Left out: {error.message}", err=True)
            else:
                taken[str(found).lower()] = str(found)
                yield found


def _require_room(table: SourceTable, known: Mapping[str, str]) -> None:
    """Raises click.ClickException if the project can't have `table` beside those of the contract."""
    if (other := known.get(str(table).lower())) == str(table):
        raise click.ClickException(f"{table} is in the contract already")
    if other:
        raise click.ClickException(f"{table}: RAW, which has no case, has {other}; add a view that names it otherwise")
    rejected = {rejected_name(name): name for name in known.values()}
    if table.key and (other := rejected.get(rejected_name(str(table)))):
        raise click.ClickException(
            f"{table}: the model of its rejected rows would be that of {other}; add a view that names it otherwise"
        )


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
