"""Operations: the cron jobs, `meshflow freshness` and `meshflow audit`, all on a real warehouse."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from sources import SourceDatabase, new_state
from workspace import Workspace

from meshflow.source.server import Server

JOB = re.compile(
    r"^(?P<when>(\S+ +){5}) *\"\$MESHFLOW_HOME\"/infra/cron/job (?P<name>\w+) (?P<wait>\d+) (?P<command>.+)$"
)

PLAN = ("--gateway", "live", "plan", "prod", "--auto-apply", "--skip-tests")


@pytest.fixture(scope="module")
def cron_server(
    project: Path, built: Workspace, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A checkout on a plain server: a source database with rows, and the files that infra/cron needs."""
    workspace = built.clone(tmp_path_factory.mktemp("server"), new_state(postgres), data=False)
    shutil.copytree(project / "infra" / "cron", workspace.path / "infra" / "cron")
    (workspace.path / ".venv").symlink_to(Path(sys.prefix))
    source = SourceDatabase.new(postgres)
    source.execute("INSERT INTO edtech.students (first_name, enrollment_date) VALUES ('Ada', '2026-01-01')")
    source.execute(
        "INSERT INTO retail.sales (order_id, product_id, customer_id, quantity, price, discount, order_date_at) "
        "VALUES (1, 1, 1, 2, 9.99, 0.1, '2026-01-01')"
    )
    with pytest.MonkeyPatch.context() as patch:
        environment = workspace.environment | source.environment | {"MESHFLOW_LOGS": str(workspace.root / "logs")}
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(workspace.path)
        yield workspace


def job(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [workspace.path / "infra/cron/job", *arguments], capture_output=True, text=True, check=False, timeout=300
    )


def meshflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `meshflow` in another process, because SQLMesh keeps a DuckDB file open until its process ends."""
    command = [Path(sys.executable).with_name("meshflow"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def scheduled(project: Path) -> dict[str, re.Match[str]]:
    """The jobs of the crontab, by name."""
    lines = (project / "infra/cron/crontab").read_text(encoding="utf-8").splitlines()
    return {found["name"]: found for line in lines if (found := JOB.match(line))}


def test_the_crontab_has_the_documented_schedule(project: Path) -> None:
    jobs = scheduled(project)
    assert {name: " ".join(found["when"].split()) for name, found in jobs.items()} == {
        "load": "*/5 * * * *",
        "run": "2 * * * *",
        "reconcile": "5 4 * * 0",
        "audit": "5 4 * * 0",
    }
    lines = (project / "infra/cron/crontab").read_text(encoding="utf-8").splitlines()
    assert sum(not line.startswith(("#", "MAILTO", "MESHFLOW_")) for line in lines if line) == len(jobs)


def test_freshness_and_audit_fail_before_the_first_plan(cron_server: Workspace) -> None:
    for command in ("freshness", "audit"):
        result = meshflow(command)
        assert result.returncode == 1
        assert "`sqlmesh --gateway live plan prod`" in result.stderr


def test_every_job_of_the_crontab_succeeds(project: Path, cron_server: Workspace) -> None:
    jobs = scheduled(project)
    loaded = job(cron_server, "load", "0", *jobs["load"]["command"].split())
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "", "")
    planned = job(cron_server, "plan", "0", "sqlmesh", *PLAN)
    assert planned.returncode == 0, planned.stderr
    for name in ("run", "reconcile", "audit"):
        done = job(cron_server, name, "0", *jobs[name]["command"].split())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name
        log = (cron_server.root / "logs" / f"{name}.log").read_text(encoding="utf-8")
        assert re.search(r"^== \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .*\n(.*\n)+== \S+ exit 0$", log, re.MULTILINE), name
    with closing(duckdb.connect(str(cron_server.data / "live_raw.duckdb"), read_only=True)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM loader.reconciliations").fetchone() == (2,)
    with closing(duckdb.connect(str(cron_server.data / "live_analytics.duckdb"), read_only=True)) as connection:
        started = "SELECT environment, command, triggered_by FROM run_log.events WHERE event = 'started'"
        assert connection.execute(started).fetchall() == [("prod", "run", "cron run")]


def test_freshness_passes_with_recent_data_and_fails_with_late_data(cron_server: Workspace) -> None:
    passed = meshflow("freshness")
    assert (passed.returncode, passed.stderr) == (0, "")
    assert re.search(
        r"retail\.fct_sales +\d{4}-\d\d-\d\d \d\d:\d\d +0\.\d +\d{4}-\d\d-\d\d \d\d:\d\d +\S+", passed.stdout
    )
    cron_server.edit("config.yaml", "default: 2", "default: 2\n    retail: 0.000001")
    failed = meshflow("freshness")
    assert failed.returncode == 1
    late = [line.split()[0] for line in failed.stdout.splitlines() if "(late)" in line]
    assert {name.partition(".")[0] for name in late} == {"retail"}
    assert failed.stdout.splitlines()[2].split()[0] in late, "late models come first"
    error = r"Error: 7 of \d+ models of prod are late\. (\S+) is furthest behind: it(s| lacks) .*\n"
    assert re.fullmatch(error, failed.stderr)


def test_audit_fails_for_blocking_audits_and_warns_for_non_blocking_ones(cron_server: Workspace) -> None:
    with closing(duckdb.connect(str(cron_server.data / "live_analytics.duckdb"))) as connection:
        ((table,),) = connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_name ILIKE '%int_retail__sales_validated%' AND table_type = 'BASE TABLE'"
        ).fetchall()
        connection.execute(f"UPDATE {table} SET is_free = TRUE")
    warned = meshflow("audit")
    assert warned.returncode == 0
    assert re.search(r"sales_validated.*forall_non_blocking.*NOT is_free.* 1 .*warning", warned.stdout)

    with closing(duckdb.connect(str(cron_server.data / "live_analytics.duckdb"))) as connection:
        connection.execute(f"UPDATE {table} SET net_revenue_amount = net_revenue_amount + 0.01")
    failed = meshflow("audit")
    assert failed.returncode == 1
    assert re.search(r"sales_validated.*forall .* 1 .*error", failed.stdout)


def test_a_failed_job_prints_its_status_and_logs_its_output(cron_server: Workspace) -> None:
    failed = job(cron_server, "broken", "0", "sh", "-c", "echo what happened; exit 3")
    assert failed.returncode == 3
    assert "broken failed with exit status 3" in failed.stderr
    assert "what happened" in failed.stderr
    assert "what happened" in (cron_server.root / "logs/broken.log").read_text(encoding="utf-8")


def test_jobs_never_overlap_and_a_killed_job_releases_the_lock(cron_server: Workspace) -> None:
    script, started = cron_server.path / "infra/cron/job", cron_server.root / "started"
    holder = subprocess.Popen(
        [script, "long", "0", "sh", "-c", f"touch {started}; exec sleep 300"], start_new_session=True
    )
    while not started.exists():
        time.sleep(0.05)
    skipped = job(cron_server, "load", "0", "touch", str(cron_server.root / "overlapped"))
    assert (skipped.returncode, skipped.stderr) == (0, "")
    gave_up = job(cron_server, "run", "1", "touch", str(cron_server.root / "overlapped"))
    assert gave_up.returncode == 1
    assert "another job has held the lock for 1 s" in gave_up.stderr
    assert not (cron_server.root / "overlapped").exists()

    os.killpg(holder.pid, 9)
    holder.wait()
    assert job(cron_server, "load", "5", "true").returncode == 0


def test_a_job_without_a_log_folder_does_not_start(cron_server: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHFLOW_LOGS")
    failed = job(cron_server, "load", "0", "touch", str(cron_server.root / "ran"))
    assert failed.returncode != 0
    assert "MESHFLOW_LOGS: is not set: set it to a folder for logs" in failed.stderr
    assert not (cron_server.root / "ran").exists()


def test_the_unit_may_write_its_checkout_only_and_gain_no_privilege(project: Path) -> None:
    """What systemd makes of these settings isn't tested: no systemd runs here."""
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(project / "infra/cron/meshflow-freshness.service", encoding="utf-8")
    service = unit["Service"]
    assert service["User"] == "meshflow"
    assert (service["ProtectSystem"], service["ReadWritePaths"]) == ("strict", service["WorkingDirectory"])
    assert (service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == ("yes", "")
    assert (service["ProtectHome"], service["PrivateTmp"], service["UMask"]) == ("tmpfs", "yes", "0077")
    assert service["SystemCallFilter"] == "@system-service"
