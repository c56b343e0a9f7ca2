"""Open zip archives that strangers made: nothing is written to the disk, and every size is checked while it is read.

Particular: the list of an archive is checked before it is read, because it may have millions of entries. An entry, and the archive
as a whole, may unfold to 150 times its size and no more, because text never does; entries that share their bytes, or one that
is read again and again, are found so.
"""

from __future__ import annotations

import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, cast

from errors import BookRefused

MOST_ENTRIES = 10_000
MOST_PART_BYTES = 64 << 20  # of one chapter or document that is read as a whole
_MOST_LIST_BYTES = 8 << 20
_END_OF_LIST = b"PK\x05\x06"
_MOST_RATIO, _RATIO_FROM_BYTES, _RATIO_FROM_BYTES_IN_ALL = 150, 4 << 20, 32 << 20
_CHUNK_BYTES = 1 << 18
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    IndexError,
    UnicodeError,
)


class Archive(zipfile.ZipFile):
    """A zip archive that counts what was read out of it."""

    def __init__(self, source: Path) -> None:
        super().__init__(source)
        self.size_bytes = source.stat().st_size
        self.unfolded_bytes = 0


@contextlib.contextmanager
def opened(source: Path, format: str, *, field: str) -> Iterator[Archive]:
    """Open an archive. Raises BookRefused for one that is damaged or has too many entries."""
    _require_small_list(source, field)
    try:
        archive = Archive(source)
    except BROKEN:
        raise BookRefused(field=field, reason="damaged", format=format) from None
    with archive:
        yield archive


def chunks(archive: Archive, entry: zipfile.ZipInfo, *, field: str) -> Generator[bytes, None, None]:
    """Yield the content of an entry. Raises BookRefused for one that is encrypted or a bomb, and those of BROKEN."""
    if entry.flag_bits & 1:
        raise BookRefused(field=field, reason="encrypted", format=entry.filename[-80:])
    size = 0
    with archive.open(entry) as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            archive.unfolded_bytes += len(chunk)
            if size > max(_RATIO_FROM_BYTES, _MOST_RATIO * entry.compress_size):
                raise BookRefused(field=field, reason="bomb")
            if archive.unfolded_bytes > max(_RATIO_FROM_BYTES_IN_ALL, _MOST_RATIO * archive.size_bytes):
                raise BookRefused(field=field, reason="bomb")
            yield chunk


def content(archive: Archive, entry: zipfile.ZipInfo, *, field: str) -> bytes:
    """Return the content of an entry of at most MOST_PART_BYTES. Raises BookRefused and those of BROKEN."""
    with stream(archive, entry, field=field) as file:
        parts = [file.read(MOST_PART_BYTES)]
        while chunk := file.read(MOST_PART_BYTES):
            parts.append(chunk)
            if sum(map(len, parts)) > MOST_PART_BYTES:
                raise BookRefused(field=field, reason="bomb")
    return b"".join(parts)


@contextlib.contextmanager
def stream(archive: Archive, entry: zipfile.ZipInfo, *, field: str) -> Iterator[IO[bytes]]:
    """Open an entry as a file to read from, checked like `chunks`."""
    with contextlib.closing(chunks(archive, entry, field=field)) as source:
        yield cast(IO[bytes], _Checked(source))


class _Checked:
    def __init__(self, source: Iterator[bytes]) -> None:
        self._source, self._rest = source, b""

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        self._rest = self._rest or next(self._source, b"")
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken


def _require_small_list(source: Path, field: str) -> None:
    """Refuse an archive whose list of entries is too long, before zipfile reads it into memory."""
    with source.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    place = tail.rfind(_END_OF_LIST)
    if place < 0 or len(tail) - place < 22:
        return
    count, list_bytes = (
        int.from_bytes(tail[place + start : place + end], "little") for start, end in ((10, 12), (12, 16))
    )
    if count > MOST_ENTRIES or list_bytes > _MOST_LIST_BYTES:
        raise BookRefused(field=field, reason="many", limit=MOST_ENTRIES)
