"""Measure the book once: how varied it is, which word 8-grams it contains, where a prompt may begin.

Particular: the book itself is not kept, and memory and time are bounded for any size. Variety is measured on a few
hundred random windows. 8-grams go into a Bloom filter of one 64-bit word and four bits a key (Putze et al., "Cache-,
hash- and space-efficient Bloom filters", 2007) of at most 64 MiB; above `MOST_CHARACTERS` a random part of the book is
indexed. Hashes do not depend on PYTHONHASHSEED, so a resumed run gets the same answers, false ones included.

Not covered: 8-grams across the border of two chunks (7 in about 170,000). An 8-gram that is not in the book is
taken for copied with a probability of 0.02-0.07 %, measured at 1 to 100 MB; a test keeps it below 0.2 %.
"""

from __future__ import annotations

import random
import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import fsum, sqrt

from selfplay.rewards import WORD, variety, words
from tokenizer import Characters

# ---- places in the book ----------------------------------------------------------------------------------------------

SENTENCE_START = re.compile(r"(?:[.!?…][\"'»”)\]]*\s+|\n\s*)(?=\S)")
SENTENCE_REACH = 400  # characters in which to look for a sentence before taking any word
WORD_REACH = 64
STRETCH = 2_000  # characters read at a time


def excerpts(texts: Sequence[Characters], characters: int, count: int, rng: random.Random) -> list[str]:
    """Return `count` pieces of the book that begin with a sentence, or at least with a word."""
    starts = ((text, _start(text, place)) for text, place in _places(texts, count, rng))
    return [text[start : start + characters] for text, start in starts]


def _places(texts: Sequence[Characters], count: int, rng: random.Random) -> Iterator[tuple[Characters, int]]:
    """Yield random places of the book, each character as likely as any other."""
    for text in rng.choices(texts, weights=[len(text) for text in texts], k=count):
        yield text, rng.randrange(len(text))


def _start(text: Characters, place: int) -> int:
    """Return where the next sentence begins, else the word at `place`, else the book."""
    found = SENTENCE_START.search(text[place : place + SENTENCE_REACH])
    if found:
        return place + found.end()
    return next((start for start, _ in _words_at(text, _word_start(text, place))), 0)


def _word_start(text: Characters, place: int) -> int:
    first = max(0, place - WORD_REACH)
    before = text[first:place]
    for start in range(len(before), 0, -1):
        if not WORD.match(before, start - 1):
            return first + start
    return first


def _words_at(text: Characters, start: int) -> Iterator[tuple[int, str]]:
    """Yield the words from `start` on with their places, reading a stretch at a time."""
    reach = STRETCH
    while start < len(text):
        stretch = text[start : start + reach]
        whole = start + len(stretch) == len(text)
        found = [match for match in WORD.finditer(stretch) if whole or match.end() < len(stretch)]
        yield from ((start + match.start(), match[0]) for match in found)
        if whole:
            return
        unfinished = WORD.search(stretch, found[-1].end() if found else 0)
        reach = STRETCH if found or not unfinished else 2 * reach
        start += unfinished.start() if unfinished else len(stretch)


# ---- variety ---------------------------------------------------------------------------------------------------------

WINDOWS = 256
MOST_WINDOW_WORDS = 200_000  # in all windows together
SIZES = (1, *(size for power in range(12) for size in (2 * 2**power, 3 * 2**power)))  # 1, 2, 3, 4, 6, 8, 12 ... 6144


@dataclass(frozen=True)
class Bands:
    """The mean mu(n) and standard deviation sd(n) of the variety of book windows of `sizes` words."""

    sizes: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def at(self, n: int) -> tuple[float, float]:
        """Return (mu, sd) for n words, linear between the sizes and constant beyond them."""
        right = min(bisect_left(self.sizes, n), len(self.sizes) - 1)
        left = max(0, right - 1)
        gap = self.sizes[right] - self.sizes[left]
        share = min(1.0, max(0.0, (n - self.sizes[left]) / gap)) if gap else 0.0
        mu, sd = ((1 - share) * values[left] + share * values[right] for values in (self.means, self.deviations))
        return mu, sd


def measure_bands(texts: Sequence[Characters], most_words: int, rng: random.Random) -> Bands:
    """Measure the bands for up to `most_words` words, or up to the length of a shorter book. Each window is used for all sizes."""
    count = max(1, min(WINDOWS, MOST_WINDOW_WORDS // most_words))
    places = [(max(texts, key=len), 0), *_places(texts, count, rng)]
    windows = [_words_from(text, place, most_words) for text, place in places]
    longest = max(map(len, windows))
    sizes = (*(size for size in SIZES if size < longest), longest)
    figures = [_mean_and_deviation([variety(w[:size]) for w in windows if len(w) >= size]) for size in sizes]
    means, deviations = zip(*figures, strict=True)
    return Bands(sizes, means, deviations)


def _words_from(text: Characters, place: int, count: int) -> list[str]:
    return [word.lower() for _, word in islice(_words_at(text, _word_start(text, place)), count)]


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    mean = fsum(values) / len(values)
    return mean, sqrt(fsum((value - mean) ** 2 for value in values) / len(values))


# ---- word 8-grams ----------------------------------------------------------------------------------------------------

GRAM_WORDS = 8
BREAK = re.compile(r"\W")
CHUNK_CHARACTERS = 1_000_000
MOST_CHARACTERS = 64_000_000
CHARACTERS_PER_SLOT = 8  # a word and its space take 5.5 to 6.5: about 1.3 keys a slot, seldom above 2
MOST_CACHED_WORDS = 100_000

Chunk = tuple[Characters, int, int]  # text, start, end


class BookGrams:
    """The set of the book's word 8-grams."""

    def __init__(self, texts: Sequence[Characters], rng: random.Random) -> None:
        chunks = _chosen([(text, start, end) for text in texts for start, end in _chunks(text)], rng)
        characters = sum(end - start for _, start, end in chunks)
        self._mask = (1 << (characters // CHARACTERS_PER_SLOT).bit_length()) - 1
        self._bits = array("Q", bytes(8 * (self._mask + 1)))
        fixed = random.Random(0)
        self._patterns = [sum(1 << bit for bit in fixed.sample(range(64), 4)) for _ in range(4096)]
        codes = _WordCodes()
        for text, start, end in chunks:
            self._add(codes.of(WORD.findall(text[start:end])))

    def copied(self, text: str) -> float:
        """Return the share of the text's word 8-grams that are in the book; 0 for fewer than 8 words."""
        keys = list(_keys(_WordCodes().of(words(text))))
        return sum(map(self._holds, keys)) / len(keys) if keys else 0.0

    def copies(self, text: str) -> tuple[tuple[int, int], ...]:
        """Return where phrases of 8 words and more stand in the book, as [start, end) in characters of the text."""
        found = list(WORD.finditer(text))
        spans: list[tuple[int, int]] = []
        for i, key in enumerate(_keys(_WordCodes().of(match[0] for match in found))):
            if not self._holds(key):
                continue
            start, end = found[i].start(), found[i + GRAM_WORDS - 1].end()
            start = spans.pop()[0] if spans and start <= spans[-1][1] else start
            spans.append((start, end))
        return tuple(spans)

    def _holds(self, key: int) -> bool:
        pattern = self._patterns[key >> 40 & 4095]
        return self._bits[key & self._mask] & pattern == pattern

    def _add(self, codes: Sequence[int]) -> None:
        """Add 8-grams. This is the hot loop of the set-up."""
        bits, mask, patterns = self._bits, self._mask, self._patterns
        for key in _keys(codes):
            bits[key & mask] |= patterns[key >> 40 & 4095]


class _WordCodes(dict[str, int]):
    """A cache from a word as written to the crc32 of its lower case."""

    def of(self, found: Iterable[str]) -> list[int]:
        if len(self) > MOST_CACHED_WORDS:
            self.clear()
        return list(map(self.__getitem__, found))

    def __missing__(self, word: str) -> int:
        code = self[word] = zlib.crc32(word.lower().encode())
        return code


def _keys(codes: Sequence[int]) -> Iterator[int]:
    """Yield a 64-bit hash of each 8 codes in a row. (Python salts the hashes of strings, not those of tuples of integers.)"""
    return map(hash, zip(*(codes[i:] for i in range(GRAM_WORDS)), strict=False))


def _chosen(chunks: list[Chunk], rng: random.Random) -> list[Chunk]:
    """Return all chunks in a random order, or as many as have `MOST_CHARACTERS` together."""
    order = rng.sample(chunks, len(chunks))
    before = accumulate((end - start for _, start, end in order), initial=0)
    return [chunk for chunk, characters in zip(order, before, strict=False) if characters < MOST_CHARACTERS]


def _chunks(text: Characters) -> Iterator[tuple[int, int]]:
    """Yield spans of about a million characters that cut no word."""
    start = 0
    while start < len(text):
        end = _break_after(text, start + CHUNK_CHARACTERS)
        yield start, end
        start = end


def _break_after(text: Characters, place: int) -> int:
    """Return the place after the first character from `place` on that belongs to no word, or the length of the text."""
    while place < len(text):
        stretch = text[place : place + STRETCH]
        if border := BREAK.search(stretch):
            return place + border.end()
        place += len(stretch)
    return len(text)
