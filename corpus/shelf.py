"""What lies in the books folder: which names are taken, how a book's files get there together, which record is believed.

A book is three files: `<name>.txt`, the clean text; `<name>.json`, its record; `<name>.original`, the bytes as they came, so
that "read it as ..." stays possible (missing where the text was clean from the start). Two rules hold them together:

- The text's presence is the book's presence. Putting up a book writes record and original first and renames the text into
  place last; taking one down renames the text away first. What lies there without its text is a leftover and is swept.
- A record is believed when it is whole, the text has the size it tells, and it is not `pending`. A pending record means that
  re-reading was cut off after the point of no return.

So a new book needs one rename to be there and one to be gone. Callers hold `LOCK` while they choose names and rename; it
guards this process, the workspace's own lock keeps other servers away.

Not covered: an edit by hand that keeps the size of the text goes unnoticed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus.readers.plain_text import Reading
from errors import BookNotFound, InvalidName, NameTaken
from workspace import Workspace, commit_file, disk_errors, read_json, remove, safe_name, temporary_beside, write_json

LOCK = threading.RLock()
_TITLE_CHARACTERS = 120  # a longer first line is a paragraph


@dataclass(frozen=True)
class BookInfo:
    name: str
    title: str
    format: str  # "txt"
    encoding: str  # one of ENCODINGS: how the original was read
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int  # of the clean text
    sha256: str  # of the clean text
    preview: str  # its first 600 characters
    added_at: str  # ISO 8601, UTC


def describe(name: str, reading: Reading, added_at: str | None = None) -> BookInfo:
    """The book called `name` that was read; its title is its first line, if that looks like one."""
    return BookInfo(
        name=name,
        title=reading.first_line if len(reading.first_line) <= _TITLE_CHARACTERS else name,
        format="txt",
        encoding=reading.encoding,
        characters=reading.characters,
        words=reading.words,
        bytes=reading.bytes,
        sha256=reading.sha256,
        preview=reading.preview,
        added_at=added_at or datetime.now(UTC).isoformat(timespec="seconds"),
    )


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
    """Make a new book of two finished temporary files; after an error it is not there. Raises DiskFull."""
    paths = ws.book_text(info.name), ws.book_original(info.name), ws.book_record(info.name)
    try:
        write_record(ws, info)
        commit_file(original, paths[1])
        commit_file(text, paths[0])
    except BaseException:
        discard(*paths)
        raise


def replace(ws: Workspace, info: BookInfo, original: Path | None, text: Path) -> None:
    """Give a book a new text. Before the pending record a crash leads to the old book, after it to the new one."""
    if original is not None:
        commit_file(original, ws.book_original(info.name))
    write_record(ws, info, pending=True)
    commit_file(text, ws.book_text(info.name))
    write_record(ws, info)


def take_down(ws: Workspace, name: str) -> None:
    """Raises BookNotFound and DiskFull."""
    text, original, record = require_book(ws, name), ws.book_original(name), ws.book_record(name)
    with disk_errors(text):
        remove(text)
    discard(original, record)


def discard(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sweep_leftovers(ws: Workspace) -> None:
    """Remove records, and the originals beside them, whose text is gone or never came."""
    for path in ws.books.glob("*.json"):
        name = path.stem
        if is_safe(name) and not ws.book_text(name).exists() and info_of(record_of(ws, name)):
            discard(ws.book_original(name), ws.book_record(name))


# ---- records ---------------------------------------------------------------------------------------------------------


def write_record(ws: Workspace, info: BookInfo, *, pending: bool = False) -> None:
    write_json(ws.book_record(info.name), dataclasses.asdict(info) | ({"pending": True} if pending else {}))


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
    """The book of a record that has every field, each of its type."""
    fields = dataclasses.fields(BookInfo)
    if any(type(record.get(field.name)).__name__ != field.type for field in fields):  # field.type is "str" or "int"
        return None
    return BookInfo(**{field.name: record[field.name] for field in fields})
