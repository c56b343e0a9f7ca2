"""Filling in forms: commas, units, languages, several files, long beginnings, the forecast."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import workflows
from config import ModelConfig
from tests.training_kit import BOOK, MODEL, TEXT, fill, plan
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
LONG_NAME = "Ж" * 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a trained model, one with a very long name, and two books."""
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    fill(workspace)
    workflows.create_model(
        workspace,
        LONG_NAME,
        ModelConfig(vocab_size=300, d_model=32, num_layers=1, num_heads=2, d_ff=32, max_seq_len=32),
    )
    list(workflows.train(workspace, plan(workspace)))
    return workspace.root


@pytest.fixture
def furnished(server: Any, trained: Path) -> None:
    shutil.copytree(trained, server.workspace, dirs_exist_ok=True)


def opened(visit: Any, path: str, **how: Any) -> Page:
    page = visit(**how).open(path)
    page.wait_for_load_state()
    return page


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("locale", ["ru-RU", "en-US"])
@pytest.mark.parametrize(("typed", "asked"), [("0,004", 0.004), ("0.004", 0.004)])
def test_fraction_may_be_typed_with_a_comma_or_a_point(visit: Any, locale: str, typed: str, asked: float) -> None:
    page = opened(visit, "/training", locale=locale)
    page.check(f"input[name=books][value={BOOK}]")
    page.click("#drawer > summary")
    page.fill("#f-learning_rate", typed)
    with page.expect_request("**/train") as sent:
        page.route("**/train", lambda route: route.fulfill(status=202, json={}))
        page.click("#start")
    assert sent.value.post_data_json["learning_rate"] == asked


@pytest.mark.usefixtures("furnished")
def test_settings_of_the_last_text_are_those_of_the_next_one_and_of_a_new_models_self_play(visit: Any) -> None:
    visitor = visit()
    page = visitor.open(f"/generation?model={MODEL}")
    page.wait_for_load_state()
    page.click("#settings summary")
    for name, value in {"temperature": "0,9", "top_k": "30", "max_new_tokens": "5"}.items():
        page.fill(f"#f-{name}", value)
    page.click("#generate")
    expect(page.locator("#stats")).to_contain_text("·")
    page.reload()
    expect(page.locator("#f-temperature")).to_have_value("0,9")
    expect(page.locator("#f-max_new_tokens")).to_have_value("5")
    page.goto(f"{visitor.server.address}/training?model={LONG_NAME}")
    for name, value in {"temperature": "0,9", "top_k": "30", "top_p": "0,9"}.items():
        expect(page.locator(f"#f-self_play-{name}")).to_have_value(value)
    page.goto(f"{visitor.server.address}/training?model={MODEL}")  # goes on with the settings of its last training
    expect(page.locator("#f-self_play-temperature")).to_have_value("0,7")


@pytest.mark.usefixtures("furnished")
def test_unit_agrees_with_its_number(visit: Any) -> None:
    page = opened(visit, "/")
    page.click("#sizes summary")
    for number, word in ((1, "слой"), (2, "слоя"), (6, "слоёв")):
        page.fill("#f-num_layers", str(number))
        expect(page.locator('[data-field="num_layers"] .unit')).to_have_text(word)


@pytest.mark.usefixtures("furnished")
def test_what_was_typed_goes_along_to_the_other_language(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}")
    page.fill("#f-iterations", "77")
    page.click("#drawer > summary")
    page.fill("#f-sample_prompt", "Жил-был")
    page.check("#f-endless")
    page.click(".languages [lang=en]")
    expect(page.locator("h1")).to_have_text("Training")
    expect(page.locator("#f-iterations")).to_have_value("77")
    expect(page.locator("#f-sample_prompt")).to_have_value("Жил-был")
    expect(page.locator("#f-endless")).to_be_checked()
    page.reload()
    expect(page.locator("#f-sample_prompt")).not_to_have_value("Жил-был")


@pytest.mark.usefixtures("furnished")
def test_each_of_several_files_tells_what_became_of_it(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("/library?tab=books")
    page.wait_for_load_state()
    files = [
        ("пусто.txt", b""),
        ("песня.txt", "Ой, мороз, мороз.".encode()),
        ("снимок.pdf", b"%PDF"),
        ("река-2.txt", TEXT.encode()),
    ]
    page.set_input_files("#upload-file", [{"name": n, "mimeType": "text/plain", "buffer": b} for n, b in files])
    lines = page.locator("[data-role=upload-results] li")
    expect(lines).to_have_count(4)
    expect(lines.nth(0)).to_contain_text("пусто.txt")
    expect(lines.nth(1)).to_contain_text("добавлена")
    expect(lines.nth(2)).to_contain_text("снимок.pdf")
    expect(lines.nth(3)).to_contain_text(f"уже есть: «{BOOK}»")
    assert all("Failed to load resource" in complaint for complaint in visitor.take_complaints())


@pytest.mark.usefixtures("furnished")
def test_start_without_a_book_shows_the_error_where_one_can_read_it(visit: Any) -> None:
    visitor = visit(height=500)
    page = visitor.open(f"/training?model={LONG_NAME}")
    page.wait_for_load_state()
    page.click("#start")
    error = page.locator('[data-field="books"] > .field-error')
    expect(error).to_be_in_viewport()
    assert all("Failed to load resource" in complaint for complaint in visitor.take_complaints())


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)])
def test_many_books_scroll_in_their_list_and_leave_the_place_for_new_ones_in_view(
    visit: Any, server: Any, width: int, height: int
) -> None:
    for number in range(33):
        (server.workspace / "books" / f"том {number:02}.txt").write_text(f"{number} {TEXT}", encoding="utf-8")
    page = opened(visit, f"/training?book=том 31&model={LONG_NAME}", width=width, height=height)
    field, zone = (page.locator(each).bounding_box() for each in ("#f-books", ".book-tiles .dropzone"))
    assert field and zone and zone["y"] + zone["height"] - field["y"] < height  # both on one screen
    ticked = page.locator("#books .book:has([name=books]:checked)")
    expect(ticked).to_have_attribute("data-book", "том 31")
    shown, around = ticked.bounding_box(), page.locator("#books").bounding_box()
    assert shown and around and around["y"] <= shown["y"] <= around["y"] + around["height"]
    last = page.locator("#books .book:last-child [name=books]")
    last.focus()  # as the keyboard does, which scrolls the list
    expect(last).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.usefixtures("furnished")
def test_long_names_stay_inside_the_page(visit: Any) -> None:
    for path in ("/training", "/library", "/library?tab=books", "/generation"):
        page = opened(visit, path, width=360)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


@pytest.mark.usefixtures("furnished")
def test_new_text_is_seen_below_a_long_beginning(visit: Any) -> None:
    page = opened(visit, f"/generation?model={MODEL}")
    page.fill("#f-prompt", "Старик чинил лодку у реки. " * 400)
    page.click("#generate")
    expect(page.locator("#stats")).to_contain_text("·")
    end, bar = (page.locator(place).bounding_box() for place in (".text-end", ".composer"))
    assert end and bar
    assert 0 < end["y"] + end["height"] < bar["y"]


@pytest.mark.usefixtures("furnished")
def test_forecast_is_told_before_the_start_and_compared_at_the_end(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}")
    page.fill("#f-iterations", "20")
    page.click("#drawer > summary")
    page.fill("#f-batch_size", "4")
    page.locator("#f-batch_size").blur()
    expect(page.locator("#forecast b")).to_have_text(re.compile(r"Займёт около \d+ с"))
    expect(page.locator("#forecast")).to_contain_text("токенов в секунду")
    page.click("#start")
    expect(page.locator("[data-live=measured]")).to_have_text(re.compile(r"Заняло \d+ с, ожидалось \d+ с"))


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(
    ("stage", "done", "total", "share"), [("tokenizing", 30, 100, "30%"), ("fitting_tokenizer", 0, 0, "")]
)
def test_what_comes_before_the_first_iteration_tells_how_far_it_is(
    visit: Any, server: Any, stage: str, done: int, total: int, share: str
) -> None:
    status = server.get("/training_status") | {"state": "running", "model": MODEL, "books": [BOOK], "parameters": None}
    status |= {"stage": stage, "stage_done": done, "stage_total": total, "iteration": 0, "iterations": None}
    visitor = visit(locale="en-US")
    stream = f"event: status\ndata: {json.dumps(status)}\n\n"
    visitor.context.route("**/training_status", lambda route: route.fulfill(json=status))
    visitor.context.route(
        "**/training_events*", lambda route: route.fulfill(content_type="text/event-stream", body=stream)
    )
    page = visitor.open(f"/training?model={MODEL}")
    expect(page.locator("[data-live=iteration]")).to_have_text("Preparing")
    expect(page.locator("[data-live=percent]")).to_have_text(share)
    bar = page.locator("[data-live=bar]")
    assert bar.get_attribute("value") == (str(done / total) if total else None)
