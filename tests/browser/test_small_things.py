"""Details of the pages: titles, corrected errors, drafts, suggestions, charts, link names, the dark theme."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import workflows
from config import PRESETS
from tests.training_kit import BOOK, MODEL, OTHER_BOOK, SHAPE, fill, plan
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
FRESH = "новичок"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a trained model, one that was never trained, and two books."""
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    fill(workspace)
    workflows.create_model(workspace, FRESH, SHAPE)
    list(workflows.train(workspace, plan(workspace)))
    return workspace.root


@pytest.fixture
def furnished(server: Any, trained: Path) -> None:
    shutil.copytree(trained, server.workspace, dirs_exist_ok=True)


def opened(visit: Any, path: str, **how: Any) -> Page:
    page = visit(**how).open(path)
    page.wait_for_load_state()
    return page


def with_status(visit: Any, server: Any, **changes: Any) -> Any:
    """A visitor who sees this status from the API and the event stream."""
    status = server.get("/training_status") | {"model": MODEL, "books": [BOOK], "parameters": 1} | changes
    visitor = visit(locale="en-US")
    stream = f"event: status\ndata: {json.dumps(status)}\n\n"
    visitor.context.route("**/training_status", lambda route: route.fulfill(json=status))
    visitor.context.route(
        "**/training_events*", lambda route: route.fulfill(content_type="text/event-stream", body=stream)
    )
    return visitor


def with_history(visitor: Any, server: Any, **changes: Any) -> None:
    history = server.get(f"/training_history?model={MODEL}") | changes
    visitor.context.route("**/training_history*", lambda route: route.fulfill(json=history))


# ---- how far it is, and how it ended ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(
    ("iterations", "settled", "shown"),
    [(None, 40, "0%"), (40, 40, "25%"), (None, None, "Iteration 10")],
    ids=["finite-preparing", "finite", "endless"],
)
def test_tab_title_says_how_far_a_training_is(
    visit: Any, server: Any, iterations: int | None, settled: int | None, shown: str
) -> None:
    visitor = with_status(
        visit, server, state="running", iteration=10, iterations=iterations, config={"iterations": settled}
    )
    page = visitor.open("/library")
    expect(page).to_have_title(re.compile(f"^{shown} · "))


@pytest.mark.usefixtures("furnished")
def test_tab_title_says_that_a_training_has_ended(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}", locale="en-US")
    start_short_training(page)
    expect(page).to_have_title(re.compile("^✓ Done · "))


def start_short_training(page: Page) -> None:
    page.fill("#f-iterations", "4")
    page.click("#start")
    expect(page.locator("[data-live=state]")).to_have_attribute("data-state", "done")


@pytest.mark.usefixtures("furnished")
def test_finished_run_shows_its_stages_as_passed(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}", locale="en-US")
    start_short_training(page)
    wanted = ["is-done", "is-skipped", "is-skipped", "is-done"]  # this training has no self-play
    expect(page.locator(".stages li")).to_have_class(wanted)
    expect(page.locator(".stages li").first).to_contain_text("completed")
    expect(page.locator("[data-live=elapsed]")).to_have_text(re.compile("^Training time: "))


# ---- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("furnished")
def test_error_goes_away_once_its_field_is_corrected(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("/")
    page.wait_for_load_state()
    page.fill("#f-name", "плохое/имя")
    page.press("#f-name", "Enter")
    error = page.locator('[data-field="name"] .field-error')
    expect(error).to_be_visible()
    page.fill("#f-name", "хорошее имя")
    expect(error).to_be_hidden()
    assert page.locator("#f-name").get_attribute("aria-invalid") is None
    assert all("Failed to load resource" in complaint for complaint in visitor.take_complaints())


@pytest.mark.usefixtures("furnished")
def test_missing_book_is_forgiven_once_a_book_is_ticked(visit: Any) -> None:
    visitor = visit()
    page = visitor.open(f"/training?model={FRESH}")
    page.wait_for_load_state()
    page.click("#start")
    error = page.locator('[data-field="books"] > .field-error')
    expect(error).to_be_visible()
    page.check(f"input[name=books][value={BOOK}]")
    expect(error).to_be_hidden()
    assert all("Failed to load resource" in complaint for complaint in visitor.take_complaints())


def test_small_is_preselected_without_a_graphics_card(visit: Any) -> None:
    page = opened(visit, "/create")
    expect(page.locator("#estimate")).not_to_have_class(re.compile("is-stale"))
    assert page.locator("[name=preset]:checked").get_attribute("value") == "small"
    expect(page.locator("#f-d_model")).to_have_value(str(PRESETS["small"].d_model))


def test_create_form_survives_a_reload(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("/create")
    page.wait_for_load_state()
    page.fill("#f-name", "черновик")
    page.click("#sizes summary")
    page.fill("#f-num_layers", "3")
    page.reload()
    expect(page.locator("#f-name")).to_have_value("черновик")
    expect(page.locator("#f-num_layers")).to_have_value("3")
    assert not page.locator("[name=preset]:checked").count()
    page.click("#create-only")
    expect(page).to_have_url(re.compile("/training"))
    page.goto(f"{visitor.server.address}/create")
    expect(page.locator("#f-name")).to_have_value("")


# ---- which model is shown --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("furnished")
def test_training_page_shows_the_model_of_its_address_while_another_one_trains(visit: Any, server: Any) -> None:
    visitor = with_status(visit, server, state="running", iteration=10, iterations=40)
    page = visitor.open(f"/training?model={FRESH}")
    expect(page.locator("#start-note a")).to_be_visible()
    expect(page.locator("[data-live=title]")).to_have_text(FRESH)
    expect(page.locator("#f-model")).to_have_value(FRESH)
    page.click("#start-note a")
    expect(page.locator("[data-live=title]")).to_have_text(MODEL)


@pytest.mark.usefixtures("furnished")
def test_address_follows_the_model_that_is_picked(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}")
    page.select_option("#f-model", FRESH)
    expect(page.locator("[data-live=title]")).to_have_text(FRESH)
    page.reload()
    expect(page.locator("#f-model")).to_have_value(FRESH)


# ---- books and what follows from them --------------------------------------------------------------------------------


@pytest.mark.usefixtures("furnished")
def test_uploaded_book_is_ticked_alone(visit: Any) -> None:
    page = opened(visit, f"/training?model={MODEL}")
    expect(page.locator(f"input[name=books][value={BOOK}]")).to_be_checked()
    upload(page, "моя")
    assert ticked(page) == ["моя"]
    upload(page, "вторая")
    assert ticked(page) == ["вторая", "моя"]


def upload(page: Page, name: str) -> None:
    text = f"Книга {name}. " + "Старик чинил лодку у реки. " * 60
    page.set_input_files("#upload-file", {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": text.encode()})
    expect(page.locator(f'[data-book="{name}"]')).to_be_visible()


def ticked(page: Page) -> list[str]:
    return sorted(str(box.get_attribute("value")) for box in page.locator("[name=books]:checked").all())


@pytest.mark.usefixtures("furnished")
def test_iterations_follow_from_the_books_until_the_person_decides(visit: Any, server: Any) -> None:
    page = opened(visit, f"/training?model={FRESH}")
    page.check(f"input[name=books][value={BOOK}]")
    pays = server.post("/estimate", SHAPE.model_dump() | {"books": [BOOK]})["suggested_iterations"]
    expect(page.locator("#f-iterations")).to_have_value(str(pays))
    page.fill("#f-iterations", "33")
    page.check(f"input[name=books][value={OTHER_BOOK}]")
    expect(page.locator("#suggestion button")).to_be_visible()
    expect(page.locator("#f-iterations")).to_have_value("33")
    page.click("#suggestion button")
    expect(page.locator("#f-iterations")).not_to_have_value("33")


@pytest.mark.usefixtures("furnished")
def test_minutes_and_iterations_follow_each_other(visit: Any) -> None:
    page = opened(visit, f"/training?model={FRESH}")
    found = {
        "tokens_per_second": 1000,
        "epoch_seconds": 60,
        "epochs": 1,
        "training_bytes": 1,
        "tokens_per_parameter": 1,
    }
    found |= {"suggested_iterations": 100, "suggested_seconds": 300}

    done = 0  # of a stopped training that goes on

    def answer(route: Any) -> None:
        left = route.request.post_data_json["iterations"] - done
        route.fulfill(json=found | {"iterations_left": left, "total_seconds": left * 3})

    page.route("**/forecast", answer)
    page.check(f"input[name=books][value={BOOK}]")
    expect(page.locator("#f-iterations")).to_have_value("100")  # as the forecast has counted; the estimate was another
    expect(page.locator("#f-minutes")).to_have_value("5")
    expect(page.locator("#start-note")).to_have_text("100 итераций, около 5 мин")
    page.fill("#f-minutes", "8")
    expect(page.locator("#f-iterations")).to_have_value("160")
    page.fill("#f-iterations", "40")
    expect(page.locator("#f-minutes")).to_have_value("2")
    done = 60
    page.fill("#f-iterations", "100")
    page.locator("#f-iterations").blur()
    expect(page.locator("#start-note")).to_have_text("40 итераций, около 2 мин")
    page.fill("#f-minutes", "4")
    expect(page.locator("#f-iterations")).to_have_value("140")


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("Это был длинный вечер, и объяснять было нечего.", "Однажды"),
        ("The sea was grey, and the keeper of the light said nothing.", "Once upon a time"),
        ("Der alte Mann saß am Fluss und schwieg.", "Der alte Mann"),
    ],
)
def test_sample_text_begins_in_the_language_of_the_books(visit: Any, text: str, beginning: str) -> None:
    page = opened(visit, f"/training?model={FRESH}")
    book = {"name": "новая.txt", "mimeType": "text/plain", "buffer": f"{text}\n".encode() * 60}
    page.set_input_files("#upload-file", book)
    expect(page.locator("#f-sample_prompt")).to_have_value(beginning)


@pytest.mark.usefixtures("furnished")
def test_title_author_and_language_of_a_book_are_edited_in_its_row(visit: Any, server: Any) -> None:
    page = opened(visit, "/library?tab=books")
    row = page.locator(f'[data-book="{BOOK}"]')
    row.locator("[data-book-part=editing] summary").click()
    row.locator("[data-book-part=edit-title]").fill("Тихая река")
    row.locator("[data-book-part=edit-author]").fill("И. Рыбаков")
    row.locator("[data-book-part=edit-language]").select_option("uk")
    row.locator("[data-book-part=edit] button").click()
    expect(row.locator("[data-book-part=title]")).to_have_text("Тихая река")
    expect(row.locator("[data-book-part=facts]")).to_contain_text("И. Рыбаков · украинский")
    row.locator("[data-book-part=looking] summary").click()
    expect(row.locator("[data-book-part=figures]")).to_contain_text("Абзацев")
    page.reload()
    expect(row.locator("[data-book-part=title]")).to_have_text("Тихая река")
    expect(row.locator("[data-book-part=facts]")).to_contain_text("И. Рыбаков · украинский")


# ---- charts ----------------------------------------------------------------------------------------------------------


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("\u00a0", "").replace(",", ".")) for text in texts]


def axis_labels(page: Page, chart: str, axis: int) -> list[str]:
    """What the axis of a chart says, caught as it is written on the canvas; 0 is the iterations' axis."""
    labels = page.evaluate(f"window.written[{json.dumps(chart)}]")
    return list(dict.fromkeys(text for side, text in labels if side == axis))


CATCH_LABELS = """
window.written = {};
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  const chart = this.canvas.closest("[data-chart]")?.dataset.chart;
  const side = this.textAlign === "center" ? 0 : this.textBaseline === "top" ? 2 : 1; // 2: a mark at an iteration
  if (chart && text) (window.written[chart] ??= []).push([side, String(text)]);
  return fillText.call(this, text, ...rest);
};
"""


def with_charts(visit: Any, server: Any, **history: Any) -> Page:
    visitor = with_status(visit, server, state="done", iteration=3, iterations=3)
    visitor.context.add_init_script(CATCH_LABELS)
    with_history(visitor, server, **history)
    page = visitor.open(f"/training?model={MODEL}")
    page.wait_for_selector("[data-chart=loss][data-points] canvas")
    page.wait_for_timeout(300)
    return page


def rewards(values: list[float]) -> dict[str, Any]:
    columns = dict.fromkeys(("reward", "looped", "copied"), values)
    parts = dict.fromkeys(("diversity", "length"), values)
    return {"iteration": list(range(1, len(values) + 1)), **columns, "reward_breakdown": parts}


@pytest.mark.usefixtures("furnished")
def test_marks_of_the_reward_axis_differ(visit: Any, server: Any) -> None:
    page = with_charts(visit, server, self_play=rewards([0.9991, 0.9996, 1.0]))
    labels = axis_labels(page, "reward", 1)
    assert len(labels) >= 3
    steps = {round(b - a, 6) for a, b in zip(numbers(labels), numbers(labels)[1:], strict=False)}
    assert len(steps) == 1, labels  # evenly spaced as written, so none is rounded to its neighbour


@pytest.mark.usefixtures("furnished")
def test_iterations_are_marked_by_whole_numbers(visit: Any, server: Any) -> None:
    page = with_charts(visit, server, iterations=[1, 2, 3], loss=[5, 4, 3], loss_smooth=[5, 4.5, 4])
    labels = axis_labels(page, "loss", 0)
    assert labels and all(value == int(value) for value in numbers(labels)), labels


@pytest.mark.usefixtures("furnished")
def test_a_single_point_is_drawn(visit: Any, server: Any) -> None:
    page = with_charts(visit, server, self_play=rewards([0.5]))
    page.wait_for_selector("[data-chart=reward][data-points='1'] canvas")
    assert coloured_pixels(page, "reward") > 20


def coloured_pixels(page: Page, chart: str) -> int:
    """Pixels of a chart that are neither ground nor grey: those of curves and points."""
    return int(
        page.evaluate(
            """(chart) => {
              const canvas = document.querySelector(`[data-chart=${chart}] canvas`);
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let found = 0;
              for (let i = 0; i < data.length; i += 4) {
                const [r, g, b, a] = data.slice(i, i + 4);
                if (a > 200 && Math.max(r, g, b) - Math.min(r, g, b) > 60) found += 1;
              }
              return found;
            }""",
            chart,
        )
    )


@pytest.mark.usefixtures("furnished")
def test_change_of_books_is_marked_in_the_charts(visit: Any, server: Any, trained: Path) -> None:
    page = opened(visit, f"/training?model={MODEL}", locale="en-US")
    before = server.get(f"/models/{MODEL}")["iteration"]
    page.uncheck(f"input[name=books][value={BOOK}]")
    page.check(f"input[name=books][value={OTHER_BOOK}]")
    start_short_training(page)
    chart = page.locator("[data-chart=loss]")
    marked = re.compile(rf"\b{before}\b")
    expect(chart).to_have_attribute("data-marks", marked)
    expect(page.locator("[data-live=book_changes]")).to_contain_text(f"From iteration {before} on other books")
    page.reload()
    expect(chart).to_have_attribute("data-marks", marked)


# ---- names, widths, themes -------------------------------------------------------------------------------------------


def test_language_links_are_named_as_they_are_labelled(visit: Any) -> None:
    page = opened(visit, "/", locale="en-US")
    expect(page.get_by_role("link", name="RU – Русский", exact=True)).to_have_count(1)
    expect(page.get_by_role("link", name="EN – English", exact=True)).to_have_count(1)


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("width", [1280, 1440])
def test_buttons_of_a_model_stand_in_one_row(visit: Any, width: int) -> None:
    page = opened(visit, "/library", width=width)
    buttons = page.locator(f'[data-model="{MODEL}"] .model-ways .button').all()
    assert len(buttons) == 2
    assert len({round((button.bounding_box() or {})["y"]) for button in buttons}) == 1


def test_api_page_is_dark_in_the_dark_theme(visit: Any) -> None:
    page = opened(visit, "/docs")
    expect(page.locator("#swagger .opblock").first).to_be_visible()
    page.click("#theme-toggle")
    for place in ("#swagger", "#swagger .swagger-ui", "body"):
        colour = page.locator(place).first.evaluate("element => getComputedStyle(element).backgroundColor")
        assert brightness(colour) < 80, (place, colour)
    text = page.locator("#swagger .opblock-tag").first.evaluate("element => getComputedStyle(element).color")
    assert brightness(text) > 150, text


def test_search_in_help_finds_another_form_of_a_word_and_leads_there(visit: Any) -> None:
    page = opened(visit, "/help", locale="ru-RU")
    page.keyboard.press("/")
    page.keyboard.type("кодировками")
    hit = page.locator("#help-hits a", has_text="Книги").first
    expect(hit).to_be_visible()
    expect(page.locator("#help-count")).to_have_text(re.compile(r"^Найден"))
    expect(page.locator("#help-document")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#help-document")).to_be_visible()
    page.keyboard.type("ollama")
    page.keyboard.press("Enter")  # to the first section found
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/help/[\w-]+#"))
    expect(page.locator("article")).to_contain_text("Ollama")


def brightness(colour: str) -> float:
    """The mean of a computed colour's channels; a transparent one is as dark as what it lies on."""
    red, green, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", colour))
    return 0.0 if alpha == [0.0] else (red + green + blue) / 3


@pytest.mark.usefixtures("furnished")
def test_reason_of_an_early_end_is_given_in_words(visit: Any, server: Any) -> None:
    notice = {"code": "early_stopped", "iteration": 6, "message": "Stopped early: nothing improved."}
    visitor = with_status(visit, server, state="done", iteration=6, iterations=40, notices=[notice])
    page = visitor.open(f"/training?model={MODEL}")
    expect(page.locator("[data-live=next]")).to_have_text(re.compile("^Stopped early: nothing improved. Training is"))
    expect(page.locator("[data-live=latest]")).to_be_empty()  # said once
