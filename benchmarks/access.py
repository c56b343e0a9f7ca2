"""Let axe look at every page in all its states, in both languages, both themes and both widths: a server of its own, a real browser.

    python -m benchmarks.access [--language ru] [--only WORD]

The states are an empty workspace, a training that runs, one that was stopped and one that failed, errors at the fields, open
dialogs, folds and cards. Prints one line for each state and what axe finds in it; ends with status 1 when it finds anything.
`--only training` looks at the states whose name has that word. The test in tests/browser/test_access.py looks at fewer of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.server_process import ServerProcess, serving
from tests.training_kit import prose

LOCALES = {"ru": "ru-RU", "en": "en-US"}
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = (
    (1280, "light"),
    (1280, "dark"),
    (360, "light"),
    (360, "dark"),
)
MODEL, COPY, BOOK, SHORT = "поэт", "поэт (2)", "река", "записка"
SIZES = {"vocab_size": 300, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64, "max_seq_len": 32}
SELF_PLAY = {"every": 2, "num_prompts": 6, "max_new_tokens": 8}
TRAINING = {"model": MODEL, "books": [BOOK], "iterations": None, "batch_size": 4, "eval_every": 10, "num_threads": 1}
SETTLED_MS, ENOUGH_ITERATIONS = 700, 60
TELL = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], preload: false });
  return violations.flatMap(({ id, nodes }) => nodes.slice(0, 3).map((node) => `${id}: ${node.html.slice(0, 200)} ${
    node.any.concat(node.all, node.none).map((check) => check.message).join("; ").slice(0, 300)}`));
}"""
UNFOLD = "for (const part of document.querySelectorAll('details')) part.open = true"
FAILED = """() => {
  document.querySelector("[data-live=state]").dataset.state = "failed";
  document.querySelector("[data-live=error]").textContent = document.querySelector("h1").textContent;
  document.querySelector("[data-live-section=error]").hidden = false;
}"""
Act = Callable[[Page], Any]


@dataclass(frozen=True)
class State:
    """What a person may see: a page, and what is done on it before axe looks."""

    name: str
    path: str
    act: Act = lambda page: None
    unfolds: bool = True


def first_error(page: Page) -> None:
    page.locator(".paste summary").click()
    page.click("[data-role=paste-add]")
    expect(page.locator("[data-role=paste-error]")).to_be_visible()


def first_book(page: Page) -> None:
    page.locator(".paste summary").click()
    page.fill("[data-role=paste-text]", "Старик чинил лодку у реки.")
    page.click("[data-role=paste-add]")
    expect(page.locator("#first-form")).to_be_visible()


def clicks(selector: str) -> Act:
    return lambda page: page.locator(selector).first.click()


def picks_two(page: Page) -> None:
    for box in page.locator(".model-pick input").all():
        box.check()


def refused(page: Page) -> None:
    page.uncheck("[name=books]:checked")
    page.locator("#drawer > summary").click()
    page.fill("#f-batch_size", "0")
    page.click("#start")
    expect(page.locator(".field-error:visible").first).to_be_visible()


def writes(view: str = "plain") -> Act:
    def act(page: Page) -> None:
        page.fill("#f-prompt", "Старик чинил")
        page.click("#generate")
        expect(page.locator("#stats")).to_contain_text("·")
        page.check(f"[name=view][value={view}]", force=True)
        page.wait_for_timeout(SETTLED_MS)
        if view == "likely":
            word = page.locator("#picture span").nth(3).bounding_box()
            assert word is not None
            page.mouse.click(word["x"] + word["width"] / 2, word["y"] + word["height"] / 2)
            expect(page.locator("#word-card")).to_be_visible()

    return act


def writes_with_both(page: Page) -> None:
    page.fill("#f-prompt", "Старик чинил")
    page.evaluate(UNFOLD)
    page.click("#compare")
    expect(page.locator(".pane").nth(1)).to_contain_text("·")


def compares(page: Page) -> None:
    page.click("#measure")
    page.click("#write button")
    expect(page.locator("#measured-verdict")).not_to_be_empty()
    expect(page.locator(".written blockquote").nth(1)).not_to_be_empty()


def deletes(page: Page) -> None:
    page.locator(f'[data-model="{COPY}"] [data-model-action=delete]').click()
    expect(page.locator(".deleted")).to_be_visible()


def brings_back(page: Page) -> None:
    page.locator(".deleted .button").first.click()
    expect(page.locator(f'[data-model="{COPY}"]')).to_be_visible()


def deletes_book(page: Page) -> None:
    page.click("#delete-book")
    page.wait_for_url("**/library*")
    expect(page.locator(".deleted")).to_be_visible()


def brings_book_back(page: Page) -> None:
    page.locator(".deleted .button").first.click()
    expect(page.locator(f'#books [data-book="{BOOK}"]')).to_be_visible()


def searches(words: str) -> Act:
    def act(page: Page) -> None:
        page.fill("#help-query", words)
        page.wait_for_timeout(SETTLED_MS)

    return act


TRAINING_PAGE, PLAYGROUND = f"/training?model={MODEL}", f"/generation?model={MODEL}"
EMPTY = (
    State("first page", "/"),
    State("first page, an error", "/", first_error),
    State("create, nothing there", "/create"),
    State("training, nothing there", "/training"),
    State("generation, nothing there", "/generation"),
    State("library, nothing there", "/library"),
    State("first page, a book", "/", first_book),
)
RUNNING = (
    State("training runs", TRAINING_PAGE),
    State("training runs, not unfolded", TRAINING_PAGE, unfolds=False),
    State("training runs, its settings", TRAINING_PAGE, clicks("#to-setup")),
    State("training runs, create", "/create"),
    State("training runs, generation", PLAYGROUND),
    State("training runs, library", "/library"),
    State("training runs, book", f"/library/{BOOK}"),
)
FURNISHED = (
    State("training stopped", TRAINING_PAGE),
    State("training failed", TRAINING_PAGE, lambda page: page.evaluate(FAILED)),
    State("training, errors at the fields", TRAINING_PAGE + "#setup", refused),
    State("training, too short a book", f"/training?model={MODEL}&book={SHORT}#setup"),
    State("create", "/create"),
    State("create, no name", "/create", clicks("#create")),
    State("create, help beside a field", "/create", clicks("[popovertarget=f-name-help]")),
    State("generation", PLAYGROUND),
    *(State(f"generation, {view}", PLAYGROUND, writes(view)) for view in ("plain", "likely", "copied", "attention")),
    State("generation, both models", PLAYGROUND, writes_with_both),
    State("comparison", f"/compare?model={MODEL}&model={COPY}", compares),
    State("library", "/library"),
    State("library, two picked", "/library", picks_two),
    State("library, renaming", "/library", clicks("[data-model-action=rename]")),
    State("library, a deleted model", "/library", deletes),
    State("library, the model is back", "/library", brings_back),
    State("books", "/library?tab=books"),
    State("book", f"/library/{BOOK}"),
    State("books, a deleted book", f"/library/{BOOK}", deletes_book),
    State("books, the book is back", "/library?tab=books", brings_book_back),
    State("dialog for a phone", "/create", clicks("#phone-button")),
    *(State(f"help, {page}", f"/help/{page}") for page in ("start-here", "examples", "features", "benchmarks")),
    State("help, found", "/help", searches("температура temperature")),
    State("help, nothing found", "/help", searches("ъъъъ")),
    State("API", "/docs"),
    State("error page", "/no_such_page"),
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--language", action="append", choices=sorted(LOCALES))
    options.add_argument("--only", metavar="WORD", default="", help="only the states whose name has this word")
    chosen = options.parse_args()
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    path = os.environ.get("AZR_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    problems = looks = 0
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox"])
        for states in phases(server):
            for language in chosen.language or sorted(LOCALES):
                for state in states:
                    if chosen.only in state.name:
                        found = looked_at(browser, server, state, LOCALES[language], axe)
                        problems, looks = problems + len(found), looks + len(LOOKS)
                        print(f"{language} {state.name}: {len(found)}", *found, sep="\n  ", flush=True)
        browser.close()
    print(f"{looks} looks, {problems} violations")
    raise SystemExit(problems > 0)


def phases(server: ServerProcess) -> Iterator[tuple[State, ...]]:
    """Yield the states that can be seen one phase after another, and bring the server into each phase before."""
    yield EMPTY
    server.post("/books", {"title": BOOK, "text": prose(150)})
    server.post("/books", {"title": SHORT, "text": "Старик молчал."})
    server.post("/create_model", {"name": MODEL, **SIZES})
    server.post("/train", TRAINING | {"self_play": SELF_PLAY})
    wait(server, lambda status: status["iteration"] >= ENOUGH_ITERATIONS)
    yield RUNNING
    server.post("/stop_training", {})
    wait(server, lambda status: status["state"] == "stopped")
    server.post(f"/models/{MODEL}/duplicate", {})
    yield FURNISHED


def wait(server: ServerProcess, is_reached: Callable[[Any], bool]) -> None:
    while not is_reached(status := server.get("/training_status")):
        assert status["state"] != "failed", status
        time.sleep(0.2)


def looked_at(browser: Browser, server: ServerProcess, state: State, locale: str, axe: str) -> list[str]:
    """Return what axe finds in a state, in every theme and width."""
    context = browser.new_context(locale=locale, reduced_motion="reduce")  # no colour is measured on its way to another
    page = context.new_page()
    page.goto(server.address + state.path)
    page.wait_for_load_state()
    page.wait_for_timeout(SETTLED_MS)
    state.act(page)
    page.wait_for_timeout(SETTLED_MS)
    if state.unfolds:
        page.evaluate(UNFOLD)
    page.evaluate(axe)
    found = []
    for width, theme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(SETTLED_MS // 2)
        found += [f"{width} {theme} {each}" for each in page.evaluate(TELL)]
    context.close()
    return found


if __name__ == "__main__":
    main()
