"""The formats of books: one table from the name of a format to its file endings and the function that reads it.

To add a format, write a module beside this one with a `pieces` like the one in `subtitles`, and add a line to READERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corpus.readers import isolation, json_lines, plain_text, subtitles, table, telegram, whatsapp
from corpus.readers.reading import Found, Reading, write_clean
from errors import BookRefused, UnsupportedFormat

PLAIN_TEXT = "txt"  # the format of files that a person drops into the books folder
ZIP = ".zip"
_MODELS = (".safetensors", ".gguf")  # weights
_HEAD_BYTES = 4096


class Read(Protocol):
    """Read `source` and write it to `target` as clean UTF-8; without an encoding it is detected. Errors name `field`."""

    def __call__(self, source: Path, target: Path, encoding: str | None, *, field: str) -> Reading: ...


class Pieces(Protocol):
    """Yield the text of `source` in pieces and note in `found` what is known beside it. Errors name `field`."""

    def __call__(self, source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]: ...


@dataclass(frozen=True)
class Reader:
    endings: tuple[str, ...]  # in small letters, with the dot
    read: Read
    has_encoding: bool = True  # whether a person can say "read it as ..."


def _here(pieces: Pieces) -> Read:
    """Return a `read` that works in this process: for formats that are read line by line."""

    def read(source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
        found = Found()
        return write_clean(pieces(source, encoding, found, field=field), found, target, field=field)

    return read


def _apart(format: str) -> Read:
    """Return a `read` that works in a process of its own: for formats that a hostile file can abuse."""

    def read(source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
        return isolation.read(format, source, target, encoding, field=field)

    return read


READERS: dict[str, Reader] = {
    PLAIN_TEXT: Reader((".txt",), plain_text.read),
    "md": Reader((".md", ".markdown"), _apart("md")),
    "html": Reader((".html", ".htm", ".xhtml"), _apart("html")),
    "fb2": Reader((".fb2",), _apart("fb2")),
    "epub": Reader((".epub",), _apart("epub"), has_encoding=False),
    "docx": Reader((".docx",), _apart("docx"), has_encoding=False),
    "pdf": Reader((".pdf",), _apart("pdf"), has_encoding=False),
    "rtf": Reader((".rtf",), _apart("rtf"), has_encoding=False),
    "srt": Reader((".srt",), _here(subtitles.pieces)),
    "vtt": Reader((".vtt",), _here(subtitles.web_pieces)),
    "jsonl": Reader((".jsonl",), _here(json_lines.pieces)),
    "csv": Reader((".csv",), _here(table.pieces)),
    "tsv": Reader((".tsv",), _here(table.tab_pieces)),
    "telegram": Reader((".json",), _here(telegram.pieces)),
    "whatsapp": Reader((), _here(whatsapp.pieces)),  # a .txt, known by its first lines
}


def read_here(
    format: str,
    source: Path,
    target: Path,
    encoding: str | None,
    *,
    field: str,
    beat: Callable[[], None] = lambda: None,
) -> Reading:
    """Read a file of one of the formats that have a process of their own; only that process calls this and loads their libraries.

    `beat` is called for every piece: it shows that the reader goes on.
    """
    from corpus.readers import docx, epub, fb2, html_page, markdown, pdf, rtf

    apart: dict[str, Pieces] = {
        "md": markdown.pieces,
        "html": html_page.pieces,
        "fb2": fb2.pieces,
        "epub": epub.pieces,
        "docx": docx.pieces,
        "pdf": pdf.pieces,
        "rtf": rtf.pieces,
    }
    found = Found()

    def beating() -> Iterator[str]:
        for piece in apart[format](source, encoding, found, field=field):
            beat()
            yield piece

    return write_clean(beating(), found, target, field=field)


def endings() -> tuple[str, ...]:
    """Return the endings of all files that can be read, archives included."""
    return (*(ending for reader in READERS.values() for ending in reader.endings), ZIP)


def format_of(filename: str) -> str:
    """Return the format of a file by its ending. Raises UnsupportedFormat or BookRefused, which name the field "file"."""
    ending = ending_of(filename)
    for name, reader in READERS.items():
        if ending in reader.endings:
            return name
    if ending == ".doc":
        raise BookRefused(field="file", reason="old_word")
    require_no_model(filename)
    shown = "".join(c for c in ending[:16] if c.isprintable())
    raise UnsupportedFormat(field="file", format=shown, supported=", ".join(endings()))


def require_no_model(filename: str) -> None:
    """Raise BookRefused for the weights of a model: those are imported, not read."""
    if ending_of(filename) in _MODELS:
        raise BookRefused(field="file", reason="a_model")


def ending_of(filename: str) -> str:
    """Return the ending of a file's name in small letters, "" where it has none.

    >>> ending_of("Книга.FB2"), ending_of("README")
    ('.fb2', '')
    """
    _, dot, letters = filename.rpartition(".")
    return dot + letters.lower() if dot else ""


def recognised(format: str, source: Path) -> str:
    """Return the format of a file that is at hand: a text file may be an exported chat."""
    if format != PLAIN_TEXT:
        return format
    with source.open("rb") as file:
        return "whatsapp" if whatsapp.is_chat(file.read(_HEAD_BYTES)) else format
