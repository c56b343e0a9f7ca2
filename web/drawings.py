"""Drawings made here: the cover of a model, which follows from its name alone, and the small curve of its loss."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from html import escape

from markupsafe import Markup

from workspace import name_key

WIDTH, HEIGHT = 72, 96  # of a cover
CLOTHS = (  # of the binding, and of what is printed on it
    ("#2f5d50", "#e9dfc3"),
    ("#7a3b2e", "#f0d9b5"),
    ("#34496b", "#e5d9bd"),
    ("#6b5b2e", "#f3ead0"),
    ("#4b3a5e", "#e8d6c0"),
    ("#1f4e5f", "#e6d3a8"),
    ("#8a5a2b", "#f6e7c8"),
    ("#3d4a35", "#ded6ae"),
)
CURVE_WIDTH, CURVE_HEIGHT = 120, 32


class _Dice:
    """Numbers that follow from a name."""

    def __init__(self, name: str) -> None:
        self._digest = hashlib.sha256(name_key(name).encode()).digest()
        self._at = 0

    def below(self, limit: int) -> int:
        self._at += 1
        return self._digest[self._at % len(self._digest)] % limit


def cover(name: str) -> Markup:
    """Return the cover of a model as SVG: a cloth binding with a pattern and the first letter of its name."""
    dice = _Dice(name)
    cloth, ink = CLOTHS[dice.below(len(CLOTHS))]
    pattern = (_waves, _diamonds, _rays, _hills, _leaves)[dice.below(5)]
    letter = escape(next((letter for letter in name if letter.isalnum()), "·").upper())
    shapes = "".join(pattern(dice))
    return Markup(
        f'<svg class="cover" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="3" fill="{cloth}" stroke="none"/>'
        f'<g fill="none" stroke="{ink}" stroke-width="1" opacity="0.5">{shapes}</g>'
        f'<rect width="6" height="{HEIGHT}" rx="2" fill="#000" opacity="0.22" stroke="none"/>'
        f'<rect x="12" y="6" width="{WIDTH - 18}" height="{HEIGHT - 12}" rx="1" fill="none" stroke="{ink}" stroke-width="1" opacity="0.8"/>'
        f'<circle cx="39" cy="40" r="16" fill="{cloth}" stroke="{ink}" stroke-width="1"/>'
        f'<text x="39" y="47" text-anchor="middle" font-family="Georgia, serif" font-size="20" fill="{ink}" stroke="none">{letter}</text>'
        "</svg>"
    )


def _waves(dice: _Dice) -> Iterator[str]:
    height, gap = 3 + dice.below(5), 7 + dice.below(5)
    for y in range(12, HEIGHT - 6, gap):
        arcs = "".join(f"q 4.5 {-height} 9 0 t 9 0 " for _ in range(3))
        yield f'<path d="M 12 {y} {arcs}"/>'


def _diamonds(dice: _Dice) -> Iterator[str]:
    size, gap = 2 + dice.below(2), 9 + dice.below(4)
    for row, y in enumerate(range(14, HEIGHT - 8, gap)):
        for x in range(18 + (gap // 2 if row % 2 else 0), WIDTH - 9, gap):
            yield f'<path d="M {x} {y - size} l {size} {size} l {-size} {size} l {-size} {-size} z"/>'


def _rays(dice: _Dice) -> Iterator[str]:
    count, turn = 14 + dice.below(12), dice.below(90)
    for ray in range(count):
        angle = math.radians(turn + 360 * ray / count)
        dx, dy = math.cos(angle), math.sin(angle)
        length = min(26 / max(abs(dx), 1e-6), (49 if dy > 0 else 33) / max(abs(dy), 1e-6))
        yield f'<path d="M {39 + 19 * dx:.1f} {40 + 19 * dy:.1f} L {39 + length * dx:.1f} {40 + length * dy:.1f}"/>'


def _hills(dice: _Dice) -> Iterator[str]:
    for hill in range(4):
        y, peak = 66 + 6 * hill, 12 + dice.below(16)
        x = 24 + dice.below(30)
        yield f'<path d="M 12 {y} Q {x} {y - peak} 66 {y}"/>'


def _leaves(dice: _Dice) -> Iterator[str]:
    lean = 4 + dice.below(6)
    for y in range(16, HEIGHT - 20, 11):
        for side in (-1, 1):
            x = 39 + side * 23
            yield f'<path d="M 39 {y + 6} Q {39 + side * 10} {y - lean} {x} {y} Q {39 + side * 14} {y + lean + 2} 39 {y + 6}"/>'


def sparkline(values: Sequence[float]) -> str:
    """Return the points of a polyline in a box of CURVE_WIDTH x CURVE_HEIGHT; the largest value is at the top.

    >>> sparkline([2.0, 1.0])
    '0.0,2.0 120.0,30.0'
    """
    low, high = min(values), max(values)
    span, step = (high - low) or 1.0, CURVE_WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{2 + (CURVE_HEIGHT - 4) * (high - value) / span:.1f}" for index, value in enumerate(values)
    )
