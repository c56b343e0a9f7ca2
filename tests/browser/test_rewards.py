"""Self-play on the page: whatever its environment pays for is drawn, named and shown beside the text that earned it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from playwright.sync_api import expect

import workflows
from events import IterationDone, Rollout, SelfPlayDone
from runs.run_log import RunLog
from tests.training_kit import MODEL, SHAPE
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
OTHER = "счётчик"
PARTS = {MODEL: {"diversity": 0.7, "length": 0.5}, OTHER: {"solved": 0.25, "proposed": 0.5, "format": 1.0}}


@pytest.fixture
def played(server: Any) -> None:
    """Two models with three rounds each, paid by two environments; one of them the pages have never heard of."""
    workspace = Workspace(server.workspace)
    for model, parts in PARTS.items():
        workflows.create_model(workspace, model, SHAPE)
        rollout = Rollout("Однажды", "весной", 0.6, parts, 0.0, 0.0, 0.1)
        round_ = SelfPlayDone(0, 0, 0.6, parts, 0.01, 0.05, 3.0, 0.0, 0.0, (rollout,))
        with RunLog(workspace, model) as log:
            for number in range(1, 4):
                log.append(IterationDone(10 * number, 3.0, 1e-3, 0.5, 900.0, number * 1.0))
                log.append(dataclasses.replace(round_, iteration=10 * number, round=number))


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(("locale", "names"), [("ru-RU", ["Разнообразие", "Длина"]), ("en-US", ["Variety", "Length"])])
def test_reward_is_drawn_with_the_parts_of_its_environment(visit: Any, locale: str, names: list[str]) -> None:
    page = visit(locale=locale).open(f"/training?model={MODEL}")
    labels = page.locator("[data-chart=reward] .u-legend .u-label")
    expect(labels).to_have_count(4)  # iteration, reward and its parts
    assert labels.all_inner_texts()[2:] == names
    expect(page.locator("[data-live=reward_parts]")).to_contain_text(f"{names[0].lower()} ")
    meters = page.locator("#round .rollout .meter-figure dt")
    expect(meters).to_have_count(3)
    assert meters.all_inner_texts()[1:] == names


@pytest.mark.usefixtures("played")
def test_parts_that_no_catalogue_knows_are_shown_by_their_own_names(visit: Any) -> None:
    page = visit().open(f"/training?model={MODEL}")
    labels = page.locator("[data-chart=reward] .u-legend .u-label")
    expect(labels).to_have_count(4)
    page.locator("[name=model]").first.select_option(OTHER)
    expect(labels).to_have_count(5)
    assert labels.all_inner_texts()[2:] == ["solved", "proposed", "format"]
    expect(page.locator("[data-live=reward_parts]")).to_have_text("solved 0,25 · proposed 0,50 · format 1,00")
    expect(page.locator("#round .rollout .meter-figure b").last).to_have_text("1,00")
