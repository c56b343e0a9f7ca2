"""Measurable promises of the design: readable colours in both themes, and files that load nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parent.parent.parent / "static"
OWN = [*(STATIC / "css").glob("*.css"), *(STATIC / "js").glob("*.js"), STATIC / "favicon.svg"]
TEXT_PAIRS = [  # (text, what it stands on): at least 4.5 to 1
    *[(ink, ground) for ink in ("ink", "ink-soft") for ground in ("paper", "surface", "sunken", "accent-wash")],
    *[("ink", ground) for ground in ("danger-wash", "warning-wash")],
    *[("accent", ground) for ground in ("paper", "surface", "accent-wash")],
    *[("ink", f"tint-{step}") for step in (1, 2, 3, 4)],
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("accent-strong", "accent-wash"),
    ("accent-strong", "sunken"),
    *[("danger", ground) for ground in ("surface", "paper", "sunken", "danger-wash")],
]
EDGE_PAIRS = [  # borders of inputs and lines of charts: at least 3 to 1
    *[("edge", ground) for ground in ("surface", "sunken")],
    *[(f"chart-{n}", ground) for n in (1, 2, 3) for ground in ("surface", "chart-books")],
    *[("warning", ground) for ground in ("surface", "sunken", "warning-wash")],
    ("accent", "line"),
]
THEMES = {"light": 0, "dark": 1}


def colours(theme: int) -> dict[str, str]:
    source = (STATIC / "css" / "tokens.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", source)
    return {name: values[theme] for name, *values in pairs}


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_the_published_ratio() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES.keys())
@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
def test_text_is_readable(text: str, ground: str, theme: int) -> None:
    known = colours(theme)
    assert contrast(known[text], known[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES.keys())
@pytest.mark.parametrize(("edge", "ground"), EDGE_PAIRS)
def test_edges_and_lines_can_be_seen(edge: str, ground: str, theme: int) -> None:
    known = colours(theme)
    assert contrast(known[edge], known[ground]) >= 3


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_own_files_name_no_other_host(path: Path) -> None:
    source = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|url\(\s*['\"]?//|@import", source)


@pytest.mark.parametrize("path", [p for p in OWN if p.suffix == ".js"], ids=lambda path: path.name)
def test_scripts_import_what_exists_and_say_what_they_are(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.startswith("// ")
    for name in re.findall(r'from "(\.[^"]+)"', source):
        assert (path.parent / name).is_file(), name


def test_every_colour_of_the_sheets_is_a_token() -> None:
    known = set(re.findall(r"--([\w-]+):", (STATIC / "css" / "tokens.css").read_text(encoding="utf-8")))
    used = {
        name
        for path in OWN
        if path.suffix == ".css"
        for name in re.findall(r"var\(--([\w-]+)", path.read_text("utf-8"))
    }
    assert used <= known


def test_vendored_files_keep_their_licences() -> None:
    for folder, files in {
        "uplot": ("uPlot.esm.js", "LICENSE"),
        "swagger-ui": ("swagger-ui-bundle.js", "LICENSE", "NOTICE"),
    }.items():
        for file in files:
            assert (STATIC / "vendor" / folder / file).stat().st_size > 50
