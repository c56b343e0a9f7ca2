"""What the card of a model shows at a glance: one sentence that it wrote, and the curve of its loss."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from runs.history import losses
from runs.run_log import METRICS, newest_sample
from workspace import Workspace

POINTS = 60  # of the curve
SHORTEST, LONGEST = 20, 140  # characters of a sentence
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][»”\")])\s+")


@dataclass(frozen=True)
class Glimpse:
    sentence: str  # "" before the first sample
    losses: tuple[float, ...]


def glimpse(ws: Workspace, name: str) -> Glimpse:
    """Return the newest sentence of a model and its loss over all trainings."""
    log = ws.checkpoint_folder(name) / METRICS
    try:
        status = log.stat()
    except OSError:
        return Glimpse(sentence_of(newest_sample(ws, name)), ())
    curve = _losses(ws, name, status.st_size, status.st_mtime_ns)
    return Glimpse(sentence_of(newest_sample(ws, name)), curve)


@functools.lru_cache(maxsize=256)
def _losses(ws: Workspace, name: str, size: int, changed_ns: int) -> tuple[float, ...]:
    return tuple(losses(ws, name, POINTS))


def sentence_of(text: str) -> str:
    """Return the first sentence of a text that is neither too short nor too long, else its beginning.

    >>> sentence_of("Да. Старик чинил лодку у реки. Внук спал.")
    'Старик чинил лодку у реки.'
    """
    whole = " ".join(text.split())
    sentences = [found.strip() for found in _SENTENCE_END.split(whole)]
    fitting = (each for each in sentences if SHORTEST <= len(each) <= LONGEST and each[-1] in '.!?…»”")')
    if (found := next(fitting, None)) is not None:
        return found
    return whole if len(whole) <= LONGEST else whole[:LONGEST].rpartition(" ")[0] + "…"
