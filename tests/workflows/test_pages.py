"""The catalog on GitHub Pages."""

from dataclasses import replace

from conftest import Actions


def test_the_catalog_of_main_is_published(gated: Actions) -> None:
    switched_on = replace(gated, runner=replace(gated.runner, variables={"MESHFLOW_PAGES": "true"}))
    run = switched_on.cron("pages.yml").wait()
    assert run.jobs == {"build": "success", "publish": "success"}, run
    assert "retail.rpt_net_revenue_by_city" in run.artifacts["published/index.html"].read_text()


def test_nothing_is_published_until_a_variable_says_so(gated: Actions) -> None:
    run = gated.cron("pages.yml").wait()
    assert run.jobs == {}, run
    assert run.artifacts == {}
