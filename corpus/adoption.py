"""Turn texts in the books folder that have no valid record into books.

There are five cases. A person dropped a file in, or edited one: its bytes become the original and its clean form the text; an
earlier original is kept beside it. A crash interrupted a re-reading: it is finished from the original. The record was damaged or
lost: it is written anew from the original, which stays. Or the text was cut short or lost: it is restored from the original. A text
that is already clean stays untouched and only gets a record; in a read-only folder it is a book without one. No file of the person
is ever deleted here.

Not covered: files in a read-only folder that need cleaning. They are left out, and the log says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
from pathlib import Path

from corpus import cleaning, shelf
from corpus.readers.encoding import ENCODINGS
from corpus.readers.formats import PLAIN_TEXT, READERS
from corpus.readers.reading import Reading
from corpus.shelf import BookInfo
from errors import AZRError, BookDamaged, BookUnreadable, EmptyBook, NotText, TwoEncodings
from workspace import Workspace, commit_file, safe_name, suggest_name

_log = logging.getLogger(__name__)
_refused: dict[Path, tuple[int, int]] = {}  # unreadable files that were logged already: path -> size, mtime
_HEAD_BYTES, _HEAD_CHARACTERS = (
    8192,
    1000,
)  # of a text and its original, compared before the original is read as a whole
_NO_BOOK = (NotText, BookUnreadable, EmptyBook, TwoEncodings)


def book_of(ws: Workspace, text: Path) -> BookInfo:
    """Return the book of a text file; adopt it first if it has no valid record.

    Raises NotText, TwoEncodings, BookUnreadable, EmptyBook, DiskFull and AccessDenied, and BookDamaged for a former book.
    """
    return shelf.recorded(ws, text) or _adopt(ws, text)


def book_or_none(ws: Workspace, text: Path) -> BookInfo | None:
    """Return the book of a text file, marked if it is damaged; None if the file cannot become a book, which is logged."""
    stamp = stamp_of(text)
    if _refused.get(text) == stamp:
        return _damaged(ws, text.stem)
    try:
        return book_of(ws, _with_safe_name(ws, text))
    except (AZRError, OSError) as error:
        _log.warning("%s in the books folder cannot be read: %s", text.name, error)
        if isinstance(error, (*_NO_BOOK, BookDamaged)):
            _refused[text] = stamp
        return _damaged(ws, text.stem) if isinstance(error, BookDamaged) else None


def restore_lost(ws: Workspace) -> list[BookInfo]:
    """Restore texts that are gone from their originals. Return the books for which that failed, marked as damaged."""
    damaged = []
    for name in filter(lambda name: shelf.has_lost_text(ws, name), shelf.recorded_names(ws)):
        original = ws.book_original(name)
        info = _damaged(ws, name)
        assert info is not None
        if _refused.get(original) == stamp_of(original) or not _restored(ws, info, ws.book_text(name)):
            _refused[original] = stamp_of(original)
            damaged.append(info)
    return damaged


def in_folders(ws: Workspace) -> list[BookInfo]:
    """Return the books in place of whose text a folder stands, marked as damaged."""
    names = [name for name in shelf.recorded_names(ws) if shelf.is_folder(ws, name)]
    found = (_damaged(ws, name) for name in names)
    return [dataclasses.replace(info, is_folder=True) for info in found if info]


def stamp_of(path: Path) -> tuple[int, int]:
    """Return the size and the modification time of a file, by which a change is noticed."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _damaged(ws: Workspace, name: str) -> BookInfo | None:
    info = shelf.info_of(shelf.record_of(ws, name)) if shelf.is_safe(name) else None
    return dataclasses.replace(info, name=safe_name(name), is_damaged=True) if info else None


def _with_safe_name(ws: Workspace, text: Path) -> Path:
    """Rename a file whose name is not allowed for a book to the nearest allowed name; return its path."""
    if shelf.is_safe(text.stem):
        return text
    target = ws.book_text(shelf.free_name(ws, suggest_name(text.name)))
    os.rename(text, target)
    return target


def _adopt(ws: Workspace, text: Path) -> BookInfo:
    name = safe_name(text.stem)
    record = shelf.record_of(ws, name)
    info = shelf.info_of(record)
    if info is None:
        return _recorded_anew(ws, name, text) or _take_in(ws, name, text)
    info = dataclasses.replace(info, name=name)
    if ws.book_original(name).is_file():
        if record.get("pending"):
            return _finish_rereading(ws, info)
        if _restored(ws, info, text):
            return info
    try:
        return _take_in(ws, name, text, info)
    except _NO_BOOK:
        raise BookDamaged(name=name) from None


def _recorded_anew(ws: Workspace, name: str, text: Path) -> BookInfo | None:
    """Write the record of a text that is still what its original reads as; return None if there is no such original."""
    original = ws.book_original(name)
    if not original.is_file() or not os.access(original, os.R_OK):
        return None
    wanted = _sha256(text)
    for encoding in (None, *(each for each in ENCODINGS if _begins_like(text, original, each))):
        with contextlib.suppress(*_NO_BOOK):
            reading = READERS[PLAIN_TEXT].read(original, Path(os.devnull), encoding, field="file")
            if reading.sha256 == wanted:
                info = shelf.describe(name, reading, PLAIN_TEXT)
                with contextlib.suppress(AZRError, OSError):  # a read-only folder
                    shelf.write_record(ws, info)
                return info
    return None


def _begins_like(text: Path, original: Path, encoding: str) -> bool:
    """Return whether the original, read in this encoding, begins as the text does."""
    with text.open("rb") as clean, original.open("rb") as file:
        head = clean.read(_HEAD_BYTES).decode("utf-8", "replace")
        read = cleaning.clean(file.read(_HEAD_BYTES).decode(encoding, "replace"))
    compared = min(len(head), len(read) - 1, _HEAD_CHARACTERS)  # cleaning may end a cut text otherwise
    return head[:compared] == read[:compared]


def _take_in(ws: Workspace, name: str, text: Path, before: BookInfo | None = None) -> BookInfo:
    """Make a book of a text that a person dropped in or edited."""
    stamp = stamp_of(text)
    reading = READERS[PLAIN_TEXT].read(text, Path(os.devnull), None, field="file")
    info = shelf.describe(name, reading, PLAIN_TEXT, before)
    if reading.sha256 == _sha256(text):
        with contextlib.suppress(AZRError, OSError):  # a read-only folder
            shelf.put_aside_original(ws, name)
            shelf.write_record(ws, info)
        return info
    with shelf.temporaries(ws) as (original, clean):
        shutil.copyfile(text, original)
        READERS[PLAIN_TEXT].read(original, clean, reading.encoding, field="file")
        if stamp_of(text) != stamp:
            raise OSError("it is still being written")
        shelf.replace(ws, info, original, clean)
    return info


def _finish_rereading(ws: Workspace, info: BookInfo) -> BookInfo:
    if _sha256(ws.book_text(info.name)) == info.sha256:
        with contextlib.suppress(AZRError, OSError):
            shelf.write_record(ws, info)
        return info
    with shelf.temporaries(ws) as (_, clean):
        reading = _read_original(ws, info, clean)
        info = shelf.describe(info.name, reading, info.format, info)
        shelf.replace(ws, info, None, clean)
    return info


def _restored(ws: Workspace, info: BookInfo, text: Path) -> bool:
    """Restore a text that was cut short or lost from its original; leave an edited one alone. Return whether it was restored."""
    with contextlib.suppress(AZRError, OSError), shelf.temporaries(ws) as (_, clean):
        reading = _read_original(ws, info, clean)
        if reading.sha256 != info.sha256 or (text.exists() and not _is_damaged_copy(text, clean)):
            return False
        commit_file(clean, text)
        _log.warning("%s was damaged and has been restored from its original", text.name)
        return True
    return False


def _read_original(ws: Workspace, info: BookInfo, clean: Path) -> Reading:
    return READERS[info.format].read(ws.book_original(info.name), clean, info.encoding or None, field="file")


def _is_damaged_copy(text: Path, right: Path) -> bool:
    """Return whether a text is the beginning of the right one, empty, or holds zero bytes as after a power cut."""
    with text.open("rb") as copy, right.open("rb") as whole:
        while chunk := copy.read(1 << 20):
            if chunk != whole.read(len(chunk)):
                return b"\0" in chunk
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
