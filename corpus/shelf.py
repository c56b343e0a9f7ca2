"""The books folder: which names are taken, how the files of a book are added together, which record is valid.

A book is three files: `<name>.txt`, the clean text; `<name>.json`, its record; `<name>.original`, the bytes as they came, so
that "read it as ..." stays possible (missing where the text was clean from the start). Three rules hold them together:

- A book exists if its text exists. `put_up` writes the record, renames the text into place and then the original; `set_aside`
  moves the text away and then the other files. So a record alone is left over from a crash, and a record with an original
  but without a text is a book that lost its text, which is read again from the original (`adoption`).
- A record whose text is a folder is a damaged book: nothing is restored until a person has moved the folder away, and deleting the
  book deletes the folder only if it is empty.
- A record is valid if it is whole, the text has the size it states, and it is not `pending`. A pending record means that
  a re-reading was interrupted after the point of no return.

So one rename adds a book and one removes it; a failure after it is not a failure of the call. Callers hold `LOCK` while they choose
names and rename; it guards this process. Reading and listing delete nothing: leftovers are removed by the process that holds the
workspace's own lock, when it starts.

Not covered: an edit by hand that keeps the size of the text goes unnoticed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus.readers.reading import LeftOut, Reading
from errors import AZRError, BookNotFound, InvalidName, NameTaken
from workspace import Workspace, commit_file, disk_errors, move, read_json, safe_name, temporary_beside, write_json

LOCK = threading.RLock()
_TEXT, _ORIGINAL, _RECORD = "text", "original", "record"  # the files of a hidden book
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BookInfo:
    name: str
    title: str
    format: str  # one of readers.formats.READERS
    encoding: str  # how the original was read; "" where the format has no encoding
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int  # of the clean text
    sha256: str  # of the clean text
    preview: str  # its first 600 characters
    added_at: str  # ISO 8601, UTC
    author: str = ""
    language: str = ""  # as `languages.language_of` names it, or as the person did
    wrong_characters: int = 0  # undecodable places in the original, which became U+FFFD
    wrong_line: int = 0  # of the original, where the first of them is
    marks: int = 0  # how often the text spells the special token <|endoftext|>, which is learned as ordinary characters
    left_out: tuple[LeftOut, ...] = ()  # what stands in the original and is not text of the book
    lost_parts: int = 0  # chapters or pages of the original that are damaged
    lost_part: str = ""  # the first of them
    letters_apart: int = 0  # percent of one-letter words, where so many show that words fell apart into letters
    is_cut_off: bool = False  # the original ends before its text does
    fingerprint: str = ""  # for finding books that are much like this one (corpus/likeness.py)
    repeated: int = 0  # percent of the text that stands in it twice
    similar_to: str = ""  # the name of the book that was most like this one when this one was added
    similar_title: str = ""  # its title then
    similar_share: int = 0  # percent of the shorter one's text that stands in both
    is_edited: bool = False  # a person wrote title, author and language
    is_damaged: bool = False  # the text on disk does not match the record and cannot be restored
    is_folder: bool = False  # damaged: a folder stands in place of the text


_SEEN_ON_DISK = ("is_damaged", "is_folder")  # not recorded


def describe(name: str, reading: Reading, format: str, before: BookInfo | None = None, *, title: str = "") -> BookInfo:
    """Return the record of a book that was just read; without a title it has the one that the file states, else one made from its name.

    `before` is the earlier record of the same book: its date and what a person edited are kept.
    """
    found = {
        field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)
    }  # all of them are recorded
    info = BookInfo(
        **found
        | {
            "name": name,
            "title": title or reading.title or title_from(name),
            "format": format,
            "added_at": before.added_at if before else datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    if before is None or not before.is_edited:
        return info
    return dataclasses.replace(info, title=before.title, author=before.author, language=before.language, is_edited=True)


def title_from(name: str) -> str:
    """Return a book's name as a title: its words apart, as a file's name often does not have them.

    >>> title_from("voina_i_mir_tom-1"), title_from("the-old-lighthouse"), title_from("Кто-то")
    ('voina i mir tom-1', 'the old lighthouse', 'Кто-то')
    """
    words = " ".join(name.replace("_", " ").split()) or name
    return words if " " in words or words.count("-") < 2 else " ".join(words.split("-"))


# ---- names -----------------------------------------------------------------------------------------------------------


def require_free(ws: Workspace, name: str) -> str:
    """Return a name in its safe form, if no book has it. Raises InvalidName and NameTaken."""
    path = ws.book_text(name)
    if path.exists():
        raise NameTaken(field="name", name=path.stem)
    return safe_name(name)


def require_book(ws: Workspace, name: str) -> Path:
    """Return the path of a book's text. Raises InvalidName and BookNotFound."""
    path = ws.book_text(name)
    if not path.is_file():
        raise BookNotFound(name=safe_name(name))
    return path


def free_name(ws: Workspace, wanted: str) -> str:
    """Return the wanted name, or the first of "wanted (2)", "wanted (3)" ... that no book has."""
    return next(name for name in _numbered(wanted) if not ws.book_text(name).exists())


def is_safe(name: str) -> bool:
    """Return whether a book may have this name."""
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
    """Return the text files of the books folder, sorted: books and files that may become books."""
    found = sorted(ws.books.iterdir()) if ws.books.is_dir() else []
    return [
        path for path in found if path.suffix.lower() == ".txt" and not path.name.startswith(".") and path.is_file()
    ]


def source_of(ws: Workspace, name: str) -> tuple[Path, bool]:
    """Return the file to read a book from, and whether it is the original; without an original it is the text."""
    original = ws.book_original(name)
    return (original, True) if original.is_file() else (ws.book_text(name), False)


@contextlib.contextmanager
def temporaries(ws: Workspace) -> Iterator[tuple[Path, Path]]:
    """Yield two temporary paths in the books folder, for an original and a text; remove both at the end. Raises DiskFull."""
    paths = temporary_beside(ws.book_text("book")), temporary_beside(ws.book_text("book"))
    try:
        with disk_errors(ws.books):
            ws.books.mkdir(parents=True, exist_ok=True)
            yield paths
    finally:
        discard(*paths)


def put_up(ws: Workspace, info: BookInfo, original: Path, text: Path) -> None:
    """Add a new book from two finished temporary files; after an error nothing is left. Raises DiskFull and AccessDenied."""
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
    with contextlib.suppress(AZRError, OSError):  # a pending record of a finished text leads to the same book
        write_record(ws, info)


def take_down(ws: Workspace, name: str) -> None:
    """Remove a book and its files. Raises BookNotFound, DiskFull and AccessDenied; the book stays then."""
    _, place = set_aside(ws, name)
    shutil.rmtree(place, ignore_errors=True)


def set_aside(ws: Workspace, name: str) -> tuple[str, Path]:
    """Hide a book and its files in a temporary folder; return its name and the folder.

    The text goes first: without it the book is gone, or after a crash is read again from its original. A folder in place of the
    text goes only if it is empty. Raises BookNotFound, DiskFull and AccessDenied; the book stays then.
    """
    text, original = ws.book_text(name), ws.book_original(name)
    if not has_lost_text(ws, name) and not is_folder(ws, name):
        require_book(ws, name)
    place = temporary_beside(text)
    parts = _parts(ws, name) | {f"{_ORIGINAL}.{n}": path for n, path in enumerate(_kept_aside(original), 1)}
    moves = [(path, place / part) for part, path in parts.items() if path.is_file() or _is_empty_folder(path)]
    with disk_errors(text):
        place.mkdir()
        try:
            _move_all(moves)
        except BaseException:
            with contextlib.suppress(OSError):  # what could not be moved back is still in it
                place.rmdir()
            raise
    return text.stem, place


def bring_back(ws: Workspace, place: Path, name: str) -> str:
    """Put a hidden book back, under "name (2)" if its name was given to another meanwhile; return its name.

    The text comes last: before it the book is gone, or after a crash is read again from its original. Raises DiskFull and
    AccessDenied; the book stays hidden then.
    """
    name = next(each for each in _numbered(name) if not any(path.exists() for path in _parts(ws, each).values()))
    paths = _parts(ws, name)
    kept = [path for path in sorted(place.iterdir()) if path.name not in paths]
    moves = [(path, paths[_ORIGINAL].with_name(f"{name}.{path.name}")) for path in kept]
    moves += [(place / part, path) for part, path in reversed(paths.items()) if (place / part).exists()]
    _move_all(moves)
    shutil.rmtree(place, ignore_errors=True)
    return name


def put_aside_original(ws: Workspace, name: str) -> None:
    """Rename the original of a text that was edited by hand, so that it is kept beside the new one."""
    _keep_aside(ws.book_original(name))


def _parts(ws: Workspace, name: str) -> dict[str, Path]:
    """Return the files of a book, the text first, by what they are called while the book is hidden."""
    return {_TEXT: ws.book_text(name), _ORIGINAL: ws.book_original(name), _RECORD: ws.book_record(name)}


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _move_all(moves: list[tuple[Path, Path]]) -> None:
    """Move files, all or none. Raises DiskFull and AccessDenied."""
    done: list[tuple[Path, Path]] = []
    try:
        for path, target in moves:
            move(path, target)
            done.append((path, target))
    except BaseException:
        for path, target in reversed(done):
            with contextlib.suppress(AZRError, OSError):
                move(target, path)
        raise


def discard(*paths: Path) -> None:
    """Remove files as far as possible; errors are ignored."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def has_lost_text(ws: Workspace, name: str) -> bool:
    """Return whether a book has a record and an original but no text."""
    return (
        not ws.book_text(name).exists()
        and ws.book_original(name).is_file()
        and info_of(record_of(ws, name)) is not None
    )


def is_folder(ws: Workspace, name: str) -> bool:
    """Return whether a folder stands in place of the text of a book that has a record."""
    return ws.book_text(name).is_dir() and info_of(record_of(ws, name)) is not None


def sweep_leftovers(ws: Workspace) -> None:
    """Remove records without a book. Only for the process that holds the lock of the workspace."""
    for name in recorded_names(ws):
        gone = not ws.book_text(name).exists() and not ws.book_original(name).exists()
        if gone and info_of(record_of(ws, name)):
            discard(ws.book_record(name))


def recorded_names(ws: Workspace) -> list[str]:
    """Return the names that have a record, sorted."""
    return sorted(path.stem for path in ws.books.glob("*.json") if is_safe(path.stem))


def _commit(temporary: Path, path: Path) -> None:
    """Rename a finished file into place. A failure after the rename is only logged, because the file is in place."""
    try:
        commit_file(temporary, path)
    except (AZRError, OSError) as error:
        if temporary.exists() or not path.exists():
            raise
        _log.warning("%s is in place, but the disk did not confirm it: %s", path.name, error)


def _keep_aside(original: Path) -> None:
    if original.is_file():
        free = next(n for n in itertools.count(1) if not original.with_name(f"{original.name}.{n}").exists())
        os.rename(original, original.with_name(f"{original.name}.{free}"))


def _kept_aside(original: Path) -> list[Path]:
    paths = (original.with_name(f"{original.name}.{n}") for n in itertools.count(1))
    return list(itertools.takewhile(Path.exists, paths))


# ---- records ---------------------------------------------------------------------------------------------------------


def write_record(ws: Workspace, info: BookInfo, *, pending: bool = False) -> None:
    """Write the record of a book. Raises DiskFull and AccessDenied."""
    record = dataclasses.asdict(info) | ({"pending": True} if pending else {})
    write_json(ws.book_record(info.name), {key: value for key, value in record.items() if key not in _SEEN_ON_DISK})


def recorded(ws: Workspace, text: Path) -> BookInfo | None:
    """Return the book of a text from its record, or None if the record is not valid."""
    record = record_of(ws, text.stem)
    info = info_of(record)
    if info is None or record.get("pending") or text.stat().st_size != info.bytes:
        return None
    return dataclasses.replace(info, name=safe_name(text.stem))  # the files may have been renamed together


def record_of(ws: Workspace, name: str) -> dict[str, Any]:
    """Return the record as it is on disk; {} if it is missing or unreadable."""
    try:
        record = read_json(ws.book_record(name))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def info_of(record: dict[str, Any]) -> BookInfo | None:
    """Return the book of a record, or None if a field has a wrong type; fields missing in older records take their default."""
    values = {
        field.name: record.get(field.name, field.default)
        for field in dataclasses.fields(BookInfo)
        if field.name not in _SEEN_ON_DISK
    }
    types = {field.name: str(field.type).split("[")[0] for field in dataclasses.fields(BookInfo)}  # "str", "int" ...
    values["left_out"] = _left_out(values["left_out"])
    if any(type(value).__name__ != types[name] for name, value in values.items()):
        return None
    return BookInfo(**values)


def _left_out(recorded: object) -> tuple[LeftOut, ...] | None:
    """Return what a record says was left out; None if it cannot be understood."""
    try:
        return tuple(LeftOut(str(each["code"]), int(each["count"])) for each in recorded)  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError):
        return None
