"""The formats of books: one table from a format's name to the endings of its files and the function that reads it.

A new format is a module beside this one with a `read` like that of `plain_text`, and a line in READERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corpus.readers import plain_text
from corpus.readers.plain_text import Reading
from errors import UnsupportedFormat

PLAIN_TEXT = "txt"  # the format of files that a person drops into the books folder


class Read(Protocol):
    """Read `source` into `target` as clean UTF-8, in the encoding that is given or found; errors are about `field`."""

    def __call__(self, source: Path, target: Path, encoding: str | None, *, field: str) -> Reading: ...


@dataclass(frozen=True)
class Reader:
    endings: tuple[str, ...]  # in small letters, with the dot
    read: Read


READERS: dict[str, Reader] = {PLAIN_TEXT: Reader((".txt",), plain_text.read)}


def endings() -> tuple[str, ...]:
    """Return the endings of all files that can be read."""
    return tuple(ending for reader in READERS.values() for ending in reader.endings)


def format_of(filename: str) -> str:
    """Return the format of a file by its ending. Raises UnsupportedFormat about the field "file"."""
    _, dot, letters = filename.rpartition(".")
    ending = dot + letters.lower() if dot else ""
    for name, reader in READERS.items():
        if ending in reader.endings:
            return name
    shown = "".join(c for c in ending[:16] if c.isprintable())
    raise UnsupportedFormat(field="file", format=shown, supported=", ".join(endings()))
