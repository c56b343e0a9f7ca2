"""Take in what a person brings: a file, an archive of several books, or a text that was pasted.

An upload is streamed in chunks through temporary files, so memory is constant and the size limit applies while receiving; a book
gets its name and place afterwards, under a lock. An archive becomes one book for each file in it that can be read. Its files are
unpacked one at a time under temporary names of our own, so their names and paths lead nowhere, and an archive inside it is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corpus import adoption, shelf
from corpus.cleaning import clean
from corpus.readers import zipped
from corpus.readers.encoding import canonical, detect
from corpus.readers.formats import PLAIN_TEXT, READERS, ZIP, ending_of, endings, format_of, recognised, require_no_model
from corpus.shelf import LOCK, BookInfo
from corpus.twins import with_twin
from errors import AZRError, BookRefused, BookTooLarge, InvalidInput, NotText
from workspace import Workspace, suggest_name

DEFAULT_LIMIT_BYTES = 4 << 30
MOST_BOOKS = 1000  # in one archive
_CHUNK_BYTES = 1 << 20
_LOOKED_AT, _FIRST_LINE = 10_000, 60  # characters of a pasted text in which its first line is sought, and of that line


@dataclass(frozen=True)
class Refused:
    """A file that did not become a book, and why."""

    filename: str
    error: AZRError


@dataclass(frozen=True)
class Intake:
    """What became of a file: an archive may give several books, some refused files, and others that are no books at all."""

    books: tuple[BookInfo, ...]
    refused: tuple[Refused, ...] = ()
    skipped: int = 0  # files of an archive in formats that hold no text, such as pictures


def add_book(
    ws: Workspace,
    filename: str,
    stream: BinaryIO,
    *,
    name: str | None = None,
    encoding: str | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> BookInfo:
    """Add a book from a file that is no archive. Without a name it is called after its file, with " (2)" added if that is taken.

    Raises UnsupportedFormat, InvalidName, NameTaken, InvalidInput (encoding), BookTooLarge, NotText, TwoEncodings,
    BookUnreadable, BookRefused, EmptyBook, DiskFull and AccessDenied; after an error nothing of the book is left.
    """
    format = format_of(filename)
    encoding = _asked(encoding, format)
    if name is not None:
        shelf.require_free(ws, name)
    with shelf.temporaries(ws) as (original, text):
        _receive(stream.read, original, limit_bytes)
        return _put_up(ws, filename, format, original, text, name, encoding)


def add_books(
    ws: Workspace,
    filename: str,
    stream: BinaryIO,
    *,
    name: str | None = None,
    encoding: str | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Intake:
    """Add a book, or all books of an archive. Raises what `add_book` raises; for an archive only if none of its files became a book."""
    if ending_of(filename) != ZIP:
        return Intake((add_book(ws, filename, stream, name=name, encoding=encoding, limit_bytes=limit_bytes),))
    with shelf.temporaries(ws) as (archive, _):
        _receive(stream.read, archive, limit_bytes)
        with zipped.opened(archive, "ZIP", field="file") as opened:
            return _unpacked(ws, opened, name, encoding, limit_bytes)


def add_files(
    ws: Workspace,
    files: Sequence[tuple[str, BinaryIO]],
    *,
    name: str | None = None,
    encoding: str | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Intake:
    """Add the books of several files, given with their names. Raises an error only if no file became a book: that of the first."""
    if len(files) == 1:
        return add_books(ws, *files[0], name=name, encoding=encoding, limit_bytes=limit_bytes)
    if name is not None:
        raise InvalidInput(field="name", reason="several_books", count=len(files))
    together = Intake(())
    for filename, stream in files:
        try:
            one = add_books(ws, filename, stream, encoding=encoding, limit_bytes=limit_bytes)
        except AZRError as error:
            one = Intake((), (Refused(filename, error),))
        together = Intake(together.books + one.books, together.refused + one.refused, together.skipped + one.skipped)
    if not together.books:
        raise together.refused[0].error if together.refused else InvalidInput(field="file", reason="missing")
    return together


def add_text(ws: Workspace, title: str, text: str) -> BookInfo:
    """Add a text that was pasted; without a title it is called after its first line.

    Raises EmptyBook, DiskFull and AccessDenied.
    """
    title = " ".join(clean(title).split()) or _first_words(clean(text[:_LOOKED_AT]))
    with shelf.temporaries(ws) as (original, target):
        original.write_bytes(text.encode("utf-8", "replace"))
        reading = READERS[PLAIN_TEXT].read(original, target, "utf_8", field="text")
        with LOCK:
            adoption.restore_lost(ws)
            name = shelf.free_name(ws, suggest_name(title.replace("/", " ")))
            info = with_twin(ws, shelf.describe(name, reading, PLAIN_TEXT, title=title))
            shelf.put_up(ws, info, original, target)
    return info


def _first_words(text: str) -> str:
    """Return the first line of a text, a long one as far as its words fit.

    >>> _first_words("Old stories\\nThe end"), len(_first_words("word " * 100))
    ('Old stories', 59)
    """
    line = text.split("\n", 1)[0]
    if len(line) <= _FIRST_LINE:
        return line
    return line[: _FIRST_LINE + 1].rsplit(" ", 1)[0].rstrip(" ,;:–—-")[:_FIRST_LINE]


def decode_name(name: bytes) -> str:
    """Decode the name of a file, whose encoding is unknown."""
    try:
        return name.decode(detect(name))
    except (NotText, UnicodeDecodeError):
        return name.decode("latin-1")


def _asked(encoding: str | None, format: str) -> str | None:
    """Return the name of an encoding that a person asked for. Raises InvalidInput if it is unknown or the format has none."""
    if encoding is None:
        return None
    if not READERS[format].has_encoding:
        raise InvalidInput(field="encoding", reason="no_encoding", format=format.upper())
    return canonical(encoding)


def _put_up(
    ws: Workspace,
    filename: str,
    format: str,
    original: Path,
    text: Path,
    name: str | None,
    encoding: str | None,
) -> BookInfo:
    """Read a received file and give it its place among the books."""
    format = recognised(format, original)
    reading = READERS[format].read(original, text, encoding, field="file")
    with LOCK:
        adoption.restore_lost(ws)  # their names are taken
        final = shelf.require_free(ws, name) if name is not None else shelf.free_name(ws, suggest_name(filename))
        info = with_twin(ws, shelf.describe(final, reading, format))
        shelf.put_up(ws, info, original, text)
    return info


def _receive(read: Callable[[int], bytes], target: Path, limit_bytes: int) -> int:
    """Write what `read` gives into a file; return its size. Raises BookTooLarge as soon as it exceeds the limit."""
    received = 0
    with target.open("wb") as file:
        while chunk := read(min(_CHUNK_BYTES, limit_bytes - received + 1)):
            received += len(chunk)
            if received > limit_bytes:
                raise BookTooLarge(field="file", limit_bytes=limit_bytes)
            file.write(chunk)
    return received


# ---- archives --------------------------------------------------------------------------------------------------------


def _unpacked(
    ws: Workspace, archive: zipped.Archive, name: str | None, encoding: str | None, limit_bytes: int
) -> Intake:
    """Make a book of each readable file of an archive; together they may take `limit_bytes`."""
    entries = [entry for entry in archive.infolist() if _is_file(entry)]
    for entry in entries:
        require_no_model(entry.filename)
    wanted = [(_name_of(entry), entry) for entry in entries if ending_of(entry.filename) in endings()]
    if not wanted:
        raise BookRefused(field="file", reason="no_books", supported=", ".join(endings()))
    if len(wanted) > MOST_BOOKS:
        raise BookRefused(field="file", reason="many", limit=MOST_BOOKS)
    if name is not None and len(wanted) > 1:
        raise InvalidInput(field="name", reason="several_books", count=len(wanted))
    books: list[BookInfo] = []
    refused: list[Refused] = []
    for filename, entry in wanted:
        try:
            book, size = _unpack(ws, archive, entry, filename, name, encoding, limit_bytes)
            books.append(book)
            limit_bytes -= size
        except AZRError as error:
            refused.append(Refused(filename, error))
    if not books:
        raise refused[0].error
    return Intake(tuple(books), tuple(refused), skipped=len(entries) - len(wanted))


def _unpack(
    ws: Workspace,
    archive: zipped.Archive,
    entry: zipfile.ZipInfo,
    filename: str,
    name: str | None,
    encoding: str | None,
    limit_bytes: int,
) -> tuple[BookInfo, int]:
    if ending_of(filename) == ZIP:
        raise BookRefused(field="file", reason="nested", name=filename)
    format = format_of(filename)
    if name is not None:
        shelf.require_free(ws, name)
    with shelf.temporaries(ws) as (original, text):
        try:
            with zipped.stream(archive, entry, field="file") as file:
                size = _receive(file.read, original, limit_bytes)
        except zipped.BROKEN as error:
            if isinstance(error, AZRError):
                raise
            raise BookRefused(field="file", reason="damaged", format="ZIP") from None
        asked = canonical(encoding) if encoding is not None and READERS[format].has_encoding else None
        return _put_up(ws, filename, format, original, text, name, asked), size


def _is_file(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a file of the person, not a folder or one that a system adds."""
    parts = entry.filename.split("/")
    return not entry.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith(".")


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Return the name of a file in an archive; older programs wrote it in the encoding of their system, unmarked."""
    name = entry.filename.rpartition("/")[2]
    return name if entry.flag_bits & 0x800 or name.isascii() else decode_name(name.encode("cp437", "replace"))
