"""The first run as a person makes it, the coach beside it, and the cards of the create page: time, best choice, straight to training."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.server_process import ServerProcess
from tests.web.web_client import TINY_MODEL

pytestmark = pytest.mark.timeout(300)
UNDECIDED = "class { static permission = 'default'; static requestPermission = async () => 'denied'; }"
SILENT = "class extends EventTarget { close() {} }"  # no status of the server's comes between those of the test
OUTLOOK = {"parameters": 1, "training_bytes": 10**9, "fits": True, "in_time": True, "eval_every": 7}


def test_one_click_leads_from_an_empty_workspace_to_a_running_training(visit: Any, server: ServerProcess) -> None:
    server.post("/books", {"title": "Свои записки", "text": "Слово за словом. "})
    page = visit().open("/")
    expect(page.locator("#first-books")).to_contain_text("Свои записки")  # brought before the page was loaded
    expect(page.locator("#first-form [name=name]")).to_have_value("Свои записки")
    page.evaluate("fetch('/books/Свои записки', { method: 'DELETE' })")
    page.reload()
    page.wait_for_load_state()
    expect(page.locator("#first-form")).to_be_hidden()
    page.click("#try-example")
    expect(page).to_have_url(re.compile("/training"), timeout=250_000)
    expect(page.locator("#coach-line")).to_have_text(re.compile("словар|книг|Модель"))
    status = server.get("/training_status")
    assert (status["state"], status["model"], status["books"]) == ("running", "Библиотека у моря", ["example_book"])
    assert (status["config"]["iterations"], status["config"]["max_minutes"]) == (None, 3.0)
    about = re.compile(r"^Итерация \d+ примерно из \d+")
    expect(page.locator("[data-live=iteration]")).to_have_text(about, timeout=200_000)  # after two iterations
    expect(page.locator("[data-live=eta]")).to_have_text(re.compile("Осталось около"))
    server.post("/stop_training", {})


def test_coach_follows_the_first_training_and_opens_the_page_for_generating(visit: Any, server: ServerProcess) -> None:
    server.post("/create_model", {"name": "кроха", **TINY_MODEL})
    visitor = visit()
    visitor.context.add_init_script(f"window.Notification = {UNDECIDED}; window.EventSource = {SILENT}")
    page = visitor.open("/training")
    page.wait_for_load_state("networkidle")  # the server has said all that it was asked
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # the seconds of the count pass when the test says so
    page.evaluate("document.getElementById('notify').click()")
    expect(page.locator("#notify")).to_have_text("Уведомления запрещены в браузере")
    tell(page, "составляем словарь", stage="fitting_tokenizer", parameters=None)
    tell(page, "догадки всё точнее", iteration=50)
    tell(page, "пишет сама", iteration=60, reward=0.5)
    tell(page, "Готово", iteration=100, state="done")
    expect(page.locator("#coach-count")).to_contain_text("откроется через 10")
    page.click("#coach-stay")
    page.clock.fast_forward(20_000)
    expect(page.locator("#coach-count")).to_be_hidden()
    tell(page, "Осталось немного", iteration=99)
    tell(page, "Готово", iteration=100, state="done")
    page.clock.run_for(12_000)
    expect(page).to_have_url(re.compile("/generation"))


def tell(page: Page, words: str, **changes: Any) -> None:
    """Let the page hear this status of the first training, and wait until the coach says these words."""
    known = {
        "state": "running",
        "stage": "supervised",
        "parameters": 1,
        "iteration": 0,
        "iterations": 100,
        "reward": None,
    }
    status = known | {"model": "кроха", "started_iteration": 0, "published_iteration": None} | changes
    page.evaluate("detail => document.dispatchEvent(new CustomEvent('trainingstatus', { detail }))", status)
    expect(page.locator("#coach-line")).to_contain_text(words)


def without_measuring(visitor: Any) -> None:
    """Let the server spend no seconds on the times of the presets."""
    visitor.context.route("**/suggest_model", lambda route: route.fulfill(json={"outlooks": {}, "best": None}))


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
    expect(page.locator("#create")).to_have_text("Создать и обучить")
    page.click("#create")
    expect(page).to_have_url(re.compile("/training"))
    assert asked["create_model"]["name"] == "Лев"
    wishes = {name: asked["train"][name] for name in ("model", "books", "iterations", "eval_every", "sample_prompt")}
    assert list(wishes.values()) == ["Лев", ["example_book"], 600, 7, "Жил"]


def test_books_that_are_too_short_are_told_before_there_is_a_model_or_on_the_page_that_follows(
    visit: Any, server: ServerProcess
) -> None:
    error = {"code": "book_too_small", "message": "Выбранные книги слишком короткие.", "field": "books", "details": []}
    visitor = visit()
    visitor.context.route("**/suggest_model", lambda route: route.fulfill(status=422, json={"error": error}))
    page = visitor.open("/create")
    expect(page.locator("[data-estimate=time_note]")).to_have_text(error["message"])
    page.fill("#f-name", "Лев")
    page.click("#create")
    expect(page.locator("#f-books-error")).to_have_text(error["message"])
    assert all("422" in complaint for complaint in visitor.take_complaints())

    server.post("/create_model", {"name": "Лев", **TINY_MODEL})
    visitor.context.unroute("**/suggest_model")
    without_measuring(visitor)
    visitor.context.route("**/create_model", lambda route: route.fulfill(json={"name": "Лев"}))
    visitor.context.route("**/train", lambda route: route.fulfill(status=422, json={"error": error}))
    page.reload()
    page.fill("#f-name", "Лев")
    page.click("#create")
    expect(page).to_have_url(re.compile("/training"))
    expect(page.locator("#f-books-error")).to_have_text(error["message"])
    page.reload()
    page.wait_for_load_state()
    expect(page.locator("#f-books-error")).to_be_hidden()  # it is said once
    assert all("422" in complaint for complaint in visitor.take_complaints())


def test_model_that_is_created_during_a_training_waits_its_turn(visit: Any, server: ServerProcess) -> None:
    status = server.get("/training_status") | {"state": "running", "model": "другая"}
    visitor = visit()
    asked: list[Any] = []

    def train(route: Any) -> None:
        asked.append(route.request.post_data_json)
        refused = {"error": {"code": "training_runs", "message": "Занято."}}
        route.fulfill(json={}) if asked[-1].get("queue") else route.fulfill(status=409, json=refused)

    def queue(route: Any) -> None:
        waiting = {"job_id": "1", "model": "Лев", "books": ["example_book"], "iterations": 9, "error": None}
        gone = {"error": {"code": "queue_entry_not_found", "message": "Оно уже началось."}}
        is_list = route.request.method == "GET"
        route.fulfill(json={"waiting": [waiting]}) if is_list else route.fulfill(status=404, json=gone)

    visitor.context.route("**/training_status", lambda route: route.fulfill(json=status))
    without_measuring(visitor)
    server.post("/create_model", {"name": "Лев", **TINY_MODEL})
    visitor.context.route("**/create_model", lambda route: route.fulfill(json={"name": "Лев"}))
    visitor.context.route("**/train", train)
    visitor.context.route(re.compile(r"/queue(/\d+)?$"), queue)
    page = visitor.open("/create")
    expect(page.locator("#create")).to_have_text("Создать и поставить в очередь")
    page.fill("#f-name", "Лев")
    page.click("#create")
    expect(page).to_have_url(re.compile("/training"))
    assert [wishes.get("queue", False) for wishes in asked] == [False, True]
    expect(page.locator("[data-live=state]")).to_have_text("Ждёт своей очереди")
    page.click("#queue button")
    expect(page.locator("#queue .field-error")).to_have_text("Оно уже началось.")
    assert all(re.search("404|409", complaint) for complaint in visitor.take_complaints())


def test_help_opens_beside_its_button_and_the_button_to_create_stays_in_view(visit: Any) -> None:
    for width in (1280, 360):
        visitor = visit(width=width, height=700)
        without_measuring(visitor)
        page = visitor.open("/create")
        page.wait_for_load_state()
        expect(page.locator("#f-d_model-help")).to_be_hidden()
        page.click("#sizes summary")
        page.click("[popovertarget=f-d_model-help]")
        expect(page.locator("#f-d_model-help")).to_be_in_viewport(ratio=1)
        expect(page.locator("#create")).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
