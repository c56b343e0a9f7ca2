"""The library of books: list, edit, re-read in another encoding, delete; `intake` adds them.

`shelf` explains how the files of a book belong together; texts that a person drops into the folder become books when they are
listed (`adoption`). `readers.formats` knows which files can be read.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus import adoption, languages, shelf
from corpus.book_text import book_text
from corpus.cleaning import clean
from corpus.intake import DEFAULT_LIMIT_BYTES, Intake, Refused, add_book, add_books, add_files, add_text, decode_name
from corpus.readers.encoding import canonical
from corpus.readers.formats import PLAIN_TEXT, READERS
from corpus.readers.reading import PREVIEW_CHARACTERS
from corpus.shelf import LOCK, BookInfo
from corpus.statistics import Statistics, statistics_of
from corpus.twins import if_still_there, with_twin
from errors import AZRError, BookDamaged, BookNotFound, FileMissing, InvalidInput
from tokenizer import Characters
from workspace import Workspace, safe_name, write_atomic

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "BookInfo",
    "BookNotice",
    "Intake",
    "Refused",
    "Statistics",
    "add_book",
    "add_books",
    "add_example",
    "add_files",
    "add_text",
    "beginning_of",
    "book_notices",
    "bring_back",
    "decode_name",
    "delete_book",
    "edit_book",
    "ensure_example",
    "example_in",
    "example_names",
    "example_title",
    "get_book",
    "list_books",
    "measured",
    "open_text",
    "preview_as",
    "read_text",
    "reread_book",
    "same_text",
    "sample_prompt",
    "set_aside",
    "sweep",
]

EXAMPLE_NAME = "example_book"
EXAMPLE_TITLES = {EXAMPLE_NAME: ("Библиотека у моря", ""), f"{EXAMPLE_NAME}_en": ("Coriolanus", "William Shakespeare")}
_PREVIEW_BYTES = 8192
BEGINNING_CHARACTERS = 3000
MIN_REPEATED = 5  # percent of a book that stands in it twice; fewer are refrains and titles

_log = logging.getLogger(__name__)


def same_text(ws: Workspace, book: BookInfo) -> str | None:
    """Return the name of another book with exactly this text, or None."""
    twins = (other.name for other in list_books(ws) if other.sha256 == book.sha256 and other.name != book.name)
    return next(twins, None)


def list_books(ws: Workspace) -> list[BookInfo]:
    """Return all books by name. Adopts texts that a person dropped in and restores those that were cut short; deletes nothing."""
    with LOCK:
        damaged = adoption.restore_lost(ws) + adoption.in_folders(ws)
        books = damaged + [book for text in shelf.text_files(ws) if (book := adoption.book_or_none(ws, text))]
    there = (if_still_there(ws, book) for book in books)
    return sorted(there, key=lambda book: (book.name.casefold(), book.name))


def get_book(ws: Workspace, name: str) -> BookInfo:
    """Return one book. Raises InvalidName, BookNotFound, BookDamaged, and what adopting raises if the text was dropped in."""
    with LOCK:
        adoption.restore_lost(ws)
        if shelf.has_lost_text(ws, name):
            raise BookDamaged(name=safe_name(name))
        if shelf.is_folder(ws, name):
            raise BookDamaged(name=safe_name(name), reason="folder")
        return if_still_there(ws, adoption.book_of(ws, shelf.require_book(ws, name)))


def reread_book(ws: Workspace, name: str, encoding: str) -> BookInfo:
    """Decode the original again, in this encoding. Raises BookNotFound, InvalidInput, BookUnreadable, EmptyBook, DiskFull."""
    encoding = canonical(encoding)
    old = get_book(ws, name)
    if not READERS[old.format].has_encoding:
        raise InvalidInput(field="encoding", reason="no_encoding", format=old.format.upper())
    source, is_original = shelf.source_of(ws, old.name)
    with shelf.temporaries(ws) as (original, text):
        try:
            stamp = adoption.stamp_of(source)
            reading = READERS[old.format].read(source, text, encoding, field="encoding")
            if not is_original:
                shutil.copyfile(source, original)
            info = with_twin(ws, shelf.describe(old.name, reading, old.format, old))
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
    text = shelf.require_book(ws, name)
    record = shelf.info_of(shelf.record_of(ws, text.stem))
    source, _ = shelf.source_of(ws, text.stem)
    if record is not None and record.format != PLAIN_TEXT:
        return _preview_of(ws, record.format, source, encoding)
    with source.open("rb") as file:
        head = file.read(_PREVIEW_BYTES)
    shown = clean(head.decode(encoding, "replace"))[:PREVIEW_CHARACTERS]
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)  # a character cut at the end is no mistake
    except UnicodeError:
        return shown, False
    return shown, True


def _preview_of(ws: Workspace, format: str, source: Path, encoding: str) -> tuple[str, bool]:
    """Return the beginning of a book of another format than plain text: it is read as a whole."""
    with shelf.temporaries(ws) as (_, text):
        try:
            return READERS[format].read(source, text, encoding, field="encoding").preview, True
        except InvalidInput:
            return "", False


def delete_book(ws: Workspace, name: str) -> None:
    """Delete a book with its original. Raises InvalidName, BookNotFound, DiskFull and AccessDenied; the book stays then."""
    with LOCK:
        shelf.take_down(ws, name)


def set_aside(ws: Workspace, name: str) -> tuple[str, str, Path]:
    """Hide a book with its files; return its name, its title and where it lies. Raises the same errors as delete_book."""
    with LOCK:
        info = shelf.info_of(shelf.record_of(ws, name))
        name, place = shelf.set_aside(ws, name)
    return name, info.title if info else name, place


def bring_back(ws: Workspace, place: Path, name: str) -> BookInfo:
    """Put a hidden book back, under another name if its own was given away meanwhile. Raises DiskFull and AccessDenied."""
    with LOCK:
        return get_book(ws, shelf.bring_back(ws, place, name))


def edit_book(
    ws: Workspace, name: str, *, title: str | None = None, author: str | None = None, language: str | None = None
) -> BookInfo:
    """Set title, author and language of a book; None leaves a value unchanged. An empty title is made from the name.

    Raises InvalidName, BookNotFound, BookDamaged, DiskFull and AccessDenied.
    """
    with LOCK:
        info = get_book(ws, name)
        info = dataclasses.replace(
            info,
            title=info.title if title is None else _one_line(title) or shelf.title_from(info.name),
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
    parameters: dict[str, int | str]


def book_notices(book: BookInfo) -> list[BookNotice]:
    """Return what a person should know about a book before training on it."""
    notices = []
    if book.is_damaged:
        notices.append(BookNotice(code="in_a_folder" if book.is_folder else "damaged", parameters={}))
    if book.wrong_characters:
        notices.append(
            BookNotice(code="wrong_characters", parameters={"count": book.wrong_characters, "line": book.wrong_line})
        )
    if book.lost_parts:
        notices.append(BookNotice(code="lost_parts", parameters={"count": book.lost_parts, "part": book.lost_part}))
    if book.is_cut_off:
        notices.append(BookNotice(code="cut_off", parameters={}))
    if book.letters_apart:
        notices.append(BookNotice(code="letters_apart", parameters={"share": book.letters_apart}))
    if book.similar_to:
        twin = book.similar_title or book.similar_to
        notices.append(BookNotice(code="similar", parameters={"name": twin, "share": book.similar_share}))
    if book.repeated >= MIN_REPEATED:
        notices.append(BookNotice(code="repeated", parameters={"share": book.repeated}))
    if book.marks:
        notices.append(BookNotice(code="marks", parameters={"count": book.marks}))
    return notices


def sample_prompt(books: Sequence[BookInfo]) -> str | None:
    """Return a sample prompt that these books can continue, or None if there is none in their language."""
    return languages.sample_prompt([book.language for book in books], [book.preview for book in books])


def sweep(ws: Workspace) -> None:
    """Remove the remains of interrupted operations. Only for the process that holds the workspace's lock, when it starts."""
    with LOCK:
        shelf.sweep_leftovers(ws)


def open_text(ws: Workspace, name: str) -> Characters:
    """Return the clean text of a book, of a long one without reading it. Raises the same errors as get_book."""
    get_book(ws, name)
    return book_text(shelf.require_book(ws, name))


def text_identity(ws: Workspace, name: str) -> str:
    """Return a text that changes with every change of a book's text, one made by hand as well. It costs no reading.

    Raises the same errors as get_book.
    """
    book = get_book(ws, name)
    status = shelf.require_book(ws, book.name).stat()
    return f"{book.sha256}/{status.st_size}.{status.st_mtime_ns}.{status.st_ino}"


def beginning_of(ws: Workspace, name: str) -> str:
    """Return the first page of a book. Raises the same errors as get_book."""
    with shelf.require_book(ws, name).open(encoding="utf-8") as file:
        text = file.read(BEGINNING_CHARACTERS + 1)
    return text if len(text) <= BEGINNING_CHARACTERS else text[:BEGINNING_CHARACTERS].rpartition(" ")[0] + "…"


def measured(ws: Workspace, name: str) -> Statistics:
    """Return the statistics of a book; they are computed once. Raises the same errors as get_book."""
    book = get_book(ws, name)
    return _statistics(shelf.require_book(ws, book.name), book.sha256)


@functools.lru_cache(maxsize=64)
def _statistics(path: Path, sha256: str) -> Statistics:
    return statistics_of(book_text(path))


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


def add_example(ws: Workspace, source: Path, language: str) -> BookInfo:
    """Return the example book in a language, else the first one; it is added if it is not in the library.

    Raises FileMissing, and the errors of add_book.
    """
    sibling = source.with_stem(f"{source.stem}_{language}")
    path = sibling if sibling.exists() else source
    with LOCK:
        if ws.book_text(path.stem).exists():
            return get_book(ws, path.stem)
        if not path.exists():
            raise FileMissing(path=str(path))
        with path.open("rb") as stream:
            add_book(ws, path.name, stream)
        title, author = EXAMPLE_TITLES.get(path.stem, ("", ""))
        return edit_book(ws, path.stem, title=title, author=author)


def example_title(language: str) -> str:
    """Return the title of the example book in a language."""
    return EXAMPLE_TITLES.get(f"{EXAMPLE_NAME}_{language}", EXAMPLE_TITLES[EXAMPLE_NAME])[0]


def example_names() -> tuple[str, ...]:
    """Return the names of the example books in all languages."""
    return tuple(EXAMPLE_TITLES)


def example_in(books: Sequence[BookInfo], language: str) -> BookInfo | None:
    """Return the example book in a language, else the first one; None for an empty library or one with other books."""
    if not books or not all(book.name.startswith(EXAMPLE_NAME) for book in books):
        return None
    return next((book for book in books if book.language == language), books[0])
