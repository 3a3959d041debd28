"""Which changes may be planned with our keys before anybody has read them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from admission_cases import CODE_FILES, EVAL, EVERYDAY, HOSTILE, MODEL, QUOTED, SEED, TABLE, described, selected
from evaluation import recorded
from sqlglot import exp
from sqlmesh.core import dialect
from sqlmesh.core.audit.builtin import BUILT_IN_AUDITS
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.core.renderer import QueryRenderer

from meshflow.ci import declarative, declarative_sql
from meshflow.ci.checkout import changes_besides_documents
from meshflow.ci.declarative import Change, _names, find_code_changes, time_limit
from meshflow.ci.declarative_sql import HeldError, require_sql

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with main: the project's code and contract, and two models that use it. Other files are new to it."""
    path = tmp_path_factory.mktemp("checkout")
    tracked = ["git", "-C", str(PROJECT), "ls-files", "macros", "signals", "audits", "external_models"]
    for file in subprocess.run(tracked, check=True, capture_output=True, text=True).stdout.split():
        write(path, file, (PROJECT / file).read_bytes())
    write(path, "models/main.sql", MODEL)
    write(path, "models/table.sql", TABLE)
    write(path, "config.yaml", "default_gateway: local\n")
    write(path, "seeds/retail/sales.csv", "color\nred\n")
    _git(path, "init", "--quiet")
    (path / "seeds/retail/link.csv").symlink_to("/proc/self/environ")
    commit(path, "main")
    return path


@pytest.fixture(scope="module")
def held(checkout: Path) -> dict[str, str]:
    """The reasons for a change that makes all the hostile changes at once. Nothing of them is executed."""
    files = {file.format(name): text for name, file, text, _ in HOSTILE}
    files |= {file.format("x"): "import os\n" for file in CODE_FILES}
    with recorded() as recorder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(declarative, "MAX_SECONDS", 0.5)
        found = changes(checkout, files)
    assert not [source for source in recorder.executed if "__import__" in source or "touch" in source]
    return found


@pytest.fixture(scope="module")
def everyday(checkout: Path) -> dict[str, str]:
    return changes(checkout, {file.format(name): text for name, file, text in EVERYDAY})


def changes(checkout: Path, files: dict[str, str | bytes]) -> dict[str, str]:
    """Change the files, find out which could execute code, and undo it."""
    for file, text in files.items():
        write(checkout, file, text)
    commit(checkout, "change")
    found = find_code_changes(checkout, "HEAD^1")
    _git(checkout, "reset", "--quiet", "--hard", "HEAD^1")
    return found


def write(checkout: Path, file: str, text: str | bytes) -> None:
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def commit(checkout: Path, message: str) -> None:
    _git(checkout, "add", "--all", "--force")
    _git(checkout, "commit", "--quiet", "--message", message)


def test_sqlmesh_executes_python_in_sql() -> None:
    """The reason for all these rules: if this fails, SQLMesh has become stricter, and they may be relaxed."""
    injected = """@EVAL("a' + __import__('os').getcwd() + '")"""
    [query] = dialect.parse(f"SELECT {injected}", default_dialect="snowflake")
    assert os.fspath(Path.cwd()) in MacroEvaluator(dialect="snowflake").transform(query).sql("snowflake")


def test_sqlmesh_executes_python_in_the_argument_of_its_own_audit() -> None:
    audit = BUILT_IN_AUDITS["accepted_range"]
    [argument] = dialect.parse(f"NOT {QUOTED}".replace("system('touch executed')", "getcwd()"), "snowflake")
    with recorded() as recorder:
        QueryRenderer(audit.query, "snowflake", []).render(
            **audit.defaults | {"column": exp.column("x"), "min_v": exp.Literal.number(0), "inclusive": argument},
            this_model=exp.to_table("t"),
        )
    assert any("__import__('os').getcwd()" in source for source in recorder.executed)


@pytest.mark.parametrize(("name", "file", "text", "reason"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_a_hostile_change_is_held_for_a_reader(
    held: dict[str, str], name: str, file: str, text: str | bytes, reason: str
) -> None:
    assert reason in held.get(file.format(name), "is admitted")


@pytest.mark.parametrize("file", CODE_FILES)
def test_a_file_that_a_job_with_keys_executes_is_held(held: dict[str, str], file: str) -> None:
    assert held.get(file.format("x"), "is admitted") == "is code or configuration"


@pytest.mark.parametrize(("name", "file", "text"), EVERYDAY, ids=[case[0] for case in EVERYDAY])
def test_an_everyday_change_needs_no_reader(everyday: dict[str, str], name: str, file: str, text: str) -> None:
    assert everyday.get(file.format(name), "") == ""


def test_every_file_of_main_would_be_admitted_again() -> None:
    """The list fits what is written here: whoever edits a model has no other lines of it held."""
    main = Change(PROJECT, _names(PROJECT, "HEAD"))
    tracked = ["git", "-C", str(PROJECT), "ls-tree", "-r", "--name-only", "HEAD"]
    files = subprocess.run(tracked, check=True, capture_output=True, text=True).stdout.split()
    found = {file: main.reason(file, "100644") for file in files if file.endswith((".sql", ".yaml"))}
    assert {file: reason for file, reason in found.items() if reason and "configuration" not in reason} == {}


def test_a_call_that_the_walk_through_the_tree_misses_is_found_among_the_tokens(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in ("require_value", "_require_plain"):
        monkeypatch.setattr(declarative_sql, check, lambda *_, **__: None)
    for text in (
        described(f"enabled {EVAL}"),
        described("title @money(1)"),
        selected("(SELECT @PIVOT(a, [b]))"),
    ):
        with pytest.raises(HeldError, match="calls @"):
            require_sql(text, _names(checkout, "HEAD"), is_audit=False)


def test_a_symbolic_link_named_like_sql_is_held(checkout: Path) -> None:
    (checkout / "models/link.sql").symlink_to("/proc/self/environ")
    assert changes(checkout, {}) == {"models/link.sql": "is a symbolic link, a submodule or executable"}


def test_a_path_that_is_not_utf_8_is_held_beside_the_one_that_it_reads_like(checkout: Path) -> None:
    hostile = os.fsdecode(b"models/\xff.sql")
    found = changes(checkout, {hostile: described(f"enabled {EVAL}"), "models/\ufffd.sql": MODEL})
    assert found == {r"models/\xff.sql": "has a name that isn't UTF-8"}


def test_no_seed_and_no_document_has_a_path_that_is_not_utf_8(checkout: Path) -> None:
    seed, document = os.fsdecode(b"seeds/\xff.csv"), os.fsdecode(b"docs/\xff.md")
    read = SEED.replace("seeds/retail/sales.csv", "seeds/\ufffd.csv")
    found = changes(checkout, {seed: "a\n", "models/seed.sql": read})
    assert found.keys() == {r"seeds/\xff.csv", "models/seed.sql"}
    write(checkout, document, "text")
    commit(checkout, "a document")
    assert changes_besides_documents(checkout, "HEAD^1") == [document]
    _git(checkout, "reset", "--quiet", "--hard", "HEAD^1")


def test_removing_code_is_held_and_removing_a_model_is_not(checkout: Path) -> None:
    for file in ("models/main.sql", "config.yaml"):
        (checkout / file).unlink()
    assert changes(checkout, {}) == {"config.yaml": "is code or configuration"}


def test_renaming_a_model_to_code_is_held(checkout: Path) -> None:
    (checkout / "models/main.sql").rename(checkout / "models/main.py")
    assert list(changes(checkout, {})) == ["models/main.py"]


def test_a_parser_that_catches_the_error_does_not_lift_the_limit_of_time() -> None:
    def parse() -> None:
        """Until it is stopped. Then it ends as if nothing had happened."""
        with suppress(HeldError):
            while True:
                pass

    with pytest.raises(HeldError, match=r"takes more than 0\.1 s"), time_limit(0.1):
        parse()


def test_admission_visits_each_node_a_bounded_number_of_times(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = _names(checkout, "HEAD")

    def visits(macros: int) -> int:
        count = 0
        walk = exp.Expression.walk

        def counting(self: exp.Expr, *arguments: object, **options: object) -> Iterator[exp.Expr]:
            nonlocal count
            for node in walk(self, *arguments, **options):  # type: ignore[arg-type]
                count += 1
                yield node

        with monkeypatch.context() as patched:
            patched.setattr(exp.Expression, "walk", counting)
            require_sql(selected(", ".join(["@money(a)"] * macros)), names, is_audit=False)
        return count

    small, large = visits(50), visits(500)
    assert large < 11 * small


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # noqa: S607
