"""The library of books: taking one in, listing, reading it in another encoding, deleting.

An upload is streamed in chunks through temporary files, so memory is constant and the limit cuts while receiving; only then,
under a lock, does it get its name and its place. How the files of a book belong together is written in `shelf`; texts that a
person drops into the folder become books when they are listed (`adoption`).

Not covered: formats other than plain text.
"""

from __future__ import annotations

import codecs
import logging
import shutil
from pathlib import Path
from typing import BinaryIO

from corpus import adoption, shelf
from corpus.cleaning import clean
from corpus.readers import plain_text
from corpus.readers.encoding import canonical
from corpus.shelf import LOCK, BookInfo
from errors import AZRError, BookNotFound, BookTooLarge, UnsupportedFormat
from workspace import Workspace, suggest_name, write_atomic

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "SUPPORTED",
    "BookInfo",
    "add_book",
    "delete_book",
    "ensure_example",
    "get_book",
    "list_books",
    "preview_as",
    "read_text",
    "reread_book",
    "same_text",
]

DEFAULT_LIMIT_BYTES = 4 << 30
SUPPORTED = (".txt",)
_CHUNK_BYTES = 1 << 20
_PREVIEW_BYTES = 8192

_log = logging.getLogger(__name__)


def add_book(
    ws: Workspace,
    filename: str,
    stream: BinaryIO,
    *,
    name: str | None = None,
    encoding: str | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> BookInfo:
    """Take a book in. Without a name it is called after its file, with " (2)" behind it if need be.

    Raises UnsupportedFormat, InvalidName, NameTaken, InvalidInput (encoding), BookTooLarge, NotText, BookUnreadable,
    EmptyBook and DiskFull; after an error nothing of the book is left.
    """
    _require_supported(filename)
    encoding = canonical(encoding) if encoding is not None else None
    if name is not None:
        shelf.require_free(ws, name)
    with shelf.temporaries(ws) as (original, text):
        _receive(stream, original, limit_bytes)
        reading = plain_text.read(original, text, encoding, field="file")
        with LOCK:
            final = shelf.require_free(ws, name) if name is not None else shelf.free_name(ws, suggest_name(filename))
            info = shelf.describe(final, reading)
            shelf.put_up(ws, info, original, text)
    return info


def same_text(ws: Workspace, book: BookInfo) -> str | None:
    """The name of another book with exactly this text, if there is one."""
    twins = (other.name for other in list_books(ws) if other.sha256 == book.sha256 and other.name != book.name)
    return next(twins, None)


def list_books(ws: Workspace) -> list[BookInfo]:
    """All books by name. Adopts texts that a person dropped in, and sweeps what a crash left of others."""
    with LOCK:
        shelf.sweep_leftovers(ws)
        books = [book for text in shelf.text_files(ws) if (book := adoption.book_or_none(ws, text))]
    return sorted(books, key=lambda book: (book.name.casefold(), book.name))


def get_book(ws: Workspace, name: str) -> BookInfo:
    """Raises InvalidName, BookNotFound, and what adopting raises if the text was dropped in."""
    with LOCK:
        return adoption.book_of(ws, shelf.require_book(ws, name))


def reread_book(ws: Workspace, name: str, encoding: str) -> BookInfo:
    """Decode the original again, in this encoding. Raises BookNotFound, InvalidInput, BookUnreadable, EmptyBook, DiskFull."""
    encoding = canonical(encoding)
    old = get_book(ws, name)
    source, is_original = shelf.source_of(ws, old.name)
    with shelf.temporaries(ws) as (original, text):
        try:
            stamp = adoption.stamp_of(source)
            reading = plain_text.read(source, text, encoding, field="encoding")
            if not is_original:
                shutil.copyfile(source, original)
            info = shelf.describe(old.name, reading, old.added_at)
            with LOCK:
                if adoption.stamp_of(source) != stamp:  # deleted and brought again meanwhile
                    raise BookNotFound(name=old.name)
                shelf.replace(ws, info, None if is_original else original, text)
        except FileNotFoundError:  # deleted meanwhile
            raise BookNotFound(name=old.name) from None
    return info


def preview_as(ws: Workspace, name: str, encoding: str) -> tuple[str, bool]:
    """How the book would begin in this encoding, wrong bytes as U+FFFD, and whether there were none. Changes nothing."""
    encoding = canonical(encoding)
    source, _ = shelf.source_of(ws, shelf.require_book(ws, name).stem)
    with source.open("rb") as file:
        head = file.read(_PREVIEW_BYTES)
    shown = clean(head.decode(encoding, "replace"))[: plain_text.PREVIEW_CHARACTERS]
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)  # a character cut at the end is no mistake
    except UnicodeError:
        return shown, False
    return shown, True


def delete_book(ws: Workspace, name: str) -> None:
    """Raises InvalidName, BookNotFound and DiskFull."""
    with LOCK:
        shelf.take_down(ws, name)


def read_text(ws: Workspace, name: str) -> str:
    """The whole clean text. Raises what get_book raises."""
    get_book(ws, name)
    return shelf.require_book(ws, name).read_text(encoding="utf-8")


def ensure_example(ws: Workspace, source: Path) -> None:
    """Copy the example book into a library that has no book and never had one. Trouble with it is logged, not raised."""
    try:
        with LOCK:
            if ws.example_marker.exists():
                return
            if source.is_file() and not shelf.text_files(ws):
                with source.open("rb") as stream:
                    add_book(ws, source.name, stream)
            write_atomic(ws.example_marker, "")
    except (AZRError, OSError) as error:
        _log.warning("the example book could not be copied: %s", error)


def _require_supported(filename: str) -> None:
    _, dot, letters = filename.rpartition(".")
    ending = dot + letters.lower() if dot else ""
    if ending not in SUPPORTED:
        shown = "".join(c for c in ending[:16] if c.isprintable())
        raise UnsupportedFormat(field="file", format=shown, supported=", ".join(SUPPORTED))


def _receive(stream: BinaryIO, target: Path, limit_bytes: int) -> None:
    received = 0
    with target.open("wb") as file:
        while chunk := stream.read(min(_CHUNK_BYTES, limit_bytes - received + 1)):
            received += len(chunk)
            if received > limit_bytes:
                raise BookTooLarge(field="file", limit_bytes=limit_bytes)
            file.write(chunk)
