"""The catalog on GitHub Pages."""

from dataclasses import replace

from conftest import Actions


def test_the_catalog_of_main_is_published(offline_actions: Actions) -> None:
    enabled = replace(offline_actions, runner=replace(offline_actions.runner, variables={"MESHFLOW_PAGES": "true"}))
    run = enabled.cron("pages.yml").wait()
    assert run.jobs == {"build": "success", "publish": "success"}, run
    assert "retail.rpt_net_revenue_by_city" in run.artifacts["published/index.html"].read_text()


def test_nothing_is_published_without_the_variable(offline_actions: Actions) -> None:
    run = offline_actions.cron("pages.yml").wait()
    assert run.jobs == {}, run
    assert run.artifacts == {}
