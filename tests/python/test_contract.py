"""external_models/*.yaml: the loader, SQLMesh and the sources agree on tables, columns and keys."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from sources import SourceDatabase, new_state
from sqlglot import exp
from sqlmesh.core.model import Model
from workspace import Workspace

from meshflow.loading.contract import LOADED_AT, Column, Table, contract, source_tables
from meshflow.source.server import Server


@pytest.fixture(scope="module")
def tables(project: Path) -> dict[str, Table]:
    return contract(project)


@pytest.fixture(scope="module")
def external_models(
    built: Workspace, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Model]]:
    """The external models that SQLMesh loads from the files, by table."""
    workspace = built.clone(tmp_path_factory.mktemp("contract"), new_state(postgres), data=False)
    context = workspace.context("live")
    yield {
        ".".join(part.name.lower() for part in exp.to_table(model.name).parts[1:]): model
        for model in context.models.values()
        if model.kind.is_external and exp.to_table(model.name).catalog.upper() == "RAW"
    }
    context.close()


def test_sqlmesh_reads_the_same_contract(tables: dict[str, Table], external_models: dict[str, Model]) -> None:
    assert set(external_models) == set(tables)
    for name, table in tables.items():
        model = external_models[name]
        assert [(column.name, column.type) for column in table.columns] == [
            (column.lower(), type_) for column, type_ in model.columns_to_types.items()
        ]
        assert table.key == tuple(
            column.name.lower() for grain in model.grains for column in grain.find_all(exp.Column)
        )


def test_loaded_at_is_the_last_column_of_every_loaded_table(tables: dict[str, Table]) -> None:
    for table in source_tables(tables):
        names = [column.name for column in table.columns]
        assert names.index(LOADED_AT) == len(names) - 1
        assert table.columns[-1].type.sql("snowflake") == "TIMESTAMPNTZ"


def test_the_contract_has_every_table_and_column_of_the_sources(
    tables: dict[str, Table], source: SourceDatabase
) -> None:
    columns = source.execute(
        """
        SELECT nspname || '.' || relname, array_agg(attname::text ORDER BY attnum),
               array_agg(format_type(atttypid, atttypmod) ORDER BY attnum)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname IN ('edtech', 'retail') AND relkind = 'r' AND attnum > 0 AND NOT attisdropped GROUP BY 1
        """
    )
    assert {name for name, _, _ in columns} == {str(table) for table in source_tables(tables)}
    for name, names, types in columns:
        assert [column.name for column in tables[name].source_columns] == names
        unfitting = [
            (column.name, type_)
            for column, type_ in zip(tables[name].source_columns, types, strict=True)
            if not column.accepts(type_)
        ]
        assert not unfitting


def test_the_contracts_keys_are_the_sources_primary_keys(tables: dict[str, Table], source: SourceDatabase) -> None:
    keys = source.execute(
        """
        SELECT nspname || '.' || relname,
               (SELECT array_agg(attname::text ORDER BY position)
                FROM unnest(conkey) WITH ORDINALITY AS key(number, position)
                JOIN pg_attribute ON attrelid = conrelid AND attnum = number)
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE contype = 'p' AND nspname IN ('edtech', 'retail')
        """
    )
    assert {name: tuple(key) for name, key in keys} == {str(table): table.key for table in source_tables(tables)}


@pytest.mark.parametrize(
    ("contract_type", "accepted", "rejected"),
    [
        ("BIGINT", ["bigint", "integer", "smallint"], ["numeric(18,0)", "text", "double precision", "bigint[]"]),
        ("INT", ["integer", "smallint"], ["bigint", "numeric(9,0)"]),
        ("VARCHAR", ["text", "character varying(40)", "character(2)", "text[]", "json", "uuid", "shop.mood"], []),
        ("DOUBLE", ["double precision", "real"], ["numeric", "integer"]),
        ("BINARY", ["bytea"], ["text"]),
        ("TIME", ["time without time zone", "time(3) without time zone"], ["time with time zone", "interval"]),
        ("DATE", ["date"], ["timestamp without time zone", "text"]),
        (
            "TIMESTAMPNTZ",
            ["timestamp with time zone", "timestamp(3) with time zone"],
            ["date", "time without time zone"],
        ),
        ("BOOLEAN", ["boolean"], ["integer"]),
        (
            "DECIMAL(9, 4)",
            ["numeric(9,4)", "numeric(5,0)", "numeric(8,3)", "numeric(2,2)", "numeric", "smallint"],
            ["numeric(10,4)", "numeric(9,3)", "numeric(9,5)", "numeric(3,-3)", "real", "integer"],
        ),
    ],
)
def test_a_type_is_accepted_if_all_its_values_fit(contract_type: str, accepted: list[str], rejected: list[str]) -> None:
    column = Column("it", exp.DataType.build(contract_type, dialect="snowflake"))
    assert [type_ for type_ in accepted + rejected if column.accepts(type_)] == accepted


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("- {name: raw.a.b, grain: id, columns: {id: TIMESTAMPTZ}}", "a.b.id is TIMESTAMPTZ, which can't be loaded"),
        ("- {name: raw.a.b, grain: id, columns: {id: ARRAY}}", "a.b.id is ARRAY, which can't be loaded; use BIGINT"),
        ("- {name: raw.a.b, grain: id, columns: {id: NONSENSE}}", "raw.a.b.id is NONSENSE, which can't be loaded"),
        ("- {name: raw.a.b, grain: other, columns: {id: INT}}", "raw.a.b has no column other, which is in its grain"),
        ("- {name: raw.a.b, grain: id}", "raw.a.b has no column id, which is in its grain"),
        ("- {name: raw.a.b, grain: [id", "broken.yaml"),
    ],
)  # fmt: skip
def test_an_invalid_contract_gives_a_one_line_error(tmp_path: Path, entry: str, message: str) -> None:
    (tmp_path / "external_models").mkdir()
    file = tmp_path / "external_models" / "broken.yaml"
    file.write_text(entry)
    with pytest.raises(click.ClickException, match=re.escape(message)) as error:
        contract(tmp_path)
    assert error.value.message.startswith(str(file))
    assert "\n" not in error.value.message


def test_the_error_names_a_folder_without_a_contract(tmp_path: Path) -> None:
    with pytest.raises(
        click.ClickException, match=f"No contract in {tmp_path}/external_models: run meshflow in the folder"
    ):
        contract(tmp_path)
