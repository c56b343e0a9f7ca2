"""Zip files while the zip is being read: no copy on disk, and constant memory for any size."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
STORED = (".safetensors", ".gguf")  # numbers that hardly get smaller
Content = Path | bytes | Iterator[bytes]


class _Drain:
    """A file that cannot be sought, so that zipfile writes sizes after each entry instead of before it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def zip_stream(entries: Mapping[str, Content]) -> Iterator[bytes]:
    """Yield a zip of these entries (name inside -> file, bytes or chunks).

    Opens every file at once, so that one that is replaced meanwhile stays whole.
    """
    opened: dict[str, BinaryIO | bytes | Iterator[bytes]] = {}
    for name, content in entries.items():
        opened[name] = content.open("rb") if isinstance(content, Path) else content
    return _zipped(opened)


def _zipped(opened: Mapping[str, BinaryIO | bytes | Iterator[bytes]]) -> Iterator[bytes]:
    drain = _Drain()
    with contextlib.ExitStack() as files:
        for content in opened.values():
            if not isinstance(content, bytes) and hasattr(content, "close"):
                files.callback(content.close)
        with zipfile.ZipFile(drain, "w") as archive:
            for name, content in opened.items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as target:
                    for chunk in _pieces(content):
                        target.write(chunk)
                        if data := drain.take():
                            yield data
        yield drain.take()


def _pieces(content: BinaryIO | bytes | Iterator[bytes]) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
    elif hasattr(content, "read"):
        while chunk := content.read(CHUNK_BYTES):
            yield chunk
    else:
        yield from content
