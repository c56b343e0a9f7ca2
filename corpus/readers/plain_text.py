"""Plain text, the first of the formats: bytes in some encoding -> clean UTF-8, counted on the way, in constant memory.

What is particular: an encoding that was found from a sample may fail at a place that the sample missed, and gets one second
look there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corpus.cleaning import Cleaner
from corpus.readers.encoding import decoded, detect, sample_of
from errors import BookUnreadable, EmptyBook
from workspace import disk_errors

PREVIEW_CHARACTERS = 600


@dataclass(frozen=True)
class Reading:
    """What was seen while bytes became clean text; the numbers are those of the clean text."""

    encoding: str
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int
    sha256: str
    preview: str

    @property
    def first_line(self) -> str:
        return self.preview.partition("\n")[0]


def read(source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
    """Decode and clean `source` into `target`, in the encoding that is given or found.

    Raises NotText, BookUnreadable and EmptyBook about the field, and DiskFull.
    """
    with source.open("rb") as file:
        if encoding is not None:
            return _read_as(file, target, encoding, field)
        first = detect(sample_of(file))
        try:
            return _read_as(file, target, first, field)
        except BookUnreadable as error:  # a pound sign in the middle of an English book, say
            second = detect(sample_of(file, around=int(error.parameters["position"])))
        return _read_as(file, target, second, field)  # if it is the same one, it fails at the same place


def _read_as(file: BinaryIO, target: Path, encoding: str, field: str) -> Reading:
    cleaner = Cleaner()
    tally = _Tally()
    with disk_errors(target), target.open("wb") as out:
        for text in decoded(file, encoding, field=field):
            out.write(tally.add(cleaner.feed(text)))
        out.write(tally.add(cleaner.finish()))
    if not tally.characters:
        raise EmptyBook(field=field)
    return tally.reading(encoding)


class _Tally:
    """Counts clean text that comes in chunks."""

    def __init__(self) -> None:
        self.characters = 0
        self._words = 0
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._head = ""
        self._inside_word = False

    def add(self, text: str) -> bytes:
        """Count the text and give it back in UTF-8."""
        if not text:
            return b""
        data = text.encode("utf-8")
        self.characters += len(text)
        self._words += len(text.split()) - (self._inside_word and not text[0].isspace())
        self._inside_word = not text[-1].isspace()
        self._bytes += len(data)
        self._digest.update(data)
        self._head += text[: PREVIEW_CHARACTERS - len(self._head)]
        return data

    def reading(self, encoding: str) -> Reading:
        preview = self._head.rstrip("\n")
        return Reading(encoding, self.characters, self._words, self._bytes, self._digest.hexdigest(), preview)
