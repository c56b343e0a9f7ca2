"""The checksum that a safetensors file carries in its own metadata.

It is the sha256 of the whole file with 64 zeros in place of the checksum itself, so a flipped bit anywhere, the head
included, is detected. It is written into the file before the file is renamed into place, so both are committed in one step.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

KEY = "sha256"  # of the metadata entry
PLACEHOLDER = "0" * 64

_ENTRY = re.compile(rb'"sha256":"([^"]{64})"')  # inside a JSON string the quotes would be escaped
_CHUNK_BYTES = 1 << 20


def seal(path: Path) -> None:
    """Replace the placeholder in the metadata of a file by the file's checksum. Raises OSError."""
    with path.open("r+b") as file:
        start, digest = _measure(file)
        file.seek(start)
        file.write(digest.encode("ascii"))


def is_whole(file: BinaryIO, checksum: str) -> bool:
    """Return whether an open file, read from its start, matches the checksum from its metadata."""
    try:
        return _measure(file)[1] == checksum
    except ValueError:
        return False


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return the position of the checksum and its right value. Raises ValueError if the file has none."""
    file.seek(0)
    length = file.read(8)
    head = length + file.read(int.from_bytes(length, "little"))
    found = _ENTRY.search(head)
    if found is None:
        raise ValueError("no place for a checksum")
    digest = hashlib.sha256(head[: found.start(1)] + PLACEHOLDER.encode("ascii") + head[found.end(1) :])
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return found.start(1), digest.hexdigest()
