"""Runs workflow files with act, on this machine: no GitHub, no Docker, no network.

A run gets what GitHub would give it: the workflow and its actions from the same commit, the secrets of each job's own
environment only, a token with the permissions of the job, and with `id-token: write` an identity. Concurrency groups
are not implemented: runs that start together run in parallel.

Third-party actions are stubs in `actions/`. Nothing is installed: the checkout gets the virtual environment that runs
the tests, with the checkout's `src` first on the path.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from permissions import Permissions
from ruamel.yaml import YAML

ACT = Path(__file__).parents[2] / ".venv" / "bin" / "act"
GIT = shutil.which("git") or "git"
STUBS = Path(__file__).parent / "actions"
REPOSITORY = "acme/meshflow"

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")

Workflow = dict[str, Any]


def read(file: Path) -> Workflow:
    """A workflow or an action. YAML 1.2, in which `on` is a string and not a boolean."""
    loaded: Workflow = YAML(typ="safe", pure=True).load(file)
    return loaded


IDENTITY = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
"""Variables of a job that may request tokens of its identity."""

TOKEN_HEADER = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').decode().rstrip("=")
"""The beginning of every token of an identity."""


def adapt(workflow: Workflow, commit: str) -> Workflow:
    """`workflow`, taken from `commit`, in the syntax that act supports. There are four differences from the file.

    - `concurrency.queue` is removed: act rejects it, and has no concurrency groups anyway.
    - `uses: $/path`, which means the workflow's own commit, is replaced by repository and commit.
    - Secrets and variables are prefixed with the job's environment, tokens with the job: act has one set for all.
    - A job with `id-token: write` has the variables that GitHub sets for it.
    """

    def rewrite(value: Any, job: str, environment: str) -> Any:
        if isinstance(value, dict):
            return {key: rewrite(one, job, environment) for key, one in value.items()}
        if isinstance(value, list):
            return [rewrite(one, job, environment) for one in value]
        if not isinstance(value, str):
            return value
        if value.startswith("$/"):
            return f"{REPOSITORY}/{value.removeprefix('$/')}@{commit}"
        value = re.sub(r"\b(secrets|vars)\.(\w+)", rf"\1.{secret_prefix(environment)}__\2", value)
        return re.sub(r"\bgithub\.token\b", f"secrets.{secret_prefix(job)}__TOKEN", value)

    jobs = {name: rewrite(job, name, job.get("environment", "")) for name, job in workflow["jobs"].items()}
    for name, job in jobs.items():
        job.get("concurrency", {}).pop("queue", None)
        if has_identity(job):
            variables = {one: f"${{{{ secrets.{secret_prefix(name)}__{one} }}}}" for one in IDENTITY}
            job["env"] = job.get("env", {}) | variables
    return workflow | {"jobs": jobs}


def has_identity(job: Mapping[str, Any]) -> bool:
    return job.get("permissions", {}).get("id-token") == "write"


def secret_prefix(name: str) -> str:
    """`name` in the characters that a secret's name may have."""
    return re.sub(r"\W", "_", name).upper()


def prefixed(by_environment: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The values of all environments in one set, as `adapt` names them."""
    return {
        f"{secret_prefix(environment)}__{name}": value
        for environment, values in by_environment.items()
        for name, value in values.items()
    }


def is_triggered(workflow: Workflow, event: str, payload: Mapping[str, Any]) -> bool:
    """Whether GitHub would start `workflow`. act doesn't check types and branches."""
    triggers = workflow["on"]
    if event not in triggers:
        return False
    filters = triggers[event] if isinstance(triggers, dict) else None
    if not isinstance(filters, dict):  # no filters, or the cron expressions of a schedule
        return True
    action = payload.get("action")
    base = payload.get("pull_request", {}).get("base", {}).get("ref")
    return action in filters.get("types", [action]) and base in filters.get("branches", [base])


def find_uses(value: Any) -> Iterator[str]:
    """All values of `uses:` in a workflow or an action."""
    if isinstance(value, dict):
        if isinstance(uses := value.get("uses"), str):
            yield uses
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from find_uses(one)


@dataclass(frozen=True)
class Runner:
    """Runs the workflows of one repository."""

    origin: Path
    """The bare repository."""
    folder: Path
    """Contains a folder per run."""
    environment: Mapping[str, str]
    """Variables of GitHub and addresses of services. They override those of the workflows."""
    variables: Mapping[str, Mapping[str, str]]
    """Variables by environment."""
    secrets: Mapping[str, Mapping[str, str]]
    """Secrets by environment."""
    token: Callable[[Permissions], str]
    """Returns a new token with the given permissions."""
    identity: Callable[[str], Mapping[str, str]] = lambda _: {}
    """Returns the variables of a job in an environment that may request tokens of its identity."""
    programs: Path = Path("/usr/bin")
    """Folder that comes first on PATH."""
    runs: list["RunningWorkflow"] = field(default_factory=list)
    """Started runs, in order, until somebody has checked them."""

    def start(  # noqa: PLR0913 - what GitHub knows of a run
        self,
        file: str,
        event: str,
        payload: Mapping[str, Any],
        *,
        commit: str = "main",
        actor: str = "nobody",
        only: str = "",
    ) -> "RunningWorkflow":
        """Start the workflow `file` of `commit`, a ref or a sha. GitHub takes main, except for event `pull_request`.

        `only` is a job: with it, no job starts that it doesn't need.
        """
        number = len(list(self.folder.iterdir())) + 1
        folder = self.folder / f"{number:03}-{file.removesuffix('.yml')}"
        for part in ("home", "tmp", "artifacts"):
            (folder / part).mkdir(parents=True)
        repository = folder / "repository"
        git("clone", "--quiet", "--no-checkout", self.origin, repository, at=folder)
        git("fetch", "--quiet", "origin", commit, at=repository)
        git("checkout", "--quiet", "-B", "main", "FETCH_HEAD", at=repository)
        sha = git("rev-parse", "HEAD", at=repository)

        original = read(repository / ".github" / "workflows" / file)
        assert is_triggered(original, event, payload), f"{event} {payload.get('action', '')} doesn't trigger {file}"
        workflow = adapt(original, sha)
        tokens = {
            f"{secret_prefix(name)}__TOKEN": self.token(job.get("permissions", workflow["permissions"]))
            for name, job in workflow["jobs"].items()
        }
        identities = {
            f"{secret_prefix(name)}__{variable}": value
            for name, job in workflow["jobs"].items()
            if has_identity(job)
            for variable, value in self.identity(job.get("environment", "")).items()
        }
        secrets = tokens | identities | prefixed(self.secrets)
        (folder / "workflow.yml").write_text(json.dumps(workflow, indent=1))
        (folder / "event.json").write_text(json.dumps(payload))
        (folder / "secrets").write_text(dotenv(secrets))
        (folder / "secrets").chmod(0o600)
        (folder / "variables").write_text(dotenv(prefixed(self.variables)))
        environment = {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": str(number),
            "RIG_ORIGIN": str(self.origin),
            "RIG_VENV": str(ACT.parents[1]),
            "RIG_ARTIFACTS": str(folder / "artifacts"),
            # Without these, a lock that isn't installed would change the environment that runs the tests.
            "PIP_NO_INDEX": "1",
            "PIP_DRY_RUN": "1",
            "UV_CACHE_DIR": os.devnull,
            "NO_COLOR": "1",
            "TERM": "dumb",
            "COLUMNS": "250",
            **self.environment,
        }
        command = [ACT, event, "--directory", repository, "--workflows", folder / "workflow.yml"]
        command += ["--eventpath", folder / "event.json", "--actor", actor, "--json"]
        command += ["--secret-file", folder / "secrets", "--var-file", folder / "variables", "--env-file", os.devnull]
        # act must not mask secrets, so that the tests find a leaked one.
        command += ["--insecure-secrets"]
        command += ["--platform", "ubuntu-24.04=-self-hosted", "--no-skip-checkout", "--no-cache-server"]
        command += ["--action-offline-mode", "--local-repository", f"{REPOSITORY}@{sha}={repository}"]
        for action in third_party_actions(repository, file):
            command += ["--local-repository", f"{action}={stub_folder(action)}"]
        for name, value in environment.items():
            command += ["--env", f"{name}={value}"]
        if only:
            command += ["--job", only]
        process = subprocess.Popen(
            command,
            stdout=(folder / "log.jsonl").open("w"),
            stderr=(folder / "act.log").open("w"),
            env={
                "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(folder / "home"),
                "XDG_CACHE_HOME": str(folder / "cache"),
                "TMPDIR": str(folder / "tmp"),
                "LANG": "C.UTF-8",
            },
            start_new_session=True,
        )
        names = {name: job.get("name", name) for name, job in workflow["jobs"].items()}
        self.runs.append(
            RunningWorkflow(process, folder, names, frozenset({*filter(None, secrets.values()), TOKEN_HEADER}))
        )
        return self.runs[-1]


def contains_secret(text: str, secret: str) -> bool:
    """Whether `text` contains `secret`, plain or in Base64, or any line of it if it is a key."""
    lines = [line for line in secret.splitlines() if line and not line.startswith("-----")]
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return any(line in text for line in (*lines, encoded))


def third_party_actions(repository: Path, file: str) -> set[str]:
    """Third-party actions that the workflow or an action of the repository uses, as owner/name@sha."""
    files = [repository / ".github" / "workflows" / file, *repository.glob(".github/actions/*/action.yml")]
    return {uses for one in files for uses in find_uses(read(one)) if not uses.startswith("$/")}


def stub_folder(action: str) -> Path:
    folder = STUBS / action.partition("@")[0].rpartition("/")[2]
    assert action.startswith("actions/"), f"{action}: only GitHub's own actions have stubs"
    assert folder.is_dir(), f"{action}: there is no stub {folder}"
    return folder


def dotenv(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={json.dumps(value)}\n" for name, value in values.items())


def git(*arguments: object, at: Path) -> str:
    """What git prints in folder `at`, without the user's or the system's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in AUTHOR.items()},
    }
    done = subprocess.run(
        [GIT, *map(str, arguments)], cwd=at, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


AUTHOR = {"NAME": "Dev Eloper", "EMAIL": "dev@example.org"}


@dataclass(frozen=True)
class RunningWorkflow:
    """A run in progress."""

    process: subprocess.Popen[bytes]
    folder: Path
    names: Mapping[str, str]
    """Name on GitHub by job id."""
    secrets: frozenset[str]

    def wait(self) -> "Run":
        self.process.wait()
        return Run(self.folder, self.process.returncode, self.names, self.secrets)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait until the condition is true; False if the run ends before."""
        while not condition():
            if self.process.poll() is not None:
                return condition()
            time.sleep(0.05)
        return True

    def processes(self) -> list[psutil.Process]:
        """The processes of act and its descendants."""
        return [one for one in psutil.process_iter() if self._is_mine(one)]

    def kill(self) -> "Run":
        """Kill all processes at once, without cleanup, like a runner that dies."""
        psutil.Process(self.process.pid).suspend()  # or it would start the next step
        while found := self.processes():  # killed processes end after a delay, and may have started others before
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
        return self.wait()

    def _is_mine(self, process: psutil.Process) -> bool:
        """Whether its HOME is that of the run: a step has its own session, and may outlive its parent."""
        try:
            return process.environ().get("HOME") == str(self.folder / "home")
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Run:
    """A completed run."""

    folder: Path
    exit_code: int
    names: Mapping[str, str]
    secrets: frozenset[str] = field(repr=False)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The events in act's log, in order."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    @cached_property
    def jobs(self) -> dict[str, str]:
        """'success' or 'failure' by job id, without skipped jobs."""
        found: dict[str, str] = {}
        for event in self.events:
            if result := event.get("jobResult"):
                job = event["jobID"]
                found[job] = "failure" if found.get(job) == "failure" else result  # the worst of a matrix
        return found

    @property
    def log(self) -> str:
        """The output of all steps, without colours."""
        return ESCAPES.sub("", "".join(event["msg"] for event in self.events if event.get("raw_output")))

    @property
    def errors(self) -> list[str]:
        """The messages of workflow commands `::error::`."""
        return [event["arg"] for event in self.events if event.get("command") == "error"]

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of all steps."""
        return {event["name"]: event["arg"] for event in self.events if event.get("command") == "set-output"}

    @property
    def summary(self) -> str:
        """The job summaries, Markdown."""
        return "".join(event["content"] for event in self.events if event.get("command") == "summary")

    @property
    def steps(self) -> dict[str, str]:
        """Result by name of the step, or by its first line if it has no name."""
        return {
            event["step"].splitlines()[0]: event["stepResult"]
            for event in self.events
            if event.get("stage") == "Main" and "stepResult" in event and len(event["stepID"]) == 1
        }

    @property
    def artifacts(self) -> dict[str, Path]:
        """Uploaded files by artifact and path."""
        folder = self.folder / "artifacts"
        return {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}

    @property
    def leaked(self) -> set[str]:
        """Secrets that the log or an artifact contains, complete or in part."""
        files = [self.folder / "log.jsonl", *self.artifacts.values()]
        texts = [file.read_text(errors="replace") for file in files]
        return {secret for secret in self.secrets if any(contains_secret(text, secret) for text in texts)}

    def __repr__(self) -> str:
        """What pytest shows of a run that isn't as expected."""
        return f"{self.folder}: {self.jobs}\n{self.log}\n{(self.folder / 'act.log').read_text()}"
