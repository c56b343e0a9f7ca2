"""Texts in the books folder whose record cannot be believed, made books again.

There are two kinds. A person dropped a file in, or edited one: its bytes become the original and its clean form the text. Or
a crash cut a re-reading off: it is finished from the original. A text that is clean already stays untouched and only gets a
record; if the folder is read-only it is a book without one.

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

from corpus import shelf
from corpus.readers import plain_text
from corpus.shelf import BookInfo
from errors import AZRError, BookUnreadable, EmptyBook, NotText
from workspace import Workspace, safe_name, suggest_name

_log = logging.getLogger(__name__)
_refused: dict[Path, tuple[int, int]] = {}  # files that are no books, tried and told of once: path -> size, mtime


def book_of(ws: Workspace, text: Path) -> BookInfo:
    """The book of a text file, adopted if need be. Raises NotText, BookUnreadable, EmptyBook and DiskFull."""
    return shelf.recorded(ws, text) or _adopt(ws, text)


def book_or_none(ws: Workspace, text: Path) -> BookInfo | None:
    """The book of a text file, or None where it cannot become one: the log says why."""
    stamp = stamp_of(text)
    if _refused.get(text) == stamp:
        return None
    try:
        return book_of(ws, _with_safe_name(ws, text))
    except (AZRError, OSError) as error:
        _log.warning("%s in the books folder is not taken in: %s", text.name, error)
        if isinstance(error, NotText | BookUnreadable | EmptyBook):
            _refused[text] = stamp
        return None


def stamp_of(path: Path) -> tuple[int, int]:
    """What changes when a file does: its size and its time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _with_safe_name(ws: Workspace, text: Path) -> Path:
    """A file whose name no book may have is renamed to the nearest one that a book may have."""
    if shelf.is_safe(text.stem):
        return text
    target = ws.book_text(shelf.free_name(ws, suggest_name(text.name)))
    os.rename(text, target)
    return target


def _adopt(ws: Workspace, text: Path) -> BookInfo:
    name = safe_name(text.stem)
    record = shelf.record_of(ws, name)
    info = shelf.info_of(record) if record.get("pending") else None
    if info is not None and ws.book_original(name).is_file():
        return _finish_rereading(ws, dataclasses.replace(info, name=name))
    return _take_in(ws, name, text)


def _take_in(ws: Workspace, name: str, text: Path) -> BookInfo:
    stamp = stamp_of(text)
    reading = plain_text.read(text, Path(os.devnull), None, field="file")
    info = shelf.describe(name, reading)
    if reading.sha256 == _sha256(text):
        _write_record_if_possible(ws, info)
        shelf.discard(ws.book_original(name))  # of a text that was here before
        return info
    with shelf.temporaries(ws) as (original, clean):
        shutil.copyfile(text, original)
        plain_text.read(original, clean, reading.encoding, field="file")
        if stamp_of(text) != stamp:
            raise OSError("it is still being written")
        shelf.replace(ws, info, original, clean)
    return info


def _finish_rereading(ws: Workspace, info: BookInfo) -> BookInfo:
    if _sha256(ws.book_text(info.name)) == info.sha256:
        _write_record_if_possible(ws, info)
        return info
    with shelf.temporaries(ws) as (_, clean):
        reading = plain_text.read(ws.book_original(info.name), clean, info.encoding, field="file")
        info = shelf.describe(info.name, reading, info.added_at)
        shelf.replace(ws, info, None, clean)
    return info


def _write_record_if_possible(ws: Workspace, info: BookInfo) -> None:
    with contextlib.suppress(AZRError, OSError):
        shelf.write_record(ws, info)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
