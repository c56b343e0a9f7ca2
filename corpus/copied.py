"""Find the phrases of a text that stand in a book word for word, and where.

A phrase is copied when at least GRAM_WORDS words in a row are the book's; case and punctuation do not count, as where self-play measures the
share of copied phrases (selfplay/book.py).

Particular: a book is read in pieces and nothing of it is kept, so memory is bounded; a long book is read up to MOST_CHARACTERS.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpus import library
from errors import AZRError
from selfplay.book import GRAM_WORDS
from selfplay.rewards import WORD
from tokenizer import Characters
from workspace import Workspace

MOST_CHARACTERS = 30_000_000  # of one book: some ten seconds
PIECE_CHARACTERS = 500_000
AROUND_CHARACTERS = 90  # shown before and after a phrase
OVERLAP_CHARACTERS = 4_000  # of two pieces, so that a phrase across their border is found

Span = tuple[int, int]
Grams = dict[tuple[int, ...], list[int]]


@dataclass(frozen=True)
class Phrase:
    """The characters from `start` to `end` of the text are those from `place` to `place_end` of the book."""

    start: int
    end: int
    place: int
    place_end: int


@dataclass(frozen=True)
class Copied:
    """A copied phrase with the book it stands in: the book's own words there, and some before and after them."""

    start: int
    end: int
    book: str
    title: str
    place: int
    characters: int  # of the whole book
    before: str
    words: str
    after: str


def copied_from(ws: Workspace, books: Sequence[str], text: str) -> tuple[Copied, ...]:
    """Return the phrases of a text that stand in any of the books; books that are gone are left out."""
    found: list[tuple[Phrase, str, Characters]] = []
    for name in books:
        try:
            book = library.open_text(ws, name)
        except (AZRError, OSError):
            continue
        found += [(phrase, name, book) for phrase in copied_phrases(text, book)]
    kept = without_overlaps([phrase for phrase, _, _ in found])
    return tuple(_shown(ws, *next(each for each in found if each[0] is phrase)) for phrase in kept)


def _shown(ws: Workspace, phrase: Phrase, name: str, book: Characters) -> Copied:
    first, last = max(0, phrase.place - AROUND_CHARACTERS), phrase.place_end + AROUND_CHARACTERS
    return Copied(
        phrase.start,
        phrase.end,
        name,
        library.get_book(ws, name).title,
        phrase.place,
        len(book),
        book[first : phrase.place],
        book[phrase.place : phrase.place_end],
        book[phrase.place_end : last],
    )


def copied_phrases(text: str, book: Characters) -> list[Phrase]:
    """Return the copied phrases in their order, the longest where several overlap.

    >>> copied_phrases("He said: one two three four five six seven eight nine!", "x " * 9 + "One, two, three, four five six seven eight nine.")
    [Phrase(start=9, end=53, place=18, place_end=65)]
    """
    spans = [match.span() for match in WORD.finditer(text)]
    codes = _codes(WORD.findall(text))
    wanted: Grams = {}
    for index, gram in enumerate(_grams(codes)):
        wanted.setdefault(gram, []).append(index)
    found: list[Phrase] = []
    if wanted:
        for start in range(0, min(len(book), MOST_CHARACTERS), PIECE_CHARACTERS):
            piece = book[start : start + PIECE_CHARACTERS + OVERLAP_CHARACTERS]
            found += _in_piece(codes, spans, wanted, piece, start)
    return without_overlaps(found)


def without_overlaps(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return the longest phrases that do not overlap, in the order of the text."""
    kept: list[Phrase] = []
    for phrase in sorted(phrases, key=lambda each: (each.start - each.end, each.start)):
        if all(phrase.end <= other.start or other.end <= phrase.start for other in kept):
            kept.append(phrase)
    return sorted(kept, key=lambda each: each.start)


def _in_piece(codes: list[int], spans: list[Span], wanted: Grams, piece: str, offset: int) -> Iterator[Phrase]:
    theirs = _codes(WORD.findall(piece))
    hits = [(at, wanted[gram]) for at, gram in enumerate(_grams(theirs)) if gram in wanted]
    places = [match.span() for match in WORD.finditer(piece)] if hits else []
    for at, indexes in hits:
        for index in indexes:
            if at and index and theirs[at - 1] == codes[index - 1]:
                continue  # not where the phrase begins
            last = GRAM_WORDS - 1 + _alike(codes[index + GRAM_WORDS :], theirs[at + GRAM_WORDS :])
            start, end = offset + places[at][0], offset + places[at + last][1]
            yield Phrase(spans[index][0], spans[index + last][1], start, end)


def _alike(ours: list[int], theirs: list[int]) -> int:
    """Return how many first items are the same."""
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


class _Known(dict[str, int]):
    """From a word as written to a number for its lower case."""

    def __missing__(self, word: str) -> int:
        code = self[word] = zlib.crc32(word.lower().encode())
        return code


def _codes(words: list[str]) -> list[int]:
    return list(map(_Known().__getitem__, words))


def _grams(codes: list[int]) -> Iterator[tuple[int, ...]]:
    return zip(*(codes[i:] for i in range(GRAM_WORDS)), strict=False)
