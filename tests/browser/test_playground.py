"""The playground: one manuscript that the model goes on in, and nothing of it is lost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.training_kit import MODEL, TEXT, fill, plan
from workflows import train
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
BEGINNING = "Старик чинил лодку"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    fill(workspace)
    list(train(workspace, plan(workspace, checkpoint_every=2)))
    return workspace.root


@pytest.fixture
def visitor(visit: Any, server: Any, trained: Path) -> Any:
    shutil.copytree(trained, server.workspace, dirs_exist_ok=True)
    return visit()


@pytest.fixture
def page(visitor: Any) -> Page:
    page: Page = visitor.open(f"/generation?model={MODEL}&prompt={BEGINNING}")
    page.wait_for_load_state()
    page.click("#settings summary")
    page.fill("#f-max_new_tokens", "12")
    return page


def text_of(page: Page) -> str:
    return page.locator("#f-prompt").input_value()


def go_on(page: Page, press: str = "#generate") -> str:
    with page.expect_response("**/generate"):
        page.click(press)
    expect(page.locator("#generate-form")).not_to_have_class("playground is-writing")
    expect(page.locator("#generate")).not_to_have_class("busy")
    expect(page.locator("#stats")).to_contain_text("начальное число")
    return text_of(page)


def test_text_grows_in_place_and_each_step_can_be_taken_back(page: Page) -> None:
    assert text_of(page) == BEGINNING
    first = go_on(page)
    assert first.startswith(BEGINNING) and len(first) > len(BEGINNING)
    expect(page.locator(".picture .is-written")).to_have_text(first.removeprefix(BEGINNING))
    second = go_on(page, "#again")
    assert second.startswith(BEGINNING) and second != first, "another seed"
    third = go_on(page)
    assert third.startswith(second) and len(third) > len(second)
    page.locator("#f-prompt").press("End")
    page.locator("#f-prompt").press_sequentially(" и")
    for expected in (third, second, first, BEGINNING):
        page.locator("#f-prompt").press("Control+z")
        assert text_of(page) == expected
    page.click("#redo")
    assert text_of(page) == first

    page.evaluate("scrollTo(0, 0)")
    page.reload()
    assert "prompt=" not in page.url
    expect(page.locator("#f-prompt")).to_have_value(first)
    expect(page.locator("#f-max_new_tokens")).to_have_value("12")
    page.click("#undo")
    expect(page.locator("#f-prompt")).to_have_value(BEGINNING)
    page.click("#earlier summary")
    texts = page.locator(".earlier-text")
    expect(texts).to_have_count(2)  # the second was gone on with
    texts.last.click()
    expect(page.locator("#f-prompt")).to_have_value(first)


def test_what_was_written_stays_when_the_stream_breaks(visitor: Any, page: Page) -> None:
    broken = 'event: token\ndata: {"text":" у реки","tokens":2}\n\n'
    page.route("**/generate", lambda route: route.fulfill(content_type="text/event-stream", body=broken))
    page.click("#generate")
    expect(page.locator(".composer .form-error")).to_contain_text("Связь с сервером прервалась")
    assert text_of(page) == BEGINNING + " у реки"
    page.unroute("**/generate")
    page.fill("#f-top_p", "7")
    page.click("#generate")
    expect(page.locator("#f-top_p-error")).to_be_visible()
    assert visitor.take_complaints() == [
        "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    ]
    assert text_of(page) == BEGINNING + " у реки"
    page.click(".choice:has([value=bold])")
    expect(page.locator("#f-top_p")).to_have_value("0,95")
    assert go_on(page).startswith(BEGINNING + " у реки")


def test_views_show_probabilities_copied_phrases_and_attention(page: Page) -> None:
    written = go_on(page)
    page.check("[name=view][value=likely]", force=True)
    tinted = page.locator(".picture [data-key]")
    expect(tinted).not_to_have_count(0)
    assert "".join(tinted.all_text_contents()) == written
    page.locator("#f-prompt").press("Control+Home")
    page.locator("#f-prompt").press("ArrowRight")
    expect(page.locator("#word-card")).to_be_visible()
    choices = page.locator(".alternative:enabled")
    expect(page.locator(".alternative")).to_have_count(5)
    box = tinted.nth(4).bounding_box()  # the last words of the beginning
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    start = int(tinted.nth(4).get_attribute("data-key") or 0)
    chosen = choices.first.locator(".alternative-name").text_content() or ""
    with page.expect_response("**/generate") as answer:
        choices.first.click()
    assert answer.value.request.post_data_json["prompt"] == written[:start] + chosen.replace("␣", " ").replace(
        "↵", "\n"
    )
    expect(page.locator("#cancel")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#word-card")).to_be_hidden()

    page.check("[name=view][value=copied]", force=True)
    expect(page.locator("#view-note")).to_contain_text("Ни одной фразы")
    phrase = " ".join(TEXT.split()[10:22])
    page.fill("#f-prompt", "")  # an end that both texts share would stay the model's
    page.fill("#f-prompt", f"Своё слово. {phrase}")
    underlined = page.locator(".picture .is-copied")
    expect(underlined).to_have_text(phrase.strip(".,!?"))
    underlined.evaluate(
        "(element) => { const box = element.getClientRects()[0]; window.at = [box.left + 9, box.top + 9]; }"
    )
    page.mouse.click(*page.evaluate("at"))
    expect(page.locator("#word-card a")).to_have_attribute("href", re.compile("^/library/"))
    page.set_viewport_size({"width": 360, "height": 800})  # the phrase wraps elsewhere, and the card follows it
    page.wait_for_function(
        """() => {
          const card = document.getElementById("word-card").getBoundingClientRect();
          const below = card.top - [...document.querySelector(".picture .is-copied").getClientRects()].at(-1).bottom;
          return below > 0 && below < 12 && card.right <= innerWidth;
        }"""
    )

    page.check("[name=view][value=attention]", force=True)
    expect(page.locator(".picture .is-looking")).to_have_count(1)
    page.select_option("#attention-head", "1")
    expect(page.locator(".picture .is-looking")).to_have_count(1)


def test_two_versions_write_side_by_side_with_one_seed(page: Page) -> None:
    page.click("#beside summary")
    expect(page.locator("#other-version")).to_have_value("last")
    asked: list[dict[str, Any]] = []
    page.on("request", lambda request: request.url.endswith("/generate") and asked.append(request.post_data_json))
    page.click("#compare")
    expect(page.locator(".pane button:visible")).to_have_count(2)
    assert {wish["version"] for wish in asked} == {"best", "last"}
    assert asked[0] | {"version": ""} == asked[1] | {"version": ""}
    assert asked[0]["seed"] is not None
    page.select_option("#other-version", "4")
    page.click("#compare")
    expect(page.locator(".pane-title").last).to_have_text(f"{MODEL} · итерация 4")
    expect(page.locator(".pane button:visible")).to_have_count(2)
    assert (asked[3]["version"], asked[3]["prompt"]) == ("4", BEGINNING)
    second = page.locator(".pane-text").last.text_content()
    page.locator(".pane button").last.click()
    assert text_of(page) == BEGINNING + (second or "")
