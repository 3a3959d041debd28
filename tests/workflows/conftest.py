"""Fixtures of the tests that run workflow files: GitHub, a warehouse, and runners of workflows.

All tests of a session share one repository, one GitHub and one prod: building prod takes most of a minute.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from act import Run, Runner, RunningWorkflow, contains_secret, git
from emulated import Keys, Snowflake
from fake_github import BOT, FakeGitHub, Issue, PullRequest
from identity import Issuer
from permissions import Tokens
from sources import SourceDatabase, new_state
from warehouse import Warehouse

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def github(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGitHub]:
    """The repository, with every file of this project that git does not ignore, and four people."""
    folder = tmp_path_factory.mktemp("project")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", at=project).splitlines():
        if (project / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, folder / name)
    with FakeGitHub(tmp_path_factory.mktemp("github") / "origin.git") as github:
        # As on GitHub, where a checkout can fetch any commit.
        github.git("config", "uploadpack.allowAnySHA1InWant", "true")
        github.push_folder("main", folder)
        # One more than the pull requests of these tests build, except for one of them.
        limit = re.sub(r"pr_models: \d+", "pr_models: 2", (folder / "config.yaml").read_text())
        github.push("main", {"config.yaml": limit})
        github.roles = {"ann": "write", "bob": "write", "carl": "maintain", "rita": "read"}
        yield github
        assert not github.internal_errors


@pytest.fixture(scope="session")
def tokens(github: FakeGitHub) -> Tokens:
    return Tokens(github)


@pytest.fixture(scope="session")
def runner(github: FakeGitHub, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs workflows that don't use the warehouse."""
    return Runner(
        origin=github.git_dir,
        folder=tmp_path_factory.mktemp("runs"),
        environment={name: value for name, value in github.environment.items() if name.endswith("_URL")},
        variables={},
        secrets={},
        token=tokens.issue,
    )


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def issuer(keys: Keys) -> Iterator[Issuer]:
    with Issuer(keys).serving() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def warehouse(
    github: FakeGitHub, postgres: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Prod built from main, with some hundred rows, a tenth of them faulty. The rows are always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(keys.authority))
        snowflake = Snowflake.start(keys, tmp_path_factory.mktemp("snowflake"))
        main = tmp_path_factory.mktemp("main")
        git("clone", "--quiet", github.git_dir, main, at=main)
        warehouse = Warehouse(main, snowflake, SourceDatabase.new(postgres), new_state(postgres), "the-password-of-ci")
        warehouse.write(seed=1)
        warehouse.load()
        warehouse.sqlmesh("plan", "prod", "--auto-apply", "--skip-tests")
        warehouse.create_ci_role(postgres)
        yield warehouse
        snowflake.stop()


@pytest.fixture(scope="session")
def connected(runner: Runner, warehouse: Warehouse, keys: Keys, issuer: Issuer) -> Runner:
    """Runs workflows that use the warehouse. Jobs sign in to Snowflake by workload identity: no secret is a key."""
    sources, state = warehouse.sources, warehouse.state
    snowflake = warehouse.snowflake.environment
    variables = {
        "MESHFLOW_SNOWFLAKE_ACCOUNT": snowflake["MESHFLOW_SNOWFLAKE_ACCOUNT"],
        **{f"MESHFLOW_STATE_{name}": state[f"MESHFLOW_STATE_{name}"] for name in ("HOST", "DATABASE")},
        "MESHFLOW_STATE_SSLMODE": "disable",
    }
    return replace(
        runner,
        # Not needed for Snowflake at its own address and PostgreSQL at its own port.
        environment={
            **runner.environment,
            "MESHFLOW_SNOWFLAKE_HOST": snowflake["MESHFLOW_SNOWFLAKE_HOST"],
            "MESHFLOW_SNOWFLAKE_PORT": snowflake["MESHFLOW_SNOWFLAKE_PORT"],
            "MESHFLOW_STATE_PORT": state["MESHFLOW_STATE_PORT"],
            "REQUESTS_CA_BUNDLE": str(keys.authority),
            "SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES": "localhost",
        },
        identity=issuer.admit,
        variables={
            "snowflake-ci": variables | {"MESHFLOW_STATE_USER": warehouse.ci_state["MESHFLOW_STATE_USER"]},
            "snowflake-load": {"MESHFLOW_SNOWFLAKE_ACCOUNT": snowflake["MESHFLOW_SNOWFLAKE_ACCOUNT"]},
            "snowflake-prod": variables | {"MESHFLOW_STATE_USER": state["MESHFLOW_STATE_USER"]},
        },
        secrets={
            "snowflake-ci": {"MESHFLOW_STATE_PASSWORD": warehouse.ci_state["MESHFLOW_STATE_PASSWORD"]},
            "snowflake-load": {"MESHFLOW_LOADER_URL": sources.loader_url},
            "snowflake-prod": {
                "MESHFLOW_STATE_PASSWORD": state["MESHFLOW_STATE_PASSWORD"],
                "MESHFLOW_EXPORT_PASSPHRASE": "the-passphrase-of-the-export",
                "MESHFLOW_SLACK_WEBHOOK": "http://127.0.0.1:9/services/the-secret-of-slack",  # no server listens there
            },
        },
    )


@dataclass(frozen=True)
class Actions:
    """GitHub Actions: events on GitHub start workflows, and jobs become check runs."""

    github: FakeGitHub
    runner: Runner

    def pull(
        self, pull: PullRequest, action: str = "opened", *, label: str | None = None, only: str = ""
    ) -> RunningWorkflow:
        """Build the environment of a pull request that was opened, pushed to or labeled, or run the job `only`."""
        payload = self.github.pull_event(pull, action, label=label)
        return self.runner.start("pr-environment.yml", "pull_request_target", payload, actor=pull.author, only=only)

    def dispatched(self, pull: PullRequest) -> RunningWorkflow:
        """Build the environment of a pull request for which a job has dispatched the workflow."""
        payload = self.github.dispatch_event(pull)
        return self.runner.start("pr-environment.yml", "workflow_dispatch", payload, actor=BOT)

    def review(self, pull: PullRequest, user: str, state: str = "APPROVED") -> RunningWorkflow:
        """Review a pull request. GitHub takes review.yml from it."""
        payload = self.github.review_event(pull, self.github.review(pull, user, state))
        merge = f"refs/pull/{pull.number}/merge"
        return self.runner.start("review.yml", "pull_request_review", payload, commit=merge, actor=user)

    def check(self, pull: PullRequest, action: str = "opened") -> RunningWorkflow:
        """Run ci.yml of the pull request."""
        payload = self.github.pull_event(pull, action)
        merge = f"refs/pull/{pull.number}/merge"
        return self.runner.start("ci.yml", "pull_request", payload, commit=merge, actor=pull.author)

    def closed(self, pull: PullRequest) -> RunningWorkflow:
        payload = self.github.pull_event(pull, "closed")
        return self.runner.start("pr-close.yml", "pull_request_target", payload, actor=pull.author)

    def comment(self, issue: Issue, user: str, body: str = "/deploy") -> RunningWorkflow:
        payload = self.github.comment_event(issue, body, user=user)
        return self.runner.start("deploy.yml", "issue_comment", payload, actor=user)

    def cron(self, file: str) -> RunningWorkflow:
        return self.runner.start(file, "schedule", self.github.schedule_event())

    def finish(self, started: RunningWorkflow, pull: PullRequest) -> Run:
        """Wait for a run of a pull request, and create a check run for each of its jobs."""
        run = started.wait()
        for job, result in run.jobs.items():
            self.github.check(pull.head_sha, run.names[job], result)
        return run


@pytest.fixture(scope="session")
def offline_actions(github: FakeGitHub, runner: Runner) -> Actions:
    """Actions without a warehouse, for workflows that must end before they use it."""
    return Actions(github, runner)


@pytest.fixture(scope="session")
def actions(github: FakeGitHub, connected: Runner) -> Actions:
    return Actions(github, connected)


@pytest.fixture(autouse=True)
def _tokens_and_secrets(github: FakeGitHub, tokens: Tokens, runner: Runner) -> Iterator[None]:
    """Jobs have the permissions that they need, and no secret appears in a log, in an artifact or on GitHub."""
    yield
    assert not tokens.rejected
    shown = all_text_on(github)
    for started in [one for one in runner.runs if one.process.poll() is not None]:
        runner.runs.remove(started)
        run = started.wait()
        leaked = run.leaked | {secret for secret in run.secrets if contains_secret(shown, secret)}
        assert not leaked, f"{run.folder}: {len(leaked)} secrets leaked"


def all_text_on(github: FakeGitHub) -> str:
    """The texts of all issues, comments and check runs."""
    issues = [text for one in github.issues.values() for text in (one.title, one.body)]
    comments = [comment.body for one in github.issues.values() for comment in one.comments]
    return "\n".join([*issues, *comments, *(str(check.output) for check in github.checks)])
