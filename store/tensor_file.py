"""Write a safetensors file, read it into memory, read its head alone, verify its checksum.

Nothing stays mapped, because a mapped file cannot be replaced or deleted on Windows. A full disk, which the safetensors
library reports without an errno, becomes the OSError that `workspace.disk_errors` understands.

Not here: which tensors belong into a file, and atomic replacing.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from machine.memory import is_out_of_memory
from store import checksum

_MOST_HEAD_BYTES = 100_000_000  # the library's own limit


class DamagedTensorFile(Exception):
    """The bytes are not a whole safetensors file, or do not match the checksum in it."""


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write all tensors; the file is not flushed to the disk yet. Raises OSError."""
    packed = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(packed, path, {"format": "pt", **(metadata or {})})
    except SafetensorError as error:
        if found := re.search(r"os error (\d+)", str(error)):
            raise _system_error(int(found[1]), path) from error
        raise


def write_sealed(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write all tensors, with a checksum of the file in its metadata. Raises OSError."""
    write(path, tensors, {**metadata, checksum.KEY: checksum.PLACEHOLDER})
    checksum.seal(path)


def read(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors in the bytes of a file, as copies, and its metadata. Raises DamagedTensorFile and MemoryError."""
    try:
        tensors = dict(safetensors.torch.load(data))
    except (SafetensorError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise DamagedTensorFile(str(error)) from error
    except BaseException as error:
        if "pointer is null" in str(error):  # the library's panic where Python has no memory for a tensor's bytes
            raise MemoryError(str(error)) from error
        raise
    head_bytes = int.from_bytes(data[:8], "little")
    metadata = _metadata(data[8 : 8 + head_bytes], len(data))
    _compare(io.BytesIO(data), metadata)
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file without reading its tensors; check that its size matches its head.

    Raises DamagedTensorFile or OSError.
    """
    with path.open("rb") as file:
        return _read_head(file)


def verify(path: Path) -> None:
    """Read a whole file and compare it with its checksum, if it carries one. Raises DamagedTensorFile or OSError."""
    with path.open("rb") as file:
        _compare(file, _read_head(file))


def _compare(file: BinaryIO, metadata: Mapping[str, str]) -> None:
    if checksum.KEY in metadata and not checksum.is_whole(file, metadata[checksum.KEY]):
        raise DamagedTensorFile("the checksum does not match")


def _read_head(file: BinaryIO) -> dict[str, str]:
    size = os.fstat(file.fileno()).st_size
    head_bytes = int.from_bytes(file.read(8), "little")
    if head_bytes > min(size, _MOST_HEAD_BYTES):
        raise DamagedTensorFile(f"a head of {head_bytes} bytes in a file of {size}")
    return _metadata(file.read(head_bytes), size)


def _metadata(head: bytes, size: int) -> dict[str, str]:
    try:
        entries = json.loads(head)
        metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
        tensor_bytes = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedTensorFile(str(error)) from error
    if size != 8 + len(head) + tensor_bytes:
        raise DamagedTensorFile(f"{size} bytes where the head announces {8 + len(head) + tensor_bytes}")
    return metadata


def _system_error(code: int, path: Path) -> OSError:
    if sys.platform == "win32":
        return OSError(0, "cannot write", str(path), code)  # Python derives errno from the Windows code
    return OSError(code, os.strerror(code), str(path))
