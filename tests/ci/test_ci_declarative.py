"""Which changes may be planned with our keys before anybody has read them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from admission_cases import CODE_FILES, EVAL, EVERYDAY, HOSTILE, MODEL, QUOTED, SEED, TABLE, described, selected
from evaluation import is_value, recorded
from sqlglot import exp
from sqlmesh.core import dialect
from sqlmesh.core.audit.builtin import BUILT_IN_AUDITS
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.core.model import Model, load_sql_based_model
from sqlmesh.core.model.kind import MODEL_KIND_NAME_TO_TYPE
from sqlmesh.core.model.meta import ModelMeta
from sqlmesh.core.renderer import QueryRenderer
from statements import foreign_statements, is_raw, statements_of

from meshflow.ci import declarative, declarative_sql
from meshflow.ci.checkout import Checkout, changes_besides_documents, git
from meshflow.ci.declarative import Change, _names, find_code_changes, time_limit
from meshflow.ci.declarative_sql import HeldError, Names, require_sql

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


TEXT = "zzone zztwo"
PROPERTY = ("'{}'", "('{}' = 1)", "(a, '{}')", "(a = '{}')")
"""Where a property has a text."""
REQUIRED = {
    "INCREMENTAL_BY_TIME_RANGE": "time_column at",
    "INCREMENTAL_BY_UNIQUE_KEY": "unique_key a",
    "SCD_TYPE_2": "unique_key a, updated_at_name at",
    "SCD_TYPE_2_BY_TIME": "unique_key a, updated_at_name at",
    "SCD_TYPE_2_BY_COLUMN": "unique_key a, columns (b)",
}
"""What a kind lacks without its required properties."""


def headers_with_a_text() -> Iterator[tuple[str, str]]:
    """Each property that SQLMesh has, and the properties of a model in which it has a text."""
    for field in ModelMeta.all_fields():
        yield from ((field.rstrip("_"), f"kind FULL, {field.rstrip('_')} {form.format(TEXT)}") for form in PROPERTY)
    for kind, fields in MODEL_KIND_NAME_TO_TYPE.items():
        for field in (one.rstrip("_") for one in fields.all_fields() - {"name"}):
            required = [one for one in REQUIRED.get(kind.value, "").split(", ") if one and not one.startswith(field)]
            for form in PROPERTY:
                properties = ", ".join([*required, f"{field} {form.format(TEXT)}"])
                yield f"{kind.value}.{field}", f"kind {kind.value} ({properties})"


RAW = {"table_format", "physical_properties", "grants", "INCREMENTAL_BY_TIME_RANGE.time_column"}
"""The properties that have a text which SQLMesh 0.236 prints unquoted into a statement for Snowflake.

The others are printed as strings or quoted names, such as `description`, or not at all, such as `storage_format`.
"""


def test_a_header_with_a_text_that_sqlmesh_prints_unquoted_is_held() -> None:
    found = {}
    for name, properties in headers_with_a_text():
        text = f"MODEL (name retail.x, {properties});\nSELECT 1::INT AS a, 2::INT AS b, '2026-11-01'::TIMESTAMP AS at\n"
        with suppress(Exception):  # SQLMesh doesn't accept each form
            model = load_model(text)
            if any(is_raw(TEXT, sql) for sql in statements_of(model)[0]):
                found[name] = text
    assert found.keys() == RAW
    for text in found.values():
        with pytest.raises(HeldError, match=r"^(has the time format|sets) "):
            require_sql(text, Names(), is_audit=False)


def load_model(text: str) -> Model:
    return load_sql_based_model(
        dialect.parse(text, default_dialect="snowflake"),
        dialect="snowflake",
        default_catalog="ANALYTICS",
        variables={"gateway": "snowflake", "cadence": "@hourly"},
    )


FOREIGN = {
    "create": ("table_format 'or replace table raw.edtech.students as select 1 --'", "TABLE RAW.EDTECH.STUDENTS"),
    "clone": ("physical_properties ('a = 1 clone raw.edtech.students b' = 1)", "CLONE RAW.EDTECH.STUDENTS"),
    "comment": ("physical_properties ('a = 1 --' = 1)", "A = 1 --"),
}


@pytest.mark.parametrize("how", FOREIGN)
def test_the_oracle_sees_a_statement_for_another_table(how: str) -> None:
    header, expected = FOREIGN[how]
    found = foreign_statements(load_model(f"MODEL (name retail.x, kind FULL, {header});\nSELECT 1::INT AS a\n"))
    assert any(expected in sql for sql in found)


BUILT = [
    *("kind FULL", "kind INCREMENTAL_UNMANAGED", "kind INCREMENTAL_BY_PARTITION, partitioned_by (a)"),
    *(f"kind {kind} ({required})" for kind, required in REQUIRED.items()),
]


@pytest.mark.parametrize("kind", BUILT)
def test_a_build_sends_only_queries_and_statements_for_the_models_own_table(kind: str) -> None:
    text = (
        f"MODEL (name retail.x, {kind}, clustered_by (a, b), description 'It''s -- a text', "
        "physical_properties (creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)));\n"
        "SELECT 1::INT AS a, /* why */ 2::INT AS b, '2026-11-01'::TIMESTAMP AS at -- the end\n"
    )
    require_sql(text, Names(), is_audit=False)
    model = load_model(text)
    sent, _ = statements_of(model)
    assert len(sent) > 5  # it isn't only created and promoted
    assert foreign_statements(model) == []


@pytest.mark.parametrize("text", ["it''s", "'' + str(eval(chr(49))) + ''", "'')) OR (1 = 1", "a'',''b"])
@pytest.mark.parametrize("audit", ["accepted_values", "not_accepted_values"])
def test_an_apostrophe_among_accepted_values_is_evaluated_nowhere(audit: str, text: str) -> None:
    """SQLMesh writes the value as a literal: into the header, into the state and into the query of the audit."""
    header = f"name retail.x, kind FULL, audits ({audit}(column := a, is_in := ('{text}', 'x')))"
    definition = f"MODEL ({header});\nSELECT 'a'::VARCHAR AS a\n"
    require_sql(definition, Names(), is_audit=False)
    load_model(definition)  # imports
    with recorded() as recorder:
        model = load_model(definition)
        stored = type(model).parse_raw(model.json())
        assert stored.audits == model.audits
        for one in (model, stored):
            [(found, arguments)] = one.audits_with_args
            query = one.render_audit_query(found, **arguments)
            read = dialect.parse_one(query.sql("snowflake"), dialect="snowflake")
            assert [one.name for one in read.find(exp.In).expressions] == [text.replace("''", "'"), "x"]
    assert all(is_value(source, frozenset()) for source in recorder.executed)


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


def test_git_runs_no_filter_of_this_machine_for_a_change_and_gets_no_token(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's runners may have a filter for LFS, and attributes of a change name it."""
    clone, marker, settings = tmp_path / "clone", tmp_path / "ran", tmp_path / "gitconfig"
    _git(checkout, "clone", "--quiet", str(checkout), str(clone))
    main = git(clone, "rev-parse", "HEAD")
    write(clone, "docs/.gitattributes", "* filter=lfs\n")
    write(clone, "docs/x.md", "text\n")
    commit(clone, "attributes")
    head = git(clone, "rev-parse", "HEAD")
    settings.write_text(f'[filter "lfs"]\n\tsmudge = touch {marker}; cat\n\tclean = cat\n')
    for variable in ("GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(variable, str(settings))
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    Checkout.merge(clone, main, head)
    assert (clone / "docs/x.md").exists()
    assert not marker.exists()
    assert "secret" not in git(clone, "-c", "alias.environment=!env", "environment")
    _git(clone, "checkout", "--quiet", main)
    _git(clone, "checkout", "--quiet", head)
    assert marker.exists(), "git itself runs the filter"


def test_a_file_that_git_cannot_show_does_not_pass_for_an_empty_one(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Change(checkout, _names(checkout, "HEAD"))
    failed = subprocess.CompletedProcess(["git", "show"], 128, b"", b"fatal: unable to read tree")
    monkeypatch.setattr(declarative, "run_git", lambda *_: failed)
    for file in ("models/main.sql", "external_models/new.yaml"):
        assert change.reason(file, "100644") == "can't be parsed"


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
