"""What is public about an error: its class, codes, model, audits and query id, and never a value of a row."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import psycopg2  # type: ignore[import-untyped]
import pytest
from snowflake.connector.errors import ProgrammingError
from sources import new_state
from sqlglot import exp
from sqlmesh.core.snapshot import SnapshotId
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import AuditError, NodeAuditsErrors, PlanError

from meshflow.failures import LOG, describe, explain, log_errors
from meshflow.source.server import Server

CANARY = "canary@example.org"
QUERY = "01b2c3d4-0000-1111-0000-22223333"
MODEL = SnapshotId(name='"ANALYTICS"."RETAIL"."FCT_SALES"', identifier="1")


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log of errors in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    handlers = list(logging.getLogger().handlers)
    log_errors()
    yield
    for handler in set(logging.getLogger().handlers) - set(handlers):
        logging.getLogger().removeHandler(handler)


def duckdb_error() -> Exception:
    with pytest.raises(duckdb.ConversionException, match=CANARY) as error:
        duckdb.execute("SELECT CAST(? AS INT)", [CANARY])
    return error.value


def snowflake_error() -> Exception:
    text = f"Numeric value '{CANARY}' is not recognized"
    return ProgrammingError(text, 100038, "22018", QUERY, f"SELECT '{CANARY}'", send_telemetry=False)


def of_model(cause: Exception) -> Exception:
    """As SQLMesh raises the error of a model."""
    error: NodeExecutionFailedError[SnapshotId] = NodeExecutionFailedError(MODEL)
    error.__cause__ = cause
    return error


def wrapped(cause: Exception) -> Exception:
    """As code raises it that handles an error and quotes it."""
    error = PlanError(f"The plan failed: {cause}")
    error.__cause__ = cause
    return error


def test_an_error_of_a_model_is_described_by_model_class_codes_and_query() -> None:
    assert describe(of_model(duckdb_error())) == "retail.fct_sales: ConversionException"
    assert describe(of_model(snowflake_error())) == f"retail.fct_sales: ProgrammingError 100038 (22018), query {QUERY}"
    assert describe(wrapped(of_model(snowflake_error()))) == describe(of_model(snowflake_error()))


def test_failed_audits_are_described_by_name_and_count_of_rows() -> None:
    query = exp.select("1").where(f"email = '{CANARY}'")
    errors = [AuditError("not_null", {}, 1, query), AuditError("forall", {"criteria": CANARY}, 1200, query)]
    expected = "audit not_null found 1 row, audit forall found 1,200 rows"
    assert describe(of_model(NodeAuditsErrors(errors))) == f"retail.fct_sales: {expected}"


@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_an_error_of_postgresql_is_described_by_its_class_and_sqlstate(driver: object, postgres: Server) -> None:
    state = new_state(postgres)
    parts = ("host", "port", "user", "password")
    parameters = {name: state[f"MESHFLOW_STATE_{name.upper()}"] for name in parts}
    parameters["dbname"] = state["MESHFLOW_STATE_DATABASE"]
    connection = driver.connect(**parameters)  # type: ignore[attr-defined]
    with pytest.raises(driver.Error, match=CANARY) as error:  # type: ignore[attr-defined]
        connection.cursor().execute(f"SELECT CAST('{CANARY}' AS INT)")
    connection.close()
    assert describe(wrapped(error.value)) == "InvalidTextRepresentation (22P02)"


def test_a_python_error_is_described_by_the_class_of_its_last_cause() -> None:
    with pytest.raises(ValueError, match=CANARY) as error:
        int(CANARY)
    assert describe(wrapped(error.value)) == "ValueError"


@pytest.mark.parametrize("cause", [duckdb_error, snowflake_error])
def test_the_full_text_is_only_in_a_log_that_only_its_owner_can_read(
    cause: object, capfd: pytest.CaptureFixture[str]
) -> None:
    text = explain(wrapped(of_model(cause())))  # type: ignore[operator]
    logging.getLogger("sqlmesh").error("%s", CANARY)
    assert CANARY not in text + "".join(capfd.readouterr())
    assert f"Full text: {LOG}" in text
    assert ("Snowflake's query history" in text) is (QUERY in text)
    assert CANARY in LOG.read_text()
    assert stat.S_IMODE(LOG.parent.stat().st_mode) == stat.S_IRWXU


def test_a_log_that_can_not_be_written_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").touch()  # where the folder would be
    assert explain(ValueError(CANARY)).startswith("ValueError. ")
    assert "".join(capfd.readouterr()) == ""


def test_on_github_the_full_text_is_in_an_encrypted_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "artifact `errors` of this run, encrypted" in explain(duckdb_error())


def test_no_log_is_created_without_an_error(tmp_path: Path) -> None:
    logging.getLogger("sqlmesh").info("done")
    assert not any(tmp_path.iterdir())
