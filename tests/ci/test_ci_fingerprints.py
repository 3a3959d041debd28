"""A definition that has the fingerprint of another, CRC-32, is found by its content before anything is built."""

import json
import zlib
from collections.abc import Callable, Iterator

import click
import pytest
from sqlmesh.core.model import definition
from workspace import Workspace

from meshflow.ci.build import evaluate
from meshflow.ci.prod import apply
from meshflow.ci.result import BuildResult
from meshflow.ci.run import run_prod

pytest_plugins = ("pull_request",)

FILE, NAME = "models/retail/rpt_order_count.sql", "retail.rpt_order_count"
HONEST = "SELECT COUNT(*)::INT AS order_count /* Orders */ FROM retail.fct_sales"
FORGED = "SELECT 7::INT AS order_count /* Orders */ FROM retail.fct_sales WHERE '{}' <> ''"
LETTERS = 48


def model(name: str, query: str, description: str = "One row.", kind: str = "FULL") -> str:
    return (
        f"MODEL (name {name}, kind {kind}, owner finance, cron '@daily', grain order_count, "
        f"tags (retail), description '{description}', audits (not_null(columns := order_count)));\n\n{query}\n"
    )


def hashed(workspace: Workspace) -> list[bytes]:
    """The texts of which SQLMesh hashes the data and the metadata of the model."""
    found, texts = workspace.context().get_model(NAME, raise_if_missing=True), list[bytes]()

    def record(values: Iterator[str | None]) -> str:
        texts.append(";".join(value or "" for value in values).encode())
        return str(zlib.crc32(texts[-1]))

    fresh = found.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(definition, "hash_data", record)
        assert fresh.data_hash == found.data_hash
        texts = texts[-1:]
        assert fresh.metadata_hash == found.metadata_hash
    return [texts[0], texts[-1]]


def forge(workspace: Workspace, text: Callable[[str, str], str], *targets: str) -> None:
    """Write the model `text` of two strings of letters, whose hashes are `targets`: of data, and of metadata.

    A hash of metadata has the query too, so it takes letters in the description besides.
    CRC-32 is affine: each letter that is changed to the next one changes the same bits, whatever the others are.
    """
    plain = ("a" * LETTERS, "y" * LETTERS)
    (workspace.path / FILE).write_text(text(*plain))
    texts = hashed(workspace)[: len(targets)]

    def letters(chosen: int) -> tuple[str, str]:
        bits = f"{chosen:0{2 * LETTERS}b}"
        return bits[:LETTERS].translate({48: "a", 49: "b"}), bits[LETTERS:].translate({48: "y", 49: "z"})

    def hash_of(chosen: int) -> int:
        parts = letters(chosen)
        filled = [one.replace(plain[0].encode(), parts[0].encode()) for one in texts]
        filled = [one.replace(plain[1].encode(), parts[1].encode()) for one in filled]
        return sum(zlib.crc32(one) << 32 * index for index, one in enumerate(filled))

    start, rows = hash_of(0), dict[int, tuple[int, int]]()
    for one in (1 << index for index in range(2 * LETTERS)):
        value, chosen = reduced(rows, hash_of(one) ^ start, one)
        rows[value.bit_length()] = (value, chosen)
    rest, chosen = reduced(rows, start ^ sum(int(one) << 32 * index for index, one in enumerate(targets)))
    assert not rest
    (workspace.path / FILE).write_text(text(*letters(chosen)))
    found = workspace.context().get_model(NAME, raise_if_missing=True)
    assert (found.data_hash, found.metadata_hash)[: len(targets)] == targets


def reduced(rows: dict[int, tuple[int, int]], value: int, chosen: int = 0) -> tuple[int, int]:
    """What the rows of a linear system leave of `value`, and those that were taken, as bits."""
    while value and (basis := rows.get(value.bit_length())):
        value, chosen = value ^ basis[0], chosen ^ basis[1]
    return value, chosen


def build(workspace: Workspace, number: int = 7) -> BuildResult:
    return evaluate(workspace.path, "local", f"pr_{number}", over_budget=False)


def stopped(result: BuildResult, *names: str) -> bool:
    """Whether a build stopped before anything was built, and names the models."""
    failure = result.failure
    named = f"differs from the checkout at {', '.join(names)}, though its fingerprints say otherwise"
    return failure is not None and failure.step == "plan" and named in failure.errors[0] and not result.exists


@pytest.fixture
def honest(change: Workspace) -> tuple[str, str]:
    """The hashes of the definition that somebody approves."""
    (change.path / FILE).write_text(model(NAME, HONEST))
    found = change.context().get_model(NAME, raise_if_missing=True)
    return found.data_hash, found.metadata_hash


def test_prod_does_not_adopt_the_table_that_another_definition_of_the_same_version_has_built(
    change: Workspace, honest: tuple[str, str]
) -> None:
    forge(change, lambda query, _: model(NAME, FORGED.format(query), "One row in all."), honest[0])
    assert build(change).exists
    (change.path / FILE).write_text(model(NAME, HONEST))
    assert stopped(build(change, 8), NAME)
    with pytest.raises(click.ClickException, match=f"differs from the checkout at {NAME}, though"):
        apply(change.path, "local", no_gaps=True)
    context = change.context()
    assert {one.name for one in context.state_reader.get_environments()} == {"prod", "pr_7"}
    # The way out that the runbook names: another version.
    (change.path / FILE).write_text(model(NAME, HONEST).replace("owner", "stamp '2', owner"))
    apply(change.path, "local", no_gaps=True)
    context = change.context()
    [(count,)] = context.engine_adapter.fetchall(f"SELECT order_count FROM {NAME}")
    assert count != 7


def test_a_definition_with_both_hashes_of_prods_is_no_unchanged_model(
    change: Workspace, honest: tuple[str, str]
) -> None:
    apply(change.path, "local", no_gaps=True)
    forge(change, lambda query, description: model(NAME, FORGED.format(query), description), *honest)
    assert stopped(build(change), NAME)
    with pytest.raises(click.ClickException, match=f"differs from the checkout at {NAME}, though"):
        apply(change.path, "local", no_gaps=True)


def test_a_model_is_not_adopted_if_it_was_built_from_other_parents_with_the_same_versions(change: Workspace) -> None:
    """SQLMesh sorts the hashes of parents without their names: those of two that are exchanged stay the same."""
    folder = change.path / "models" / "retail"
    queries = [f"SELECT {number}::INT AS order_count /* Orders */" for number in (1, 2)]
    child = (
        "SELECT a.order_count - b.order_count AS order_count /* Orders */ "
        "FROM retail.rpt_first AS a CROSS JOIN retail.rpt_second AS b"
    )

    def write(first: str, second: str) -> None:
        (folder / "rpt_first.sql").write_text(model("retail.rpt_first", first))
        (folder / "rpt_second.sql").write_text(model("retail.rpt_second", second))
        (folder / "rpt_order_count.sql").write_text(model(NAME, child))

    write(*reversed(queries))
    assert build(change).exists
    write(*queries)
    assert stopped(build(change, 8), NAME)


SEED = "shared.ref_color"
SEED_MODEL = (
    f"MODEL (name {SEED}, kind SEED (path '$root/seeds/shared/ref_color.csv'), owner finance, cron '@daily', "
    "grain color, columns (color VARCHAR), description 'Colors.', audits (not_null(columns := color)));\n"
)


def of_equal_hash(color: str) -> str:
    """Another color, whose seed has the hash of the seed of `color`: SQLMesh hashes each column as JSON."""

    def hash_of(text: str) -> int:
        return zlib.crc32(json.dumps({"0": text}, separators=(",", ":")).encode())

    def letters(chosen: int) -> str:
        return f"{chosen:0{LETTERS}b}".translate({48: "a", 49: "b"})

    start, rows = hash_of(letters(0)), dict[int, tuple[int, int]]()
    for index in range(LETTERS):
        value, chosen = reduced(rows, hash_of(letters(1 << index)) ^ start, 1 << index)
        rows[value.bit_length()] = (value, chosen)
    rest, chosen = reduced(rows, start ^ hash_of(color))
    assert not rest
    assert hash_of(letters(chosen)) == hash_of(color)
    return letters(chosen)


def test_prod_does_not_adopt_the_rows_of_another_file_with_the_hash_of_a_seed(change: Workspace) -> None:
    seed = change.path / "seeds" / "shared" / "ref_color.csv"
    (change.path / "models" / "shared" / "ref_color.sql").write_text(SEED_MODEL)
    seed.write_text(f"color\n{of_equal_hash('red')}\n")
    assert build(change).exists
    seed.write_text("color\nred\n")
    assert not build(change, 8).backfills, "SQLMesh takes the table of the other file"
    with pytest.raises(click.ClickException, match=f"The tables of {SEED} have other rows than their files"):
        apply(change.path, "local", no_gaps=True)
    with pytest.raises(click.ClickException, match=f"The tables of {SEED} have other rows than their files"):
        run_prod(change.path, "local")  # as it repairs a merge by hand
    (change.path / "models" / "shared" / "ref_color.sql").write_text(SEED_MODEL.replace("owner", "stamp '2', owner"))
    assert build(change, 8).exists
    apply(change.path, "local", no_gaps=True)  # adopts what the build has written
    assert change.context().engine_adapter.fetchall(f"SELECT color FROM {SEED}") == [("red",)]
