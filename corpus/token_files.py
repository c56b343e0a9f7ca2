"""Keep the token ids of long books on disk: they are tokenized once for each tokenizer, and mapped into memory instead of read.

The name of a file is a digest of what the ids depend on: text, split and tokenizer. A file is written under a temporary name and
renamed when it is whole; one whose size does not fit its header counts as missing. The files used least recently are deleted
beyond BUDGET_BYTES.

Particular: a disk that is full or read-only costs the reuse, not the training: the ids are kept in memory then.

Layout: four numbers of 8 bytes, little-endian (bytes of an id, training ids, held-out ids, UTF-8 bytes of the held-out text), then the
training ids and the held-out ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from corpus.dataset import Encoded, Ids, InMemory, SplitBook, TokenDataset, characters_of, dataset_of, encode
from errors import AccessDenied, DiskFull
from events import StageBegun
from tokenizer import Tokenizer
from workspace import commit_file, disk_errors, temporary_beside

BUDGET_BYTES = 8 << 30
LEAST_CHARACTERS = 2_000_000  # of a book that is worth a file; a shorter one is tokenized within a second
MOST_OF_TWO_BYTES = 1 << 15  # ids
_HEADER_BYTES = 32

_log = logging.getLogger(__name__)


class TokenFiles:
    """The token files of one workspace and one tokenizer."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self._known = hashlib.sha256(tokenizer.to_json().encode()).hexdigest()

    def tokenize(
        self, books: Sequence[SplitBook], identities: Sequence[str]
    ) -> Generator[StageBegun, None, TokenDataset]:
        """Return the ids of all books, reporting progress in characters. A book's identity names its text and its split."""
        total, done, parts = sum(map(characters_of, books)), 0, []
        for book, identity in zip(books, identities, strict=True):
            parts.append((yield from self._part(book, identity, done, total)))
            done += characters_of(book)
        self._delete_oldest()
        return dataset_of(parts)

    def _part(self, book: SplitBook, identity: str, done: int, total: int) -> Generator[StageBegun, None, Encoded]:
        if characters_of(book) < LEAST_CHARACTERS:
            return (yield from encode(book, self._tokenizer, InMemory(), done, total))
        path = self._folder / f"{hashlib.sha256(f'{self._known}/{identity}'.encode()).hexdigest()[:32]}.tokens"
        if (found := _mapped(path)) is not None:
            return found
        try:
            with disk_errors(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                return (yield from encode(book, self._tokenizer, _File(path, self._tokenizer.size), done, total))
        except (DiskFull, AccessDenied) as error:
            _log.warning("the tokens of a book are kept in memory: %s", error)
            return (yield from encode(book, self._tokenizer, InMemory(), done, total))

    def _delete_oldest(self) -> None:
        with contextlib.suppress(OSError):
            files = sorted(self._folder.glob("*.tokens"), key=lambda file: file.stat().st_mtime, reverse=True)
            size = 0
            for file in files:
                size += file.stat().st_size
                if size > BUDGET_BYTES:
                    file.unlink(missing_ok=True)


class _File:
    """A token file that is being written."""

    def __init__(self, path: Path, ids: int) -> None:
        self._path, self._temporary = path, temporary_beside(path)
        self._dtype = np.dtype("<i2" if ids <= MOST_OF_TWO_BYTES else "<i4")
        self._counts = {"train": 0, "val": 0}
        self._file: BinaryIO = self._temporary.open("wb")
        self._file.write(bytes(_HEADER_BYTES))

    def add(self, part: str, ids: Ids) -> None:
        self._counts[part] += len(ids)
        self._file.write(np.array(ids, self._dtype).tobytes())

    def finish(self, val_bytes: int) -> Encoded:
        self._file.seek(0)
        numbers = (self._dtype.itemsize, self._counts["train"], self._counts["val"], val_bytes)
        self._file.write(np.array(numbers, "<i8").tobytes())
        self._file.close()
        commit_file(self._temporary, self._path)
        written = _mapped(self._path)
        assert written is not None
        return written

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._temporary.unlink(missing_ok=True)


def _mapped(path: Path) -> Encoded | None:
    """Map a token file into memory; None if it is missing, cut short or not a token file."""
    try:
        with path.open("rb") as file:
            header = np.frombuffer(file.read(_HEADER_BYTES), "<i8")
        size = path.stat().st_size
        if len(header) != 4 or int(header[0]) not in (2, 4) or (header < 0).any():
            return None
        width, train, val, val_bytes = map(int, header)
        if size != _HEADER_BYTES + width * (train + val):
            return None
        ids = torch.from_numpy(
            np.memmap(path, f"<i{width}", "c", _HEADER_BYTES)
        )  # "c": torch warns of read-only memory
        os.utime(path)  # the files used least recently are deleted first
    except OSError:
        return None
    return Encoded(ids[:train], ids[train:], val_bytes)
