"""The catalog on GitHub Pages."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Actions
from fake_github import FakeGitHub

from meshflow.catalog.site import read


def test_the_catalog_of_main_is_published_with_its_provenance(
    offline_actions: Actions, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provenance only of a public repository's catalog: a private one needs Enterprise Cloud for it."""
    monkeypatch.setattr(github, "is_private", False)
    published = publish(offline_actions)
    assert published["attested/index.html"].read_text() == published["published/index.html"].read_text()


def test_the_catalog_of_a_private_repository_is_published_without_provenance(offline_actions: Actions) -> None:
    published = publish(offline_actions)
    assert "published/index.html" in published
    assert "attested/index.html" not in published


def publish(offline_actions: Actions) -> dict[str, Path]:
    """What a run on main publishes, once the variable says so."""
    variables = {"": {"MESHFLOW_PAGES": "true"}}
    enabled = replace(offline_actions, runner=replace(offline_actions.runner, variables=variables))
    run = enabled.cron("pages.yml").wait()
    assert run.jobs == {"build": "success", "publish": "success"}, run
    published = run.artifacts["published/index.html"].read_text()
    assert "retail.rpt_net_revenue_by_city" in {model["name"] for model in read(published)["models"]}
    return run.artifacts


def test_nothing_is_published_without_the_variable(offline_actions: Actions) -> None:
    run = offline_actions.cron("pages.yml").wait()
    assert run.jobs == {}, run
    assert run.artifacts == {}
