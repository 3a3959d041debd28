"""Whose approvals count, for `meshflow ci gate` and `admit` alike, and what a review or a deploy starts again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_github import BOT, GHOST, FakeGitHub, PullRequest
from test_ci_gate import admit, gate, pass_checks, run

from meshflow.ci import gate as gate_module
from meshflow.ci.github import code, connect
from meshflow.ci.owners import missing_owners

pytest_plugins = ("test_ci_gate",)

MACRO = "macros/money.py"
DEPENDABOT = "dependabot[bot]"

Accepted = tuple[bool, bool]


@pytest.fixture
def pull(github: FakeGitHub) -> PullRequest:
    """Ann's change of a macro, which neither command accepts without an approval. All checks are successful."""
    github.push("change", {MACRO: "import os\n"})
    return ready(github)


def ready(github: FakeGitHub, branch: str = "change", author: str = "ann", base: str = "main") -> PullRequest:
    pull = github.open_pull(branch, author=author, base=base)
    pass_checks(github, pull)
    return pull


def accepted(github: FakeGitHub, pull: PullRequest, folder: Path) -> Accepted:
    """Whether gate and admit accept the pull request. Both give their reason in a comment if they don't."""
    number = len(list(folder.iterdir()))
    (folder / str(number)).mkdir()
    rejected, gated = gate(github, pull, folder / str(number), user="root")
    held, admitted = admit(github, pull, folder / str(number) / "admit")
    assert (rejected.exit_code == 0) == bool(gated.outputs), rejected.output
    assert held.exit_code == 0, held.output
    return bool(gated.outputs), bool(admitted.outputs)


YES, NO = (True, True), (False, False)


def test_an_approval_by_somebody_else_counts(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    assert accepted(github, pull, tmp_path) == NO
    pass_checks(github, pull)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES


def test_a_push_that_waits_for_approval_withdraws_the_invitation_to_deploy_the_commit_before(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    invitation = "To deploy it, have it approved and comment `/deploy`."
    github.comment(pull, f"<!-- meshflow report -->\n### `pr_1`: built\n\n{invitation}", user=BOT)
    assert not admit(github, pull, tmp_path / "job")[1].outputs
    held, report = sorted(github.comments_on(pull))
    assert "somebody has to read this" in held
    assert report.endswith(
        f"Commit `{pull.head_sha}` was not built, so there is nothing to report: see the other comment."
    )


# The base branch


@pytest.mark.parametrize("event", ["base_ref_changed", "automatic_base_change_succeeded", "base_ref_force_pushed"])
def test_an_approval_counts_only_for_the_base_branch_that_was_approved(
    github: FakeGitHub, tmp_path: Path, event: str
) -> None:
    github.push("stage", {"x": "y"})
    github.push("change", {MACRO: "import os\n"})
    pull = ready(github, base="stage")
    github.review(pull, "bob", "APPROVED")
    github.retarget(pull, "main", event)
    pass_checks(github, pull)
    assert accepted(github, pull, tmp_path) == NO
    assert "for another base branch" in "".join(github.comments_on(pull))
    pass_checks(github, pull)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES


def test_other_events_withdraw_no_approval(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.review(pull, "bob", "APPROVED")
    github.retarget(pull, "main", "renamed")
    assert accepted(github, pull, tmp_path) == YES


# Who pushed


def spoofed(github: FakeGitHub, *pushers: str, author: str = "ann") -> None:
    """Commits that name ann as their author, pushed by `pushers`."""
    for number, pusher in enumerate(pushers):
        github.push("change", {MACRO: f"import os  # {number}\n"}, author=author, pusher=pusher)


@pytest.mark.parametrize(
    ("pushers", "opened_by", "approvers", "expected"),
    [
        ([BOT], "ann", ["bob"], NO),
        ([BOT], "ann", ["bob", "carl"], YES),
        (["ann", BOT], "ann", ["bob"], NO),
        ([BOT, "ann"], "ann", ["bob"], YES),
        ([BOT, "bob"], "ann", ["bob", "carl"], YES),
        ([BOT, "bob"], "ann", ["bob"], NO),
        ([GHOST], "ann", ["bob"], NO),
        ([GHOST], "ann", ["bob", "carl"], YES),
        (["bob", "ann"], "ann", ["bob"], NO),
        ([DEPENDABOT], DEPENDABOT, ["bob"], YES),
        ([DEPENDABOT, BOT], DEPENDABOT, ["bob"], NO),
        ([BOT, DEPENDABOT], DEPENDABOT, ["bob"], NO),
        ([DEPENDABOT], "ann", ["bob"], NO),
        ([DEPENDABOT, "ann"], DEPENDABOT, ["bob"], YES),
        ([DEPENDABOT, "bob"], DEPENDABOT, ["bob"], NO),
        ([BOT], BOT, ["bob"], NO),
        ([BOT], GHOST, ["bob", "carl"], YES),
    ],
)
def test_nobody_approves_what_he_may_have_pushed(  # noqa: PLR0913, PLR0917 - the table
    github: FakeGitHub, tmp_path: Path, pushers: list[str], opened_by: str, approvers: list[str], expected: Accepted
) -> None:
    """Two approvals are needed if no person pushed last: an approver could have made a workflow push."""
    spoofed(github, *pushers)
    pull = ready(github, author=opened_by)
    for approver in approvers:
        github.review(pull, approver, "APPROVED")
    assert accepted(github, pull, tmp_path) == expected
    if expected == NO and "bob" not in pushers:
        assert "no person is known to have pushed the commit" in "".join(github.comments_on(pull))


@pytest.mark.parametrize("pusher", ["ann", DEPENDABOT])
def test_two_approvals_are_needed_for_a_commit_that_is_in_no_known_push(
    github: FakeGitHub, tmp_path: Path, pusher: str
) -> None:
    spoofed(github, pusher)
    other = github.push("other", {MACRO: "import sys\n"}, author="ann", pusher="carl")
    github.git("update-ref", "refs/heads/change", other)
    pull = ready(github, author=pusher)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == NO


def test_who_forces_the_branch_back_to_an_earlier_commit_can_not_approve_it(github: FakeGitHub, tmp_path: Path) -> None:
    spoofed(github, "ann")
    first = github.sha("change")
    assert first
    spoofed(github, "ann")
    github.move("change", first, pusher="bob")
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == NO


def test_who_pushed_the_commit_to_another_branch_first_can_not_approve_it(github: FakeGitHub, tmp_path: Path) -> None:
    sha = github.push("bob/hidden", {MACRO: "import os\n"}, author="ann", pusher="bob")
    github.move("change", sha, pusher="ann")
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == NO


def test_who_starts_a_branch_from_the_pull_request_can_approve_it(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.move("bob/next", pull.head_sha, pusher="bob")
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES


# Code owners


def own(github: FakeGitHub, *lines: str) -> None:
    github.push("main", {".github/CODEOWNERS": "\n".join(lines) + "\n"}, author="root")


@pytest.mark.parametrize(
    ("lines", "approvers", "decision", "expected"),
    [
        (["/macros/ @bob"], ["carl"], None, NO),
        (["/macros/ @bob"], ["bob"], None, YES),
        (["/macros/ @BOB"], ["bob"], None, YES),
        (["/macros/ @bob @root"], ["root"], None, YES),
        (["/macros/ @bob"], ["carl"], "APPROVED", NO),  # GitHub's decision is not about these owners alone
        (["* @bob", "/macros/ @carl"], ["bob"], None, NO),
        (["* @bob", "/macros/"], ["carl"], None, YES),
        (["* @bob", "/models/ @root"], ["carl"], None, NO),
        (["/macros/ @acme/platform"], ["bob"], None, NO),
        (["/macros/ @acme/platform"], ["bob"], "REVIEW_REQUIRED", NO),
        (["/macros/ @acme/platform"], ["bob"], "APPROVED", YES),
        (["/macros/ @acme/platform @bob"], ["bob"], None, YES),
        (["/macros/ bob@example.org"], ["bob"], None, NO),
        (["/macros/ bob@example.org"], ["bob"], "APPROVED", YES),
        # Owners that GitHub doesn't know
        (["/macros/ @meshflow/platform"], ["bob"], None, YES),
        (["* @carl", "/macros/ @meshflow/platform"], ["bob"], None, NO),
        (["/macros/ @meshflow/platform @carl"], ["bob"], None, NO),
        (["/macros/ @carl # or @bob"], ["bob"], None, NO),
        (["# @meshflow/platform", "", "/macros/ @carl"], ["bob"], None, NO),
    ],
    ids=str,
)
def test_a_code_owner_on_main_has_to_approve(  # noqa: PLR0913, PLR0917 - the table
    github: FakeGitHub,
    tmp_path: Path,
    lines: list[str],
    approvers: list[str],
    decision: str | None,
    expected: Accepted,
) -> None:
    github.teams = {"@acme/platform"}
    own(github, *lines)
    # Main's file counts, not the one of the pull request.
    github.push("change", {MACRO: "import os\n"})
    pull = ready(github)
    pull.review_decision = decision
    for approver in approvers:
        github.review(pull, approver, "APPROVED")
    assert accepted(github, pull, tmp_path) == expected
    if expected == NO:
        assert f"{code(MACRO)} must be approved by a code owner" in "".join(github.comments_on(pull))


def test_the_code_owners_in_the_pull_request_do_not_count(github: FakeGitHub, tmp_path: Path) -> None:
    own(github, "* @carl")
    github.push("change", {MACRO: "import os\n", ".github/CODEOWNERS": "* @bob\n"})
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == NO


def test_the_owner_of_the_folder_that_a_file_is_moved_out_of_has_to_approve(github: FakeGitHub, tmp_path: Path) -> None:
    own(github, "/audits/ @carl")
    github.push("main", {"audits/a.sql": "AUDIT (name a);\nSELECT 1\n"}, author="root")
    github.push("change", {"audits/a.sql": None, "docs/a.sql": "AUDIT (name a);\nSELECT 1\n"})
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path)[0] is False
    assert f"{code('audits/a.sql')} must be approved" in "".join(github.comments_on(pull))


def test_admit_requires_owners_of_what_can_execute_code_and_the_gate_those_of_all_files(
    github: FakeGitHub, tmp_path: Path
) -> None:
    own(github, "/docs/ @carl")
    github.push("change", {MACRO: "import os\n", "docs/x.md": "text\n"})
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == (False, True)


@pytest.mark.parametrize(
    ("pattern", "owned", "others"),
    [
        ("*", ["a", "b/c.py"], []),
        ("*.js", ["a.js", "b/c.js"], ["a.jsx", "js/a"]),
        ("/build/logs/", ["build/logs/a", "build/logs/b/c"], ["x/build/logs/a", "build/logs"]),
        ("docs/*", ["docs/getting-started.md"], ["docs/build-app/troubleshooting.md"]),
        ("apps/", ["apps/a", "x/apps/b/c"], ["apps.py"]),
        ("/docs/", ["docs/a", "docs/b/c"], ["x/docs/a"]),
        ("**/logs", ["build/logs/a", "scripts/logs/b", "deeply/nested/logs/c"], ["build/log"]),
        ("/a/**/z", ["a/z", "a/b/c/z"], ["a/zz"]),
        ("/config.yaml", ["config.yaml"], ["x/config.yaml"]),
        ("/a?.py", ["ab.py"], ["a.py", "abc.py"]),
        (r"/two\ words/", ["two words/a"], ["two/words"]),
    ],
)
def test_patterns_mean_what_github_documents(  # noqa: PLR0913, PLR0917 - the table
    github: FakeGitHub,
    pull: PullRequest,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    owned: list[str],
    others: list[str],
) -> None:
    own(github, f"{pattern} @bob")
    for name, value in github.environment.items():
        monkeypatch.setenv(name, value)
    repository = connect()
    found = [
        path for path in owned + others if missing_owners(repository, repository.get_pull(pull.number), [path], [])
    ]
    assert found == owned


def test_code_owners_whose_teams_do_not_exist_own_nothing(github: FakeGitHub, project: Path, tmp_path: Path) -> None:
    """As in this repository, until its administrator has put teams into CODEOWNERS."""
    own(github, (project / ".github/CODEOWNERS").read_text(encoding="utf-8"))
    github.push("change", {MACRO: "import os\n"})
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES
    github.teams = {"@meshflow/platform"}
    pass_checks(github, pull)
    assert accepted(github, pull, tmp_path) == NO


def test_more_files_than_github_lists_are_rejected(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.review(pull, "bob", "APPROVED")
    monkeypatch.setattr(gate_module, "MAX_FILES", 0)
    assert accepted(github, pull, tmp_path) == (False, True)


def test_a_pull_request_with_more_commits_than_github_lists_is_held_with_a_line(
    github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authors of the others are unknown, and an approver may be one of them."""
    github.push("change", {MACRO: "import os\n"})
    github.push("change", {MACRO: "import sys\n"})
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES
    pass_checks(github, pull)
    github.max_commits = 1
    monkeypatch.setattr(gate_module, "MAX_COMMITS", 1, raising=False)
    assert accepted(github, pull, tmp_path) == NO
    reason = "- the pull request has more than 1 commits, and GitHub lists no more: squash them"
    comments = github.comments_on(pull)
    assert [comment.count(reason) for comment in comments if "rejected" in comment or "not built" in comment] == [1, 1]


# What a review and a deploy start again


def rebuild(github: FakeGitHub, event: dict[str, object], folder: Path) -> list[str]:
    """`meshflow ci rebuild`; the numbers of the pull requests that it starts."""
    before = len(github.dispatches)
    result = run(github.job(event, folder), "rebuild")
    assert result.exit_code == 0, result.output
    started = github.dispatches[before:]
    assert {one["workflow"] for one in started} <= {"pr-environment.yml"}
    return [one["number"] for one in started]


def test_a_review_starts_a_pull_request_that_waits_for_it(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    assert accepted(github, pull, tmp_path) == NO
    review = github.review(pull, "bob", "APPROVED")
    assert rebuild(github, github.review_event(pull, review), tmp_path / "review") == [str(pull.number)]
    result, job = admit(github, pull, tmp_path / "again", github.dispatch_event(pull))
    assert result.exit_code == 0, result.output
    assert job.outputs == {"sha": pull.head_sha, "main": github.sha("main"), "documents_only": "false"}


@pytest.mark.parametrize(
    ("checks", "starts"),
    [
        ({"Admit": "success"}, False),
        ({"Admit": None}, True),  # it may have read the reviews before this one
        ({"Admit": "success", "PR environment": "success"}, False),
        ({"Admit": "success", "PR environment": "failure"}, False),
        ({"Admit": "success", "PR environment": "action_required"}, True),
        ({}, False),
    ],
    ids=str,
)
def test_a_review_starts_nothing_else(
    github: FakeGitHub, tmp_path: Path, checks: dict[str, str | None], starts: bool
) -> None:
    pull = github.open_pull("feature")
    for name, conclusion in checks.items():
        github.check(pull.head_sha, name, conclusion)
    review = github.review(pull, "bob", "APPROVED")
    assert bool(rebuild(github, github.review_event(pull, review), tmp_path / "review")) is starts


@pytest.mark.parametrize("user", ["stranger", "rita", GHOST])
def test_a_review_without_write_access_starts_nothing(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, user: str
) -> None:
    assert accepted(github, pull, tmp_path) == NO
    review = github.review(pull, user, "APPROVED")
    assert rebuild(github, github.review_event(pull, review), tmp_path / "review") == []


def test_a_deploy_starts_every_other_pull_request_that_it_has_outdated(github: FakeGitHub, tmp_path: Path) -> None:
    github.push("stage", {"x": "y"})
    pulls = {
        name: github.open_pull("feature", base="stage" if name == "another base" else "main")
        for name in ("built", "building", "held", "failed", "fork", "closed", "another base", "deployed")
    }
    for number, (name, pull) in enumerate(pulls.items()):
        github.push(f"feature-{number}", {f"models/{number}.sql": "SELECT 1\n"})
        pull.head = f"feature-{number}"
        pull.head_sha = github.sha(pull.head) or ""
        conclusion = {"held": "action_required", "failed": "failure"}.get(name, "success")
        if name != "building":
            github.check(pull.head_sha, "PR environment", conclusion)
    pulls["fork"].head_repository = "mallory/meshflow"
    pulls["closed"].state = pulls["deployed"].state = "closed"
    event = github.comment_event(pulls["deployed"], "/deploy", user="bob")
    started = rebuild(github, event, tmp_path / "deploy")
    assert set(started) == {str(pulls[name].number) for name in ("built", "building", "held")}


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"sha": "another"}, ""),
        ({"number": "1/../2"}, "is not the number of a pull request"),
        ({"number": "0"}, "is not the number of a pull request"),
        ({"number": "999"}, "404"),
    ],
    ids=str,
)
def test_a_dispatch_builds_nothing_but_the_head_of_a_pull_request(
    github: FakeGitHub, tmp_path: Path, inputs: dict[str, str], error: str
) -> None:
    pull = github.open_pull("feature")
    other = github.push("other", {"models/x.sql": "MODEL (name a.x);\nSELECT 1 AS a\n"})
    github.dispatches.append({"workflow": "pr-environment.yml", "number": str(pull.number), "sha": pull.head_sha})
    event = github.dispatch_event(pull)
    event["inputs"] |= inputs
    if event["inputs"]["sha"] == "another":
        event["inputs"]["sha"] = other
    result, job = admit(github, pull, tmp_path / "job", event)
    assert (job.outputs, result.exit_code) == ({}, 1 if error else 0), result.output
    assert error in result.output


def test_a_dispatch_for_a_fork_builds_nothing(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature", fork="mallory/meshflow")
    github.dispatches.append({"workflow": "pr-environment.yml", "number": str(pull.number), "sha": pull.head_sha})
    result, job = admit(github, pull, tmp_path / "job", github.dispatch_event(pull))
    assert (result.exit_code, job.outputs) == (0, {})


# Deleted accounts


def opened(github: FakeGitHub, pull: PullRequest) -> None:
    pull.author = GHOST


def commented(github: FakeGitHub, pull: PullRequest) -> None:
    for marker in ("gate", "admit", "deploy"):
        github.comment(pull, f"<!-- meshflow {marker} -->\nForged", user=GHOST)


def reviewed(github: FakeGitHub, pull: PullRequest) -> None:
    github.review(pull, GHOST, "APPROVED")


def requested_changes(github: FakeGitHub, pull: PullRequest) -> None:
    github.review(pull, GHOST, "CHANGES_REQUESTED")


def checked(github: FakeGitHub, pull: PullRequest) -> None:
    github.check(pull.head_sha, "ok", "failure", app=GHOST)


GHOSTS: list[Callable[[FakeGitHub, PullRequest], None]] = [opened, commented, reviewed, requested_changes, checked]


@pytest.fixture(params=GHOSTS, ids=lambda one: one.__name__)
def haunted(request: pytest.FixtureRequest, github: FakeGitHub, pull: PullRequest) -> Iterator[PullRequest]:
    """A pull request in which a deleted account has taken part, and which nobody has approved yet."""
    request.param(github, pull)
    return pull


def test_a_deleted_account_stops_neither_gate_nor_admit(
    github: FakeGitHub, haunted: PullRequest, tmp_path: Path
) -> None:
    assert accepted(github, haunted, tmp_path) == NO, "an account that doesn't exist approves nothing"
    pass_checks(github, haunted)
    github.review(haunted, "bob", "APPROVED")
    assert accepted(github, haunted, tmp_path) == YES


def test_a_deleted_author_of_commits_stops_neither_gate_nor_admit(github: FakeGitHub, tmp_path: Path) -> None:
    spoofed(github, "ann", author=GHOST)
    pull = ready(github)
    github.review(pull, "bob", "APPROVED")
    assert accepted(github, pull, tmp_path) == YES


def test_a_deploy_by_an_account_that_is_deleted_since_is_rejected(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.review(pull, "bob", "APPROVED")
    result, job = gate(github, pull, tmp_path, user=GHOST)
    assert (result.exit_code, job.outputs) == (1, {}), result.output
    assert f"{code('ghost')} has no write access" in "".join(github.comments_on(pull))
