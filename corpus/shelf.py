"""What lies in the books folder: which names are taken, how a book's files get there together, which record is believed.

A book is three files: `<name>.txt`, the clean text; `<name>.json`, its record; `<name>.original`, the bytes as they came, so
that "read it as ..." stays possible (missing where the text was clean from the start). Two rules hold them together:

- The text's presence is the book's presence. Putting up a book writes the record, renames the text into place and the original last;
  taking one down puts the original aside and then renames the text away. So a record alone is what a crash left, and a record
  with its original but without a text is a book that lost its text: it is read again from the original (`adoption`).
- A record is believed when it is whole, the text has the size it tells, and it is not `pending`. A pending record means that
  re-reading was cut off after the point of no return.

So a new book needs one rename to be there and one to be gone; what fails after it is no failure of the call. Callers hold `LOCK`
while they choose names and rename; it guards this process. Reading and listing delete nothing: leftovers are swept by the process
that holds the workspace's own lock, when it starts.

Not covered: an edit by hand that keeps the size of the text goes unnoticed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus.readers.plain_text import Reading
from errors import AZRError, BookNotFound, InvalidName, NameTaken
from workspace import Workspace, commit_file, disk_errors, read_json, remove, safe_name, temporary_beside, write_json

LOCK = threading.RLock()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BookInfo:
    name: str
    title: str
    format: str  # one of readers.formats.READERS
    encoding: str  # one of ENCODINGS: how the original was read
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int  # of the clean text
    sha256: str  # of the clean text
    preview: str  # its first 600 characters
    added_at: str  # ISO 8601, UTC
    author: str = ""
    language: str = ""  # as `languages.language_of` names it, or as the person did
    wrong_characters: int = 0  # of the original that were no text; U+FFFD stands in their place
    wrong_line: int = 0  # of the original, where the first of them stood
    marks: int = 0  # how often the text spells the special token <|endoftext|>, which is learned as ordinary characters
    is_edited: bool = False  # a person wrote title, author and language
    is_damaged: bool = False  # the text on disk is not the one of the record, and nothing is there to restore it from


def describe(name: str, reading: Reading, format: str, before: BookInfo | None = None) -> BookInfo:
    """Return the book called `name` that was read; its title is its name unless the text states title and author.

    `before` is the same book as it was: when it was added, and what a person wrote about it, stays.
    """
    info = BookInfo(
        name=name,
        title=reading.title or name,
        author=reading.author,
        language=reading.language,
        format=format,
        encoding=reading.encoding,
        characters=reading.characters,
        words=reading.words,
        bytes=reading.bytes,
        sha256=reading.sha256,
        preview=reading.preview,
        added_at=before.added_at if before else datetime.now(UTC).isoformat(timespec="seconds"),
        wrong_characters=reading.wrong_characters,
        wrong_line=reading.wrong_line,
        marks=reading.marks,
    )
    if before is None or not before.is_edited:
        return info
    return dataclasses.replace(info, title=before.title, author=before.author, language=before.language, is_edited=True)


# ---- names -----------------------------------------------------------------------------------------------------------


def require_free(ws: Workspace, name: str) -> str:
    """The name in its safe form. Raises InvalidName and NameTaken."""
    path = ws.book_text(name)
    if path.exists():
        raise NameTaken(field="name", name=path.stem)
    return safe_name(name)


def require_book(ws: Workspace, name: str) -> Path:
    """The text of a book. Raises InvalidName and BookNotFound."""
    path = ws.book_text(name)
    if not path.is_file():
        raise BookNotFound(name=safe_name(name))
    return path


def free_name(ws: Workspace, wanted: str) -> str:
    """The wanted name, or the first of "wanted (2)", "wanted (3)" ... that no book has."""
    return next(name for name in _numbered(wanted) if not ws.book_text(name).exists())


def is_safe(name: str) -> bool:
    try:
        return bool(safe_name(name))
    except InvalidName:
        return False


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        stem = name
        while not is_safe(candidate := f"{stem} ({number})"):
            stem = stem[:-1].rstrip(" .")
        yield candidate


# ---- files -----------------------------------------------------------------------------------------------------------


def text_files(ws: Workspace) -> list[Path]:
    """The files of the folder that are books or may become some."""
    found = sorted(ws.books.iterdir()) if ws.books.is_dir() else []
    return [
        path for path in found if path.suffix.lower() == ".txt" and not path.name.startswith(".") and path.is_file()
    ]


def source_of(ws: Workspace, name: str) -> tuple[Path, bool]:
    """The bytes to read a book from, and whether they are its original (else they are its text)."""
    original = ws.book_original(name)
    return (original, True) if original.is_file() else (ws.book_text(name), False)


@contextlib.contextmanager
def temporaries(ws: Workspace) -> Iterator[tuple[Path, Path]]:
    """Two names in the books folder, for an original and a text that are still being made. Raises DiskFull."""
    paths = temporary_beside(ws.book_text("book")), temporary_beside(ws.book_text("book"))
    try:
        with disk_errors(ws.books):
            ws.books.mkdir(parents=True, exist_ok=True)
            yield paths
    finally:
        discard(*paths)


def put_up(ws: Workspace, info: BookInfo, original: Path, text: Path) -> None:
    """Make a new book of two finished temporary files; after an error it is not there. Raises DiskFull and AccessDenied."""
    paths = ws.book_text(info.name), ws.book_original(info.name), ws.book_record(info.name)
    try:
        write_record(ws, info)
        _commit(text, paths[0])
        _commit(original, paths[1])
    except BaseException:
        discard(*paths)
        raise


def replace(ws: Workspace, info: BookInfo, original: Path | None, text: Path) -> None:
    """Give a book a new text. Before the pending record a crash leads to the old book, after it to the new one."""
    if original is not None:
        _keep_aside(ws.book_original(info.name))
        commit_file(original, ws.book_original(info.name))
    before = record_of(ws, info.name)
    try:
        write_record(ws, info, pending=True)
        _commit(text, ws.book_text(info.name))
    except (AZRError, OSError):
        with contextlib.suppress(AZRError, OSError):
            write_json(ws.book_record(info.name), before)
        raise
    with contextlib.suppress(AZRError, OSError):  # the pending record of a finished text is believed as well
        write_record(ws, info)


def take_down(ws: Workspace, name: str) -> None:
    """Remove a book from the shelf. Raises BookNotFound, DiskFull and AccessDenied; the book stays then."""
    text, original, record = ws.book_text(name), ws.book_original(name), ws.book_record(name)
    if not has_lost_text(ws, name):
        require_book(ws, name)
    aside = temporary_beside(original)
    with disk_errors(text):
        if original.is_file():
            os.rename(original, aside)
        try:
            if text.exists():
                _remove(text)
        except BaseException:
            if aside.exists():
                os.rename(aside, original)
            raise
    discard(aside, record, *_kept_aside(original))


def put_aside_original(ws: Workspace, name: str) -> None:
    """Make room for the bytes of a text that was edited by hand: the original before it is kept beside it."""
    _keep_aside(ws.book_original(name))


def discard(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def has_lost_text(ws: Workspace, name: str) -> bool:
    """Return whether record and original of a book are there, and its text is not."""
    return (
        not ws.book_text(name).exists()
        and ws.book_original(name).is_file()
        and info_of(record_of(ws, name)) is not None
    )


def sweep_leftovers(ws: Workspace) -> None:
    """Remove records of books that never came or are gone. Only for the process that holds the lock of the workspace."""
    for name in recorded_names(ws):
        gone = not ws.book_text(name).exists() and not ws.book_original(name).exists()
        if gone and info_of(record_of(ws, name)):
            discard(ws.book_record(name))


def recorded_names(ws: Workspace) -> list[str]:
    """The names that have a record, in order."""
    return sorted(path.stem for path in ws.books.glob("*.json") if is_safe(path.stem))


def _commit(temporary: Path, path: Path) -> None:
    """Rename a finished file into place. What fails after the rename is logged: the file is there."""
    try:
        commit_file(temporary, path)
    except (AZRError, OSError) as error:
        if temporary.exists() or not path.exists():
            raise
        _log.warning("%s is in place, but the disk did not confirm it: %s", path.name, error)


def _remove(path: Path) -> None:
    """Remove a file. What fails after it is out of sight is logged."""
    try:
        remove(path)
    except OSError as error:
        if path.exists():
            raise
        _log.warning("%s is removed, but the disk did not confirm it: %s", path.name, error)


def _keep_aside(original: Path) -> None:
    if original.is_file():
        free = next(n for n in itertools.count(1) if not original.with_name(f"{original.name}.{n}").exists())
        os.rename(original, original.with_name(f"{original.name}.{free}"))


def _kept_aside(original: Path) -> list[Path]:
    paths = (original.with_name(f"{original.name}.{n}") for n in itertools.count(1))
    return list(itertools.takewhile(Path.exists, paths))


# ---- records ---------------------------------------------------------------------------------------------------------


def write_record(ws: Workspace, info: BookInfo, *, pending: bool = False) -> None:
    record = dataclasses.asdict(info) | ({"pending": True} if pending else {})
    del record["is_damaged"]  # is seen on disk
    write_json(ws.book_record(info.name), record)


def recorded(ws: Workspace, text: Path) -> BookInfo | None:
    """What the record of a text tells, if it can be believed."""
    record = record_of(ws, text.stem)
    info = info_of(record)
    if info is None or record.get("pending") or text.stat().st_size != info.bytes:
        return None
    return dataclasses.replace(info, name=safe_name(text.stem))  # the files may have been renamed together


def record_of(ws: Workspace, name: str) -> dict[str, Any]:
    """The record as it stands, {} if there is none that can be read."""
    try:
        record = read_json(ws.book_record(name))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def info_of(record: dict[str, Any]) -> BookInfo | None:
    """Return the book of a record whose fields are each of its type; those that older versions did not write have their default."""
    values = {
        field.name: record.get(field.name, field.default)
        for field in dataclasses.fields(BookInfo)
        if field.name != "is_damaged"
    }
    types = {field.name: field.type for field in dataclasses.fields(BookInfo)}  # "str", "int" or "bool"
    if any(type(value).__name__ != types[name] for name, value in values.items()):
        return None
    return BookInfo(**values)
