"""GitHub's API on loopback, as far as SQLMesh's bot, `meshflow ci` and the workflows use it.

Responses come from memory and from a bare git repository, in which pull requests have real refs and real merges.
Every request with a token comes from github-actions[bot]. Other users act through the methods of FakeGitHub. Its
attributes contain the results:

    with FakeGitHub(tmp_path / "origin.git") as github:
        github.push("main", {"README.md": "…"})
        github.push("feature", {"models/retail/fct_sales.sql": "…"}, author="ann")
        pull = github.open_pull("feature", author="ann")
        github.review(pull, "bob", "APPROVED")
        payload = github.comment_event(pull, "/deploy", user="bob")
        …
        assert pull.merged
        assert github.comments_on(pull) == […]
"""

import base64
import json
import os
import re
import subprocess
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import RLock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

BOT = "github-actions[bot]"

GHOST = "ghost"
"""A user whose account was deleted: GitHub sends null instead."""

PERMISSION = {"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read", "none": "none"}
"""GitHub's roles, mapped to its four older permissions."""

Json = dict[str, Any]


class RequestError(Exception):
    """A response with a status other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Comment:
    id: int
    user: str
    body: str
    edits: int = 0


@dataclass
class Issue:
    number: int
    title: str
    body: str
    author: str
    state: str = "open"
    labels: set[str] = field(default_factory=set)
    comments: list[Comment] = field(default_factory=list)
    created_at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


@dataclass
class Review:
    id: int
    user: str
    state: str
    """APPROVED, CHANGES_REQUESTED, COMMENTED or DISMISSED."""
    commit: str
    """The head that was reviewed."""
    submitted_at: str


@dataclass(kw_only=True)
class PullRequest(Issue):
    """A test may set draft, labels, head_repository, blocked, computing, state or base at any time."""

    head: str
    base: str
    head_repository: str | None
    """The name of a fork, or None for a deleted fork."""
    draft: bool = False
    blocked: bool = False
    """Whether a requirement of branch protection is not met."""
    computing: int = 0
    """Number of requests for which `mergeable` is still unknown. Meanwhile refs/pull/N/merge is not updated."""
    head_sha: str = ""
    base_sha: str = ""
    conflict: bool = False
    merged: bool = False
    merge_commit: str | None = None
    """The commit on main."""
    reviews: list[Review] = field(default_factory=list)
    review_decision: str | None = None
    """What GitHub makes of the reviews: APPROVED, REVIEW_REQUIRED, or None if the ruleset of main requires none."""
    events: list[Json] = field(default_factory=list)


@dataclass
class Check:
    """A check run."""

    id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None
    output: Json
    app: str = "github-actions"
    external_id: str = ""


Route = Callable[..., tuple[int, Any]]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """Register a function for `method` on paths below the repository that match `pattern`."""

    def register(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


@dataclass(frozen=True)
class Job:
    """A job of a workflow: its variables from GitHub, and the files it writes."""

    folder: Path
    environment: dict[str, str]

    @property
    def outputs(self) -> dict[str, str]:
        text = (self.folder / "output").read_text(encoding="utf-8")
        several = re.compile(r"^(\w+)<<(\S+)\n(.*?)\n\2$|^(\w+)=(.*)$", re.MULTILINE | re.DOTALL)
        return {found[1] or found[4]: found[3] or found[5] or "" for found in several.finditer(text)}

    @property
    def summary(self) -> str:
        """The job summary, Markdown."""
        return (self.folder / "summary").read_text(encoding="utf-8")


class FakeGitHub:
    """The server, with methods for the actions of users."""

    def __init__(self, git_dir: Path, repository: str = "acme/meshflow") -> None:
        self.git_dir = git_dir
        self.repository = repository
        self.roles: dict[str, str] = {}
        """Roles such as {"bob": "write"}; all other users have `read`."""
        self.issues: dict[int, Issue] = {}
        self.checks: list[Check] = []
        self.calls: list[str] = []
        """Every request: `PUT /pulls/1/merge 405`."""
        self.internal_errors: list[str] = []
        """Tracebacks of errors in this module. A test fails if there is one."""
        self.is_private = True
        self.max_commits = 250
        """How many commits of a pull request are listed."""
        self.merge_rejections: list[str] = []
        """Reasons to reject the next merges, one each."""
        self.teams: set[str] = set()
        """Teams with write access, such as {"@acme/platform"}. GitHub ignores others in CODEOWNERS."""
        self.dispatches: list[Json] = []
        """Inputs of each dispatch of a workflow, with its file as `workflow`."""
        self._pushes: list[Json] = []
        self._seconds = count()
        self._hooks: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self._ids = count(1001)
        self._numbers = count(1)
        self._lock = RLock()
        self._parameters: Json = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if not git_dir.exists():
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", git_dir], check=True)  # noqa: S607

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that GitHub sets for a job, as far as the API needs them."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_GRAPHQL_URL": f"{self.url}/graphql",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_TOKEN": "the-token-of-the-job",
            "GITHUB_RUN_ID": "4711",
        }

    def job(self, event: Json, folder: Path) -> Job:
        """A job that `event` has started, with its files in the new `folder`."""
        folder.mkdir()
        files = {"GITHUB_EVENT_PATH": "event", "GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary"}
        for file in files.values():
            (folder / file).touch()
        (folder / "event").write_text(json.dumps(event), encoding="utf-8")
        return Job(folder, self.environment | {name: str(folder / file) for name, file in files.items()})

    # Actions of users

    def push(
        self,
        branch: str,
        files: Mapping[str, str | bytes | None],
        *,
        author: str = "ann",
        pusher: str | None = None,
        start: str = "main",
    ) -> str:
        """Commit `files`, content by path or None to delete, to `branch`; the sha. A new branch begins at `start`."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            parent = self.sha(branch) or self.sha(start)
            if parent:
                self.git("read-tree", parent, env=index)
            for path, content in files.items():
                blob = "0" * 40 if content is None else self.git("hash-object", "-w", "--stdin", stdin=content)
                mode = "0" if content is None else "100644"
                self.git("update-index", "--index-info", env=index, stdin=f"{mode} {blob}\t{path}\n")
            tree = self.git("write-tree", env=index)
        sha = self._commit(branch, tree, [parent] if parent else [], f"Change {', '.join(files)}", author)
        return self.move(branch, sha, pusher=pusher or author)

    def move(self, branch: str, sha: str, *, pusher: str) -> str:
        """Push the existing commit `sha` to `branch`, by force if necessary."""
        self.git("update-ref", f"refs/heads/{branch}", sha)
        self._pushes.append(
            {
                "ref": f"refs/heads/{branch}",
                "activity_type": "push",
                "actor": _user(pusher),
                "after": sha,
                "timestamp": self._now(),
            }
        )
        return sha

    def push_folder(self, branch: str, folder: Path, *, author: str = "ann", start: str = "main") -> str:
        """Commit all files of `folder` that its .gitignore doesn't exclude to `branch`; the sha."""
        with tempfile.TemporaryDirectory() as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder)}
            self.git("add", "--all", ".", env=index, cwd=folder)
            tree = self.git("write-tree", env=index)
        parent = self.sha(branch) or self.sha(start)
        sha = self._commit(branch, tree, [parent] if parent else [], f"Change {branch}", author)
        return self.move(branch, sha, pusher=author)

    def open_pull(  # noqa: PLR0913 - what a pull request has
        self,
        head: str,
        *,
        author: str = "ann",
        base: str = "main",
        title: str | None = None,
        draft: bool = False,
        fork: str | None = None,
    ) -> PullRequest:
        """Open a pull request of branch `head`, from repository `fork`, a full name, if given."""
        pull = PullRequest(
            number=next(self._numbers),
            title=title or head,
            body="",
            author=author,
            head=head,
            base=base,
            head_repository=fork or self.repository,
            draft=draft,
        )
        self.issues[pull.number] = pull
        self._refresh(pull)
        return pull

    def open_issue(self, title: str, *, author: str = "ann", body: str = "") -> Issue:
        issue = Issue(next(self._numbers), title, body, author)
        self.issues[issue.number] = issue
        return issue

    def review(self, pull: PullRequest, user: str, state: str, *, commit: str | None = None) -> Review:
        """Review the current head of `pull`, or `commit`."""
        self._refresh(pull)
        review = Review(next(self._ids), user, state, commit or pull.head_sha, self._now())
        pull.reviews.append(review)
        return review

    def retarget(self, pull: PullRequest, base: str, event: str = "base_ref_changed") -> None:
        """Change the base branch of `pull`."""
        pull.base = base
        pull.events.append(
            {"id": next(self._ids), "event": event, "actor": _user(pull.author), "created_at": self._now()}
        )

    def comment(self, issue: Issue, body: str, *, user: str) -> Comment:
        comment = Comment(next(self._ids), user, body)
        issue.comments.append(comment)
        return comment

    def check(
        self,
        sha: str,
        name: str,
        conclusion: str | None = "success",
        *,
        app: str = "github-actions",
        external_id: str = "",
    ) -> Check:
        """A check run of `sha`. With conclusion None it is still running."""
        status = "completed" if conclusion else "in_progress"
        check = Check(next(self._ids), name, sha, status, conclusion, {}, app, external_id)
        self.checks.append(check)
        return check

    def when(self, call: str, action: Callable[[], object]) -> None:
        """Run `action` just before the next request that matches `call`, such as `PUT /pulls/1/merge`, is processed."""
        self._hooks.append((re.compile(call), action))

    # Payloads of events

    def pull_event(
        self, pull: PullRequest, action: str, *, sender: str | None = None, label: str | None = None
    ) -> Json:
        """Event pull_request or pull_request_target; `action` is opened, synchronize, labeled, closed and others."""
        payload = {"action": action, "number": pull.number, "pull_request": self._pull(pull)}
        if label:
            payload["label"] = {"name": label}
        return payload | self._about(sender or pull.author)

    def comment_event(self, issue: Issue, body: str, *, user: str, action: str = "created") -> Json:
        """Event issue_comment, on a pull request or a plain issue. Also creates the comment."""
        comment = self._comment(self.comment(issue, body, user=user))
        return {"action": action, "issue": self._issue(issue), "comment": comment} | self._about(user)

    def review_event(self, pull: PullRequest, review: Review, action: str = "submitted") -> Json:
        """Event pull_request_review."""
        reviewed = {"user": _user(review.user), "state": review.state.lower(), "commit_id": review.commit}
        payload = {"action": action, "review": reviewed, "pull_request": self._pull(pull)}
        return payload | self._about(review.user)

    def dispatch_event(self, pull: PullRequest) -> Json:
        """Event workflow_dispatch of the last dispatch for `pull`."""
        [*_, last] = [one for one in self.dispatches if one["number"] == str(pull.number)]
        inputs = {name: value for name, value in last.items() if name != "workflow"}
        return {"inputs": inputs, "ref": "refs/heads/main"} | self._about(BOT)

    def schedule_event(self) -> Json:
        return {"schedule": "2 * * * *"} | self._about(BOT)

    # Results

    def comments_on(self, issue: Issue, user: str = BOT) -> list[str]:
        """The comments of `user`, oldest first."""
        return [comment.body for comment in issue.comments if comment.user == user]

    def checks_of(self, sha: str) -> dict[str, str | None]:
        """The conclusion of the newest check run of each name."""
        return {check.name: check.conclusion for check in self.checks if check.head_sha == sha}

    def sha(self, ref: str) -> str | None:
        """The commit of a branch or another ref, None if there is none."""
        return self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False) or None

    def tree(self, ref: str) -> str:
        return self.git("rev-parse", f"{ref}^{{tree}}")

    def git(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        stdin: str | bytes | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> str:
        """What git prints in the bare repository. Raises CalledProcessError if it fails, unless `check` is false."""
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=cwd or self.git_dir,
            env={**os.environ, "GIT_DIR": str(self.git_dir), **(env or {})},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=check,
        )
        return done.stdout.decode().strip()

    # Responses of the API

    def respond(self, method: str, path: str, parameters: Json) -> tuple[int, Any]:
        """The status and the JSON for a request; `parameters` are its query or its body."""
        prefix = f"/repos/{self.repository}"
        local = path.removeprefix(prefix)
        # Outside of the lock: an action may run another job, which sends requests too.
        for hook in [hook for hook in self._hooks if hook[0].search(f"{method} {local}")]:
            self._hooks.remove(hook)
            hook[1]()
        with self._lock:
            self._parameters = parameters
            try:
                status, response = self._route(method, local)
            except RequestError as error:
                status, response = error.status, {"message": str(error)}
            except Exception:  # noqa: BLE001 - an error here must not look like one of the client
                self.internal_errors.append(traceback.format_exc())
                status, response = 422, {"message": "the fake GitHub has an error: see its .internal_errors"}
            self.calls.append(f"{method} {local} {status}")
        return status, response

    def _route(self, method: str, path: str) -> tuple[int, Any]:
        for known, pattern, function in ROUTES:
            if known == method and (match := pattern.fullmatch(path)):
                return function(self, *map(unquote, match.groups()))
        raise RequestError(404, "Not Found")

    @route("POST", "/graphql")
    def _merge_state(self) -> tuple[int, Any]:
        number = re.search(r"pullRequest\(number: (\d+)", self._parameters["query"])
        pull = self._find_pull(number[1] if number else str(self._parameters["variables"]["number"]))
        self._refresh(pull)
        state = self._state(pull).upper()
        found = {"title": pull.title, "mergeStateStatus": state, "reviewDecision": pull.review_decision}
        return 200, {"data": {"repository": {"pullRequest": found}}}

    @route("GET", r"/collaborators/([^/]+)/permission")
    def _permission(self, login: str) -> tuple[int, Any]:
        if login.endswith("[bot]"):
            raise RequestError(404, f"{login} is not a user")
        role = self.roles.get(login, "read")
        return 200, {"permission": PERMISSION[role], "role_name": role, "user": _user(login)}

    @route("GET", "/activity")
    def _get_activity(self) -> tuple[int, Any]:
        return 200, [
            push
            for push in reversed(self._pushes)
            if self._parameters.get("ref") in {None, push["ref"]}
            and self._parameters.get("actor") in {None, (push["actor"] or {}).get("login")}
        ]

    @route("GET", "/actions/runs")
    def _get_runs(self) -> tuple[int, Any]:
        """A run of ci.yml, as if it had started with the push."""
        url = f"https://github.example/{self.repository}/actions/runs/1"
        run = {"id": 1, "path": ".github/workflows/ci.yml", "head_sha": self._parameters["head_sha"], "html_url": url}
        return 200, {"total_count": 1, "workflow_runs": [run]}

    @route("GET", "/contents/(.+)")
    def _get_contents(self, path: str) -> tuple[int, Any]:
        text = self.git("show", f"{self._parameters['ref']}:{path}", check=False)
        if not text:
            raise RequestError(404, "Not Found")
        content = base64.b64encode(text.encode()).decode()
        return 200, {"type": "file", "path": path, "encoding": "base64", "content": content}

    @route("GET", "/codeowners/errors")
    def _get_codeowners_errors(self) -> tuple[int, Any]:
        """Unknown owners only."""
        text = self.git("show", f"{self._parameters['ref']}:.github/CODEOWNERS", check=False)
        known = self.teams | {f"@{user}" for user, role in self.roles.items() if PERMISSION[role] in {"admin", "write"}}
        return 200, {
            "errors": [
                {"line": number, "column": owner.start() + 1, "kind": "Unknown owner", "message": "", "path": ""}
                for number, line in enumerate(text.splitlines(), start=1)
                for owner in re.finditer(r"(?<=\s)@\S+", line.partition("#")[0])
                if owner[0] not in known
            ]
        }

    @route("POST", r"/actions/workflows/([^/]+)/dispatches")
    def _dispatch(self, workflow: str) -> tuple[int, Any]:
        if self._parameters["ref"] != "main":
            raise RequestError(422, "No ref found for: " + self._parameters["ref"])
        self.dispatches.append({"workflow": workflow, **self._parameters["inputs"]})
        return 204, {}

    @route("GET", "/pulls")
    def _get_pulls(self) -> tuple[int, Any]:
        pulls = [one for one in self.issues.values() if isinstance(one, PullRequest)]
        base, state = self._parameters["base"], self._parameters["state"]
        return 200, [self._pull(one) for one in reversed(pulls) if (one.base, one.state) == (base, state)]

    @route("GET", r"/issues/(\d+)/events")
    def _get_events(self, number: str) -> tuple[int, Any]:
        return 200, self._find_pull(number).events

    @route("GET", r"/pulls/(\d+)")
    def _get_pull(self, number: str) -> tuple[int, Any]:
        return 200, self._pull(self._find_pull(number))

    @route("GET", r"/pulls/(\d+)/reviews")
    def _get_reviews(self, number: str) -> tuple[int, Any]:
        return 200, [
            {
                "id": review.id,
                "user": _user(review.user),
                "state": review.state,
                "commit_id": review.commit,
                "submitted_at": review.submitted_at,
                "body": "",
            }
            for review in self._find_pull(number).reviews
        ]

    @route("GET", r"/pulls/(\d+)/commits")
    def _get_commits(self, number: str) -> tuple[int, Any]:
        pull = self._find_pull(number)
        self._refresh(pull)
        return 200, [self._commit_json(sha) for sha in self._commits(pull)[: self.max_commits]]

    def _commits(self, pull: PullRequest) -> list[str]:
        return self.git("rev-list", "--reverse", f"{pull.base_sha}..{pull.head_sha}").split()

    @route("GET", r"/pulls/(\d+)/files")
    def _get_files(self, number: str) -> tuple[int, Any]:
        pull = self._find_pull(number)
        self._refresh(pull)
        return 200, list(self._files(pull.base_sha, pull.head_sha))

    @route("PUT", r"/pulls/(\d+)/merge")
    def _merge(self, number: str) -> tuple[int, Any]:
        pull = self._find_pull(number)
        self._refresh(pull)
        if self.merge_rejections:
            raise RequestError(405, self.merge_rejections.pop(0))
        if pull.state == "closed" or self._state(pull) in {"draft", "blocked", "dirty"}:
            raise RequestError(405, "Pull Request is not mergeable")
        if self._parameters.get("sha", pull.head_sha) != pull.head_sha:
            raise RequestError(409, "Head branch was modified. Review and try the merge again.")
        parents = (
            [pull.base_sha] if self._parameters.get("merge_method") == "squash" else [pull.base_sha, pull.head_sha]
        )
        title = self._parameters.get("commit_title") or f"{pull.title} (#{pull.number})"
        tree = self.git("merge-tree", "--write-tree", pull.base_sha, pull.head_sha)
        pull.merge_commit = self._commit(
            pull.base, tree, parents, f"{title}\n\n{self._parameters.get('commit_message', '')}", pull.author
        )
        pull.merged, pull.state = True, "closed"
        return 200, {"sha": pull.merge_commit, "merged": True, "message": "Pull Request successfully merged"}

    @route("GET", r"/commits/([^/]+)")
    def _get_commit(self, ref: str) -> tuple[int, Any]:
        return 200, self._commit_json(self._resolve(ref))

    @route("GET", r"/commits/([^/]+)/check-runs")
    def _get_checks(self, ref: str) -> tuple[int, Any]:
        sha = self._resolve(ref)
        found = [check for check in self.checks if check.head_sha == sha]
        if "check_name" in self._parameters:
            found = [check for check in found if check.name == self._parameters["check_name"]]
        return 200, {"total_count": len(found), "check_runs": [self._check(check) for check in reversed(found)]}

    @route("POST", "/check-runs")
    def _create_check(self) -> tuple[int, Any]:
        conclusion, status = self._parameters.get("conclusion"), self._parameters.get("status", "queued")
        check = Check(
            next(self._ids),
            self._parameters["name"],
            self._parameters["head_sha"],
            status,
            conclusion,
            self._parameters.get("output", {}),
            external_id=self._parameters.get("external_id", ""),
        )
        self.checks.append(check)
        return 201, self._check(check)

    @route("PATCH", r"/check-runs/(\d+)")
    def _update_check(self, number: str) -> tuple[int, Any]:
        check = next((check for check in self.checks if check.id == int(number)), None)
        if not check:
            raise RequestError(404, "Not Found")
        for name in ("status", "conclusion", "output"):
            setattr(check, name, self._parameters.get(name, getattr(check, name)))
        return 200, self._check(check)

    @route("GET", r"/git/refs?/(.+)")
    def _get_ref(self, ref: str) -> tuple[int, Any]:
        name = f"refs/{ref.removeprefix('refs/')}"
        if name.startswith("refs/pull/"):
            self._refresh(self._find_pull(name.split("/")[2]))
        return 200, {
            "ref": name,
            "url": self._api(f"/git/{name}"),
            "object": {"type": "commit", "sha": self._resolve(name)},
        }

    @route("GET", r"/git/commits/([^/]+)")
    def _get_git_commit(self, sha: str) -> tuple[int, Any]:
        found = self._commit_json(self._resolve(sha))
        return 200, {**found["commit"], "sha": found["sha"], "parents": found["parents"]}

    @route("GET", r"/git/trees/([^/]+)")
    def _get_tree(self, sha: str) -> tuple[int, Any]:
        lines = self.git("ls-tree", *(["-r"] if "recursive" in self._parameters else []), sha).splitlines()
        entries = [(line.split("\t")[1], *line.split("\t")[0].split()) for line in lines]
        tree = [{"path": path, "mode": mode, "type": kind, "sha": entry} for path, mode, kind, entry in entries]
        return 200, {"sha": sha, "url": self._api(f"/git/trees/{sha}"), "tree": tree, "truncated": False}

    @route("GET", "/issues")
    def _get_issues(self) -> tuple[int, Any]:
        labels = {label for label in self._parameters.get("labels", "").split(",") if label}
        state = self._parameters.get("state", "open")
        return 200, [
            self._issue(issue)
            for issue in reversed(self.issues.values())
            if labels <= issue.labels and state in {"all", issue.state}
        ]

    @route("POST", "/issues")
    def _create_issue(self) -> tuple[int, Any]:
        issue = self.open_issue(self._parameters["title"], author=BOT, body=self._parameters.get("body", ""))
        issue.labels = set(self._parameters.get("labels", []))
        return 201, self._issue(issue)

    @route("GET", r"/issues/(\d+)")
    def _get_issue(self, number: str) -> tuple[int, Any]:
        return 200, self._issue(self._find(number))

    @route("PATCH", r"/issues/(\d+)")
    def _update_issue(self, number: str) -> tuple[int, Any]:
        issue = self._find(number)
        issue.title, issue.body = self._parameters.get("title", issue.title), self._parameters.get("body", issue.body)
        issue.state = self._parameters.get("state", issue.state)
        issue.labels = set(self._parameters.get("labels", issue.labels))
        return 200, self._issue(issue)

    @route("GET", r"/issues/(\d+)/comments")
    def _get_comments(self, number: str) -> tuple[int, Any]:
        return 200, [self._comment(comment) for comment in self._find(number).comments]

    @route("POST", r"/issues/(\d+)/comments")
    def _create_comment(self, number: str) -> tuple[int, Any]:
        if len(self._parameters["body"]) > 65_536:
            raise RequestError(422, "Body is too long (maximum is 65536 characters)")
        return 201, self._comment(self.comment(self._find(number), self._parameters["body"], user=BOT))

    @route("PATCH", r"/issues/comments/(\d+)")
    def _update_comment(self, number: str) -> tuple[int, Any]:
        for issue in self.issues.values():
            for comment in issue.comments:
                if comment.id == int(number):
                    comment.body, comment.edits = self._parameters["body"], comment.edits + 1
                    return 200, self._comment(comment)
        raise RequestError(404, "Not Found")

    @route("GET", r"/issues/(\d+)/labels")
    def _get_labels(self, number: str) -> tuple[int, Any]:
        return 200, [{"name": label} for label in sorted(self._find(number).labels)]

    @route("POST", r"/issues/(\d+)/labels")
    def _add_labels(self, number: str) -> tuple[int, Any]:
        self._find(number).labels |= set(self._parameters["labels"])
        return self._get_labels(number)

    def _find(self, number: str) -> Issue:
        if int(number) not in self.issues:
            raise RequestError(404, "Not Found")
        return self.issues[int(number)]

    def _find_pull(self, number: str) -> PullRequest:
        found = self._find(number)
        if not isinstance(found, PullRequest):
            raise RequestError(404, "Not Found")
        return found

    def _resolve(self, ref: str) -> str:
        if not (sha := self.sha(ref)):
            raise RequestError(404, f"No commit found for SHA: {ref}")
        return sha

    def _refresh(self, pull: PullRequest) -> None:
        """Update the pull request and refs/pull/N/{head,merge} to its branches, as GitHub does."""
        if pull.state == "closed":
            return
        pull.head_sha, pull.base_sha = (
            self._resolve(f"refs/heads/{pull.head}"),
            self._resolve(f"refs/heads/{pull.base}"),
        )
        self.git("update-ref", f"refs/pull/{pull.number}/head", pull.head_sha)
        if pull.computing:
            return
        parents = [pull.base_sha, pull.head_sha]
        tree = self.git("merge-tree", "--write-tree", *parents, check=False).splitlines()
        pull.conflict = len(tree) != 1
        ref = f"refs/pull/{pull.number}/merge"
        # The ref is not updated if there is a conflict, or if only main has moved.
        if not pull.conflict and self.sha(f"{ref}^2") != pull.head_sha:
            self._commit(ref, tree[0], parents, f"Merge {pull.head_sha} into {pull.base_sha}", BOT)

    def _commit(self, ref: str, tree: str, parents: list[str], message: str, author: str) -> str:
        identity = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", author), ("EMAIL", f"{author}@users.noreply.github.com"))
        }
        options = [option for parent in parents for option in ("-p", parent)]
        sha = self.git("commit-tree", tree, *options, "-F", "-", env=identity, stdin=message)
        self.git("update-ref", ref if ref.startswith("refs/") else f"refs/heads/{ref}", sha)
        return sha

    def _files(self, base: str, head: str) -> Iterator[Json]:
        names = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}
        parts = iter(self.git("diff", "--name-status", "-z", "-M", f"{base}...{head}").rstrip("\0").split("\0"))
        for letter in parts:
            if not letter:
                return
            file = {"status": names[letter[0]], "filename": next(parts)}
            if letter[0] in "RC":
                file |= {"previous_filename": file["filename"], "filename": next(parts)}
            yield file

    def _state(self, pull: PullRequest) -> str:
        """GitHub's mergeable_state, in lower case."""
        if pull.computing:
            return "unknown"
        states = {"draft": pull.draft, "dirty": pull.conflict, "blocked": pull.blocked}
        return next((state for state, applies in states.items() if applies), "clean")

    def _now(self) -> str:
        """A second later than the last time."""
        minutes, seconds = divmod(next(self._seconds), 60)
        return f"2026-11-01T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}Z"

    def _api(self, path: str) -> str:
        return f"{self.url}/repos/{self.repository}{path}"

    def _about(self, sender: str) -> Json:
        owner, name = self.repository.split("/")
        repository = {"name": name, "full_name": self.repository, "owner": _user(owner), "default_branch": "main"}
        repository["private"] = self.is_private
        return {"repository": repository, "sender": _user(sender)}

    def _comment(self, comment: Comment) -> Json:
        association = "COLLABORATOR" if self.roles.get(comment.user, "read") != "read" else "NONE"
        return {
            "id": comment.id,
            "url": self._api(f"/issues/comments/{comment.id}"),
            "user": _user(comment.user),
            "body": comment.body,
            "author_association": association,
        }

    def _check(self, check: Check) -> Json:
        return {
            "id": check.id,
            "url": self._api(f"/check-runs/{check.id}"),
            "name": check.name,
            "head_sha": check.head_sha,
            "status": check.status,
            "conclusion": check.conclusion,
            "output": check.output,
            "external_id": check.external_id,
            "app": None if check.app == GHOST else {"slug": check.app},
        }

    def _issue(self, issue: Issue) -> Json:
        payload = {
            "url": self._api(f"/issues/{issue.number}"),
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "user": _user(issue.author),
            "state": issue.state,
            "created_at": issue.created_at,
            "labels": [{"name": label} for label in sorted(issue.labels)],
            "comments_url": self._api(f"/issues/{issue.number}/comments"),
        }
        if isinstance(issue, PullRequest):
            payload["pull_request"] = {"url": self._api(f"/pulls/{issue.number}")}
        return payload

    def _pull(self, pull: PullRequest) -> Json:
        self._refresh(pull)
        state = self._state(pull)
        if pull.computing:
            pull.computing -= 1
        head = {"full_name": pull.head_repository, "fork": True} if pull.head_repository else None
        payload = self._issue(pull) | {
            "id": pull.number,
            "url": self._api(f"/pulls/{pull.number}"),
            "issue_url": self._api(f"/issues/{pull.number}"),
            "draft": pull.draft,
            "commits": len(self._commits(pull)),
            "changed_files": len(list(self._files(pull.base_sha, pull.head_sha))),
            "merged": pull.merged,
            "merge_commit_sha": pull.merge_commit or self.sha(f"refs/pull/{pull.number}/merge"),
            "mergeable": None if state == "unknown" else state != "dirty",
            "mergeable_state": state,
            "head": {"ref": pull.head, "sha": pull.head_sha, "repo": head, "user": _user(pull.author)},
            "base": {"ref": pull.base, "sha": pull.base_sha, "repo": {"full_name": self.repository}},
            "_links": {"self": {"href": self._api(f"/pulls/{pull.number}")}},
        }
        del payload["pull_request"]
        return payload

    def _commit_json(self, sha: str) -> Json:
        _, tree, parents, *emails = self.git("log", "-1", "--format=%H%n%T%n%P%n%ae%n%ce", sha).split("\n")
        author, committer = (_user(email.split("@")[0]) if email.endswith("github.com") else None for email in emails)
        return {
            "sha": sha,
            "url": self._api(f"/commits/{sha}"),
            "commit": {"message": self.git("log", "-1", "--format=%B", sha), "tree": {"sha": tree}},
            "author": author,
            "committer": committer,
            "parents": [{"sha": parent, "url": self._api(f"/commits/{parent}")} for parent in parents.split()],
        }


def _user(login: str) -> Json | None:
    if login == GHOST:
        return None
    return {"login": login, "id": zlib.crc32(login.encode()), "type": "Bot" if login.endswith("[bot]") else "User"}


def _handler(github: FakeGitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, or each response is delayed by 40 ms

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(address.query).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization"):
                status, response = github.respond(self.command, address.path, json.loads(raw) if raw else query)
            else:
                status, response = 401, {"message": "Requires authentication"}
            headers = {"Content-Type": "application/json; charset=utf-8"}
            # Paginated, lists in an object too, so that a client that reads only the first page gets only that.
            lists = [response] if isinstance(response, list) else [response.get("check_runs", [])]
            page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
            if len(lists[0]) > page * size:
                following = f"{github.url}{address.path}?page={page + 1}&per_page={size}"
                headers["Link"] = f'<{following}>; rel="next"'
            lists[0][:] = lists[0][(page - 1) * size : page * size]
            content = json.dumps(response).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing: .calls records the requests."""

    return Handler
