"""Which changes may be planned with our keys before anybody has approved them."""

import os
import subprocess
from pathlib import Path

import pytest
from sqlmesh.core import dialect
from sqlmesh.core.macros import MacroEvaluator

from meshflow.ci.declarative import find_code_changes

MODEL = """MODEL (
  name retail.dim_product,
  kind FULL,
  cron @cadence,
  physical_properties (creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)),
  audits (unique_combination_of_columns(columns := product_id))
);

SELECT product_id::INT AS product_id, @money(price)::DECIMAL(18, 2) AS price_amount FROM intermediate.products;

ON_VIRTUAL_UPDATE_BEGIN;
@mask(mask_text, product_id);
ON_VIRTUAL_UPDATE_END;
"""
FILE = "models/retail/dim_product.sql"
KIND = "kind CUSTOM (materialization 'replace_by_key', materialization_properties (key = product_id))"
TABLE = MODEL.replace("kind FULL", KIND).replace("dim_product", "products")
TABLE_FILE = "models/retail/products.sql"
INJECTED = """@EVAL("a' + __import__('os').getcwd() + '")"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with one commit, which tests change."""
    _git(tmp_path, "init", "--quiet")
    write(tmp_path, FILE, MODEL)
    write(tmp_path, TABLE_FILE, TABLE)
    write(tmp_path, "config.yaml", "default_gateway: local\n")
    _git(tmp_path, "add", "--all")
    _git(tmp_path, "commit", "--quiet", "--message", "main")
    return tmp_path


def write(checkout: Path, file: str, text: str) -> None:
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def code_changes(checkout: Path) -> dict[str, str]:
    """Commit the changed files and return those that could execute code."""
    _git(checkout, "add", "--all")
    _git(checkout, "commit", "--quiet", "--message", "change")
    return find_code_changes(checkout, "HEAD^1")


def test_sqlmesh_executes_python_in_sql() -> None:
    """The reason for all these rules: if this fails, SQLMesh has become stricter, and they may be relaxed."""
    [query] = dialect.parse(f"SELECT {INJECTED}", default_dialect="snowflake")
    assert os.fspath(Path.cwd()) in MacroEvaluator(dialect="snowflake").transform(query).sql("snowflake")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (FILE, MODEL.replace("::INT", "::BIGINT")),
        (FILE, MODEL.replace("@money(price)", "@money(price * 2)")),
        ("models/retail/new.sql", MODEL.replace("dim_product", "new").replace("WHERE", "")),
        (TABLE_FILE, TABLE.replace("@money(price)", "@money(price * 2)")),
        (TABLE_FILE, TABLE.replace("key = product_id", "key = price, row_exists = price > 0")),
        (FILE, MODEL.replace("kind FULL", KIND)),
        ("audits/new.sql", "AUDIT (name new, dialect snowflake);\n\nSELECT * FROM @this_model WHERE x < 0"),
        ("tests/models/retail/test_new.yaml", "test_x:\n  model: retail.new\n"),
        ("seeds/retail/sales.csv", "a,b\n1,{{ 2 }}\n"),
        ("docs/threat-model.md", "{{ anything }} @anybody"),
        ("README.md", "hello\n"),
    ],
)
def test_a_declarative_change_needs_no_approval(checkout: Path, file: str, text: str) -> None:
    write(checkout, FILE, MODEL.replace("price)", "price) /* @this_model */"))
    _git(checkout, "commit", "--all", "--quiet", "--message", "another change of main")
    write(checkout, file, text)
    assert code_changes(checkout) == {}


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("config.yaml", "gateways: {{ env_var('MESHFLOW_STATE_PASSWORD') }}\n", "is code"),
        (".env", "MESHFLOW_SNOWFLAKE_HOST=evil.example.org\n", "is code"),
        ("macros/money.py", "import os\n", "is code"),
        ("models/retail/python.py", "import os\n", "is code"),
        ("models/config.yaml", "x: 1\n", "is code"),
        ("requirements/snowflake.lock", "evil==1\n", "is code"),
        (".github/workflows/ci.yml", "on: push\n", "is code"),
        (FILE, MODEL.replace("product_id::INT", "{{ ''.__class__ }}"), "contains Jinja"),
        (FILE, MODEL.replace("SELECT", "JINJA_QUERY_BEGIN;\nSELECT"), "contains Jinja"),
        ("tests/models/retail/test_new.yaml", "test_x: {% print(1) %}\n", "contains Jinja"),
        ("external_models/edtech.yaml", "- name: {{ 1 }}\n", "contains Jinja"),
        (FILE, MODEL.replace("product_id::INT", INJECTED), "uses @EVAL"),
        (FILE, MODEL.replace("TRANSIENT", """"a' + x() + '\""""), "uses @IF"),
        (FILE, MODEL.replace("product_id::INT", "@'@x'"), "uses @'"),
        (FILE, MODEL.replace("product_id::INT", "@new_macro(1)"), "uses @new_macro"),
        (FILE, MODEL.replace("SELECT", "PUT file:///proc/self/environ @~;\nSELECT"), "uses @~"),
        (FILE, MODEL.replace("SELECT", "PUT file:///proc/self/environ '%x';\nSELECT"), "contains statements besides"),
        (FILE, MODEL.replace("SELECT", "INSERT INTO x SELECT 1;\nSELECT"), "contains statements besides"),
        (FILE, MODEL.replace("@mask(mask_text, product_id)", "PUT file:///etc/passwd @~"), "uses @~"),
        (FILE, MODEL.replace("@mask(mask_text, product_id)", "DROP TABLE x"), "contains statements besides"),
        (FILE, MODEL.replace("kind FULL", "kind SEED (path '/proc/self/environ')"), "reads a local file"),
        (FILE, MODEL.replace("kind FULL", KIND.replace("replace_by_key", "x")), "uses materialization 'x'"),
        (FILE, MODEL.replace("kind FULL", KIND.replace("'replace_by_key'", '"x"')), 'uses materialization "x"'),
        (FILE, MODEL.replace("kind FULL", KIND.replace("'replace_by_key'", "'x'").upper()), "uses materialization 'x'"),
        (FILE, MODEL.replace("kind FULL", KIND.replace(" 'replace", "/**/'x', --'replace")), "uses materialization/"),
        (
            FILE,
            MODEL.replace("kind FULL", KIND.replace("'replace_by_key',", "/* 'replace_by_key', */ 'x'")),
            "uses mat",
        ),
        (
            FILE,
            MODEL.replace("kind FULL", KIND.replace("key',", "key' 'x',")),
            "uses materialization 'replace_by_key',",
        ),
        (TABLE_FILE, TABLE.replace("materialization 'replace_by_key'", "materialization x"), "uses materialization x"),
        (FILE, MODEL.replace("kind FULL", "kind FULL, gateway local"), "sets gateway"),
        (FILE, MODEL.replace("kind FULL", "kind FULL, ignored_rules ALL"), "sets ignored_rules"),
        (FILE, MODEL.replace("kind FULL", "kind FULL, dialect duckdb"), "sets dialect"),
        (FILE, "SELECT 1 AS one", "has no header"),
        (FILE, "MODEL (", "can't be parsed"),
    ],
)
def test_a_change_that_could_execute_code_needs_approval(checkout: Path, file: str, text: str, reason: str) -> None:
    write(checkout, file, text)
    found = code_changes(checkout)
    assert list(found) == [file]
    assert reason in found[file]


def test_a_symbolic_link_named_like_sql_needs_approval(checkout: Path) -> None:
    (checkout / "models/retail/new.sql").symlink_to("/proc/self/environ")
    assert code_changes(checkout) == {"models/retail/new.sql": "is a symbolic link, a submodule or executable"}


def test_removing_code_needs_approval_and_removing_a_model_does_not(checkout: Path) -> None:
    (checkout / FILE).unlink()
    (checkout / "config.yaml").unlink()
    assert list(code_changes(checkout)) == ["config.yaml"]


def test_renaming_a_model_to_code_needs_approval(checkout: Path) -> None:
    (checkout / FILE).rename(checkout / "models/retail/dim_product.py")
    assert list(code_changes(checkout)) == ["models/retail/dim_product.py"]


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # noqa: S607
