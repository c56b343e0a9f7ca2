"""The README's animation: a first run as a person makes it, recorded in a real browser, from the empty workspace to a written text.

    python -m benchmarks.animation [--language en --language ru] [--iterations 300] [--into DIR]

Writes docs/img/tour-<language>.gif, and its last picture as tour-<language>.png for people who want no motion. One click trains on
the example book for about three minutes; the training is shown in some seconds, and the line below says so. Everything that is
seen is the page itself; the pointer and the line below are added. On a busy machine the three minutes hold few iterations: then
--iterations says how many there are to be. Needs Pillow.
"""

from __future__ import annotations

import argparse
import base64
import html
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from benchmarks.pictures import write_gif, write_png
from benchmarks.screenshots import IMAGES, LOCALES, UNDER_WAY
from tests.server_process import ServerProcess, serving

WIDTH, HEIGHT, LINE_HEIGHT = 1040, 760, 48
LAPSE_PICTURES, LAPSE_MS = 32, 190
STEPS, STEP_MS = 5, 60  # of the pointer on its way
SETTLED_MS = 500
SAID = {
    "en": {
        "begin": "One click: a model of your own, from the example book",
        "learn": "It learns from scratch; minutes pass in seconds",
        "done": "Before and after",
        "write": "Now it writes",
        "likely": "How surprising each word was to it",
    },
    "ru": {
        "begin": "Один щелчок: своя модель по книге-примеру",
        "learn": "Учится с нуля; минуты проходят за секунды",
        "done": "Было и стало",
        "write": "Теперь она пишет сама",
        "likely": "Насколько неожиданным было для неё каждое слово",
    },
}
EXAMPLES = {
    "en": ("example_book_en", "Coriolanus", "Once upon a time"),
    "ru": ("example_book", "Библиотека у моря", "Искусственный интеллект"),
}
FRAME = """<!doctype html><style>
body { margin: 0; width: WIDTHpx; font: 600 19px/LINEpx system-ui, sans-serif; background: ACCENT; color: #fff; }
img, svg { position: absolute; left: 0; top: 0; } svg { fill: #1c1b19; stroke: #fff; stroke-width: 1.5; }
div { position: absolute; inset: HEIGHTpx 36px auto; display: flex; justify-content: space-between; white-space: nowrap; }
span { font-weight: 400; font-variant-numeric: tabular-nums; }
</style><img src="data:image/png;base64,PICTURE">POINTER<div>WORDS<span>FIGURES</span></div>"""
POINTER = '<svg width="28" height="32" viewBox="0 0 14 16" style="left:{x:.0f}px;top:{y:.0f}px"><path d="M1 1v12l3-3 2 5 2-1-2-5h4z"/></svg>'


@dataclass(frozen=True)
class Shot:
    """One picture of the animation: the page, what stands below it, how long it stands, and where the pointer is."""

    page: bytes
    said: str
    figures: str
    milliseconds: int
    pointer: tuple[float, float] | None


@dataclass
class Recording:
    """What was seen so far on a page that a pointer moves over."""

    page: Page
    words: dict[str, str]
    said: str = ""
    figures: str = ""
    pointer: tuple[float, float] | None = None
    shots: list[Shot] = field(default_factory=list)

    def say(self, key: str) -> None:
        self.said, self.figures = self.words[key], ""

    def see(self, milliseconds: int) -> None:
        self._keep(self.page.screenshot(), milliseconds)

    def press(self, target: Locator) -> None:
        """Move the pointer there, and press."""
        box = target.bounding_box()
        assert box is not None, target
        x, y = self.pointer or (WIDTH * 0.6, HEIGHT * 0.9)
        to_x, to_y = box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6
        picture = self.page.screenshot()
        for step in range(1, STEPS + 1):
            part = step / STEPS
            part *= part * (3 - 2 * part)  # begins and ends slowly
            self.pointer = (x + (to_x - x) * part, y + (to_y - y) * part)
            self._keep(picture, STEP_MS)
        target.hover()
        self.see(4 * STEP_MS)
        target.click()

    def hide_pointer(self) -> None:
        self.pointer = None
        self.page.mouse.move(0, 0)

    def _keep(self, picture: bytes, milliseconds: int) -> None:
        self.shots.append(Shot(picture, self.said, self.figures, milliseconds, self.pointer))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--language", action="append", choices=sorted(LOCALES))
    options.add_argument("--iterations", type=int, help="in place of as many as three minutes hold")
    options.add_argument("--into", type=Path, default=IMAGES)
    chosen = options.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)  # before minutes have passed
    path = os.environ.get("AZR_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox"])
        for language in chosen.language or sorted(LOCALES):
            with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
                write(record(browser, server, language, chosen.iterations), browser, chosen.into / f"tour-{language}")
        browser.close()


def record(browser: Browser, server: ServerProcess, language: str, iterations: int | None) -> list[Shot]:
    context = browser.new_context(
        locale=LOCALES[language],
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="light",
        reduced_motion="reduce",  # no picture of something half faded in
    )
    if iterations is not None:
        context.route("**/first_run", lambda route: route.fulfill(json=begun(server, language, iterations)))
    seen = Recording(context.new_page(), SAID[language])
    begin(seen, server)
    learn(seen, server)
    write_a_text(seen)
    context.close()
    return seen.shots


def begun(server: ServerProcess, language: str, iterations: int) -> dict[str, str]:
    """Begin what the button begins, but with so many iterations."""
    book, title, prompt = EXAMPLES[language]
    server.post("/create_model", {"name": title, "preset": "small"})
    wish = {"model": title, "books": [book], "iterations": iterations, "eval_every": max(1, iterations // 10)}
    server.post("/train", wish | {"sample_prompt": prompt})
    return {"model": title}


def begin(seen: Recording, server: ServerProcess) -> None:
    seen.say("begin")
    seen.page.goto(server.address)
    seen.page.wait_for_timeout(SETTLED_MS)
    seen.see(1300)
    seen.press(seen.page.locator("#try-example"))
    if seen.page.locator("#first-progress").is_visible():  # the machine is being measured
        seen.see(700)
    seen.page.wait_for_url("**/training*", timeout=120_000)


def learn(seen: Recording, server: ServerProcess) -> None:
    """Follow the training: its first lines, then the chart and the samples, then what it has come to."""
    seen.say("learn")
    seen.hide_pointer()
    expect(seen.page.locator("#coach-line")).not_to_be_empty(timeout=60_000)
    seen.page.wait_for_timeout(SETTLED_MS)
    seen.see(1000)
    for _ in lapse(seen.page, server):
        follow(seen)
        seen.see(LAPSE_MS)
    expect(seen.page.locator("#coach-next")).to_be_visible(timeout=60_000)
    seen.page.keyboard.press("Shift")  # or the next page would open by itself
    seen.page.wait_for_timeout(2 * SETTLED_MS)
    follow(seen)
    seen.see(600)
    seen.say("done")
    show_ending(seen.page)
    seen.see(2200)


def lapse(page: Page, server: ServerProcess) -> Iterator[Any]:
    """Yield the states of a training at equal distances, until it ends."""
    due = 0.0
    while (status := server.get("/training_status"))["state"] in UNDER_WAY:
        if status["iteration"] and status["iteration"] >= due * status["iterations"]:
            yield status
            due += 1 / LAPSE_PICTURES
        page.wait_for_timeout(100)  # lets the page hear what the server tells it
    assert status["state"] == "done", status


def follow(seen: Recording) -> None:
    """Scroll until the chart ends at the lower edge, whatever lines have appeared above it, and take the figures down."""
    seen.page.evaluate("""() => {
      const chart = document.querySelector("[data-chart=loss]").closest("section").getBoundingClientRect();
      scrollBy(0, chart.bottom - innerHeight + 16);
    }""")
    told = (seen.page.locator(f"[data-live={name}]").inner_text() for name in ("iteration", "elapsed"))
    seen.figures = " · ".join(filter(None, told))


def show_ending(page: Page) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("scrollBy(0, document.querySelector('.ending').getBoundingClientRect().bottom - innerHeight + 16)")


def write_a_text(seen: Recording) -> None:
    page = seen.page
    seen.press(page.locator(".ending a.button-primary"))
    page.wait_for_url("**/generation*")
    page.wait_for_timeout(SETTLED_MS)
    seen.say("write")
    show_text(page)
    seen.see(600)
    seen.press(page.locator("#generate"))
    expect(page.locator("#stats")).to_contain_text("·", timeout=120_000)
    expect(page.locator("#cancel")).to_be_hidden()
    page.wait_for_timeout(SETTLED_MS)
    show_text(page)
    seen.see(2200)
    seen.say("likely")
    seen.press(page.locator(".views .choice", has=page.locator("[value=likely]")))
    page.wait_for_timeout(2 * SETTLED_MS)
    seen.hide_pointer()
    seen.see(2600)


def show_text(page: Page) -> None:
    page.evaluate("scrollBy(0, document.querySelector('.views').getBoundingClientRect().top - 32)")


def write(shots: list[Shot], browser: Browser, target: Path) -> None:
    """Put the pointer and the line into the pictures, and write them as an animation and the last one alone."""
    canvas = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT + LINE_HEIGHT})
    pictures = [composed(canvas, shot) for shot in shots]
    canvas.close()
    write_gif(target.with_suffix(".gif"), pictures, [shot.milliseconds for shot in shots])
    write_png(target.with_suffix(".png"), pictures[-1])
    seconds = sum(shot.milliseconds for shot in shots) / 1000
    for file in (target.with_suffix(".gif"), target.with_suffix(".png")):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
    print(f"{len(pictures)} pictures, {seconds:.1f} s")


def composed(canvas: Page, shot: Shot) -> bytes:
    parts = {
        "WIDTH": str(WIDTH),
        "LINE": str(LINE_HEIGHT),
        "HEIGHT": str(HEIGHT),
        "ACCENT": "#0f6b5c",
        "PICTURE": base64.b64encode(shot.page).decode(),
        "POINTER": POINTER.format(x=shot.pointer[0], y=shot.pointer[1]) if shot.pointer else "",
        "WORDS": html.escape(shot.said),
        "FIGURES": html.escape(shot.figures),
    }
    text = FRAME
    for name, value in parts.items():
        text = text.replace(name, value)
    canvas.set_content(text)
    canvas.evaluate("document.images[0].decode()")
    return canvas.screenshot()


if __name__ == "__main__":
    main()
