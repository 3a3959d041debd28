"""What a pull request may build: counted by the bot's own plan, for models of every kind."""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import click
import pytest
from sqlmesh.integrations.github.cicd.controller import GithubController
from workspace import Workspace

from meshflow.ci import github
from meshflow.ci import plan as pull_request_plan
from meshflow.ci.plan import Limits, Work, bot, budget, planned, table, within, work

pytest_plugins = ("pull_request",)

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
STAGING = "models/staging/stg_retail__sales.sql"
HISTORY = "models/history/hist_student.sql"


def to_build(workspace: Workspace, client: Mock) -> list[Work]:
    controller, _ = bot(workspace.path, "local", client)
    return planned(controller)


def test_a_pull_request_without_changes_builds_nothing(change: Workspace, client: Mock) -> None:
    assert to_build(change, client) == []


def test_a_model_computed_whole_counts_once_however_many_hours_it_covers(change: Workspace, client: Mock) -> None:
    change.edit(COUNTRY, "states.country::VARCHAR", "UPPER(states.country)::VARCHAR")
    assert to_build(change, client) == [Work("retail.rpt_net_revenue_by_country", "FULL", 1)]


def test_an_incremental_model_counts_every_hour_and_what_reads_it_once(change: Workspace, client: Mock) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "ABS(quantity)::INT AS quantity")
    controller, context = bot(change.path, "local", client)
    found = {one.model: one for one in work(controller.pr_plan)}
    prod = context.state_reader.get_snapshots(context.state_reader.get_environment("prod").snapshots).values()
    [(start, end)] = next(one for one in prod if one.is_model and one.model.name == "retail.fct_sales").intervals
    hours = (end - start) // 3_600_000
    assert hours > 24
    incremental = {name for name, one in found.items() if one.intervals != 1}
    assert incremental == {f"intermediate.int_retail__sales_{step}" for step in ("checked", "priced", "summed")}
    assert {found[name].intervals for name in incremental} == {hours}
    assert found["retail.fct_sales"] == Work("retail.fct_sales", "VIEW", 1)
    assert found["staging.stg_retail__sales"] == Work("staging.stg_retail__sales", "VIEW", 1)
    assert not {name for name in found if "edtech" in name}


def test_a_seed_counts_once_and_a_new_history_every_hour(change: Workspace, client: Mock) -> None:
    seed = change.path / "seeds/shared/ref_province.csv"
    rows = seed.read_text().rstrip("\n").split("\n")
    seed.write_text("\n".join([*rows[:-1], rows[-1].rsplit(",", 1)[0] + ",Nowhere"]) + "\n")
    history = (change.path / HISTORY).read_text().replace("history.hist_student", "history.hist_pupil")
    (change.path / "models/history/hist_pupil.sql").write_text(history)
    found = {one.model: one for one in to_build(change, client)}
    assert found["shared.ref_province"] == Work("shared.ref_province", "SEED", 1)
    assert found["history.hist_pupil"].kind == "SCD_TYPE_2_BY_TIME"
    assert found["history.hist_pupil"].intervals > 24


def test_what_a_changed_history_would_cost_is_deploys_as_the_environment_builds_none(
    change: Workspace, client: Mock
) -> None:
    change.edit(HISTORY, "gender::VARCHAR AS gender", "UPPER(gender)::VARCHAR AS gender")
    assert to_build(change, client) == []


def test_the_budget_counts_what_the_bot_then_builds(change: Workspace, client: Mock) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "(quantity + 0)::INT AS quantity")
    controller, context = bot(change.path, "local", client)
    assert isinstance(controller, GithubController)
    assert controller.pr_environment_name == "pr_7"
    assert not controller.bot_config.skip_pr_backfill
    assert work(controller.pr_plan)
    context.apply(controller.pr_plan)
    assert to_build(change, client) == [], "the environment has all of it"


def test_either_limit_holds_on_its_own() -> None:
    found = [Work("a.b", "FULL", 1), Work("a.c", "INCREMENTAL_BY_UNIQUE_KEY", 9)]
    assert within(found, Limits(2, 10))
    assert not within(found, Limits(1, 10))
    assert not within(found, Limits(2, 9))


def test_a_model_called_like_markup_does_no_harm_in_the_table() -> None:
    text = table([Work("a.<img src=x>|@everyone", "FULL", 1)], Limits(1, 1))
    assert "<img" not in text
    assert "@everyone" not in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {4}


@pytest.mark.parametrize(("label", "allowed"), [("budget", False), ("over-budget", True)])
def test_over_budget_fails_in_one_line_unless_the_label_is_set_now(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch, label: str, *, allowed: bool
) -> None:
    change.edit(COUNTRY, "states.country::VARCHAR", "UPPER(states.country)::VARCHAR")
    change.edit("config.yaml", "pr_models: 25", "pr_models: 0")
    said = on_github(monkeypatch, label=label)
    monkeypatch.setattr(pull_request_plan, "bot", lambda path, gateway: bot(path, gateway, client))
    told = "1 models of 0, 1 intervals of 12,000"
    with nullcontext() if allowed else pytest.raises(click.ClickException, match=f"^Over budget: {told}"):
        budget(change.path, "local")
    assert told in (change.root / "summary.md").read_text()
    assert told in (change.root / "output").read_text()
    assert [told in text for text in said] == ([] if allowed else [True, True]), "a comment and a check"
    assert not bot(change.path, "local", client)[1].state_reader.get_environment("pr_7"), "nothing is applied"


@pytest.mark.parametrize("moved", [{"state": "closed"}, {"sha": "a later one"}], ids=str)
def test_nothing_is_built_of_what_was_closed_or_pushed_to_meanwhile(
    change: Workspace, monkeypatch: pytest.MonkeyPatch, moved: dict[str, str]
) -> None:
    on_github(monkeypatch, **moved)
    with pytest.raises(click.ClickException, match="has been closed or pushed to"):
        budget(change.path, "local")


def on_github(
    monkeypatch: pytest.MonkeyPatch, label: str = "", state: str = "open", sha: str = "abc1234" * 6
) -> list[str]:
    """The pull request as GitHub has it now, and what is said on it."""
    head, labels, said = SimpleNamespace(sha=sha), [SimpleNamespace(name=label)], list[str]()
    pull = SimpleNamespace(number=7, state=state, head=head, labels=labels)
    monkeypatch.setattr(github, "connect", lambda: SimpleNamespace(get_pull=lambda _: pull))
    monkeypatch.setattr(github, "sticky_comment", lambda *arguments: said.append(arguments[-1]))
    monkeypatch.setattr(pull_request_plan, "build_check", lambda *arguments: said.append(arguments[-1]))
    return said


def test_a_budget_that_is_no_number_is_named(change: Workspace, client: Mock) -> None:
    change.edit("config.yaml", "pr_models: 25", "pr_models: many")
    _, context = bot(change.path, "local", client)
    with pytest.raises(click.ClickException, match="pr_models"):
        Limits.of(context)
