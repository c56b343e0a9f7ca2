"""Measure how texts loop and vary, and compare two curves of variety against likelihood.

Particular: loops are counted over tokens, variety over words, both for each text by itself, so texts are compared with passages of
the same length. A text of fewer than n items repeats nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from statistics import fmean

from selfplay.rewards import distinct_n, words

GRAM = 4  # tokens
Point = tuple[float, float]  # distinct-2, nats per token under the judge


@dataclass(frozen=True)
class Measures:
    """The figures of one text, or their means over several."""

    seq_rep_4: float
    distinct_1: float
    distinct_2: float
    length: float  # tokens before the end of the text
    reward: float  # as self-play pays it


NAMES = tuple(field.name for field in fields(Measures))


@dataclass(frozen=True)
class Band:
    """The means over passages of a book, and the ends of the middle 80 %."""

    low: Measures
    mean: Measures
    high: Measures


def measured(tokens: Sequence[int], text: str, reward: float) -> Measures:
    """Return the figures of one text; `tokens` are without end-of-text."""
    found = words(text)
    return Measures(seq_rep_4(tokens), distinct_n(found, 1), distinct_n(found, 2), len(tokens), reward)


def seq_rep_4(tokens: Sequence[int]) -> float:
    """Return the share of repeated 4-grams, 1 - different / all (Welleck et al., arXiv 1908.04319): 1 2 1 2 1 2 1 -> 1 - 2/4"""
    return 1 - distinct_n(tokens, GRAM)


def mean(figures: Sequence[Measures]) -> Measures:
    return _each(figures, fmean)


def band(figures: Sequence[Measures]) -> Band:
    return Band(
        _each(figures, partial(quantile, share=0.1)), mean(figures), _each(figures, partial(quantile, share=0.9))
    )


def _each(figures: Sequence[Measures], over: Callable[[list[float]], float]) -> Measures:
    return Measures(*(over([getattr(one, name) for one in figures]) for name in NAMES))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, linear between neighbours: [1, 2, 4], 0.75 -> 3"""
    ordered, place = sorted(values), share * (len(values) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


# ---- two curves at equal variety -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtEqualVariety:
    """The nats per token of two curves at one value of distinct-2."""

    distinct_2: float
    control: float
    own: float

    @property
    def difference(self) -> float:
        """Return by how much the own texts are less likely, as a share of the control's nats; negative if they are likelier."""
        return self.own / self.control - 1


def at_equal_variety(control: Sequence[Point], own: Sequence[Point]) -> list[AtEqualVariety]:
    """Compare two curves wherever both have a value: at every point of either, and at the ends of what they share.

    Between neighbouring points a curve is a straight line, so the largest differences are among these. Empty if they share nothing.
    """
    low, high = max(min(control)[0], min(own)[0]), min(max(control)[0], max(own)[0])
    places = sorted({x for x, _ in (*control, *own) if low <= x <= high} | {low, high}) if low <= high else []
    return [AtEqualVariety(x, interpolated(control, x), interpolated(own, x)) for x in places]


def interpolated(curve: Sequence[Point], x: float) -> float:
    """Return the value of a curve at `x`, which lies within it: (0, 1), (2, 5) at 1.5 -> 4"""
    ordered = sorted(curve)
    for (x0, y0), (x1, y1) in itertools.pairwise(ordered):
        if x0 <= x <= x1 and x0 < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return next(y for at, y in ordered if at == x)
