"""Self-play on the page: whatever its environment pays for is drawn beside what the books score, and each text shows its loops."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

import workflows
from events import IterationDone, Rollout, SelfPlayDone
from runs.run_log import RunLog
from tests.training_kit import BOOK, MODEL, SHAPE
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
OTHER, OLD = "счётчик", "старый"
PARTS = {MODEL: {"diversity": 0.7, "length": 0.5}, OTHER: {"solved": 0.25, "proposed": 0.5, "format": 1.0}}
BOOKS = {"reward": (0.9, 0.96, 1.0), "looped": (0.0, 0.004, 0.01)}
GREEDY = Rollout(
    "Однажды", "🙂 шёл да шёл да шёл да", 0.3, PARTS[MODEL], 0.1, True, 0.62, ((13, 19), (20, 22)), ((2, 8),)
)
SAMPLED = Rollout("Однажды", "весной", 0.9, PARTS[MODEL], 0.0, False, 0.0)
OLD_ROUND = {"event": "SelfPlayDone", "iteration": 10, "round": 1, "reward": 0.6, "reward_breakdown": PARTS[MODEL]}
OLD_ROUND |= {"kl": 0.01, "kl_coef": 0.05, "entropy": 3.0, "copied": 0.0, "skipped_share": 0.0}
OLD_ROLLOUT = {"prompt": "Однажды", "completion": "весной", "reward": 0.6, "reward_breakdown": PARTS[MODEL]}
OLD_ROLLOUT |= {"advantage": 0.1, "kl": 0.0, "copied": 0.25}


@pytest.fixture
def played(server: Any) -> None:
    """Three models: two with three rounds each, paid by two environments, one of which the pages have never heard of; and one
    whose log an earlier version wrote."""
    workspace = Workspace(server.workspace)
    for model in (*PARTS, OLD):
        workflows.create_model(workspace, model, SHAPE)
    ours = SelfPlayDone(0, 0, 0.6, PARTS[MODEL], 0.05, (GREEDY, *[SAMPLED] * 5), 0.31, BOOKS)
    other = Rollout("Однажды", "весной", 0.6, PARTS[OTHER], 0.0)
    tell(workspace, MODEL, ours)
    tell(workspace, OTHER, SelfPlayDone(0, 0, 0.6, PARTS[OTHER], 0.0, (other,), 0.5))
    folder = workspace.checkpoint_folder(OLD)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps(OLD_ROUND) + "\n", encoding="utf-8")
    whole = OLD_ROUND | {"rollouts": [OLD_ROLLOUT]}
    (folder / "rollouts.jsonl").write_text(json.dumps(whole) + "\n", encoding="utf-8")


def tell(workspace: Workspace, model: str, round_: SelfPlayDone) -> None:
    with RunLog(workspace, model) as log:
        for number in range(1, 4):
            log.append(IterationDone(10 * number, 3.0, 1e-3, 0.5, 900.0, number * 1.0))
            log.append(dataclasses.replace(round_, iteration=10 * number, round=number))


def legend(page: Page, chart: str) -> list[str]:
    """The names in the legend of a chart, without that of the iterations."""
    return page.locator(f"[data-chart={chart}] .u-legend .u-label").all_inner_texts()[1:]


def open_all_texts(page: Page) -> None:
    page.click("#round-all > summary")


def legend_value(page: Page, chart: str) -> Locator:
    """The last value in the legend of a chart."""
    return page.locator(f"[data-chart={chart}] .u-legend .u-value").last


# ---- charts ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("locale", "names", "books"),
    [("ru-RU", ["Разнообразие", "Длина"], "Книги"), ("en-US", ["Variety", "Length"], "Books")],
)
def test_reward_is_drawn_with_the_parts_of_its_environment(
    visit: Any, locale: str, names: list[str], books: str
) -> None:
    page = visit(locale=locale).open(f"/training?model={MODEL}")
    expect(page.locator("[data-chart=reward] .u-legend .u-label")).to_have_count(5)
    assert legend(page, "reward")[1:] == [*names, books]
    expect(page.locator("[data-live=reward_parts]")).to_contain_text(f"{names[0].lower()} ")
    open_all_texts(page)
    meters = page.locator("#round .rollout").first.locator(".meter-figure dt")
    expect(meters).to_have_count(3)
    assert meters.all_inner_texts()[1:] == names


@pytest.mark.usefixtures("played")
def test_parts_that_no_catalogue_knows_are_shown_by_their_own_names(visit: Any) -> None:
    page = visit().open(f"/training?model={MODEL}")
    labels = page.locator("[data-chart=reward] .u-legend .u-label")
    expect(labels.last).to_have_text("Книги")
    page.locator("[name=model]").first.select_option(OTHER)
    expect(labels.last).to_have_text("format")
    assert legend(page, "reward")[1:] == ["solved", "proposed", "format"]
    expect(page.locator("[data-live=reward_parts]")).to_have_text("solved 0,25 · proposed 0,50 · format 1,00")
    expect(page.locator("#round .rollout .meter-figure b").last).to_have_text("1,00")


@pytest.mark.usefixtures("played")
def test_what_the_books_score_is_shaded_behind_the_reward(visit: Any) -> None:
    page = visit(locale="en-US").open(f"/training?model={MODEL}")
    expect(legend_value(page, "reward")).to_have_text("0.90–1.00")
    expect(page.locator("[data-chart=reward]")).to_have_attribute("data-books", "0.9,1")
    assert pixels(page, "reward", "--chart-books") > 3000


def pixels(page: Page, chart: str, token: str) -> int:
    """How many pixels of a chart have exactly the colour of a token."""
    return int(
        page.evaluate(
            """([chart, token]) => {
              const probe = document.body.appendChild(document.createElement("i"));
              probe.style.setProperty("color", `var(${token})`);
              const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
              const canvas = document.querySelector(`[data-chart=${chart}] canvas`);
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let found = 0;
              for (let i = 0; i < data.length; i += 4) found += wanted.every((value, k) => data[i + k] === value);
              return found;
            }""",
            [chart, token],
        )
    )


@pytest.mark.usefixtures("played")
def test_loops_are_drawn_beside_those_of_the_books(visit: Any) -> None:
    page = visit().open(f"/training?model={MODEL}")
    chart = page.locator("[data-chart=loops]")
    expect(chart).to_have_attribute("data-points", "3")
    expect(chart).to_have_attribute("data-books", "0.004")
    assert legend(page, "loops") == ["Повторы", "Книги"]
    expect(chart.locator(".u-value").nth(1)).to_have_text("31\u00a0%")
    expect(legend_value(page, "loops")).to_have_text("0,4\u00a0%")


@pytest.mark.usefixtures("played")
def test_round_from_the_event_stream_is_added_to_the_charts(visit: Any, server: Any) -> None:
    visitor = visit()
    status = server.get("/training_status") | {"state": "running", "model": MODEL, "books": [BOOK], "parameters": 1}
    status |= {"book": {"reward": [0.8, 0.9, 0.95], "looped": [0.0, 0.02, 0.04]}, "looped": 0.2}
    round_ = OLD_ROUND | {"iteration": 40, "round": 4, "looped": 0.2, "book": status["book"]}
    body = "".join(
        f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in (("status", status), ("SelfPlayDone", round_))
    )
    visitor.context.route("**/training_status", lambda route: route.fulfill(json=status))
    visitor.context.route(
        "**/training_events*", lambda route: route.fulfill(content_type="text/event-stream", body=body)
    )
    page = visitor.open(f"/training?model={MODEL}")
    for chart, books in (("reward", "0.8,0.95"), ("loops", "0.02")):
        expect(page.locator(f"[data-chart={chart}]")).to_have_attribute("data-last", "40")
        expect(page.locator(f"[data-chart={chart}]")).to_have_attribute("data-books", books)


@pytest.mark.usefixtures("played")
def test_log_of_an_earlier_version_shows_its_rewards_and_no_loops(visit: Any) -> None:
    page = visit().open(f"/training?model={OLD}")
    expect(page.locator("[data-chart=reward]")).to_have_attribute("data-points", "1")
    expect(page.locator("#loops-heading")).to_be_hidden()
    assert legend(page, "reward")[1:] == ["Разнообразие", "Длина"]
    rollout = page.locator("#round .rollout")
    expect(rollout.locator(".rollout-text")).to_have_text("Однаждывесной")
    expect(rollout.locator("[data-figure=copied]")).to_have_text("25\u00a0%")
    expect(rollout.locator("[data-figure=looped]")).to_be_hidden()
    expect(page.locator("#round h3")).to_be_hidden()


# ---- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("played")
def test_loops_are_marked_inside_the_text(visit: Any) -> None:
    page = visit().open(f"/training?model={MODEL}")
    open_all_texts(page)
    marks = page.locator("#round .rollout").first.locator("mark.loop")
    expect(marks).to_have_count(2)
    whole = [mark.text_content() or "" for mark in marks.all()]
    assert [text.replace("[повтор] ", "").replace("[конец повтора] ", "") for text in whole] == ["да шёл", "да"]
    copied = page.locator("#round .rollout").first.locator("mark.copied")
    expect(copied).to_have_text("[дословно из книг] шёл да[конец цитаты из книг] ")
    expect(page.locator("#extremes .rollout-text .prompt")).to_have_count(2)
    expect(page.locator("[data-extreme=worst] .rollout-text")).to_contain_text("🙂")


@pytest.mark.usefixtures("played")
def test_marks_are_told_by_words_and_lines_and_not_by_colour_alone(visit: Any) -> None:
    page = visit(locale="en-US").open(f"/training?model={MODEL}")
    open_all_texts(page)
    mark = page.locator("#round mark.loop").first
    expect(mark.locator(".visually-hidden").first).to_have_text("[repetition]")
    assert mark.evaluate("element => getComputedStyle(element).textDecorationLine") == "underline"
    expect(page.locator("#rollouts .loops-legend")).to_contain_text("repeats")


@pytest.mark.usefixtures("played")
def test_texts_stand_under_the_way_in_which_they_were_written(visit: Any) -> None:
    page = visit().open(f"/training?model={MODEL}")
    open_all_texts(page)
    groups = page.locator("#round .group")
    expect(groups).to_have_count(2)
    expect(groups.nth(0).locator("h3")).to_have_text("Жадно: всегда самый вероятный токен")
    expect(groups.nth(1).locator("h3")).to_have_text("С вашими настройками генерации")
    greedy = groups.nth(0).locator(".rollout")
    expect(greedy.locator(".prompt")).to_have_text("Однажды")
    expect(greedy.locator("[data-figure=looped]")).to_have_text("62\u00a0%")
    expect(greedy.locator("[data-figure=copied]")).to_have_text("10\u00a0%")
    expect(groups.nth(1).locator(".rollout:visible")).to_have_count(2)
    more = groups.nth(1).locator("summary")
    expect(more).to_have_text("Ещё 3 текста")
    more.click()
    expect(groups.nth(1).locator(".rollout:visible")).to_have_count(5)
