"""The build budget of a pull request, counted in the bot's own plan for models of every kind."""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import click
import pytest
from sqlmesh.integrations.github.cicd.controller import GithubController
from workspace import Workspace

from meshflow.ci import github
from meshflow.ci import plan as pull_request_plan
from meshflow.ci.plan import (
    Backfill,
    Limits,
    budget,
    format_backfills,
    is_within,
    load_bot,
    plan_backfills,
    pull_request_backfills,
)

pytest_plugins = ("pull_request",)

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
STAGING = "models/staging/stg_retail__sales.sql"
SALES = "intermediate.int_retail__sales_validated"
DAILY = "models/ops/source_reconciliation.sql"
VERSIONS = "models/intermediate/int_edtech__student_versions.sql"


def backfills(workspace: Workspace, client: Mock) -> list[Backfill]:
    bot, _ = load_bot(workspace.path, "local", client)
    return pull_request_backfills(bot)


def test_a_pull_request_without_changes_builds_nothing(change: Workspace, client: Mock) -> None:
    assert backfills(change, client) == []


@pytest.mark.parametrize(
    ("edit", "backfill"),
    [
        (
            (COUNTRY, "locations.country::VARCHAR", "UPPER(locations.country)::VARCHAR"),
            Backfill("retail.rpt_net_revenue_by_country", "VIEW", 1),
        ),
        (
            (DAILY, "counted.raw_count::INT", "(counted.raw_count + 0)::INT"),
            Backfill("ops.source_reconciliation", "FULL", 1),
        ),
    ],
    ids=["view", "full"],
)
def test_a_model_that_is_not_incremental_counts_as_one_interval_however_many_days_it_covers(
    change: Workspace, client: Mock, edit: tuple[str, str, str], backfill: Backfill
) -> None:
    change.edit(*edit)
    assert backfills(change, client) == [backfill]


def test_an_incremental_model_counts_every_hour_and_its_views_count_once(change: Workspace, client: Mock) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "ABS(quantity)::INT AS quantity")
    bot, context = load_bot(change.path, "local", client)
    found = {one.model: one for one in plan_backfills(bot.pr_plan)}
    prod = context.state_reader.get_snapshots(context.state_reader.get_environment("prod").snapshots).values()
    [(start, end)] = next(one for one in prod if one.is_model and one.model.name == SALES).intervals
    hours = (end - start) // 3_600_000
    assert hours > 24
    incremental = {name for name, one in found.items() if one.intervals != 1}
    assert incremental == {
        SALES,
        "intermediate.int_retail__sales_aggregated",
        "intermediate.int_retail__customers_derived",
    }
    assert {found[name] for name in incremental} == {Backfill(name, "CUSTOM", hours) for name in incremental}
    assert found["retail.fct_sales"] == Backfill("retail.fct_sales", "VIEW", 1)
    assert found["staging.stg_retail__sales"] == Backfill("staging.stg_retail__sales", "VIEW", 1)
    assert not {name for name in found if "edtech" in name}


def test_a_seed_counts_once_and_new_versions_of_a_history_count_every_hour(change: Workspace, client: Mock) -> None:
    seed = change.path / "seeds/shared/ref_province.csv"
    rows = seed.read_text().rstrip("\n").split("\n")
    seed.write_text("\n".join([*rows[:-1], rows[-1].rsplit(",", 1)[0] + ",Nowhere"]) + "\n")
    versions = (change.path / VERSIONS).read_text().replace("student_versions", "pupil_versions")
    (change.path / "models/intermediate/int_edtech__pupil_versions.sql").write_text(versions)
    found = {one.model: one for one in backfills(change, client)}
    assert found["shared.ref_province"] == Backfill("shared.ref_province", "SEED", 1)
    assert found["intermediate.int_edtech__pupil_versions"].kind == "INCREMENTAL_UNMANAGED"
    assert found["intermediate.int_edtech__pupil_versions"].intervals > 24


def test_changed_versions_of_a_history_cost_nothing_because_only_the_deploy_appends_to_them(
    change: Workspace, client: Mock
) -> None:
    change.edit(VERSIONS, "affected.gender, NULL)::VARCHAR", "UPPER(affected.gender), NULL)::VARCHAR")
    assert backfills(change, client) == []


def test_the_budget_counts_exactly_what_the_bot_builds(change: Workspace, client: Mock) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "(quantity + 0)::INT AS quantity")
    bot, context = load_bot(change.path, "local", client)
    assert isinstance(bot, GithubController)
    assert bot.pr_environment_name == "pr_7"
    assert not bot.bot_config.skip_pr_backfill
    assert plan_backfills(bot.pr_plan)
    context.apply(bot.pr_plan)
    assert backfills(change, client) == [], "the environment is up to date"


def test_models_and_intervals_are_limited_independently() -> None:
    found = [Backfill("a.b", "FULL", 1), Backfill("a.c", "CUSTOM", 9)]
    assert is_within(found, Limits(2, 10))
    assert not is_within(found, Limits(1, 10))
    assert not is_within(found, Limits(2, 9))


def test_markup_in_the_name_of_a_model_has_no_effect_in_the_table() -> None:
    text = format_backfills([Backfill("a.<img src=x>|@everyone", "FULL", 1)], Limits(1, 1))
    assert "<img" not in text
    assert "@everyone" not in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {4}


@pytest.mark.parametrize(("label", "allowed"), [("budget", False), ("over-budget", True)])
def test_a_plan_over_budget_fails_unless_the_label_is_set_now(
    change: Workspace, client: Mock, monkeypatch: pytest.MonkeyPatch, label: str, *, allowed: bool
) -> None:
    change.edit(COUNTRY, "locations.country::VARCHAR", "UPPER(locations.country)::VARCHAR")
    change.edit("config.yaml", "pr_models: 25", "pr_models: 0")
    written = stub_github(monkeypatch, label=label)
    monkeypatch.setattr(pull_request_plan, "load_bot", lambda path, gateway: load_bot(path, gateway, client))
    usage = "1 of 0 models, 1 of 12,000 intervals"
    with nullcontext() if allowed else pytest.raises(click.ClickException, match=f"^Over budget: {usage}"):
        budget(change.path, "local")
    assert usage in (change.root / "summary.md").read_text()
    assert usage in (change.root / "output").read_text()
    assert [usage in text for text in written] == ([] if allowed else [True, True]), "a comment and a check"
    assert not load_bot(change.path, "local", client)[1].state_reader.get_environment("pr_7"), "nothing is applied"


@pytest.mark.parametrize("changed", [{"state": "closed"}, {"sha": "a later one"}], ids=str)
def test_nothing_is_built_if_the_pull_request_was_closed_or_pushed_to_meanwhile(
    change: Workspace, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    stub_github(monkeypatch, **changed)
    with pytest.raises(click.ClickException, match="was closed, or has a newer head"):
        budget(change.path, "local")


def stub_github(
    monkeypatch: pytest.MonkeyPatch, label: str = "", state: str = "open", sha: str = "abc1234" * 6
) -> list[str]:
    """Replace GitHub by one pull request. The result collects the texts of its comments and checks."""
    head, labels, written = SimpleNamespace(sha=sha), [SimpleNamespace(name=label)], list[str]()
    pull = SimpleNamespace(number=7, state=state, head=head, labels=labels)
    monkeypatch.setattr(github, "connect", lambda: SimpleNamespace(get_pull=lambda _: pull))
    monkeypatch.setattr(github, "sticky_comment", lambda *arguments: written.append(arguments[-1]))
    monkeypatch.setattr(pull_request_plan, "create_build_check", lambda *arguments: written.append(arguments[-1]))
    return written


def test_a_budget_that_is_not_an_integer_is_named(change: Workspace, client: Mock) -> None:
    change.edit("config.yaml", "pr_models: 25", "pr_models: many")
    _, context = load_bot(change.path, "local", client)
    with pytest.raises(click.ClickException, match="pr_models"):
        Limits.from_config(context)
