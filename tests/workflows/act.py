"""Runs workflow files with act, on this machine: no GitHub, no Docker, no network.

A run sees what GitHub would give it: the workflow and its actions as they stand in the commit that GitHub would take
them from, the secrets of the environment that each job names and of no other, a token with the permissions that the job
asks for. Concurrency groups don't exist here: whatever starts together runs together.

Actions of others are stubs in `actions/`. Nothing is installed: the checkout gets the environment that runs the tests,
and its own `src` before it.
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
    """A workflow or an action. YAML 1.2, in which `on` is a word and not a truth value."""
    loaded: Workflow = YAML(typ="safe", pure=True).load(file)
    return loaded


def adapted(workflow: Workflow, commit: str) -> Workflow:
    """`workflow`, taken from `commit`, in words that act knows. All that differs from the file stands here.

    - `concurrency.queue` goes, which act rejects: it has no concurrency groups anyway.
    - `uses: $/path`, the workflow's own commit, is written out as repository and commit.
    - Secrets and token get the name of the job's environment, and of the job: act has one of each for all jobs.
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
        value = re.sub(r"\bsecrets\.(\w+)", rf"secrets.{variable(environment)}__\1", value)
        return re.sub(r"\bgithub\.token\b", f"secrets.{variable(job)}__TOKEN", value)

    jobs = {name: rewrite(job, name, job.get("environment", "")) for name, job in workflow["jobs"].items()}
    for job in jobs.values():
        job.get("concurrency", {}).pop("queue", None)
    return workflow | {"jobs": jobs}


def variable(name: str) -> str:
    """`name` as a part of a secret's name."""
    return re.sub(r"\W", "_", name).upper()


def listens(workflow: Workflow, event: str, payload: Mapping[str, Any]) -> bool:
    """Whether GitHub would start `workflow`; act doesn't look at types and branches."""
    listened = workflow["on"]
    if event not in listened:
        return False
    what = listened[event] if isinstance(listened, dict) else None
    if not isinstance(what, dict):  # nothing more, or the times of a schedule
        return True
    base = payload.get("pull_request", {}).get("base", {}).get("ref")
    return payload.get("action") in what.get("types", [payload.get("action")]) and base in what.get("branches", [base])


def used(value: Any) -> Iterator[str]:
    """All `uses:` in a workflow or an action."""
    if isinstance(value, dict):
        if isinstance(uses := value.get("uses"), str):
            yield uses
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from used(one)


@dataclass(frozen=True)
class Runner:
    """What runs workflows of one repository."""

    origin: Path
    """The bare repository."""
    folder: Path
    """Takes a folder for each run."""
    environment: Mapping[str, str]
    """What GitHub's own environment is here, and where services are: overrides what workflows say."""
    variables: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]]
    """Environment to its secrets."""
    token: Callable[[Permissions], str]
    """Makes a token that may do so much."""
    programs: Path = Path("/usr/bin")
    """Programs in this folder come first."""
    runs: list["Started"] = field(default_factory=list)
    """All that were started, in order."""

    def start(
        self, file: str, event: str, payload: Mapping[str, Any], *, commit: str = "main", actor: str = "nobody"
    ) -> "Started":
        """Start the workflow `file` as it stands in `commit`, a ref or a sha: main, but for `pull_request`."""
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
        assert listens(original, event, payload), f"{file} doesn't listen to {event} {payload.get('action', '')}"
        workflow = adapted(original, sha)
        tokens = {
            f"{variable(job)}__TOKEN": self.token(what.get("permissions", workflow["permissions"]))
            for job, what in workflow["jobs"].items()
        }
        secrets = tokens | {
            f"{variable(environment)}__{name}": value
            for environment, its in self.secrets.items()
            for name, value in its.items()
        }
        (folder / "workflow.yml").write_text(json.dumps(workflow, indent=1))
        (folder / "event.json").write_text(json.dumps(payload))
        (folder / "secrets").write_text(dotenv(secrets))
        (folder / "secrets").chmod(0o600)
        (folder / "variables").write_text(dotenv(self.variables))
        environment = {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": str(number),
            "RIG_ORIGIN": str(self.origin),
            "RIG_VENV": str(ACT.parents[1]),
            "RIG_ARTIFACTS": str(folder / "artifacts"),
            # A lock that isn't installed would change the environment that runs the tests.
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
        # A secret that gets out has to show.
        command += ["--insecure-secrets"]
        command += ["--platform", "ubuntu-24.04=-self-hosted", "--no-skip-checkout", "--no-cache-server"]
        command += ["--action-offline-mode", "--local-repository", f"{REPOSITORY}@{sha}={repository}"]
        for action in stubbed(repository, file):
            command += ["--local-repository", f"{action}={stub(action)}"]
        for name, value in environment.items():
            command += ["--env", f"{name}={value}"]
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
        names = {job: what.get("name", job) for job, what in workflow["jobs"].items()}
        self.runs.append(Started(process, folder, names, frozenset(value for value in secrets.values() if value)))
        return self.runs[-1]


def is_told(secret: str, text: str) -> bool:
    """Whether `secret`, plain or in Base64, stands in `text`; of a key, whether any line of it does."""
    lines = [line for line in secret.splitlines() if line and not line.startswith("-----")]
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return any(line in text for line in (*lines, encoded))


def stubbed(repository: Path, file: str) -> set[str]:
    """Actions of others that the workflow uses, or that an action of the repository does, as owner/name@sha."""
    files = [repository / ".github" / "workflows" / file, *repository.glob(".github/actions/*/action.yml")]
    return {uses for one in files for uses in used(read(one)) if not uses.startswith("$/")}


def stub(action: str) -> Path:
    folder = STUBS / action.partition("@")[0].rpartition("/")[2]
    assert action.startswith("actions/"), f"{action}: there are stubs of GitHub's own actions only"
    assert folder.is_dir(), f"{action}: there is no stub {folder}"
    return folder


def dotenv(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={json.dumps(value)}\n" for name, value in values.items())


def git(*arguments: object, at: Path) -> str:
    """What git answers, run in folder `at`. Nobody's configuration plays a part."""
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
class Started:
    """A run that goes on."""

    process: subprocess.Popen[bytes]
    folder: Path
    names: Mapping[str, str]
    """Job to what it is called on GitHub."""
    secrets: frozenset[str]

    def wait(self) -> "Run":
        self.process.wait()
        return Run(self.folder, self.process.returncode, self.names, self.secrets)

    def wait_for(self, happened: Callable[[], bool]) -> bool:
        """Wait until something has happened; False if the run ended without it."""
        while not happened():
            if self.process.poll() is not None:
                return happened()
            time.sleep(0.05)
        return True

    def processes(self) -> list[psutil.Process]:
        """Act, and whatever it has started."""
        return [one for one in psutil.process_iter() if self._is_mine(one)]

    def kill(self) -> "Run":
        """As a runner dies: everything at once, nothing tidied up."""
        psutil.Process(self.process.pid).suspend()  # or it would start the next step
        while found := self.processes():  # what was killed takes a moment to go, and may have started something before
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
        return self.wait()

    def _is_mine(self, process: psutil.Process) -> bool:
        """By its home: a step has a session of its own, and may outlive its parent."""
        try:
            return process.environ().get("HOME") == str(self.folder / "home")
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    folder: Path
    exit_code: int
    names: Mapping[str, str]
    secrets: frozenset[str] = field(repr=False)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What act tells, in order."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    @cached_property
    def jobs(self) -> dict[str, str]:
        """Job to 'success' or 'failure'. Skipped jobs aren't in it."""
        found: dict[str, str] = {}
        for event in self.events:
            if result := event.get("jobResult"):
                job = event["jobID"]
                found[job] = "failure" if found.get(job) == "failure" else result  # of a matrix the worst
        return found

    @property
    def log(self) -> str:
        """What steps have printed, without colours."""
        return ESCAPES.sub("", "".join(event["msg"] for event in self.events if event.get("raw_output")))

    @property
    def errors(self) -> list[str]:
        """What workflow commands `::error::` say."""
        return [event["arg"] for event in self.events if event.get("command") == "error"]

    @property
    def outputs(self) -> dict[str, str]:
        """What steps have put out."""
        return {event["name"]: event["arg"] for event in self.events if event.get("command") == "set-output"}

    @property
    def summary(self) -> str:
        """What stands on the page of the run, Markdown."""
        return "".join(event["content"] for event in self.events if event.get("command") == "summary")

    @property
    def steps(self) -> dict[str, str]:
        """Step to its result, by name; of steps that have none, by their first line."""
        return {
            event["step"].splitlines()[0]: event["stepResult"]
            for event in self.events
            if event.get("stage") == "Main" and "stepResult" in event and len(event["stepID"]) == 1
        }

    @property
    def artifacts(self) -> dict[str, Path]:
        """Uploaded files, by artifact and name."""
        folder = self.folder / "artifacts"
        return {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}

    @property
    def leaked(self) -> set[str]:
        """Secrets, or a line of one, that stand in what the run has said or left."""
        files = [self.folder / "log.jsonl", *self.artifacts.values()]
        texts = [file.read_text(errors="replace") for file in files]
        return {secret for secret in self.secrets if any(is_told(secret, text) for text in texts)}

    def __str__(self) -> str:
        return f"{self.folder}: {self.jobs}\n{self.log}\n{(self.folder / 'act.log').read_text()}"
