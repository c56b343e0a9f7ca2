"""Every page for everybody: axe finds nothing, the keyboard reaches everything, nothing moves unasked, pages are light and quick.

One server and one browser. Each page is looked at once in each language, in turns wide and narrow, light and dark.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect
from starlette.testclient import TestClient

import workflows
from tests.server_process import ServerProcess, serving
from tests.training_kit import BOOK, MODEL, SHAPE, fill, plan
from web.app import create_app
from web.network import Network, Opened
from workspace import Workspace

pytestmark = pytest.mark.timeout(300)
WIDE, NARROW = 1280, 360
LOOKS: dict[str, tuple[tuple[int, Literal["light", "dark"]], ...]] = {  # each pair of language, width and theme once
    "ru-RU": ((WIDE, "light"), (NARROW, "dark")),
    "en-US": ((WIDE, "dark"), (NARROW, "light")),
}
PAGES = (
    "/",
    "/create",
    f"/training?model={MODEL}",
    f"/generation?model={MODEL}",
    "/library",
    f"/library/{BOOK}",
    "/help",
    "/docs",
    "/no_such_page",
)
HEAVY = ("/docs",)  # Swagger UI alone weighs half a megabyte
PAINT_SECONDS, LAYOUT_SHIFT, PAGE_BYTES = 0.5, 0.05, 200_000
SETTLED_MS = 400

WATCH = """
window.seen = { shift: 0, smooth: [] };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.seen.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
for (const [place, name] of [[Element.prototype, "scrollIntoView"], [window, "scrollTo"], [Element.prototype, "scrollTo"]]) {
  const original = place[name];
  place[name] = function (...how) {
    if (how[0]?.behavior === "smooth") window.seen.smooth.push(name);
    return original.apply(this, how);
  };
}
"""
TELL = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], preload: false });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${
    node.any.concat(node.all, node.none).map((check) => check.message).join("; ").slice(0, 200)}`).join(" | ")}`);
}"""
THEME_HEARD = """(dark) => !document.getElementById("theme-toggle")
  || document.documentElement.classList.contains("dark-mode") === dark"""
OPEN_EVERYTHING = "for (const part of document.querySelectorAll('details')) part.open = true"
PAINT = """() => new Promise((done) => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint) done(paint.startTime / 1000); else setTimeout(look, 20);
  };
  look();
})"""


@dataclass(frozen=True)
class House:
    """A server whose workspace begins empty and can be furnished, and the browser that visits it."""

    server: ServerProcess
    browser: Browser
    furniture: Path

    def furnish(self) -> None:
        shutil.copytree(self.furniture, self.server.workspace, dirs_exist_ok=True)

    def context(self, locale: str = "ru-RU", width: int = WIDE, **more: Any) -> BrowserContext:
        context = self.browser.new_context(locale=locale, viewport={"width": width, "height": 900}, **more)
        context.set_default_timeout(60_000)
        context.add_init_script(WATCH)
        return context


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    workspace = Workspace(tmp_path_factory.mktemp("furniture"))
    fill(workspace)
    workflows.create_model(workspace, "новичок", SHAPE)
    list(workflows.train(workspace, plan(workspace)))
    with serving(tmp_path_factory.mktemp("дом")) as server:
        yield House(server, browser, workspace.root)


def loaded(page: Page, address: str) -> Page:
    page.goto(address)
    page.wait_for_load_state()
    page.wait_for_timeout(SETTLED_MS)
    return page


# ---- axe -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def axe() -> str:
    if importlib.util.find_spec("axe_playwright_python") is None and os.environ.get("CI") != "true":
        pytest.skip("axe is not installed: pip install -r requirements-dev.txt")
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str, locale: str, number: int = 0) -> list[str]:
    """What axe finds on a page with everything unfolded, in one of the language's looks. benchmarks.access takes all of them."""
    page.evaluate(OPEN_EVERYTHING)
    page.evaluate(axe)
    width, theme = LOOKS[locale][number % len(LOOKS[locale])]
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(THEME_HEARD, arg=theme == "dark")
    return [f"{width} {theme} {each}" for each in page.evaluate(TELL)]


@pytest.mark.parametrize("locale", LOOKS)
def test_axe_finds_nothing_on_the_page_of_an_empty_workspace(house: House, axe: str, locale: str) -> None:
    shutil.rmtree(house.server.workspace / "models", ignore_errors=True)
    context = house.context(locale, reduced_motion="reduce")
    assert violations(loaded(context.new_page(), house.server.address), axe, locale) == []
    context.close()


@pytest.mark.parametrize("locale", LOOKS)
def test_axe_finds_nothing_on_any_page(house: House, axe: str, locale: str) -> None:
    house.furnish()
    context = house.context(locale, reduced_motion="reduce")  # no colour is measured on its way to another
    page = context.new_page()
    found = {
        path: violations(loaded(page, house.server.address + path), axe, locale, number)
        for number, path in enumerate(PAGES)
    }
    loaded(page, house.server.address + "/create").click("#create")
    found["an error at a field"] = violations(page, axe, locale, 1)
    loaded(page, house.server.address + "/library").click("#phone-button")
    found["the dialog for a phone"] = violations(page, axe, locale)
    page.route("**/sign_in", lambda route: route.fulfill(body=sign_in_page(locale), content_type="text/html"))
    found["the page to sign in"] = violations(loaded(page, house.server.address + "/sign_in"), axe, locale)
    context.close()
    assert "".join(f"\n{path} {problem}" for path, problems in found.items() for problem in problems) == ""


def test_axe_finds_nothing_while_a_training_runs(house: House, axe: str) -> None:
    house.furnish()
    house.server.post(
        "/train", {"model": MODEL, "books": [BOOK], "iterations": None, "batch_size": 4, "num_threads": 1}
    )
    context = house.context(reduced_motion="reduce")
    page = loaded(context.new_page(), house.server.address + f"/training?model={MODEL}")
    expect(page.locator("[data-live=state]")).to_have_attribute("data-state", "running")
    found = violations(page, axe, "ru-RU")
    page.click("#stop")
    expect(page.locator("[data-live=state]")).to_have_attribute("data-state", "stopped")
    context.close()
    assert found == []


def sign_in_page(locale: str) -> str:
    """The page that a phone gets which brought a wrong token."""
    network = Network()
    network.let_in(Opened("192.168.1.5", 8000, ("192.168.1.5",)))
    app = create_app(Workspace(Path("nowhere")), network=network)
    phone = TestClient(app, "http://192.168.1.5:8000", client=("192.168.1.77", 1), headers={"Accept": "text/html"})
    return phone.get("/sign_in?token=wrong", headers={"Accept-Language": locale}).text


def test_axe_finds_what_is_wrong(house: House, axe: str) -> None:
    """The negative control: a picture without words, and grey on white."""
    context = house.context()
    page = loaded(context.new_page(), house.server.address + "/no_such_page")
    page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<img src=\"/static/favicon.svg\">')")
    page.evaluate("document.querySelector('h1').style.color = '#ccc'")
    found = " ".join(violations(page, axe, "ru-RU"))
    assert "image-alt" in found
    assert "color-contrast" in found
    context.close()


# ---- the keyboard ----------------------------------------------------------------------------------------------------

STOPS = """() => {
  const wanted = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const radios = new Set();
  return [...document.querySelectorAll(wanted)].filter((element) => {
    if (element.disabled || element.closest("[inert], dialog:not([open])") || !element.checkVisibility({ visibilityProperty: true })) return false;
    if (element.tabIndex < 0) return false;
    if (element.type !== "radio") return true;
    const group = element.form?.id + element.name;
    const first = !radios.has(group);
    radios.add(group);
    return first;
  }).map((element) => (element.type === "radio" ? `radio ${element.name}` : (element.dataset.stop ??= String(Math.random()))));
}"""
FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element), around = getComputedStyle(element.closest("label, .sheet") ?? element);
  const { top, bottom, left, right, width } = element.getBoundingClientRect();
  const seen = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
  const marked = [style, around].some((each) => (each.outlineStyle !== "none" && parseFloat(each.outlineWidth) > 0) || each.boxShadow !== "none");
  const x = Math.min(Math.max((left + right) / 2, 1), innerWidth - 1), y = Math.min(Math.max((top + bottom) / 2, 1), innerHeight - 1);
  const over = document.elementFromPoint(x, y);
  const covered = width > 1 && over && !element.contains(over) && !over.contains(element) && !over.closest("label")?.contains(element);
  return {
    stop: element.type === "radio" ? `radio ${element.name}` : element.dataset.stop,
    html: element.outerHTML.slice(0, 160), seen, marked: marked || element.matches("input[type=file]"), covered,
  };
}"""


HTML_OF = "(stop) => document.querySelector(`[data-stop='${stop}']`)?.outerHTML.slice(0, 300)"


@pytest.mark.parametrize("path", [*PAGES[:5], "/help"])
def test_keyboard_reaches_everything_in_order_and_shows_where_it_is(house: House, path: str) -> None:
    house.furnish()
    context = house.context("en-US")
    page = loaded(context.new_page(), house.server.address + path)
    wanted = page.evaluate(STOPS)
    assert len(wanted) > 5
    reached = []
    for _ in range(len(wanted) + 20):  # parts that scroll can have the focus as well
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        assert focused["seen"], focused
        assert focused["marked"], focused
        assert not focused["covered"], focused
        reached.append(focused["stop"])
    missed = [stop for stop in wanted if stop not in reached]
    assert [page.evaluate(HTML_OF, stop) for stop in missed] == []
    assert [stop for stop in reached if stop in wanted] == wanted
    context.close()


# ---- motion, weight and speed ----------------------------------------------------------------------------------------


def test_nothing_moves_for_who_asked_for_less_motion(house: House) -> None:
    house.furnish()
    context = house.context(reduced_motion="reduce")
    page = context.new_page()
    for path in PAGES[:5]:
        loaded(page, house.server.address + path)
        if page.locator("main form [type=submit]:visible").count():
            page.locator("main form [type=submit]:visible").first.click()  # an error scrolls to its field
            page.wait_for_timeout(SETTLED_MS)
        assert page.evaluate("document.getAnimations().length") == 0, path
        assert page.evaluate("window.seen.smooth") == [], path
    context.close()


def test_pages_are_light_quick_and_stand_still(house: House) -> None:
    house.furnish()
    visits = {path: visited(house, path) for path in PAGES}
    beside_others = "PYTEST_XDIST_WORKER" in os.environ or os.getloadavg()[0] >= (os.cpu_count() or 1)
    busy = 5.0 if beside_others else 1.0  # how much slower a page may appear now
    assert statistics.median(visit[0] for visit in visits.values()) < PAINT_SECONDS * busy
    assert {path: visit[1] for path, visit in visits.items() if visit[1] >= LAYOUT_SHIFT} == {}
    assert {path: visit[2] for path, visit in visits.items() if visit[2] >= PAGE_BYTES and path not in HEAVY} == {}


def visited(house: House, path: str) -> tuple[float, float, int]:
    """Seconds to the first content, layout shift, and bytes as a server would compress them, of a first visit."""
    context = house.context()
    page = context.new_page()
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))
    loaded(page, house.server.address + path)
    weight = sum(len(gzip.compress(response.body(), 6)) for response in responses if is_file(response))
    found = (float(page.evaluate(PAINT)), float(page.evaluate("window.seen.shift")), weight)
    context.close()
    return found


def is_file(response: Response) -> bool:
    return "event-stream" not in response.headers.get("content-type", "") and response.status < 300
