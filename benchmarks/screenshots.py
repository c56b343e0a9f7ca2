"""Pictures of every page, from a real run: a server of its own, the example book, the small preset, a real browser.

    python -m benchmarks.screenshots [--iterations 300] [--language en --language ru] [--num-threads 1] [--workspace DIR]
                                     [--only PAGE]

Writes docs/img/<page>-<language>.png for every page and its states: before the first model, while a training runs and others wait, with
a card beside a word, with something deleted, with results of a search; training and generation also in the dark theme and on a narrow
screen. The training and the generated text on them are what this machine made just now, or earlier in the workspace that is given; then
the states before its end are left out. `--only create --only training` writes some alone.
Pictures are reduced to 256 colours, so that the repository stays small; that needs Pillow.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from benchmarks.pictures import write_png
from tests.server_process import ServerProcess, serving

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "img"
WIDTH, HEIGHT, TRAINING_HEIGHT = 1200, 860, 1880
NARROW, NARROW_HEIGHT = 360, 780
MODEL, LOCALES = "first-model", {"en": "en-US", "ru": "ru-RU"}
UNDER_WAY = ("queued", "running", "stopping")
SETTLED_MS = 800


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--iterations", type=int, default=300)
    options.add_argument("--num-threads", type=int)
    options.add_argument("--workspace", type=Path, help="kept, and trained in only when its model is not trained yet")
    options.add_argument("--language", action="append", choices=sorted(LOCALES))
    options.add_argument("--only", action="append", metavar="PAGE", help="write the picture of this page alone")
    chosen = options.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = os.environ.get("AZR_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    with contextlib.ExitStack() as kept, sync_playwright() as playwright:
        folder = chosen.workspace or Path(kept.enter_context(tempfile.TemporaryDirectory()))
        server = kept.enter_context(serving(folder))
        browser = playwright.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox"])
        languages = chosen.language or sorted(LOCALES)
        taken: dict[str, bytes] = {}
        if not any(model["trained"] for model in server.get("/models")["models"]):
            for name, address in BEFORE.items():
                taken |= taken_alone(browser, server, name, address, languages)
            wish = begin(server, chosen.iterations, chosen.num_threads)
            follow(server, until=chosen.iterations // 3)
            taken |= taken_alone(browser, server, "running", "/training", languages)
            waiting = server.post("/train", wish | {"queue": True})["job_id"]
            taken |= taken_alone(browser, server, "queue", "/training", languages, show="#queue")
            server.delete(f"/queue/{waiting}")
            follow(server, until=None)
        for language in languages:
            taken |= {
                f"{name}-{language}": picture
                for name, picture in take_all(browser, server, language, chosen.only).items()
            }
        write({name: picture for name, picture in taken.items() if is_wanted(name, chosen.only)})
        browser.close()


def is_wanted(name: str, only: list[str] | None) -> bool:
    return only is None or name.rsplit("-", 1)[0] in only


def write(taken: dict[str, bytes]) -> None:
    for name, picture in taken.items():
        target = IMAGES / f"{name}.png"
        write_png(target, picture)
        print(f"{target.name}: {target.stat().st_size:,} bytes")


def begin(server: ServerProcess, iterations: int, num_threads: int | None) -> dict[str, Any]:
    """Begin the training and return what was asked for."""
    server.post("/create_model", {"name": MODEL, "preset": "small"})
    wish = {"model": MODEL, "books": ["example_book"], "iterations": iterations, "eval_every": max(1, iterations // 12)}
    server.post("/train", wish | {"num_threads": num_threads})
    return wish


def follow(server: ServerProcess, until: int | None) -> None:
    """Wait until a training has done so many iterations, or has ended; it must not fail."""
    while (status := server.get("/training_status"))["state"] in UNDER_WAY:
        if until is not None and status["iteration"] >= until:
            break
        print(f"\r{status['iteration']}  loss {status['loss']}", end="", flush=True)
        time.sleep(1)
    print()
    assert status["state"] in (*UNDER_WAY, "done"), status


def taken_alone(
    browser: Browser, server: ServerProcess, name: str, path: str, languages: list[str], show: str | None = None
) -> dict[str, bytes]:
    """Take a page whose state does not last, in each language."""
    taken = {}
    for language in languages:
        context = visitor(browser, language)
        taken[f"{name}-{language}"] = take_page(context.new_page(), server.address + path, show)
        context.close()
    return taken


def visitor(browser: Browser, language: str) -> BrowserContext:
    return browser.new_context(
        locale=LOCALES[language], viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
    )


def take_page(page: Page, address: str, show: str | None = None) -> bytes:
    """Take the page at an address, at the part that is to be shown."""
    page.goto(address)
    page.wait_for_load_state()
    page.wait_for_timeout(SETTLED_MS)
    if show is not None:
        look_at(page, show)
    return take(page)


def look_at(page: Page, selector: str) -> None:
    """Scroll until a part of the page stands in the middle of the window."""
    page.locator(selector).evaluate("element => element.scrollIntoView({ block: 'center', behavior: 'instant' })")
    page.wait_for_timeout(SETTLED_MS)


def take_all(browser: Browser, server: ServerProcess, language: str, only: list[str] | None) -> dict[str, bytes]:
    """Take the pages that are wanted, in a language."""
    context = visitor(browser, language)
    page = context.new_page()
    taken: dict[str, bytes] = {}
    for name, visit in VISITS.items():
        if only is None or any(
            each.split("-")[0] == name or (name == OTHERS and each.split("-")[0] not in VISITS) for each in only
        ):
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            taken |= visit(page, server)
    context.close()
    return taken


def take_create(page: Page, server: ServerProcess) -> dict[str, bytes]:
    page.goto(f"{server.address}/create")
    page.fill("#f-name", "my_custom_model")
    expect(page.locator("[data-preset=large] [data-preset-part=time]")).to_have_text(re.compile(r"\d"), timeout=120_000)
    return {"create": take(page)}


def take_training(page: Page, server: ServerProcess) -> dict[str, bytes]:
    page.set_viewport_size({"width": WIDTH, "height": TRAINING_HEIGHT})  # down to the charts
    page.goto(f"{server.address}/training")
    page.wait_for_selector("[data-chart=loss][data-points]")
    page.wait_for_timeout(2 * SETTLED_MS)
    taken = take_looks(page, "training")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.locator("#setup").evaluate("setup => (setup.open = true)")
    expect(page.locator("#start-note")).to_have_text(re.compile(r"\d"), timeout=600_000)  # the forecast is there
    page.locator("#setup").evaluate("setup => setup.scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(SETTLED_MS)
    return taken | {"training-settings": take(page)}


def take_generation(page: Page, server: ServerProcess) -> dict[str, bytes]:
    page.goto(f"{server.address}/generation")  # a beginning is filled in
    page.click("#generate")
    expect(page.locator("#stats")).to_contain_text("·", timeout=300_000)
    expect(page.locator("#generate")).to_be_enabled()
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate("scrollTo(0, 0)")
    taken = take_looks(page, "generation")
    page.check("[name=view][value=likely]", force=True)
    word = page.locator(".picture [data-key]").nth(12)
    word.wait_for(state="attached")
    box = word.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#word-card")).to_be_visible()
    return taken | {"generation-words": take(page)}


def take_others(page: Page, server: ServerProcess) -> dict[str, bytes]:
    book = server.get("/books")["books"][0]["name"]
    paths = {
        "library": "/library",
        "books": "/library?tab=books",
        "book": f"/library/{book}",
        "help": "/help",
        "api": "/docs",
        "error": "/no-such-page",
    }
    taken = {name: take_page(page, server.address + path) for name, path in paths.items()}
    page.click("#phone-button")
    page.wait_for_timeout(SETTLED_MS)
    taken["phone"] = take(page)  # closed: a picture shows no token
    taken["sign-in"] = take_sign_in(page, server)
    page.goto(f"{server.address}/help")
    page.fill("#help-query", WORD_SOUGHT[page.evaluate("document.documentElement.lang")])
    expect(page.locator("#help-hits a").first).to_be_visible()
    return taken | {"help-search": take(page)} | take_pair(page, server)


def take_sign_in(page: Page, server: ServerProcess) -> bytes:
    """Take what a phone sees that comes without its link. Needs a local network."""
    link = server.post("/network", {})["link"]
    page.set_viewport_size({"width": NARROW, "height": NARROW_HEIGHT})
    taken = take_page(page, link.split("?")[0])
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    server.delete("/network")
    return taken


def take_pair(page: Page, server: ServerProcess) -> dict[str, bytes]:
    """Take two models side by side, and the library after one of them was deleted."""
    copy = server.post(f"/models/{MODEL}/duplicate", {})["name"]
    page.goto(f"{server.address}/compare?model={MODEL}&model={copy}")
    page.click("#measure")
    expect(page.locator("#measured-verdict")).not_to_be_empty(timeout=120_000)
    page.click("#write button")
    page.wait_for_timeout(3 * SETTLED_MS)
    page.evaluate("scrollTo(0, 0)")
    taken = {"compare": take(page)}
    page.goto(f"{server.address}/library")
    page.locator(f'[data-model="{copy}"] [data-model-action=delete]').click()
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate("scrollTo(0, 0)")
    return taken | {"library-deleted": take(page)}


BEFORE = {"first": "/", "training-empty": "/training", "generation-empty": "/generation", "library-empty": "/library"}
WORD_SOUGHT = {"en": "phone", "ru": "телефон"}
OTHERS = "others"
VISITS = {"create": take_create, "training": take_training, "generation": take_generation, OTHERS: take_others}


def take_looks(page: Page, name: str) -> dict[str, bytes]:
    """Take a page as it is, in the dark theme, and as narrow as a phone."""
    taken, usual = {name: take(page)}, page.viewport_size
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(SETTLED_MS)
    taken[f"{name}-dark"] = take(page)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": NARROW, "height": NARROW_HEIGHT})
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate("scrollTo(0, 0)")
    taken[f"{name}-narrow"] = take(page)
    assert usual is not None
    page.set_viewport_size(usual)
    return taken


def take(page: Page) -> bytes:
    page.evaluate("document.activeElement?.blur()")
    return page.screenshot()


if __name__ == "__main__":
    main()
