"""Read plain text in any known encoding into clean UTF-8 and count it on the way, in constant memory.

Particular: an encoding detected from a sample may fail at a place that the sample missed; then it is detected once more around
that place. UTF-8 with a few wrong bytes is accepted, with U+FFFD in their place; two encodings in one file are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corpus.cleaning import Cleaner
from corpus.languages import language_of, stated_title
from corpus.readers.encoding import Damage, decoded, detect, may_be_mixed, sample_of
from corpus.readers.mixture import find_mixture
from errors import BookUnreadable, EmptyBook, NotText, TwoEncodings
from tokenizer import END_OF_TEXT
from workspace import disk_errors

PREVIEW_CHARACTERS = 600
_SAMPLE_CHARACTERS = 5_000  # from which language and title are found


@dataclass(frozen=True)
class Reading:
    """The properties of a text that was read; all counts are of the clean text."""

    encoding: str
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int
    sha256: str
    preview: str
    wrong_characters: int = 0  # undecodable places in the source, which became U+FFFD
    wrong_line: int = 0  # of the source, where the first of them is
    marks: int = 0  # how often the text spells the special token <|endoftext|>
    language: str = ""  # as `languages.language_of` names it
    title: str = ""  # as the text states it, only together with its author
    author: str = ""


def read(source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
    """Decode and clean `source` into `target`; without an encoding it is detected.

    Raises NotText, TwoEncodings, BookUnreadable and EmptyBook, which name `field`, and DiskFull.
    """
    with source.open("rb") as file:
        if encoding is not None:
            return _read_as(file, target, encoding, field)
        sample = sample_of(file)
        try:
            first = detect(sample)
        except NotText:
            if may_be_mixed(sample):
                _require_one_encoding(file, field)
            raise
        with contextlib.suppress(BookUnreadable):
            reading = _read_as(file, target, first, field)
            if reading.wrong_characters or not first.startswith("utf"):
                _require_one_encoding(file, field)
            return reading
        return _look_again(file, target, first, field)


def _look_again(file: BinaryIO, target: Path, first: str, field: str) -> Reading:
    """Read a file in which the detected encoding failed, for instance at a pound sign in the middle of an English book."""
    _require_one_encoding(file, field)
    try:
        return _read_as(file, target, first, field)
    except BookUnreadable as error:
        second = detect(sample_of(file, around=int(error.parameters["position"])))
    return _read_as(file, target, second, field)  # the same encoding fails again at the same place


def _require_one_encoding(file: BinaryIO, field: str) -> None:
    line = find_mixture(file)
    if line is not None:
        raise TwoEncodings(field=field, line=line)


def _read_as(file: BinaryIO, target: Path, encoding: str, field: str) -> Reading:
    cleaner = Cleaner()
    tally = _Tally()
    damage = Damage()
    with disk_errors(target), target.open("wb") as out:
        for text in decoded(file, encoding, damage, field=field):
            out.write(tally.add(cleaner.feed(text)))
        out.write(tally.add(cleaner.finish()))
    if not tally.characters:
        raise EmptyBook(field=field)
    return tally.reading(encoding, damage)


class _Tally:
    """Counts characters, words and bytes of clean text that arrives in chunks."""

    def __init__(self) -> None:
        self.characters = 0
        self._words = 0
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._sample = ""
        self._inside_word = False
        self._marks = 0
        self._end = ""  # of the text so far, where a special token may have begun

    def add(self, text: str) -> bytes:
        """Count a chunk and return it in UTF-8."""
        if not text:
            return b""
        data = text.encode("utf-8")
        self.characters += len(text)
        self._words += len(text.split()) - (self._inside_word and not text[0].isspace())
        self._inside_word = not text[-1].isspace()
        self._bytes += len(data)
        self._digest.update(data)
        together = self._end + text
        self._marks += together.count(END_OF_TEXT)
        self._end = together[-(len(END_OF_TEXT) - 1) :]
        self._sample += text[: _SAMPLE_CHARACTERS - len(self._sample)]
        return data

    def reading(self, encoding: str, damage: Damage) -> Reading:
        stated = stated_title(self._sample)
        return Reading(
            encoding=encoding,
            characters=self.characters,
            words=self._words,
            bytes=self._bytes,
            sha256=self._digest.hexdigest(),
            preview=self._sample[:PREVIEW_CHARACTERS].rstrip("\n"),
            wrong_characters=damage.characters,
            wrong_line=damage.line,
            marks=self._marks,
            language=language_of(self._sample),
            title=stated[0],
            author=stated[1],
        )
