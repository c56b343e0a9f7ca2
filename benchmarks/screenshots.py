"""Pictures of every page, from a real run: a server of its own, the example book, the small preset, a real browser.

    python -m benchmarks.screenshots [--iterations 300] [--language en --language ru] [--num-threads 1] [--workspace DIR]
                                     [--only PAGE]

Writes docs/img/<page>-<language>.png for every page, the four tabs in both of their states where they have two (before the
first model, while a training runs). The training and the generated text on them are what this machine made just now, or earlier
in the workspace that is given; then the two earlier states are left out. `--only create --only training` writes some alone.
Pictures are reduced to 256 colours, so that the repository stays small.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.server_process import ServerProcess, serving

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "img"
WIDTH, HEIGHT, TRAINING_HEIGHT = 1200, 860, 1880
MODEL, LOCALES = "first-model", {"en": "en-US", "ru": "ru-RU"}
UNDER_WAY = ("queued", "running", "stopping")
SETTLED_MS = 800
PROMPT = "Искусственный интеллект"
Pixels = Any  # numpy array (H, W, 3) of uint8


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
            taken |= taken_alone(browser, server, "first", "/", languages)
            begin(server, chosen.iterations, chosen.num_threads)
            follow(server, until=chosen.iterations // 3)
            taken |= taken_alone(browser, server, "running", "/training", languages)
            follow(server, until=None)
        for language in languages:
            taken |= {f"{name}-{language}": picture for name, picture in take_all(browser, server, language).items()}
        write({name: picture for name, picture in taken.items() if is_wanted(name, chosen.only)}, browser)
        browser.close()


def is_wanted(name: str, only: list[str] | None) -> bool:
    return only is None or name.rsplit("-", 1)[0] in only


def write(taken: dict[str, bytes], browser: Browser) -> None:
    """Write the pictures, all at the end: beside a second page the first one counts as hidden, and stands still."""
    canvas = browser.new_page()
    for name, picture in taken.items():
        target = IMAGES / f"{name}.png"
        target.write_bytes(with_palette(pixels_of(canvas, picture)))
        print(f"{target.name}: {target.stat().st_size:,} bytes")


def begin(server: ServerProcess, iterations: int, num_threads: int | None) -> None:
    server.post("/create_model", {"name": MODEL, "preset": "small"})
    wish = {"model": MODEL, "books": ["example_book"], "iterations": iterations, "eval_every": max(1, iterations // 12)}
    server.post("/train", wish | {"num_threads": num_threads})


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
    browser: Browser, server: ServerProcess, name: str, path: str, languages: list[str]
) -> dict[str, bytes]:
    """Take a page whose state does not last, in each language."""
    taken = {}
    for language in languages:
        context = visitor(browser, language)
        taken[f"{name}-{language}"] = take_page(context.new_page(), server.address + path)
        context.close()
    return taken


def visitor(browser: Browser, language: str) -> BrowserContext:
    context = browser.new_context(
        locale=LOCALES[language], viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
    )
    context.add_init_script("localStorage.setItem('azr-helps', 'off')")
    return context


def take_page(page: Page, address: str) -> bytes:
    page.goto(address)
    page.wait_for_load_state()
    page.wait_for_timeout(SETTLED_MS)
    return take(page)


def take_all(browser: Browser, server: ServerProcess, language: str) -> dict[str, bytes]:
    context = visitor(browser, language)
    page = context.new_page()
    taken = {}

    page.goto(f"{server.address}/create")
    page.fill("#f-name", "my_custom_model")
    expect(page.locator("[data-preset=large] [data-preset-part=time]")).to_have_text(re.compile(r"\d"), timeout=120_000)
    taken["create"] = take(page)

    page.set_viewport_size({"width": WIDTH, "height": TRAINING_HEIGHT})  # down to the charts
    page.goto(f"{server.address}/training")
    page.wait_for_selector("[data-chart=loss][data-points]")
    expect(page.locator("#forecast span")).not_to_have_count(0, timeout=60_000)  # measured
    page.wait_for_timeout(1000)
    taken["training"] = take(page)

    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(f"{server.address}/generation")
    page.fill("#f-prompt", PROMPT)
    page.click("#generate")
    expect(page.locator("#stats")).to_contain_text("·", timeout=300_000)
    expect(page.locator("#generate")).to_be_enabled()
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate("scrollTo(0, 0)")
    taken["generation"] = take(page)

    book = server.get("/books")["books"][0]["name"]
    others = {
        "library": "/library",
        "book": f"/library/{book}",
        "help": "/help",
        "api": "/docs",
        "error": "/no-such-page",
    }
    taken |= {name: take_page(page, server.address + path) for name, path in others.items()}

    page.click("#phone-button")
    page.wait_for_timeout(SETTLED_MS)
    taken["phone"] = take(page)  # closed: a picture shows no token
    context.close()
    return taken


def take(page: Page) -> bytes:
    page.evaluate("document.activeElement?.blur()")
    return page.screenshot()


# ---- 256 colours -----------------------------------------------------------------------------------------------------


def pixels_of(canvas: Page, picture: bytes) -> Pixels:
    """Decode a picture in the browser, so that no image library is needed."""
    flat = canvas.evaluate(
        """async (picture) => {
          const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
          const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
          canvas.drawImage(bitmap, 0, 0);
          const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
          let text = "";
          for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
          return btoa(text);
        }""",
        base64.b64encode(picture).decode(),
    )
    return np.frombuffer(base64.b64decode(flat), np.uint8).reshape(-1, WIDTH, 4)[..., :3]


def with_palette(pixels: Pixels) -> bytes:
    """Return a PNG of the 256 most frequent colours; every other pixel takes the nearest of them."""
    colours, where, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(-counts)[:256]].astype(np.int32)  # (P, 3)
    distances = ((colours[:, None].astype(np.int32) - palette[None]) ** 2).sum(-1)  # (colours, P)
    rows = distances.argmin(1).astype(np.uint8)[where.reshape(-1)].reshape(pixels.shape[:2])  # (H, W)
    lines = np.hstack([np.zeros((rows.shape[0], 1), np.uint8), rows])  # filter 0 before each line
    height, width = rows.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [
        (b"IHDR", header),
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in [*chunks, (b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main()
