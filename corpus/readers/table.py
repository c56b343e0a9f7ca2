"""Read a table (.csv, .tsv): the column that holds the texts, one row after another; the others are left out and counted.

The column is the one with a usual name ("text", "текст" ...), else the one with the most letters in the first rows. The signs
between columns (comma, semicolon, tab, bar) are found in the first line; in a .tsv they are tabs.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found
from errors import BookRefused

_LONGEST_CELL = 1 << 24
_NAMES = (
    "text",
    "content",
    "body",
    "message",
    "story",
    "article",
    "poem",
    "quote",
    "lyrics",
    "текст",
    "содержание",
    "сообщение",
    "стихотворение",
    "цитата",
)
_TOLD = re.compile(r"sep=([,;\t|])\s*", re.IGNORECASE)  # a first line for Excel
_LOOKED_AT = 200  # rows in which the column is found
_FEW_LETTERS = 30  # a first row with cells beyond that has no names of columns


def tab_pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text of a table with tabs between its columns. Raises as `pieces` does."""
    return pieces(source, encoding, found, field=field, delimiter="\t")


def pieces(
    source: Path, encoding: str | None, found: Found, *, field: str, delimiter: str | None = None
) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings, BookUnreadable, and BookRefused for a file that is no table."""
    with source.open("rb") as file:
        text = lines(decoded_text(file, encoding, found, field=field))
        first = next(text, "").lstrip("\ufeff")
        if told := _TOLD.fullmatch(first):
            first = next(text, "")
        sign = told[1] if told else delimiter or _delimiter(first)
        csv.field_size_limit(_LONGEST_CELL)
        rows = csv.reader(itertools.chain([first], text), delimiter=sign)
        try:
            yield from _cells(rows, found)
        except csv.Error:
            raise BookRefused(field=field, reason="damaged", format="TSV" if delimiter else "CSV") from None


def _cells(rows: Iterator[list[str]], found: Found) -> Iterator[str]:
    head = list(itertools.islice(rows, _LOOKED_AT))
    column, has_names = _column(head)
    found.left_out["columns"] = max(map(len, head), default=1) - 1
    for row in itertools.chain(head[has_names:], rows):
        if column < len(row) and row[column].strip():
            yield f"{row[column].strip()}\n"


def _delimiter(line: str) -> str:
    """Return the most frequent delimiter outside quotes, among equal ones the first."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(",;\t|", key=lambda sign: (bare.count(sign), -bare.find(sign)))


def _column(head: list[list[str]]) -> tuple[int, bool]:
    """Return the number of the column that holds the texts, and whether the first row has names.

    >>> _column([["id", "text"], ["1", "It rained."]]), _column([["It rained all day.", "7"]])
    ((1, True), (0, False))
    """
    names = [name.strip().casefold() for name in head[0]] if head else []
    for name in _NAMES:
        if name in names:
            return names.index(name), True
    letters = [
        sum(sum(map(str.isalpha, row[i])) for row in head[1:] or head if i < len(row))
        for i in range(max(map(len, head), default=1))
    ]
    column = max(range(len(letters)), key=letters.__getitem__, default=0)
    has_names = (
        len(head) > 1
        and len(names) > 1
        and all(name and len(name) <= _FEW_LETTERS and not name.isdigit() for name in names)
    )
    return column, has_names
