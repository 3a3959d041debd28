"""The catalog on GitHub Pages."""

from dataclasses import replace

from conftest import Actions

from meshflow.catalog.site import read


def test_the_catalog_of_main_is_published_with_its_provenance(offline_actions: Actions) -> None:
    variables = {"": {"MESHFLOW_PAGES": "true"}}
    enabled = replace(offline_actions, runner=replace(offline_actions.runner, variables=variables))
    run = enabled.cron("pages.yml").wait()
    assert run.jobs == {"build": "success", "publish": "success"}, run
    published = run.artifacts["published/index.html"].read_text()
    assert "retail.rpt_net_revenue_by_city" in {model["name"] for model in read(published)["models"]}
    assert run.artifacts["attested/index.html"].read_text() == published


def test_nothing_is_published_without_the_variable(offline_actions: Actions) -> None:
    run = offline_actions.cron("pages.yml").wait()
    assert run.jobs == {}, run
    assert run.artifacts == {}
