"""Applies an approved pull request to prod, then merges it: one at a time, under the prod lock.

Prod comes first, because a merge can't be undone. A comment on the pull request announces the deploy before anything
changes. If the job is killed after that, the comment remains. Another `/deploy`, or the next `meshflow ci run`, then
makes prod and main agree.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
import requests
from github import GithubException
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.checkout import Checkout, ConflictError
from meshflow.ci.gate import (
    DeployCommand,
    conflict_reason,
    get_main_sha,
    raise_if_rejected,
    rejection_reasons,
)
from meshflow.ci.github import BRANCH, code, connect, describe_error, event, run_url, sticky_comment
from meshflow.ci.lock import Lock, prod_lock
from meshflow.ci.result import environment_name

PROD_MAY_BE_AHEAD = (
    f"**Prod may be ahead of {code(BRANCH)}.** "
    f"To fix that, comment `/deploy` again, or wait for the next scheduled run, which applies {code(BRANCH)} to prod."
)


def deploy(sha: str, path: Path, *, gateway: str, approvals: int, wait: float) -> None:
    """Merge commit `sha` with main in `path`, a clone with both, apply that to prod, and merge the pull request.

    The working directory is a checkout of main, to which prod is rolled back. Waits `wait` seconds for the prod lock.
    Raises click.ClickException if prod and main aren't as requested; the reason is commented on the pull request.
    """
    command = DeployCommand.from_event(event())
    if not command:
        raise click.ClickException("The event is not a new comment `/deploy` on a pull request")
    repository = connect()
    pull = repository.get_pull(command.number)
    with prod_lock(f"deploy #{pull.number}", wait) as lock:
        if isinstance(lock, str):
            locked = f"prod is locked by {code(lock)}: comment `/deploy` again when that has ended"
            raise_if_rejected(repository, command, pull, [locked])
            return
        main = Checkout.at(Path())
        pull.update()
        if pull.merged:
            Deployment(repository, pull, lock, gateway, main, main).complete()
            return
        reasons = rejection_reasons(repository, command, pull, approvals)
        if pull.head.sha != sha:
            reasons.append(f"the head of the pull request is now `{pull.head.sha}`, no longer `{sha}`")
        # Checked in this job only: the gate's token may not merge, so GitHub reports every merge as blocked to it.
        if pull.mergeable_state == "blocked":
            reasons.append(f"the rules of {code(BRANCH)} block the merge")
        if get_main_sha(repository) != main.sha:
            reasons.append(f"{code(BRANCH)} has moved on since this run began at `{main.sha}`: comment `/deploy` again")
        raise_if_rejected(repository, command, pull, reasons)
        try:
            change = Checkout.merge(path, main.sha, sha)
        except ConflictError:
            raise_if_rejected(repository, command, pull, [conflict_reason()])
            return
        Deployment(repository, pull, lock, gateway, main, change).apply(sha)


@dataclass(frozen=True)
class Deployment:
    """A deploy under the prod `lock`: to the commit `change`, or back to the commit `main`."""

    repository: Repository
    pull: PullRequest
    lock: Lock
    gateway: str
    main: Checkout
    change: Checkout

    def apply(self, sha: str) -> None:
        """Deploy to prod first, then merge into main."""
        self._comment(
            f"Commit `{sha}` is being deployed [by this run]({run_url()}).\n\n"
            f"If the run has ended and this comment is still here: {PROD_MAY_BE_AHEAD}"
        )
        if self._plan(self.change, "--no-gaps"):
            self._roll_back("the plan failed")
        if get_main_sha(self.repository) != self.main.sha:
            self._roll_back(f"{code(BRANCH)} has moved on during the deploy")
        self.pull.update()
        if self.pull.base.ref != BRANCH:
            self._roll_back(f"the base branch is {code(self.pull.base.ref)} now")
        self._require_lock()
        try:
            merged = self.pull.merge(merge_method="squash", sha=sha).sha
        except (GithubException, requests.RequestException) as error:
            # It may be merged all the same: a lost response was followed by a retry, or somebody else merged it.
            self.pull.update()
            if not self.pull.merged:
                reason = describe_error(error) if isinstance(error, GithubException) else type(error).__name__
                self._roll_back(f"GitHub rejected the merge: {code(reason)}")
            merged = self.pull.merge_commit_sha
        self._finish(merged)

    def complete(self) -> None:
        """Finish what a killed deploy or a manual merge has left: apply main to prod."""
        if get_main_sha(self.repository) != self.main.sha:
            self._fail(
                f"The pull request was merged before this run, and {code(BRANCH)} has moved on since. "
                f"Prod is unchanged. The next scheduled run plans it to {code(BRANCH)}."
            )
        if self._plan(self.main):
            self._fail(
                "The pull request is merged, but not in prod, because the plan failed. "
                "The next scheduled run tries again."
            )
        self._finish(self.main.sha)

    def _finish(self, merged: str) -> None:
        self.pull.update()
        if self.pull.base.ref != BRANCH:
            self._roll_back(f"the pull request was merged into {code(self.pull.base.ref)}")
        if self.repository.get_git_commit(merged).tree.sha != self.change.tree:
            self._fail(
                f"The pull request is merged as `{merged}`, but prod differs from {code(BRANCH)}: something else was "
                f"merged at the same time. The next scheduled run applies {code(BRANCH)} to prod."
            )
        name = environment_name(self.pull.number)
        status = self._execute("invalidate", name)
        deleted = "could not be deleted and expires later" if status else "is deleted"
        self._comment(
            f"Deployed and merged as `{merged}`. Prod matches {code(BRANCH)}. The environment `{name}` {deleted}."
        )

    def _roll_back(self, reason: str) -> NoReturn:
        """Promote main again. Its tables still exist, so views are swapped and nothing is built."""
        self._require_lock()
        if self._plan(self.main):
            self._fail(f"Not merged into {code(BRANCH)}: {reason}. The rollback of prod failed. {PROD_MAY_BE_AHEAD}")
        self._fail(f"Not merged into {code(BRANCH)}: {reason}. Prod was rolled back to `{self.main.sha}`.")

    def _require_lock(self) -> None:
        try:
            self.lock.check()
        except click.ClickException as error:
            self._fail(f"Not merged into {code(BRANCH)}: {code(error.message)}. {PROD_MAY_BE_AHEAD}")

    def _plan(self, checkout: Checkout, *options: str) -> int:
        """Apply a checkout to prod; the exit status."""
        return self._execute("apply", "--path", str(checkout.path), *options)

    def _execute(self, *arguments: str) -> int:
        """Run a command of `meshflow ci`, which prints to the log; its exit status."""
        # Of main's virtual environment, which runs this process.
        command = [str(Path(sys.executable).with_name("meshflow")), "ci", *arguments, "--gateway", self.gateway]
        click.echo(f"$ meshflow {' '.join(command[1:])}")
        # It evaluates the change, so it gets neither the token nor the files that the runner reads.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
        environment |= {"GITHUB_ACTIONS": os.environ.get("GITHUB_ACTIONS", "")}
        # The command keeps the lock, because it continues if this process is killed.
        return subprocess.run(  # noqa: S603 - commands of this file
            command, env=environment, pass_fds=self.lock.descriptors, check=False
        ).returncode

    def _fail(self, body: str) -> NoReturn:
        self._comment(f"{body} [Run]({run_url()})")
        raise click.ClickException(body)

    def _comment(self, body: str) -> None:
        click.echo(body)
        sticky_comment(self.repository, self.pull.number, "deploy", body)
