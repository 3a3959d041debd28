"""The dbt project has the tests of the SQLMesh project, at the same cadence, and normalizes text as it does."""

import os
import re
import runpy
import subprocess
from pathlib import Path

import duckdb
import pytest
from jinja2 import Environment
from lifecycle.run import DBT_PROJECT, DBT_PYTHON, HOURLY
from sqlglot import transpile
from sqlmesh.core.context import Context
from test_audits import CASES, DROP, DROP_OF_100, Case

CHARACTERS = [
    *map(chr, (*range(0x01, 0x180), *range(0x300, 0x370), *range(0x1E00, 0x1E9B), *range(0x1EA0, 0x1F00))),
    *map(chr, (*range(0x2000, 0x200E), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF)),
]
"""Latin letters, combining accents, white space, control and zero-width characters."""


@pytest.mark.parametrize(("selection", "is_hourly"), [((), False), (HOURLY, True)], ids=["all", "hourly"])
def test_dbt_has_as_many_tests_as_there_are_audits(
    selection: tuple[str, ...], is_hourly: bool, project: Path, warehouse: Context, tmp_path: Path
) -> None:
    run_log = warehouse.dag.downstream(warehouse.get_model("run_log.events").fqn)  # dbt writes a log of its own
    audits = sum(
        len(model.audits_with_args)
        for model in warehouse.models.values()
        if model.fqn not in run_log and (not is_hourly or (model.cron == "@hourly" and not model.kind.is_seed))
    )
    folder = project / DBT_PROJECT
    environment = {
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
        "MESHFLOW_DATA": str(tmp_path),
    }
    done = subprocess.run(
        [DBT_PYTHON.with_name("dbt"), "--quiet", "ls", "--resource-type", "test", *selection],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.split()) == audits > 0


@pytest.mark.parametrize("case", [case for case in CASES if case.call in {DROP, DROP_OF_100}], ids=str)
def test_dbt_finds_the_mass_deletions_that_the_audit_finds(case: Case, project: Path) -> None:
    file = project / DBT_PROJECT / "tests/generic/max_deletion_rate.sql"
    [test] = re.findall(r"{% test .*?%}(.*){% endtest %}", file.read_text(), re.DOTALL)
    settings = {"max_rate": 0.2, "min_rows": 1 if case.call == DROP else 100}
    query = Environment(autoescape=True).from_string(test).render(model="audited", **settings)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE audited ({case.call.columns})")
        connection.execute(f"INSERT INTO audited VALUES {case.rows}")
        found = connection.execute(query).fetchall()
    assert [active for active, *_ in found] == list(case.finds)


def test_dbt_normalizes_text_as_the_macro_of_the_models_does(project: Path) -> None:
    [ours] = transpile(
        runpy.run_path(str(project / "macros" / "text.py"))["normalized"](None, "text"), "snowflake", "duckdb"
    )
    file = project / DBT_PROJECT / "macros" / "text.sql"
    dbt = Environment(autoescape=True).from_string(file.read_text()).module.normalized("text")  # type: ignore[attr-defined]
    texts = [text for character in CHARACTERS for text in (character, f"A{character}b", f" e{character} {character}")]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE texts AS SELECT unnest($1) AS text", [[*texts, None]])
        rows = connection.execute(f"SELECT text, {ours}, {dbt} FROM texts").fetchall()
    assert len(rows) == len(texts) + 1
    assert {text: (one, other) for text, one, other in rows if one != other} == {}
