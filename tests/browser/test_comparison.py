"""Before and after: the training page says what self-play has changed in a model since it began, whatever came of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import workflows
from events import IterationDone, SelfPlayCompared, Writing
from runs.run_log import RunLog
from tests.training_kit import MODEL, SHAPE
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
FRESH = "новичок"
PARTS = {"diversity": 0.4, "length": 0.2}
BEFORE = {
    "greedy": Writing(0.31, PARTS, 0.71, " шёл и шёл и шёл", ((6, 16),)),
    "sampled": Writing(0.88, PARTS, 0.034, " ушла весна", ()),
}
NOW = {
    "greedy": Writing(0.83, PARTS, 0.12, " шёл домой", ()),
    "sampled": Writing(0.9, PARTS, 0.031, " ждала весны", ()),
}
BOOKS = {"reward": (0.9, 0.96, 1.0), "looped": (0.0, 0.004, 0.01)}
COMPARED = SelfPlayCompared(350, 200, "Старик", BEFORE, NOW, BOOKS)


def turned(compared: SelfPlayCompared) -> SelfPlayCompared:
    """The same the other way round: self-play has made it worse."""
    return dataclasses.replace(compared, before=compared.now, now=compared.before)


@pytest.fixture
def models(server: Any) -> Workspace:
    workspace = Workspace(server.workspace)
    for name in (MODEL, FRESH):
        workflows.create_model(workspace, name, SHAPE)
    return workspace


def logged(workspace: Workspace, *compared: SelfPlayCompared) -> None:
    with RunLog(workspace, MODEL) as log:
        for event in compared:
            log.append(IterationDone(event.iteration, 3.0, 1e-3, 0.5, 900.0, 1.0))
            log.append(event)


def sentence(page: Page, way: str) -> Any:
    return page.locator(f'[data-compared="sentence"][data-way="{way}"]')


def writing(page: Page, when: str, way: str) -> Any:
    return page.locator(f'[data-compared="{when}"][data-way="{way}"]')


# ---- in words --------------------------------------------------------------------------------------------------------


def test_improvement_is_told_in_one_sentence_with_its_figures(visit: Any, models: Workspace) -> None:
    logged(models, dataclasses.replace(COMPARED, iteration=300), COMPARED)
    page = visit(locale="en-US").open(f"/training?model={MODEL}")
    expect(page.locator("#compared")).to_be_visible()
    expect(sentence(page, "greedy")).to_have_text(
        "Since self-play began (iteration 200), the model repeats itself less when it writes greedily: in 12% of the tokens"
        " instead of 71% (in the books: 0.4%); the reward went from 0.31 to 0.83 (in the books: 0.96)."
    )
    expect(page.locator("#compared .note").first).to_contain_text("Learning from the books went on at the same time")


def test_difference_within_chance_is_called_none(visit: Any, models: Workspace) -> None:
    logged(models, COMPARED)
    page = visit(locale="ru-RU").open(f"/training?model={MODEL}")
    expect(sentence(page, "sampled")).to_have_text(
        "С вашими настройками генерации она повторяется примерно так же, как прежде: 3,1\u00a0% токенов, а было 3,4\u00a0%"
        " (в книгах 0,4\u00a0%); награда была 0,88, стала 0,90 (в книгах 0,96)."
    )


@pytest.mark.parametrize(("locale", "word"), [("ru-RU", "повторяется больше"), ("en-US", "repeats itself more")])
def test_deterioration_is_told_as_well(visit: Any, models: Workspace, locale: str, word: str) -> None:
    logged(models, turned(COMPARED))
    page = visit(locale=locale).open(f"/training?model={MODEL}")
    expect(sentence(page, "greedy")).to_contain_text(word)


def test_comparison_does_without_the_books_where_they_are_too_short(visit: Any, models: Workspace) -> None:
    logged(models, dataclasses.replace(COMPARED, book={}))
    page = visit(locale="en-US").open(f"/training?model={MODEL}")
    expect(sentence(page, "greedy")).to_contain_text("instead of 71%; the reward went from 0.31 to 0.83.")


# ---- in texts --------------------------------------------------------------------------------------------------------


def test_texts_of_both_times_stand_side_by_side_with_their_loops(visit: Any, models: Workspace) -> None:
    logged(models, COMPARED)
    page = visit().open(f"/training?model={MODEL}")
    began, reached = writing(page, "before", "greedy"), writing(page, "now", "greedy")
    expect(began.locator(".writing-when")).to_have_text("Итерация 200, начало self-play")
    expect(reached.locator(".writing-when")).to_have_text("Итерация 350")
    expect(began.locator("mark")).to_have_text("[повтор] шёл и шёл[конец повтора]")
    expect(reached.locator(".prompt")).to_have_text("Старик")
    expect(reached.locator(".voice")).to_have_text("Старик шёл домой")
    expect(reached.locator("mark")).to_have_count(0)
    expect(began.locator(".writing-figures")).to_have_text(
        "повторы 71\u00a0% · награда 0,31 · разнообразие 0,40 · длина 0,20"
    )


# ---- when it is there ------------------------------------------------------------------------------------------------


def test_comparison_follows_the_model_that_is_picked(visit: Any, models: Workspace) -> None:
    logged(models, COMPARED)
    page = visit().open(f"/training?model={FRESH}")
    card = page.locator("#compared")
    page.wait_for_load_state("load")
    expect(card).to_be_hidden()
    page.select_option("#f-model", MODEL)
    expect(card).to_be_visible()
    page.select_option("#f-model", FRESH)
    expect(card).to_be_hidden()


def test_running_training_tells_the_newest_comparison(visit: Any, server: Any, models: Workspace) -> None:
    logged(models, COMPARED)
    newer = dataclasses.asdict(dataclasses.replace(COMPARED, iteration=400))
    status = server.get("/training_status") | {"state": "running", "model": MODEL, "parameters": 1, "compared": newer}
    visitor = visit()
    stream = f"event: status\ndata: {json.dumps(status)}\n\n"
    visitor.context.route("**/training_status", lambda route: route.fulfill(json=status))
    visitor.context.route(
        "**/training_events*", lambda route: route.fulfill(content_type="text/event-stream", body=stream)
    )
    page = visitor.open(f"/training?model={MODEL}")
    expect(writing(page, "now", "greedy").locator(".writing-when")).to_have_text("Итерация 400")
