"""What was approved goes to prod, and to main: one at a time, and never only to prod without a word.

Prod comes first, because a merge can't be undone. Before anything changes the pull request says so; whenever the job is
killed after that, the comment stands, and `/deploy` again, or the next `meshflow ci run`, makes prod and main agree.
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
from meshflow.ci.gate import Command, conflict, environment, rejections, require, tip
from meshflow.ci.github import BRANCH, code, connect, event, rejection, run_url, sticky_comment
from meshflow.ci.lock import Lock, prod_lock

DRIFT_REPAIRED = "comment `/deploy` again, or the next scheduled run takes it back."


def deploy(sha: str, path: Path, *, gateway: str, approvals: int, wait: float) -> None:
    """Merge commit `sha` with main in `path`, a clone with both, apply that to prod, and merge the pull request.

    The working directory is a checkout of main, what prod goes back to. Waits `wait` seconds for the lock on prod.
    Raises click.ClickException, having said so on the pull request, if prod and main aren't what was asked for.
    """
    command = Command.of(event())
    if not command:
        raise click.ClickException("This is no new comment `/deploy` on a pull request")
    repository = connect()
    pull = repository.get_pull(command.number)
    with prod_lock(f"deploy #{pull.number}", wait) as lock:
        if isinstance(lock, str):
            require(repository, command, pull, [f"prod is locked by {code(lock)}: comment again when that has ended"])
            return
        main = Checkout.at(Path())
        pull.update()
        if pull.merged:
            Deployment(repository, pull, lock, gateway, main, main).complete()
            return
        reasons = rejections(repository, command, pull, approvals)
        if pull.head.sha != sha:
            reasons.append(f"its head is `{pull.head.sha}` now, and not `{sha}` any more")
        # Asked here, because it is answered for who asks: to the gate, which may not merge, all are blocked.
        if pull.mergeable_state == "blocked":
            reasons.append(f"the rules of {code(BRANCH)} would reject the merge")
        if tip(repository) != main.sha:
            reasons.append(
                f"this run began at `{main.sha}` of {code(BRANCH)}, and it has moved on since: comment again"
            )
        require(repository, command, pull, reasons)
        try:
            change = Checkout.merged(path, main.sha, sha)
        except ConflictError:
            require(repository, command, pull, [conflict()])
            return
        Deployment(repository, pull, lock, gateway, main, change).apply(sha)


@dataclass(frozen=True)
class Deployment:
    """The right to change prod, and what to change it to, or back to."""

    repository: Repository
    pull: PullRequest
    lock: Lock
    gateway: str
    main: Checkout
    change: Checkout

    def apply(self, sha: str) -> None:
        """Prod first, then main."""
        self._say(
            f"`{sha}` is being deployed [by this run]({run_url()}). If the run has ended and this still stands here, "
            f"**prod may be ahead of {code(BRANCH)}**: {DRIFT_REPAIRED}"
        )
        status = self._run(
            ["sqlmesh_cicd", "--paths", str(self.change.path), "github", "deploy-production"],
            # The bot has no option for it.
            {"SQLMESH__DEFAULT_GATEWAY": self.gateway},
        )
        if status:
            self._undo(f"the bot ended with status {status}")
        if tip(self.repository) != self.main.sha:
            self._undo(f"{code(BRANCH)} has moved on meanwhile")
        self._require_lock()
        try:
            merged = self.pull.merge(merge_method="squash", sha=sha).sha
        except (GithubException, requests.RequestException) as error:
            # It may be merged all the same: the answer was lost and the request repeated, or somebody else was faster.
            self.pull.update()
            if not self.pull.merged:
                why = rejection(error) if isinstance(error, GithubException) else type(error).__name__
                self._undo(f"GitHub rejected to merge: {code(why)}")
            merged = self.pull.merge_commit_sha
        self._finish(merged)

    def complete(self) -> None:
        """What a killed deploy, or a merge by hand, has left to do: prod becomes what main says."""
        if tip(self.repository) != self.main.sha:
            self._fail(
                f"It was merged before this run came to it, and {code(BRANCH)} has moved on: prod stays as it is, and "
                f"the next scheduled run brings it to {code(BRANCH)}."
            )
        if self._plan(self.main):
            self._fail("It is merged, but not in prod: the plan failed. The next scheduled run tries again.")
        self._finish(self.main.sha)

    def _finish(self, merged: str) -> None:
        if self.repository.get_git_commit(merged).tree.sha != self.change.tree:
            self._fail(
                f"It is merged as `{merged}`, but {code(BRANCH)} is other than prod, as something else was merged at "
                f"the same time. The next scheduled run brings prod to {code(BRANCH)}."
            )
        name = environment(self.pull)
        status = self._run(["sqlmesh", "--gateway", self.gateway, "invalidate", name])
        rest = f"`{name}` could not be given up, and expires by itself." if status else f"`{name}` is given up."
        self._say(f"Deployed and merged as `{merged}`: {code(BRANCH)} is what prod has. {rest}")

    def _undo(self, why: str) -> NoReturn:
        """Promote again what main says: the tables are still there, so views are swapped, and nothing is built."""
        self._require_lock()
        if self._plan(self.main):
            self._fail(
                f"Not merged: {why}. **Prod may be ahead of {code(BRANCH)}**, and couldn't be taken back: {DRIFT_REPAIRED}"
            )
        self._fail(f"Not merged: {why}. Prod is back at `{self.main.sha}`.")

    def _require_lock(self) -> None:
        try:
            self.lock.check()
        except click.ClickException as error:
            self._fail(f"Not merged: {code(error.message)}. **Prod may be ahead of {code(BRANCH)}**: {DRIFT_REPAIRED}")

    def _plan(self, checkout: Checkout) -> int:
        options = ["--auto-apply", "--no-prompts", "--skip-tests", "--skip-linter"]
        return self._run(
            ["sqlmesh", "--paths", str(checkout.path), "--gateway", self.gateway, "plan", "prod", *options]
        )

    def _run(self, command: list[str], variables: dict[str, str] | None = None) -> int:
        """The exit status. What it prints goes to the log."""
        click.echo(f"$ {' '.join(command)}")
        # The tools beside ours, of main's environment.
        here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        # Should we be killed, it goes on, and the lock with it.
        return subprocess.run(  # noqa: S603 - commands of this file
            command, env=os.environ | here | (variables or {}), pass_fds=self.lock.descriptors, check=False
        ).returncode

    def _fail(self, body: str) -> NoReturn:
        self._say(f"{body} [Run]({run_url()})")
        raise click.ClickException(body)

    def _say(self, body: str) -> None:
        click.echo(body)
        sticky_comment(self.repository, self.pull.number, "deploy", body)
