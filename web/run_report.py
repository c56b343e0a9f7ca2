"""A training as one HTML file to send: its figures, the curve of its loss, what it wrote at first and what it writes now.

The file loads nothing: styles and the curve stand in it. Not in it: the person's notes, and the books themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import workflows
from config import TrainConfig
from workspace import Workspace

WIDTH, HEIGHT = 720.0, 260.0  # of the drawing
LEFT, BOTTOM = 44.0, 24.0  # room for the numbers
MOST_SAMPLES = 6
MOST_POINTS = 500

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """The loss over the iterations as SVG paths, with the numbers at the ends of both axes."""

    batch: str
    held_out: str
    first: int
    last: int
    least: float
    most: float
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    bottom: float = BOTTOM


@dataclass(frozen=True)
class RunReport:
    """What the file shows. `titles` are the books, `settings` the last run's own, `curve` is None without a measured loss."""

    model: workflows.ModelInfo
    titles: tuple[str, ...]
    settings: TrainConfig | None
    curve: Curve | None
    samples: tuple[dict[str, Any], ...]
    round: dict[str, Any] | None  # the newest of self-play


def run_report(workspace: Workspace, name: str) -> RunReport:
    """Collect the report of a model's trainings. Raises ModelNotFound."""
    model = workflows.get_model(workspace, name)
    history = workflows.history(workspace, model.name, MOST_POINTS)
    books = dict.fromkeys(book for training in model.lineage for book in training.books)
    known = {book.name: book.title for book in workflows.list_books(workspace)}
    return RunReport(
        model=model,
        titles=tuple(known.get(book, book) for book in books),
        settings=workflows.last_config(workspace, model.name),
        curve=curve_of(history),
        samples=tuple(picked(history["samples"], MOST_SAMPLES)),
        round=next(iter(workflows.rollouts(workspace, model.name, limit=1)), None),
    )


def picked(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` values at equal distances, the first and the last among them.

    >>> picked([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def curve_of(history: dict[str, Any]) -> Curve | None:
    """Draw the history's losses; None where there are fewer than two points."""
    batch = _points(history["iterations"], history["loss_smooth"])
    held_out = _points(history["evaluations"]["iteration"], history["evaluations"]["val_loss"])
    every = batch + held_out
    if len(every) < 2:
        return None
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    least, most = min(y for _, y in every), max(y for _, y in every)

    def path(points: Points) -> str:
        placed = (
            f"{LEFT + (x - first) / ((last - first) or 1) * (WIDTH - LEFT):.1f} "
            f"{(most - y) / ((most - least) or 1) * (HEIGHT - BOTTOM - 8) + 4:.1f}"
            for x, y in points
        )
        return f"M{'L'.join(placed)}" if points else ""

    return Curve(path(batch), path(held_out), int(first), int(last), least, most)


def _points(iterations: Sequence[int], values: Sequence[float | None]) -> Points:
    return [(x, y) for x, y in zip(iterations, values, strict=True) if y is not None and y == y]
