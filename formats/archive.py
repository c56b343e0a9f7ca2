"""Zip a folder while the zip is being read: no copy on disk, and constant memory for any size."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


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


def zip_stream(folder: str, files: Sequence[Path]) -> Iterator[bytes]:
    """Yield a zip that holds `files` under `folder`/. Opens every file at once, so that a file replaced meanwhile stays whole."""
    opened: list[tuple[str, BinaryIO]] = [(path.name, path.open("rb")) for path in files]
    return _zipped(folder, opened)


def _zipped(folder: str, opened: list[tuple[str, BinaryIO]]) -> Iterator[bytes]:
    drain = _Drain()
    try:
        with zipfile.ZipFile(drain, "w") as archive:
            for name, file in opened:
                entry = zipfile.ZipInfo(f"{folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as target:
                    while chunk := file.read(CHUNK_BYTES):
                        target.write(chunk)
                        if data := drain.take():
                            yield data
        yield drain.take()
    finally:
        for _, file in opened:
            file.close()
