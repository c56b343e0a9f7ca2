"""Lay out a comparison of self-play with its control as tables in Markdown, figures as mean ± standard error over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from benchmarks.pair import CONTROL, DEFAULT, GREEDY, WAYS, Trial
from benchmarks.texts import NAMES, Band, at_equal_variety
from benchmarks.verdict import (
    ROUNDS,
    Figure,
    curve,
    first_rewards,
    goals,
    last_rewards,
    over_seeds,
    text_figure,
    time_share,
    way_name,
)

DECIMALS = {"seq_rep_4": 4, "length": 1}  # else 3
Arms = dict[str, list[Trial]]


def tables(arms: Arms, book: Band, judged: float) -> str:
    """Return all tables; `judged` are the judge's nats per token for the book's own passages."""
    parts = [_texts(arms, book), _curves(arms, book, judged)]
    control = arms[CONTROL]
    for name, own in arms.items():
        if name != CONTROL:
            parts += [_equal_variety(name, control, own), _goals(name, control, own, book)]
    return "\n\n".join("\n".join(part) for part in parts)


def by_arm(trials: Sequence[Trial]) -> Arms:
    names = dict.fromkeys(trial.arm for trial in trials)
    return {name: [trial for trial in trials if trial.arm == name] for name in names}


def _texts(arms: Arms, book: Band) -> Iterator[str]:
    yield from _head("", *arms, "book (middle 80 % of its passages)")
    rows: list[tuple[str, Callable[[Trial], float], int]] = [
        ("iterations", lambda t: t.course.iterations, 0),
        ("seconds, without evaluations", lambda t: t.course.seconds, 0),
        ("share of it in self-play", lambda t: t.course.play_seconds / t.course.seconds, 2),
        ("the same since its first round", time_share, 2),
        ("bits/byte", lambda t: t.bits_per_byte, 4),
        ("val_loss", lambda t: t.val_loss, 4),
        (f"reward of the first {ROUNDS} rounds", first_rewards, 2),
        (f"reward of the last {ROUNDS} rounds", last_rewards, 2),
    ]
    for name, value, decimals in rows:
        yield _row(name, *(shown(over_seeds(trials, value), decimals) for trials in arms.values()), "–")
    for way in (GREEDY, DEFAULT):
        for name in NAMES:
            decimals = DECIMALS.get(name, 3)
            low, middle, high = (f"{getattr(end, name):.{decimals}f}" for end in (book.low, book.mean, book.high))
            found = (shown(text_figure(trials, way, name), decimals) for trials in arms.values())
            yield _row(f"{way_name(way)}: {name.replace('_', '-')}", *found, f"{middle} ({low} to {high})")


def _curves(arms: Arms, book: Band, judged: float) -> Iterator[str]:
    yield from _head("distinct-2, nats per token under the judge", *arms)
    for number, way in enumerate(WAYS):
        points = (curve(trials)[number] for trials in arms.values())
        yield _row(way_name(way), *(f"{variety:.3f}, {nats:.3f}" for variety, nats in points))
    yield _row("the book", f"{book.mean.distinct_2:.3f}, {judged:.3f}", *[""] * (len(arms) - 1))


def _equal_variety(name: str, control: Sequence[Trial], own: Sequence[Trial]) -> Iterator[str]:
    yield from _head("at equal distinct-2", f"nats, {CONTROL}", f"nats, {name}", "difference")
    for point in at_equal_variety(curve(control), curve(own)):
        yield _row(f"{point.distinct_2:.3f}", f"{point.control:.3f}", f"{point.own:.3f}", f"{point.difference:+.1%}")


def _goals(name: str, control: Sequence[Trial], own: Sequence[Trial], book: Band) -> Iterator[str]:
    yield from _head(f"goal for {name}", "wanted", "found", "reached")
    for goal in goals(control, own, book):
        yield _row(goal.name, goal.wanted, goal.found, "yes" if goal.reached else "**no**")


def shown(figure: Figure, decimals: int) -> str:
    """
    >>> shown(Figure(0.25, 0.01), 2), shown(Figure(0.25, math.nan), 2), shown(Figure(math.nan, math.nan), 2)
    ('0.25 ± 0.01', '0.25', '–')
    """
    if math.isnan(figure.mean):
        return "–"
    error = "" if math.isnan(figure.error) else f" ± {figure.error:.{decimals}f}"
    return f"{figure.mean:,.{decimals}f}{error}"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield "|" + "---|" * len(cells)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
