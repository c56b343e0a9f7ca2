"""The library of books: add, list, edit, re-read in another encoding, delete.

An upload is streamed in chunks through temporary files, so memory is constant and the size limit applies while receiving; it gets
its name and place afterwards, under a lock. `shelf` explains how the files of a book belong together; texts that a person drops
into the folder become books when they are listed (`adoption`). `readers.formats` knows which files can be read.
"""

from __future__ import annotations

import codecs
import dataclasses
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corpus import adoption, languages, shelf
from corpus.book_text import book_text
from corpus.cleaning import clean
from corpus.readers.encoding import canonical, detect
from corpus.readers.formats import READERS, format_of
from corpus.readers.plain_text import PREVIEW_CHARACTERS
from corpus.shelf import LOCK, BookInfo
from errors import AZRError, BookDamaged, BookNotFound, BookTooLarge, NotText
from tokenizer import Characters
from workspace import Workspace, safe_name, suggest_name, write_atomic

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "BookInfo",
    "BookNotice",
    "add_book",
    "book_notices",
    "decode_name",
    "delete_book",
    "edit_book",
    "ensure_example",
    "example_in",
    "get_book",
    "list_books",
    "open_text",
    "preview_as",
    "read_text",
    "reread_book",
    "same_text",
    "sample_prompt",
    "sweep",
]

DEFAULT_LIMIT_BYTES = 4 << 30
EXAMPLE_NAME = "example_book"
EXAMPLE_TITLES = {EXAMPLE_NAME: ("Библиотека у моря", ""), f"{EXAMPLE_NAME}_en": ("Coriolanus", "William Shakespeare")}
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
    """Add a book. Without a name it is called after its file, with " (2)" added if that name is taken.

    Raises UnsupportedFormat, InvalidName, NameTaken, InvalidInput (encoding), BookTooLarge, NotText, TwoEncodings,
    BookUnreadable, EmptyBook, DiskFull and AccessDenied; after an error nothing of the book is left.
    """
    format = format_of(filename)
    encoding = canonical(encoding) if encoding is not None else None
    if name is not None:
        shelf.require_free(ws, name)
    with shelf.temporaries(ws) as (original, text):
        _receive(stream, original, limit_bytes)
        reading = READERS[format].read(original, text, encoding, field="file")
        with LOCK:
            adoption.restore_lost(ws)  # their names are taken
            final = shelf.require_free(ws, name) if name is not None else shelf.free_name(ws, suggest_name(filename))
            info = shelf.describe(final, reading, format)
            shelf.put_up(ws, info, original, text)
    return info


def same_text(ws: Workspace, book: BookInfo) -> str | None:
    """Return the name of another book with exactly this text, or None."""
    twins = (other.name for other in list_books(ws) if other.sha256 == book.sha256 and other.name != book.name)
    return next(twins, None)


def list_books(ws: Workspace) -> list[BookInfo]:
    """Return all books by name. Adopts texts that a person dropped in and restores those that were cut short; deletes nothing."""
    with LOCK:
        damaged = adoption.restore_lost(ws) + adoption.in_folders(ws)
        books = damaged + [book for text in shelf.text_files(ws) if (book := adoption.book_or_none(ws, text))]
    return sorted(books, key=lambda book: (book.name.casefold(), book.name))


def get_book(ws: Workspace, name: str) -> BookInfo:
    """Return one book. Raises InvalidName, BookNotFound, BookDamaged, and what adopting raises if the text was dropped in."""
    with LOCK:
        adoption.restore_lost(ws)
        if shelf.has_lost_text(ws, name):
            raise BookDamaged(name=safe_name(name))
        if shelf.is_folder(ws, name):
            raise BookDamaged(name=safe_name(name), reason="folder")
        return adoption.book_of(ws, shelf.require_book(ws, name))


def reread_book(ws: Workspace, name: str, encoding: str) -> BookInfo:
    """Decode the original again, in this encoding. Raises BookNotFound, InvalidInput, BookUnreadable, EmptyBook, DiskFull."""
    encoding = canonical(encoding)
    old = get_book(ws, name)
    source, is_original = shelf.source_of(ws, old.name)
    with shelf.temporaries(ws) as (original, text):
        try:
            stamp = adoption.stamp_of(source)
            reading = READERS[old.format].read(source, text, encoding, field="encoding")
            if not is_original:
                shutil.copyfile(source, original)
            info = shelf.describe(old.name, reading, old.format, old)
            with LOCK:
                if adoption.stamp_of(source) != stamp:  # deleted and uploaded again meanwhile
                    raise BookNotFound(name=old.name)
                shelf.replace(ws, info, None if is_original else original, text)
        except FileNotFoundError:  # deleted meanwhile
            raise BookNotFound(name=old.name) from None
    return info


def preview_as(ws: Workspace, name: str, encoding: str) -> tuple[str, bool]:
    """Return the beginning of a book read in this encoding, wrong bytes as U+FFFD, and whether there were none. Changes nothing.

    Raises InvalidInput, InvalidName and BookNotFound.
    """
    encoding = canonical(encoding)
    source, _ = shelf.source_of(ws, shelf.require_book(ws, name).stem)
    with source.open("rb") as file:
        head = file.read(_PREVIEW_BYTES)
    shown = clean(head.decode(encoding, "replace"))[:PREVIEW_CHARACTERS]
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)  # a character cut at the end is no mistake
    except UnicodeError:
        return shown, False
    return shown, True


def delete_book(ws: Workspace, name: str) -> None:
    """Delete a book with its original. Raises InvalidName, BookNotFound, DiskFull and AccessDenied; the book stays then."""
    with LOCK:
        shelf.take_down(ws, name)


def edit_book(
    ws: Workspace, name: str, *, title: str | None = None, author: str | None = None, language: str | None = None
) -> BookInfo:
    """Set title, author and language of a book; None leaves a value unchanged. An empty title becomes the name.

    Raises InvalidName, BookNotFound, BookDamaged, DiskFull and AccessDenied.
    """
    with LOCK:
        info = get_book(ws, name)
        info = dataclasses.replace(
            info,
            title=info.title if title is None else _one_line(title) or info.name,
            author=info.author if author is None else _one_line(author),
            language=info.language if language is None else language,
            is_edited=True,
        )
        shelf.write_record(ws, info)
    return info


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


@dataclass(frozen=True)
class BookNotice:
    """Something that a person should know about a book; its sentence stands in the catalogues under `book.notice.<code>`."""

    code: str
    parameters: dict[str, int]


def book_notices(book: BookInfo) -> list[BookNotice]:
    """Return what a person should know about a book before training on it."""
    notices = []
    if book.is_damaged:
        notices.append(BookNotice(code="in_a_folder" if book.is_folder else "damaged", parameters={}))
    if book.wrong_characters:
        notices.append(
            BookNotice(code="wrong_characters", parameters={"count": book.wrong_characters, "line": book.wrong_line})
        )
    if book.marks:
        notices.append(BookNotice(code="marks", parameters={"count": book.marks}))
    return notices


def sample_prompt(books: Sequence[BookInfo]) -> str | None:
    """Return a sample prompt in the language of these books, or None if there is none."""
    return languages.sample_prompt([book.language for book in books])


def decode_name(name: bytes) -> str:
    """Decode the name of an uploaded file, whose encoding is unknown."""
    try:
        return name.decode(detect(name))
    except (NotText, UnicodeDecodeError):
        return name.decode("latin-1")


def sweep(ws: Workspace) -> None:
    """Remove the remains of interrupted operations. Only for the process that holds the workspace's lock, when it starts."""
    with LOCK:
        shelf.sweep_leftovers(ws)


def open_text(ws: Workspace, name: str) -> Characters:
    """Return the clean text of a book, of a long one without reading it. Raises the same errors as get_book."""
    get_book(ws, name)
    return book_text(shelf.require_book(ws, name))


def read_text(ws: Workspace, name: str) -> str:
    """Return the whole clean text of a book. Raises the same errors as get_book."""
    get_book(ws, name)
    return shelf.require_book(ws, name).read_text(encoding="utf-8")


def ensure_example(ws: Workspace, source: Path) -> None:
    """Copy the example book and its siblings in other languages into a library that has no book and never had one.

    A sibling has the name of the example followed by "_" and a language. Failures are logged, not raised.
    """
    try:
        with LOCK:
            if ws.example_marker.exists():
                return
            if not shelf.text_files(ws):
                for path in sorted(source.parent.glob(f"{source.stem}*{source.suffix}")):
                    with path.open("rb") as stream:
                        add_book(ws, path.name, stream)
            for name, (title, author) in EXAMPLE_TITLES.items():
                if ws.book_text(name).exists():  # copied now, or there already: the program's folder is a workspace too
                    edit_book(ws, name, title=title, author=author)
            write_atomic(ws.example_marker, "")
    except (AZRError, OSError) as error:
        _log.warning("the example book could not be copied: %s", error)


def example_in(books: Sequence[BookInfo], language: str) -> BookInfo | None:
    """Return the example book in a language, else the first one; None for an empty library or one with other books."""
    if not books or not all(book.name.startswith(EXAMPLE_NAME) for book in books):
        return None
    return next((book for book in books if book.language == language), books[0])


def _receive(stream: BinaryIO, target: Path, limit_bytes: int) -> None:
    received = 0
    with target.open("wb") as file:
        while chunk := stream.read(min(_CHUNK_BYTES, limit_bytes - received + 1)):
            received += len(chunk)
            if received > limit_bytes:
                raise BookTooLarge(field="file", limit_bytes=limit_bytes)
            file.write(chunk)
