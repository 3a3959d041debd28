"""A project with four small models and the views of the run log, for tests of recorded runs."""

import shutil
from datetime import datetime
from pathlib import Path

from sqlmesh.core.context import Context
from workspace import Workspace

VIEWS = (
    "staging/stg_run_log__events",
    "ops/audit_results",
    "ops/failing_models",
    "ops/loads",
    "ops/model_freshness",
    "ops/model_runs",
    "ops/runs",
)
MODELS = {
    "orders": "FULL SELECT id::INT AS id, note::VARCHAR AS note FROM raw.demo.orders",
    "totals": "FULL SELECT COUNT(id)::INT AS total FROM retail.orders",
    "report": "VIEW SELECT total::INT AS total FROM retail.totals",
    "notes": "FULL SELECT note::INT AS note FROM raw.demo.orders",
}
AUDITS = {"orders": "not_null(columns := id), forall_non_blocking(criteria := id < 100)"}


def small_project(project: Path, root: Path, state: dict[str, str] | None = None) -> Workspace:
    """The project without its models and unit tests. Its own ones read RAW.demo.orders (id INT, note TEXT)."""
    workspace = Workspace.copy_of(project, root, state)
    for part in ("models", "tests", "seeds"):
        shutil.rmtree(workspace.path / part)
    models = workspace.path / "models"
    for view in VIEWS:
        (models / view).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / "models" / f"{view}.sql", models / f"{view}.sql")
    (models / "retail").mkdir()
    for name, definition in MODELS.items():
        kind, query = definition.split(" ", 1)
        audits = f", audits ({AUDITS[name]})" if name in AUDITS else ""
        header = f"MODEL (name retail.{name}, kind {kind}, owner test, cron @cadence{audits});"
        (models / "retail" / f"{name}.sql").write_text(f"{header}\n\n{query}\n")
    return workspace


def apply(context: Context, environment: str, at: datetime | None = None) -> None:
    """`sqlmesh plan ENVIRONMENT --auto-apply`, as if it were `at`, without the linter: the small models don't pass."""
    options = {"auto_apply": True, "no_prompts": True, "skip_tests": True, "skip_linter": True}
    context.plan(environment, execution_time=at, **options)
