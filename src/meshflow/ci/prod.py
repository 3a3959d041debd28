"""What jobs do to the warehouse with prod's key: in a process without GitHub's token, on the models of a checkout."""

from pathlib import Path

import click
from sqlmesh.core.console import set_console
from sqlmesh.core.plan import Plan

from meshflow.ci.console import PublicConsole
from meshflow.ci.seeds import require_rows
from meshflow.project import open_project
from meshflow.runs import RecordedProject
from meshflow.state import Project, require_same_data


def apply(path: Path, gateway: str, *, no_gaps: bool) -> None:
    """Apply the project at `path` to prod: promote what exists, build what doesn't.

    With `no_gaps`, no table may lack intervals that prod's has now. Raises as `apply_checked` does.
    """
    set_console(PublicConsole())
    project = open_project(gateway, path=path, kind=RecordedProject, holds_lock=True)
    plan = project.plan_builder("prod", no_gaps=no_gaps, skip_tests=True, skip_linter=True).build()
    apply_checked(project, plan)
    click.echo("Applied to prod" if plan.has_changes else "Prod has no changes")


def apply_checked(project: Project, plan: Plan) -> None:
    """Apply a plan of prod. Raises click.ClickException if what exists was built from something else."""
    require_rows(project, plan)
    project.apply(plan)
    require_same_data(project)  # what another process may have written meanwhile


def invalidate(environment: str, gateway: str) -> None:
    """Let the next janitor drop `environment`."""
    _open(gateway).invalidate_environment(environment)


def drop_expired(gateway: str) -> None:
    """Drop expired environments, and tables that no environment has used for a week."""
    _open(gateway).run_janitor(ignore_ttl=False)


def export_state(file: Path, gateway: str) -> None:
    """Write SQLMesh's state to `file`, for `sqlmesh state import`."""
    _open(gateway).export_state(file, confirm=False)


def _open(gateway: str) -> Project:
    set_console(PublicConsole())
    return open_project(gateway, load=False)
