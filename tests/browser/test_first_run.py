"""The first run as a person makes it, and the cards of the create page: time, best choice, straight to training."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.server_process import ServerProcess

pytestmark = pytest.mark.timeout(300)
OUTLOOK = {"parameters": 1, "training_bytes": 10**9, "fits": True, "in_time": True, "eval_every": 7}


def status_when(server: ServerProcess, wanted: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 200
    while not wanted(status := server.get("/training_status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    return dict(status)


def test_one_click_leads_from_an_empty_workspace_to_a_running_training(visit: Any, server: ServerProcess) -> None:
    page = visit().open("/")
    page.wait_for_load_state()
    page.click("#try-example")
    expect(page).to_have_url(re.compile("/training"), timeout=150_000)
    expect(page.locator("#coach-line")).to_have_text(re.compile("словар|книг|Модель"))
    status = status_when(server, lambda status: status["iteration"] > 0)
    assert (status["model"], status["books"]) == ("Библиотека у моря", ["example_book"])
    server.post("/stop_training", {})
    expect(page.locator("#coach-line")).to_have_text(re.compile("всё сохранено"))
    page.click("#coach-open")
    expect(page).to_have_url(re.compile("/generation"))


def test_cards_tell_their_time_and_creating_starts_the_training(visit: Any) -> None:
    small = OUTLOOK | {"iterations": 600, "seconds": 125.0, "epochs": 3.9}
    medium = OUTLOOK | {"iterations": 40, "seconds": 1790.0, "epochs": 0.4, "in_time": False}
    large = medium | {"fits": False, "training_bytes": 9 * 10**9}
    suggestion = {
        "outlooks": {"small": small, "medium": medium, "large": large},
        "best": "small",
        "sample_prompt": "Жил",
    }
    visitor = visit()
    asked: dict[str, Any] = {}
    answers = {"suggest_model": suggestion, "create_model": {"name": "Лев"}, "train": {}}

    def fulfil(route: Any) -> None:
        path = route.request.url.rpartition("/")[2]
        asked[path] = route.request.post_data_json
        route.fulfill(json=answers[path])

    for path in answers:
        visitor.context.route(f"**/{path}", fulfil)
    page = visitor.open("/create")
    card = {name: page.locator(f"[data-preset={name}]") for name in suggestion["outlooks"]}
    expect(card["small"]).to_contain_text("около 2 мин")
    expect(card["small"]).to_contain_text("Прочитает книги 4 раза")
    expect(card["medium"]).to_contain_text(re.compile(r"прочитать 40\s%"))
    expect(card["large"]).to_contain_text("Не поместится: нужно 9,0 ГБ")
    page.fill("#f-within", "30")
    page.fill("#f-memory", "8")
    expect(page.locator("#limits-answer")).to_contain_text("Малая: прочитает книги 4 раза за 2 мин")
    assert (asked["suggest_model"]["minutes"], asked["suggest_model"]["memory_bytes"]) == (30, 8_000_000_000)
    page.fill("#f-name", "Лев")
    page.click("#create")
    expect(page).to_have_url(re.compile("/training"))
    assert asked["create_model"]["name"] == "Лев"
    wishes = {name: asked["train"][name] for name in ("model", "books", "iterations", "eval_every", "sample_prompt")}
    assert list(wishes.values()) == ["Лев", ["example_book"], 600, 7, "Жил"]


def test_help_opens_beside_its_button_and_the_button_to_create_stays_in_view(visit: Any) -> None:
    for width in (1280, 360):
        page = visit(width=width, height=700).open("/create")
        page.wait_for_load_state()
        expect(page.locator("#f-d_model-help")).to_be_hidden()
        page.click("#sizes summary")
        page.click("[popovertarget=f-d_model-help]")
        expect(page.locator("#f-d_model-help")).to_be_in_viewport(ratio=1)
        expect(page.locator("#create")).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
