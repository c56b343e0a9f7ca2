"""Read the clean text of a book piece by piece, so that a training on a gigabyte of text needs no gigabyte of memory.

A short book is a `str`. A long one is a `BookText`, which has a length and slices like a string and reads them from the file. Joined
spans of a text behave the same (`joined`). All are `tokenizer.Characters`.

Particular: an open file can still be read after the book was deleted (not on Windows, where it cannot be deleted meanwhile).
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tokenizer import Characters

SHORT_BYTES = 64 << 20  # of a book that is held in memory as a whole
BLOCK_BYTES = 64 << 10
AHEAD_CHARACTERS = 1 << 20  # read at once where slices follow one another
_LONGEST = 4  # bytes of a character

Span = tuple[int, int]


def book_text(path: Path) -> Characters:
    """Return the characters of a UTF-8 file. Raises OSError."""
    if path.stat().st_size <= SHORT_BYTES:
        return path.read_text(encoding="utf-8")
    return BookText(path)


class BookText:
    """The characters of a UTF-8 file, which must not change. Slices are strings; steps and single indices are not covered."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._before = [0, *accumulate(_characters_by_block(self._file))]  # characters that begin before each block
        self._window, self._window_start = "", 0

    def __len__(self) -> int:
        return self._before[-1]

    def __getitem__(self, key: slice, /) -> str:
        start, stop, _ = key.indices(len(self))
        if stop <= start:
            return ""
        with self._lock:
            end = self._window_start + len(self._window)
            if not self._window_start <= start <= stop <= end:
                follows = self._window_start <= start <= end
                self._window = self._read(
                    start, min(len(self), max(stop, start + AHEAD_CHARACTERS)) if follows else stop
                )
                self._window_start = start
            return self._window[start - self._window_start : stop - self._window_start]

    def _read(self, start: int, stop: int) -> str:
        first, last = bisect_right(self._before, start) - 1, bisect_left(self._before, stop)
        self._file.seek(first * BLOCK_BYTES)
        data = self._file.read((last - first) * BLOCK_BYTES + _LONGEST - 1)
        begun = next(place for place, byte in enumerate(data) if byte & 0xC0 != 0x80)  # in the block before
        text = data[begun:].decode("utf-8", "ignore")  # only the last character may be cut
        return text[start - self._before[first] : stop - self._before[first]]


class _Joined:
    """Spans of a text, one after the other."""

    def __init__(self, text: Characters, spans: Sequence[Span]) -> None:
        self._text, self._spans = text, spans
        self._before = [0, *accumulate(end - start for start, end in spans)]

    def __len__(self) -> int:
        return self._before[-1]

    def __getitem__(self, key: slice, /) -> str:
        start, stop, _ = key.indices(len(self))
        return "".join(self._pieces(start, stop))

    def _pieces(self, start: int, stop: int) -> Iterator[str]:
        for (first, _), before, after in zip(self._spans, self._before, self._before[1:], strict=False):
            if max(start, before) < min(stop, after):
                yield self._text[first + max(start, before) - before : first + min(stop, after) - before]


def joined(text: Characters, spans: Sequence[Span]) -> Characters:
    """Return the spans of a text, joined; for a string a string."""
    if isinstance(text, str):
        return "".join(text[start:end] for start, end in spans)
    return _Joined(text, spans)


def _characters_by_block(file: BinaryIO) -> Iterator[int]:
    """Yield how many characters begin in each block of a UTF-8 file."""
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield int(np.count_nonzero((np.frombuffer(block, np.uint8) & 0xC0) != 0x80))
