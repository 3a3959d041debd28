"""Fixtures of the tests that run workflow files: GitHub, a warehouse, and what runs workflows on them.

One repository, GitHub and prod for all tests of a session: building prod takes most of a minute.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from act import Run, Runner, Started, git, is_told
from emulated import Keys, Snowflake
from fake_github import FakeGitHub, Issue, PullRequest
from permissions import Tokens
from sources import Sources, new_state
from warehouse import Warehouse

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def github(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGitHub]:
    """The repository, with every file of this project that git tracks or would and four people."""
    folder = tmp_path_factory.mktemp("project")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", at=project).splitlines():
        if (project / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, folder / name)
    with FakeGitHub(tmp_path_factory.mktemp("github") / "origin.git") as github:
        # As on GitHub, where a checkout fetches any commit that it knows.
        github.git("config", "uploadpack.allowAnySHA1InWant", "true")
        github.push_folder("main", folder)
        # One model more than the pull requests of these tests need, but for one.
        limit = re.sub(r"pr_models: \d+", "pr_models: 2", (folder / "config.yaml").read_text())
        github.push("main", {"config.yaml": limit})
        github.roles = {"ann": "write", "bob": "write", "carl": "maintain", "rita": "read"}
        yield github
        assert not github.faults


@pytest.fixture(scope="session")
def tokens(github: FakeGitHub) -> Tokens:
    return Tokens(github)


@pytest.fixture(scope="session")
def runner(github: FakeGitHub, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs workflows that don't get as far as the warehouse."""
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
def warehouse(
    github: FakeGitHub, postgres: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Prod as main has it, with some hundred rows, a tenth of them faulty: always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(keys.authority))
        snowflake = Snowflake.start(keys, tmp_path_factory.mktemp("snowflake"))
        main = tmp_path_factory.mktemp("main")
        git("clone", "--quiet", github.git_dir, main, at=main)
        warehouse = Warehouse(main, snowflake, Sources.new(postgres), new_state(postgres))
        warehouse.write(seed=1)
        warehouse.load()
        warehouse.sqlmesh("plan", "prod", "--auto-apply", "--skip-tests")
        yield warehouse
        snowflake.stop()


@pytest.fixture(scope="session")
def connected(runner: Runner, warehouse: Warehouse, keys: Keys) -> Runner:
    """Runs workflows on the warehouse."""
    sources, state = warehouse.sources, warehouse.state
    snowflake = warehouse.snowflake.environment
    common = {"MESHFLOW_STATE_PASSWORD": state["MESHFLOW_STATE_PASSWORD"]}
    return replace(
        runner,
        # What an account on Snowflake's own address, and PostgreSQL on its own port, don't need.
        environment={
            **runner.environment,
            "MESHFLOW_SNOWFLAKE_HOST": snowflake["MESHFLOW_SNOWFLAKE_HOST"],
            "MESHFLOW_SNOWFLAKE_PORT": snowflake["MESHFLOW_SNOWFLAKE_PORT"],
            "MESHFLOW_STATE_PORT": state["MESHFLOW_STATE_PORT"],
            "REQUESTS_CA_BUNDLE": str(keys.authority),
        },
        variables={
            "MESHFLOW_SNOWFLAKE_ACCOUNT": snowflake["MESHFLOW_SNOWFLAKE_ACCOUNT"],
            **{f"MESHFLOW_STATE_{name}": state[f"MESHFLOW_STATE_{name}"] for name in ("HOST", "USER", "DATABASE")},
            "MESHFLOW_STATE_SSLMODE": "disable",
        },
        secrets={
            "snowflake-ci": common | {"MESHFLOW_SNOWFLAKE_PRIVATE_KEY": keys.private("CI")},
            "snowflake-prod": common
            | {
                "MESHFLOW_SNOWFLAKE_PRIVATE_KEY": keys.private("TRANSFORMER"),
                "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY": keys.private("LOADER"),
                "MESHFLOW_LOADER_URL": sources.loader_url,
                "MESHFLOW_EXPORT_PASSPHRASE": "the-passphrase-of-the-export",
                "MESHFLOW_SLACK_WEBHOOK": "http://127.0.0.1:9/services/the-secret-of-slack",  # nobody answers there
            },
        },
    )


@dataclass(frozen=True)
class Actions:
    """GitHub Actions: what happens on GitHub starts a workflow, and its jobs become check runs."""

    github: FakeGitHub
    runner: Runner

    def pull(self, pull: PullRequest, action: str, label: str | None = None) -> Started:
        """Build the environment of a pull request, because it was opened, pushed to or labeled."""
        payload = self.github.pull_event(pull, action, label=label)
        return self.runner.start("pr-environment.yml", "pull_request_target", payload, actor=pull.author)

    def check(self, pull: PullRequest, action: str = "opened") -> Started:
        """Run ci.yml, as the pull request has it."""
        payload = self.github.pull_event(pull, action)
        merge = f"refs/pull/{pull.number}/merge"
        return self.runner.start("ci.yml", "pull_request", payload, commit=merge, actor=pull.author)

    def closed(self, pull: PullRequest) -> Started:
        payload = self.github.pull_event(pull, "closed")
        return self.runner.start("pr-close.yml", "pull_request_target", payload, actor=pull.author)

    def comment(self, issue: Issue, user: str, body: str = "/deploy") -> Started:
        payload = self.github.comment_event(issue, body, user=user)
        return self.runner.start("deploy.yml", "issue_comment", payload, actor=user)

    def cron(self, file: str) -> Started:
        return self.runner.start(file, "schedule", self.github.schedule_event())

    def finish(self, started: Started, pull: PullRequest) -> Run:
        """Wait for a run of a pull request, and show its jobs there."""
        run = started.wait()
        for job, result in run.jobs.items():
            self.github.check(pull.head_sha, run.names[job], result)
        return run


@pytest.fixture(scope="session")
def gated(github: FakeGitHub, runner: Runner) -> Actions:
    """Actions that mustn't get as far as the warehouse: there is none."""
    return Actions(github, runner)


@pytest.fixture(scope="session")
def actions(github: FakeGitHub, connected: Runner) -> Actions:
    return Actions(github, connected)


@pytest.fixture(autouse=True)
def _tokens_and_secrets(github: FakeGitHub, tokens: Tokens, runner: Runner) -> Iterator[None]:
    """Jobs ask for the permissions that they need, and no secret gets into what a run leaves or GitHub shows."""
    yield
    assert not tokens.rejected
    shown = everything_on(github)
    for started in runner.runs:
        if started.process.poll() is not None:
            run = started.wait()
            told = run.leaked | {secret for secret in run.secrets if is_told(secret, shown)}
            assert not told, f"{run.folder}: {len(told)} secrets are told"


def everything_on(github: FakeGitHub) -> str:
    """All that was written on GitHub."""
    issues = [text for one in github.issues.values() for text in (one.title, one.body)]
    comments = [comment.body for one in github.issues.values() for comment in one.comments]
    return "\n".join([*issues, *comments, *(str(check.output) for check in github.checks)])
