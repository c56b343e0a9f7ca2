"""Run generations in a few threads with a short queue and a limit on how long a reader may block a thread.

A generation is a plain iterator of pieces that blocks; it runs in one of `running` threads, and at most `waiting` more wait
for one. Its pieces cross to the event loop through a buffer for ROOM of them, so a slow reader slows its own generation.
If a reader lets its writer wait for longer than `patience_seconds` in all, the generation ends with ReaderStalled, which the
reader gets after the buffered pieces. If a reader leaves (its async iterator is closed or cancelled), the generation stops at
the next piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from errors import Overloaded, ReaderStalled

T = TypeVar("T")
ROOM = 64
RUNNING = WAITING = 32  # so many texts are computed together (batch.py)
RETRY_AFTER_SECONDS = 5
PATIENCE_SECONDS = 10.0


class Generations:
    """Runs generations and limits their number. `close` ends the running ones and refuses new ones."""

    def __init__(
        self, running: int = RUNNING, waiting: int = WAITING, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="generation")
        self._limit = running + waiting
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._admitted: set[_Generation[Any]] = set()
        self._closed = False

    @property
    def admitted(self) -> int:
        """Return the number of running and waiting generations."""
        with self._lock:
            return len(self._admitted)

    async def run(self, start: Callable[[], Generator[T, None, None]]) -> AsyncGenerator[T, None]:
        """Yield the pieces of `start()`, which is called in a thread.

        Raises Overloaded (also where the system has no thread to give), ReaderStalled, and the errors of the generation.
        """
        generation = _Generation(start, asyncio.get_running_loop(), self._patience_seconds)
        with self._lock:
            if self._closed:
                raise Overloaded(reason="closing", seconds=RETRY_AFTER_SECONDS)
            if len(self._admitted) >= self._limit:
                raise Overloaded(seconds=RETRY_AFTER_SECONDS)
            self._admitted.add(generation)
            try:
                self._threads.submit(self._write, generation)
            except RuntimeError as error:
                self._admitted.discard(generation)
                generation.stop()
                raise Overloaded(seconds=RETRY_AFTER_SECONDS) from error
        try:
            while (piece := await generation.next()) is not None:
                yield piece
        finally:
            generation.stop()

    def close(self) -> None:
        """Stop running generations at their next piece, and refuse new ones."""
        with self._lock:
            self._closed = True
            for generation in self._admitted:
                generation.stop()
        self._threads.shutdown(wait=False)

    def _write(self, generation: _Generation[Any]) -> None:
        try:
            generation.write()
        finally:
            with self._lock:
                self._admitted.discard(generation)


class _Generation(Generic[T]):
    """One text: written in a thread by `write`, read in the event loop by `next`."""

    def __init__(
        self, start: Callable[[], Generator[T, None, None]], loop: asyncio.AbstractEventLoop, patience_seconds: float
    ) -> None:
        self._start = start
        self._loop = loop
        self._patience_seconds, self._patience_left = patience_seconds, patience_seconds
        self._stopped = threading.Event()
        self._room = threading.Semaphore(ROOM)
        self._pieces: asyncio.Queue[T | BaseException | None] = asyncio.Queue()  # None is the end
        self._crossing: deque[T | BaseException | None] = (
            deque()
        )  # on their way to the loop, which is woken once for all of them
        self._is_woken = False
        self._crossing_lock = threading.Lock()

    async def next(self) -> T | None:
        """Return the next piece, or None at the end. Raises what the generation raised."""
        piece = await self._pieces.get()
        self._room.release()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def stop(self) -> None:
        """Free a writer that waits for a reader who has gone, and let it end at its next piece."""
        self._stopped.set()
        self._room.release()

    def write(self) -> None:
        """Write the whole text. Raises nothing: the reader gets every error."""
        try:
            if not self._stopped.is_set():
                with contextlib.closing(self._start()) as pieces:
                    self._write_pieces(pieces)
            self._hand_over(None)
        except BaseException as error:
            self._hand_over(error)

    def _write_pieces(self, pieces: Generator[T, None, None]) -> None:
        for piece in pieces:
            self._wait_for_room()
            if self._stopped.is_set():
                return
            self._hand_over(piece)

    def _wait_for_room(self) -> None:
        """Wait for the reader, for as long as is left of its patience. Raises ReaderStalled."""
        if self._room.acquire(blocking=False):
            return
        began_at = time.monotonic()
        if not self._room.acquire(timeout=self._patience_left):
            raise ReaderStalled(seconds=self._patience_seconds)
        self._patience_left = max(0.0, self._patience_left - (time.monotonic() - began_at))

    def _hand_over(self, piece: T | BaseException | None) -> None:
        with self._crossing_lock:
            self._crossing.append(piece)
            if self._is_woken:
                return
            self._is_woken = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server went down
            self._loop.call_soon_threadsafe(self._receive)

    def _receive(self) -> None:
        """Take over what has crossed; runs in the event loop."""
        with self._crossing_lock:
            self._is_woken = False
            arrived = list(self._crossing)
            self._crossing.clear()
        for piece in arrived:
            self._pieces.put_nowait(piece)
