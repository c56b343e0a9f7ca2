"""The formats of books: one table from the name of a format to its file endings and the function that reads it.

To add a format, write a module beside this one with a `read` like the one in `plain_text`, and add a line to READERS.
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
    """Read `source` and write it to `target` as clean UTF-8; without an encoding it is detected. Errors name `field`."""

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
    """Return the format of a file by its ending. Raises UnsupportedFormat, which names the field "file"."""
    _, dot, letters = filename.rpartition(".")
    ending = dot + letters.lower() if dot else ""
    for name, reader in READERS.items():
        if ending in reader.endings:
            return name
    shown = "".join(c for c in ending[:16] if c.isprintable())
    raise UnsupportedFormat(field="file", format=shown, supported=", ".join(endings()))
