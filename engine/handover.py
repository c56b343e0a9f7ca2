"""Hand tokens from the thread that computes to the one that reads, a few at a time.

Waking a thread for every token would cost more than computing it: Python's threads take turns. So tokens that follow each other
within PAUSE_SECONDS are handed over together, in a group; the first one, and the last ones, at once.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

PAUSE_SECONDS = 0.02

T = TypeVar("T")


class Handover(Generic[T]):
    """One thread gives and ends, another one iterates over groups of what was given; no group is empty."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[tuple[list[T], bool, BaseException | None]] = queue.SimpleQueue()
        self._held: list[T] = []
        self._handed_at = -PAUSE_SECONDS  # monotonic

    def give(self, *items: T) -> None:
        self._held += items
        if (now := time.monotonic()) - self._handed_at >= PAUSE_SECONDS:
            self._handed_at = now
            held, self._held = self._held, []
            self._given.put((held, False, None))

    def end(self, error: BaseException | None = None) -> None:
        """Hand over what is held; the reader then gets the error, if there is one."""
        held, self._held = self._held, []
        self._given.put((held, True, error))

    def __iter__(self) -> Iterator[list[T]]:
        ended = False
        while not ended:
            items, ended, error = self._given.get()
            if items:
                yield items
            if error is not None:
                raise error
