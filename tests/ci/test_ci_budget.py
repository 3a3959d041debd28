"""The build budget of a pull request, counted in the plan that is applied, for models of every kind."""

import pytest
from workspace import Workspace

from meshflow.ci.build import evaluate
from meshflow.ci.plan import is_within
from meshflow.ci.result import Backfill, BuildResult, Limits

pytest_plugins = ("pull_request",)

COUNTRY = "models/retail/rpt_net_revenue_by_country.sql"
STAGING = "models/staging/stg_retail__sales.sql"
SALES = "intermediate.int_retail__sales_validated"
DAILY = "models/ops/source_reconciliation.sql"
VERSIONS = "models/intermediate/int_edtech__student_versions.sql"


def build(change: Workspace, *, over_budget: bool = False) -> BuildResult:
    return evaluate(change.path, "local", "pr_7", over_budget=over_budget)


def backfills(change: Workspace) -> list[Backfill]:
    """What would be built. Nothing is, because the budget is 0."""
    change.edit("config.yaml", "pr_models: 25", "pr_models: 0")
    result = build(change)
    assert (result.failure is not None) == bool(result.backfills)
    return list(result.backfills)


def test_a_pull_request_without_changes_builds_nothing(change: Workspace) -> None:
    assert backfills(change) == []


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
    change: Workspace, edit: tuple[str, str, str], backfill: Backfill
) -> None:
    change.edit(*edit)
    assert backfills(change) == [backfill]


def test_an_incremental_model_counts_every_hour_and_its_views_count_once(change: Workspace) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "ABS(quantity)::INT AS quantity")
    context = change.context()
    prod = context.state_reader.get_snapshots(context.state_reader.get_environment("prod").snapshots).values()
    context.close()
    found = {one.model: one for one in backfills(change)}
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


def test_a_seed_counts_once_and_new_versions_of_a_history_count_every_hour(change: Workspace) -> None:
    seed = change.path / "seeds/shared/ref_province.csv"
    rows = seed.read_text().rstrip("\n").split("\n")
    seed.write_text("\n".join([*rows[:-1], rows[-1].rsplit(",", 1)[0] + ",Nowhere"]) + "\n")
    versions = (change.path / VERSIONS).read_text().replace("student_versions", "pupil_versions")
    (change.path / "models/intermediate/int_edtech__pupil_versions.sql").write_text(versions)
    found = {one.model: one for one in backfills(change)}
    assert found["shared.ref_province"] == Backfill("shared.ref_province", "SEED", 1)
    assert found["intermediate.int_edtech__pupil_versions"].kind == "INCREMENTAL_UNMANAGED"
    assert found["intermediate.int_edtech__pupil_versions"].intervals > 24


def test_changed_versions_of_a_history_cost_nothing_because_only_the_deploy_appends_to_them(
    change: Workspace,
) -> None:
    change.edit(VERSIONS, "affected.gender, NULL)::VARCHAR", "UPPER(affected.gender), NULL)::VARCHAR")
    assert backfills(change) == []


def test_what_is_built_once_is_not_counted_again(change: Workspace) -> None:
    change.edit(STAGING, "quantity::INT AS quantity", "(quantity + 0)::INT AS quantity")
    first, second = build(change), build(change)
    assert len(first.backfills) > 10
    assert first.exists
    assert first.failure is None
    assert second.backfills == []
    assert second.changes == first.changes, "the environment still differs from prod"


def test_models_and_intervals_are_limited_independently() -> None:
    found = [Backfill("a.b", "FULL", 1), Backfill("a.c", "CUSTOM", 9)]
    assert is_within(found, Limits(2, 10))
    assert not is_within(found, Limits(1, 10))
    assert not is_within(found, Limits(2, 9))


@pytest.mark.parametrize("allowed", [False, True])
def test_a_plan_over_budget_is_applied_only_if_it_is_allowed(change: Workspace, *, allowed: bool) -> None:
    change.edit(COUNTRY, "locations.country::VARCHAR", "UPPER(locations.country)::VARCHAR")
    change.edit("config.yaml", "pr_models: 25", "pr_models: 0")
    result = build(change, over_budget=allowed)
    assert (result.failure and result.failure.step) == (None if allowed else "budget")
    assert result.is_allowed == result.exists == allowed
    assert [one.model for one in result.changes] == ["retail.rpt_net_revenue_by_country"], "reviewed in any case"
    assert (result.limits, len(result.backfills)) == (Limits(0, 12_000), 1)
    if compared := result.comparison:
        [found] = compared.differences
        assert (found.added, found.removed, found.changed) == (4, 4, 0), "no key of prod is in the environment"
    assert bool(compared) == allowed


def test_a_budget_that_is_not_an_integer_is_named(change: Workspace) -> None:
    change.edit("config.yaml", "pr_models: 25", "pr_models: many")
    failure = build(change).failure
    assert failure
    assert "pr_models" in failure.errors[0]
