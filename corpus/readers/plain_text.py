"""Read plain text in any known encoding, in constant memory.

Particular: an encoding detected from a sample may fail at a place that the sample missed; then it is detected once more around
that place. UTF-8 with a few wrong bytes is accepted, with U+FFFD in their place; two encodings in one file are refused.
The licence around a text of Project Gutenberg, known by its mark in the first piece, is left out; any other text stays as it is.
`decoded_text` gives the same text to readers of formats that are written as text: subtitles, tables, chats.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from corpus.languages import stated_title
from corpus.readers.encoding import SINGLE_BYTE, Damage, decoded, detect, may_be_mixed, sample_of
from corpus.readers.licences import begins_with_licence, without_licences
from corpus.readers.mixture import find_mixture
from corpus.readers.reading import Found, Reading, write_clean
from errors import BookUnreadable, NotText, TwoEncodings

T = TypeVar("T")


def read(source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
    """Decode and clean `source` into `target`; without an encoding it is detected.

    Raises NotText, TwoEncodings, BookUnreadable and EmptyBook, which name `field`, and DiskFull.
    """
    with source.open("rb") as file:

        def read_as(encoding: str) -> tuple[Reading, Damage]:
            found = Found(encoding=encoding)
            pieces = _without_licence(decoded(file, encoding, found.damage, field=field), found)
            return write_clean(pieces, found, target, field=field), found.damage

        return read_as(encoding)[0] if encoding is not None else _settled(file, field, read_as)


def _without_licence(pieces: Iterator[str], found: Found) -> Iterator[str]:
    """Yield a text as it is, or what stands between the marks of Project Gutenberg, whose head states title and author."""
    first = next(pieces, "")
    if not begins_with_licence(first):
        yield first
        yield from pieces
        return
    found.title, found.author = stated_title(first)
    yield from without_licences(lines(itertools.chain([first], pieces)), found)


def decoded_text(file: BinaryIO, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text of a file in chunks and note its encoding and damage. Raises NotText, TwoEncodings and BookUnreadable."""

    def decodes_as(encoding: str) -> tuple[str, Damage]:
        damage = Damage()
        for _ in decoded(file, encoding, damage, field=field):
            pass
        return encoding, damage

    found.encoding = encoding or _settled(file, field, decodes_as)
    yield from decoded(file, found.encoding, found.damage, field=field)


def lines(pieces: Iterator[str], longest: int = 1 << 22) -> Iterator[str]:
    r"""Yield the lines of a text that comes in chunks, with their line ends; a line beyond `longest` characters is yielded in parts.

    >>> list(lines(iter(["a\r", "\nb", "c"])))
    ['a\n', 'bc']
    """
    rest = ""
    for piece in pieces:
        rest += piece
        if rest.endswith("\r"):
            continue
        whole = rest.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        rest = whole.pop()
        yield from (f"{line}\n" for line in whole)
        if len(rest) > longest:
            yield rest
            rest = ""
    if rest:
        yield rest.rstrip("\r")


def _settled(file: BinaryIO, field: str, attempt: Callable[[str], tuple[T, Damage]]) -> T:
    """Return what `attempt` returns for the detected encoding; it reads the whole file in the encoding it is given."""
    sample = sample_of(file)
    try:
        first = detect(sample)
    except NotText:
        if may_be_mixed(sample):
            _require_one_encoding(file, field)
        raise
    with contextlib.suppress(BookUnreadable):
        result, damage = attempt(first)
        if damage.characters or first in SINGLE_BYTE:
            _require_one_encoding(file, field)
        return result
    return _look_again(file, first, field, attempt)


def _look_again(file: BinaryIO, first: str, field: str, attempt: Callable[[str], tuple[T, Damage]]) -> T:
    """Read a file in which the detected encoding failed, for instance at a pound sign in the middle of an English book."""
    _require_one_encoding(file, field)
    try:
        return attempt(first)[0]
    except BookUnreadable as error:
        second = detect(sample_of(file, around=int(error.parameters["position"])))
    return attempt(second)[0]  # the same encoding fails again at the same place


def _require_one_encoding(file: BinaryIO, field: str) -> None:
    line = find_mixture(file)
    if line is not None:
        raise TwoEncodings(field=field, line=line)
