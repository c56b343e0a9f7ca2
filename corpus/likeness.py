"""Find texts that are much like another and passages that a text repeats, from a small fingerprint made while it is read.

A text is the set of its runs of five words (shingles; Broder 1997). Kept are the 256 with the smallest hashes: the same choice in
every text, so the share of common ones among two texts' choices estimates the share of common shingles. For passages that stand
in a text twice, the runs are of twenty words; of a long text only those whose hash ends in zeros are counted, each time they come.

Particular: letters are compared in lower case and signs are left out, so another edition of a book is still known. All hashing is
numpy's; memory is constant for any length.
"""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SIZE = 256  # hashes in a fingerprint
_SHORT, _LONG = 5, 20  # words in a run
_FEWEST = 40  # hashes; a shorter text proves nothing
_MOST_KEPT = 200_000  # long runs that are counted
_CHUNK_CHARACTERS = 1 << 15
_LONGEST_WORD = 200  # characters; a longer one is taken in parts
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclass(frozen=True)
class Likeness:
    """`fingerprint` is the SIZE smallest hashes in base64, "" for a text too short; `repeated` the share of repeated runs, in percent."""

    fingerprint: str
    repeated: int


class Fingerprinter:
    """Takes the text of a book in pieces; `finish` gives what was found."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._held = 0  # characters in _pieces
        self._rest = ""  # the beginning of a word that may go on
        self._words = np.zeros(0, dtype=np.uint64)  # hashes of the last words, with which a run may begin
        self._smallest = np.zeros(0, dtype=np.uint64)
        self._long: list[Hashes] = []
        self._kept, self._mask = 0, 0

    def feed(self, text: str) -> None:
        self._pieces.append(text)
        self._held += len(text)
        if self._held >= _CHUNK_CHARACTERS:
            self._take("".join(self._pieces))
            self._pieces, self._held = [], 0

    def finish(self) -> Likeness:
        self._take("".join(self._pieces) + " ")
        if len(self._smallest) < _FEWEST:
            return Likeness("", 0)
        runs = np.concatenate(self._long) if self._long else np.zeros(0, dtype=np.uint64)
        repeated = 1 - len(np.unique(runs)) / len(runs) if len(runs) else 0.0
        return Likeness(base64.b64encode(self._smallest.astype("<u8").tobytes()).decode("ascii"), round(100 * repeated))

    def _take(self, text: str) -> None:
        for start in range(0, len(text), 2 * _CHUNK_CHARACTERS):  # a piece may be of any size
            hashes, self._rest = _word_hashes(self._rest + text[start : start + 2 * _CHUNK_CHARACTERS])
            words = np.concatenate((self._words, hashes))
            new = len(words) - len(self._words)
            self._keep(_runs(words, _SHORT, new))
            self._count(_runs(words, _LONG, new))
            self._words = words[-(_LONG - 1) :]

    def _keep(self, runs: Hashes) -> None:
        if len(self._smallest) == SIZE:
            runs = runs[runs < self._smallest[-1]]  # a handful, so that sorting costs nothing
        self._smallest = np.unique(np.concatenate((self._smallest, runs)))[:SIZE]

    def _count(self, runs: Hashes) -> None:
        self._long.append(runs[runs & np.uint64(self._mask) == 0])
        self._kept += len(self._long[-1])
        while self._kept > _MOST_KEPT:
            self._mask = 2 * self._mask + 1
            self._long = [kept[kept & np.uint64(self._mask) == 0] for kept in self._long]
            self._kept = sum(map(len, self._long))


def likeness(one: str, other: str) -> float:
    """Return which share of the shorter text's runs the other has, from two fingerprints; 0.0 where there is none."""
    if not one or not other:
        return 0.0
    a, b = decoded(one), decoded(other)
    union = np.union1d(a, b)[: max(len(a), len(b))]
    common = np.intersect1d(a, b, assume_unique=True)
    similar = np.isin(union, common, assume_unique=True).sum() / len(union)
    sizes = sorted((_count_of(a), _count_of(b)))
    return float(min(1.0, similar * (sizes[0] + sizes[1]) / ((1 + similar) * sizes[0])))


@functools.lru_cache(maxsize=4096)
def decoded(fingerprint: str) -> Hashes:
    """Return the hashes of a fingerprint, sorted."""
    return np.frombuffer(base64.b64decode(fingerprint), dtype="<u8").astype(np.uint64)


def _count_of(hashes: Hashes) -> float:
    """Estimate how many different runs a text has."""
    return float(len(hashes)) if len(hashes) < SIZE else (SIZE - 1) * 2.0**64 / float(hashes[-1])


def _word_hashes(text: str) -> tuple[Hashes, str]:
    """Return the hashes of the words in a text, and the end of the text if it is inside a word."""
    lower, is_word = _tables()
    written = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    codes = lower[np.minimum(written, 0xFFFF)]
    inside = np.concatenate(([False], is_word[codes], [False]))
    borders = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = borders[::2], borders[1::2]
    rest = ""
    if len(ends) and ends[-1] == len(codes):
        rest = text[starts[-1] :] if len(codes) - starts[-1] < _LONGEST_WORD else ""
        starts, ends = starts[:-1], ends[:-1]
    powers, inverses = _powers(2 * _CHUNK_CHARACTERS + _LONGEST_WORD)
    sums = np.concatenate(
        (np.zeros(1, dtype=np.uint64), np.cumsum((codes + np.uint64(1)) * powers[: len(codes)], dtype=np.uint64))
    )
    return _mixed((sums[ends] - sums[starts]) * inverses[starts]), rest


def _runs(words: Hashes, length: int, new: int) -> Hashes:
    """Return the hashes of the runs of `length` words that end in the last `new` words."""
    words = words[max(0, len(words) - new - length + 1) :]
    count = len(words) - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        total = total * np.uint64(_BASE) + words[offset : offset + count]
    return _mixed(total)


def _mixed(values: Hashes) -> Hashes:
    """Mix the bits of each value (the end of splitmix64, Steele 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    both = []
    for base in (_BASE, _INVERSE):
        powers = np.full(count, base, dtype=np.uint64)
        powers[0] = 1
        both.append(np.cumprod(powers, dtype=np.uint64))
    return both[0], both[1]


@functools.cache
def _tables() -> tuple[Hashes, NDArray[np.bool_]]:
    """Return, for each character up to U+FFFF, its small letter and whether it belongs to a word."""
    lower = np.array(
        [ord(small) if len(small := chr(code).lower()) == 1 else code for code in range(0x10000)], dtype=np.uint64
    )
    return lower, np.array([chr(code).isalnum() for code in range(0x10000)], dtype=np.bool_)
