"""What a model has learned, training by training.

The list travels as one metadata entry of model.safetensors, so that it is replaced together with the weights it describes.
Models written before the list existed carry one summary there; it becomes their first and only entry.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY = "azr"  # of the metadata entry


@dataclass(frozen=True)
class TrainingSummary:
    """One training: the books it read, the iterations it took, and the figures of the weights it published."""

    iteration: int  # counted over all trainings of the model
    val_loss: float | None  # nats per token on the held-out text of these books
    bits_per_byte: float | None
    books: tuple[str, ...]
    trained_at: str  # ISO 8601, UTC
    elapsed_seconds: float  # of training, summed over all trainings of the model
    from_iteration: int = 0  # where this training began; 0 also in models of earlier versions, which did not record it

    @property
    def is_arrival(self) -> bool:
        """Return whether this stands for all that happened to a model before it was imported; nothing of that is known."""
        return self.iteration == 0 and not self.books


Lineage = tuple[TrainingSummary, ...]  # the first training first


def extended(lineage: Lineage, summary: TrainingSummary) -> Lineage:
    """Return the lineage with `summary` at its end, in place of an earlier summary of the same training.

    A training that was stopped and resumed is one training: same books, same first iteration.
    """
    same = lineage and (lineage[-1].from_iteration, lineage[-1].books) == (summary.from_iteration, summary.books)
    return (*(lineage[:-1] if same else lineage), summary)


def books_of(lineage: Lineage) -> tuple[str, ...]:
    """Return every book of every training once, in the order in which they were first read."""
    return tuple(dict.fromkeys(book for training in lineage for book in training.books))


def to_metadata(lineage: Lineage) -> dict[str, str]:
    """Return the metadata entry. Raises ValueError for a figure that is not finite."""
    return {KEY: json.dumps([dataclasses.asdict(training) for training in lineage], allow_nan=False)}


def from_metadata(metadata: Mapping[str, str]) -> Lineage:
    """Read the lineage back; without an entry the model was never trained. Raises ValueError, TypeError or KeyError."""
    entries = json.loads(metadata.get(KEY, "[]"))
    return tuple(_summary(entry) for entry in (entries if isinstance(entries, list) else [entries]))


def is_list(metadata: Mapping[str, str]) -> bool:
    """Tell whether the entry is a list, as written since there is one; such a file always carries a checksum."""
    return metadata.get(KEY, "").startswith("[")


def _summary(values: dict[str, Any]) -> TrainingSummary:
    return TrainingSummary(**values | {"books": tuple(values["books"])})
