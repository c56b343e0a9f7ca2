"""The dashboard of a training: the words beside its figures, its tools, and what is offered at its end."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from config import ModelConfig, SelfPlayConfig, TrainConfig
from corpus.library import add_book
from runs.plan import TrainingPlan
from runs.training_run import train
from tests.server_process import ServerProcess
from workflows import create_model
from workspace import Workspace

MODEL, OTHER, BOOK = "поэт", "прозаик", "река"
SIZES = ModelConfig(vocab_size=300, d_model=32, num_layers=1, num_heads=2, d_ff=64, max_seq_len=32)
TEXT = "Старик чинил лодку у реки, а мальчик смотрел на воду и молчал. " * 60
PURE = """async () => {
  const { ofHeldOut, ofLoss, besideBooks } = await import("/static/js/judgement.js");
  const { minutesAt, positionOf } = await import("/static/js/time_scale.js");
  const { smoothed } = await import("/static/js/smoothing.js");
  const { marked } = await import("/static/js/loops.js");
  const box = document.createElement("p");
  box.append(...marked("one two three", [[0, 3], [6, 11]], [[4, 9]]));
  box.querySelectorAll(".visually-hidden").forEach((spoken) => spoken.remove());
  const texts = (kind) => [...box.querySelectorAll(kind)].map(({ textContent }) => textContent);
  const line = (from, to) => Array.from({ length: 50 }, (_, i) => from + ((to - from) * i) / 49);
  const steps = line(1, 50);
  return {
    held_out: [
      ofHeldOut([5, 4], [5, 4]),
      ofHeldOut([5, 4, 3.5], [5, 4, 3]),
      ofHeldOut([5, 4, 3.999, 3.998], [5, 4, 3.9, 3.8]),
      ofHeldOut([5, 4, 4.1], [5, 4, 3]),
      ofHeldOut([5, 4, 4.1], [5, 4, 4.2]),
    ],
    loss: [ofLoss([1, 2], [5, 4]), ofLoss(steps, line(5, 2)), ofLoss(steps, line(5, 5)), ofLoss(steps, line(2, 5)), ofLoss(steps, line(5, 3).map((loss, i) => loss + (i % 12 === 1 ? 0.9 : 0)))],
    books: [
      besideBooks(0.9, null, true),
      besideBooks(0.9, [0.8, 0.9, 1], true),
      besideBooks(0.5, [0.8, 0.9, 1], true),
      besideBooks(0.2, [0, 0.01, 0.03], false),
      besideBooks(0.02, [0, 0.01, 0.03], false),
    ],
    minutes: [0, 25, 50, 75, 100].map(minutesAt).map(String),
    positions: [0.2, 1, 5, 15, 60, 100000, Infinity].map(positionOf),
    smoothed: smoothed([1, 2, 3], [4, null, 2], 0.5, 1).map((value) => value && Number(value.toFixed(4))),
    nested: [box.textContent, texts(".copied"), texts(".loop")],
    thinned: smoothed([10, 20], [4, 2], 0.5, 10),
  };
}"""


NOTIFICATIONS = """
  window.told = [];
  Object.defineProperty(document, "hidden", { get: () => Boolean(window.away) });
  window.Notification = class extends EventTarget {
    static permission = "default";
    static async requestPermission() { return (this.permission = "granted"); }
    constructor(title, { body }) { super(); told.push([title, body]); }
  };
"""


@pytest.fixture
def trained(server: ServerProcess) -> Path:
    """Two models, each trained for some iterations on one book; nothing runs."""
    workspace = Workspace(server.workspace)
    add_book(workspace, f"{BOOK}.txt", io.BytesIO(TEXT.encode()))
    config = TrainConfig(
        iterations=8, batch_size=2, eval_every=2, num_threads=1, self_play=SelfPlayConfig(enabled=False)
    )
    for name in (OTHER, MODEL):
        create_model(workspace, name, SIZES)
        for _ in train(workspace, TrainingPlan(name, (BOOK,), config)):
            pass
    return server.workspace


def test_words_scale_and_smoothing_follow_their_rules(visit: Any) -> None:
    assert visit().open("/library").evaluate(PURE) == {
        "held_out": [None, "good", "still", "by_heart", "worse"],
        "loss": [None, "falls", "still", "rises", "falls"],
        "books": [None, "as_books", "below_books", "above_books", "as_books"],
        "minutes": ["1", "5", "15", "60", "Infinity"],
        "positions": [0, 0, 25, 50, 75, 99, 100],
        "smoothed": [4, None, 2.2857],
        "nested": ["one two three", ["two t"], ["one", "o t", "hr"]],
        "thinned": [4, 8 / 3],
    }


@pytest.mark.usefixtures("trained")
def test_finished_training_can_be_looked_at_and_gone_on_with(visit: Any, server: ServerProcess) -> None:
    visitor = visit(locale="en-US")
    visitor.context.add_init_script(NOTIFICATIONS)
    page = visitor.open(f"/training?model={MODEL}")
    page.wait_for_selector("[data-chart=loss][data-points] canvas")
    expect(page.locator("#feed .said")).to_have_count(5)
    draw_otherwise(page)
    lay_beside(page)
    ask(page)
    page.evaluate("document.getElementById('feed').style.maxHeight = '4rem'")  # as when a form appears below it
    go_on(page, server)
    assert (
        page.evaluate("(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight)(feed)")
        < 24
    )
    repeat(page)


def draw_otherwise(page: Page) -> None:
    page.check("#log-axis")
    page.select_option("#zoom", "half")
    page.wait_for_timeout(200)
    expect(page.locator("[data-chart=loss] canvas")).to_have_count(1)
    page.locator("[data-chart=loss] .u-over").dblclick()
    expect(page.locator("#zoom")).to_have_value("all")


def lay_beside(page: Page) -> None:
    page.select_option("#beside", OTHER)
    expect(page.locator("[data-chart=loss] .u-legend .u-label").last).to_have_text(OTHER)
    page.click("#beside-chosen button")
    expect(page.locator("[data-chart=loss] .u-legend .u-label")).to_have_count(4)


def lay_earlier_run(page: Page, server: ServerProcess) -> None:
    """Lay the first run, 0 to 8, over the second, which began at 8: both are read at one iteration."""
    page.select_option("#beside", label="Run 1 (0–8)")
    chart = page.locator("[data-chart=loss]")
    expect(chart).to_have_attribute("data-last", "16")
    expect(page.locator("#beside-note")).to_contain_text("iteration 8")
    end = chart.locator(".u-over").bounding_box()
    page.mouse.move(end["x"] + end["width"] - 2, end["y"] + 20)
    first = server.get(f"/training_runs?model={MODEL}")["runs"][0]["evaluations"]
    shown = chart.locator(".u-legend .u-value")
    expect(shown.first).to_have_text("16")
    last = float(f"{first['val_loss'][-1]:.3g}")
    expect(shown.last).to_have_text(f"{last:g}")
    page.click("#beside-chosen button")
    expect(page.locator("#beside-note")).to_be_hidden()


def ask(page: Page) -> None:
    page.fill("#ask-prompt", "Старик")
    page.click("#ask-form button")
    expect(page.locator("#feed .is-asked .prompt")).to_have_text("Старик")
    expect(page.locator("#feed .is-asked .said-when")).to_have_text(re.compile("version of iteration"))


def go_on(page: Page, server: ServerProcess) -> None:
    page.locator("#drawer > summary").click()
    page.fill("#f-iterations", "6")
    page.click("#start")
    expect(page.locator("[data-live=iteration]")).to_have_text("Iteration 14 of 14")
    expect(page.locator("[data-live=state]")).to_have_attribute("data-state", "done")
    lay_earlier_run(page, server)
    expect(page.locator("#ending h3")).to_have_text(re.compile(r"learned in \d+ s$"))
    expect(page.locator("#ending figcaption").first).to_have_text("before · iteration 0")
    with page.expect_download() as picture:
        page.click("#share")
    assert picture.value.suggested_filename == f"{MODEL}.png"
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_response("**/train") as begun:
        page.click("#more-iterations")
    assert begun.value.request.post_data_json["iterations"] == 1000
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("^data:image/svg"))
    page.click("#notify")
    expect(page.locator("#notify")).to_be_disabled()
    page.evaluate("window.away = true")
    page.click("#stop")
    expect(page.locator("#stop")).to_be_hidden()
    ((title, body),) = page.evaluate("told")
    assert title == MODEL and re.fullmatch(r"Stopped and saved · Iteration \d+", body)
    assert server.get("/training_status")["iterations"] == 1014


def repeat(page: Page) -> None:
    page.click("#copy-run")
    expect(page.locator("#f-model")).to_have_value(f"{MODEL} 2")
    expect(page.locator("#f-batch_size")).to_have_value("2")
    expect(page.locator("[name=books]:checked")).to_have_attribute("value", BOOK)
