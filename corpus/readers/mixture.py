"""Find the line where a text file changes from one encoding to another, as happens when files are concatenated.

Each pair of neighbouring bytes gets a score in every encoding (`letters.pair_score`; UTF-8 by its rules), summed by lines. Every other
encoding keeps a running sum of what it gains over the one that fits most of the file (CUSUM, Page 1954): a stretch in which
it gains more than `_PROOF` is text in that other encoding. Memory is constant.

Not covered: UTF-16, and stretches too short to prove anything (about half a line).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from corpus.readers.letters import pair_score, table

Scores = NDArray[np.float32]
_CANDIDATES = ("utf_8", "cp1252", "cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5")
_CHUNK_BYTES = 1 << 17
_PROOF = 25.0  # points; a line of 80 Russian letters gains 30 to 100 over the wrong encoding


def find_mixture(file: BinaryIO) -> int | None:
    """Return the first line (counted from 1) in a second encoding, or None where one encoding fits the whole file."""
    totals = np.zeros(len(_CANDIDATES))
    for scores in _line_scores(file):
        totals += scores.sum(axis=0)
    main = int(totals.argmax())
    gains = (scores - scores[:, main : main + 1] for scores in _line_scores(file))
    found = _proved(gains)
    if found is None:
        return None
    candidate, first = found
    if first > 0:
        return first + 1
    gains = (scores - scores[:, main : main + 1] for scores in _line_scores(file))
    return _end_of_first_stretch(gain for chunk in gains for gain in chunk[:, candidate].tolist()) + 1


def _proved(gains: Iterator[Scores]) -> tuple[int, int] | None:
    """Return (candidate, index of the first line) of the first stretch proved to be in another encoding than the main one, or None."""
    carried = np.zeros(len(_CANDIDATES))  # the running sums, never below 0
    begun = np.zeros(len(_CANDIDATES), dtype=np.int64)  # the line at which each began to rise from 0
    number = 0
    for chunk in gains:
        sums = carried + np.cumsum(chunk, axis=0, dtype=np.float64)
        sums -= np.minimum(0.0, np.minimum.accumulate(sums, axis=0))  # (lines, candidates)
        proved = np.flatnonzero((sums > _PROOF).any(axis=1))
        end = int(proved[0]) + 1 if len(proved) else len(sums)
        zeros = sums[:end] <= 0
        last_zero = end - 1 - zeros[::-1].argmax(axis=0)
        begun = np.where(zeros.any(axis=0), number + last_zero + 1, begun)
        carried = sums[end - 1]
        if len(proved):
            candidate = int(carried.argmax())
            return candidate, int(begun[candidate])
        number += end
    return None


def _end_of_first_stretch(gains: Iterable[float]) -> int:
    """Return the number of lines of the stretch at the head of the file."""
    total = best = 0.0
    length = 0
    for number, gain in enumerate(gains, start=1):
        total += gain
        if total > best:
            best, length = total, number
        elif total < best - _PROOF:
            break
    return length


def _line_scores(file: BinaryIO) -> Iterator[Scores]:
    """Yield the scores of the lines of a file in each candidate, (lines, candidates), chunk by chunk."""
    file.seek(0)
    points, rest = _points(), b""
    while chunk := file.read(_CHUNK_BYTES):
        data, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > _CHUNK_BYTES:  # a very long line is taken in pieces
            data, newline, rest = data + newline + rest, b"", b""
        if data:
            yield _scores(data, points)
    if rest:
        yield _scores(rest, points)


def _scores(data: bytes, points: Scores) -> Scores:
    codes = np.frombuffer(data + b"\n", dtype=np.uint8)
    pairs = codes[:-1].astype(np.intp) << 8 | codes[1:]
    starts = np.concatenate(([0], np.flatnonzero(codes[:-1] == 10) + 1))
    starts = starts[starts < len(pairs)]
    return np.stack([np.add.reduceat(row.take(pairs), starts) for row in points], axis=1)


@functools.cache
def _points() -> Scores:
    """Return the score of each pair of bytes in each candidate, (candidates, 65536)."""
    points = np.zeros((len(_CANDIDATES), 256, 256), dtype=np.float32)
    for row, encoding in zip(points, _CANDIDATES, strict=True):
        if encoding == "utf_8":
            row[:] = _utf8_points()
            continue
        characters = table(encoding)
        for first in range(256):
            for second in range(0 if first >= 0x80 else 0x80, 256):
                if first != second:
                    row[first, second] = pair_score(characters[first], characters[second])
    return points.reshape(len(_CANDIDATES), 65536)


def _utf8_points() -> Scores:
    """Return the scores in UTF-8, (256, 256): a lead byte with a continuation raises them, either alone lowers them."""
    lead, follows = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
    lead[0xC2:0xF5], follows[0x80:0xC0] = True, True
    right = lead[:, None] & follows[None, :]
    wrong = (lead[:, None] & ~follows[None, :]) | (~lead[:, None] & ~follows[:, None] & follows[None, :])
    wrong[0xF5:], wrong[:, 0xF5:], wrong[0xC0:0xC2], wrong[:, 0xC0:0xC2] = True, True, True, True
    return np.where(right, 0.6, np.where(wrong, -1.0, 0.0)).astype(np.float32)
