"""A real server process and a real Chromium that watches itself: what leaves the machine, what the console complains of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.server_process import ServerProcess, serving

expect.set_options(timeout=60_000)  # two busy cores are slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever asks for another host fails, and is seen
]
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every browser test as slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.fixture(scope="module")  # Playwright holds an event loop: it must be gone before other tests want theirs
def browser() -> Iterator[Browser]:
    path = os.environ.get("AZR_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = "no browser here: install Chromium or name one in AZR_TEST_BROWSER"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(tmp_path / "рабочая папка") as server:
        yield server


@dataclass
class Visitor:
    """One person's browser. `complaints` are console errors, page errors, CSP violations, and requests to anywhere else."""

    context: BrowserContext
    server: ServerProcess
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._watch(request.url))
        page.goto(self.server.address + path)
        return page

    def take_complaints(self) -> list[str]:
        taken, self.complaints[:] = list(self.complaints), []
        return taken

    def _watch(self, url: str) -> None:
        if not url.startswith((f"{self.server.address}/", "data:", "blob:")):
            self.complaints.append(f"request to {url}")


@pytest.fixture
def visit(browser: Browser, server: ServerProcess):
    """`visit(locale="ru-RU", width=1280)` gives a Visitor; nobody may have anything to complain of at the end."""
    visitors: list[Visitor] = []

    def visit(locale: str = "ru-RU", width: int = 1280, height: int = 900) -> Visitor:
        context = browser.new_context(locale=locale, viewport={"width": width, "height": height}, accept_downloads=True)
        context.set_default_timeout(90_000)  # a starved renderer draws rarely, and a click waits for two equal frames
        context.add_init_script(TELL_VIOLATIONS)
        visitors.append(Visitor(context, server))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]
