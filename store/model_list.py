"""The models of a workspace as lists and pages show them, damaged ones included.

A listing verifies the checksums of weights that this process has not read yet, but for about a second only; the
next listing verifies the others. Before a model is used it is always verified.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from config import ModelConfig
from errors import AccessDenied, ModelDamaged, ModelNotFound
from formats.lineage import Lineage, books_of
from model import count_parameters
from store.model_files import (
    is_model,
    is_verified,
    read_lineage,
    read_notes,
    read_record,
    read_tokenizer_size,
    undisturbed,
    verify_weights,
)
from workspace import TEMPORARY_PREFIX, Workspace

VERIFYING_SECONDS = 1.0  # in one listing


@dataclass(frozen=True)
class ModelInfo:
    """A model in a list, with the figures of its published weights."""

    name: str
    config: ModelConfig | None  # None where azr.json is damaged
    parameters: int | None
    created_at: str
    trained: bool
    tokenizer_size: int | None
    iteration: int
    val_loss: float | None
    bits_per_byte: float | None
    books: tuple[str, ...]  # of all trainings
    bytes: int  # of the folder, checkpoints not counted
    lineage: Lineage  # every training, the first one first
    damaged: str | None  # the file that is damaged or missing
    denied: str | None  # the path of the file that this user may not read
    notes: str = ""  # of the person

    @property
    def last_books(self) -> tuple[str, ...]:
        """Return the books of the last training; training on the same ones resumes it."""
        return self.lineage[-1].books if self.lineage else ()


def list_models(ws: Workspace) -> list[ModelInfo]:
    """Return all models, the oldest first."""
    found, until = [], time.monotonic() + VERIFYING_SECONDS
    for folder in ws.models.iterdir() if ws.models.is_dir() else ():
        if folder.name.startswith(TEMPORARY_PREFIX) or not is_model(folder):
            continue
        with contextlib.suppress(ModelNotFound):  # deleted meanwhile
            found.append(undisturbed(ws, folder.name, lambda path: _info(path, verifying=time.monotonic() < until)))
    return sorted(found, key=lambda info: (info.created_at, info.name))


def get_model(ws: Workspace, name: str) -> ModelInfo:
    """Return one model, its weights verified. Raises ModelNotFound, InvalidName."""
    return undisturbed(ws, name, _info)


def read_config(ws: Workspace, name: str) -> ModelConfig:
    """Return a model's sizes. Raises ModelNotFound, ModelDamaged."""
    return undisturbed(ws, name, lambda folder: read_record(folder)[1])


def _info(folder: Path, verifying: bool = True) -> ModelInfo:
    faults: list[ModelDamaged | AccessDenied] = []
    config, created_at = None, _changed_at(folder)
    with _noted(faults):
        record, config = read_record(folder)
        created_at = str(record["created_at"])
    lineage: Lineage = ()
    with _noted(faults):
        lineage = read_lineage(folder)
        if verifying or is_verified(folder):
            verify_weights(folder)
    tokenizer_size = None
    with _noted(faults):
        tokenizer_size = read_tokenizer_size(folder)
    damaged = (str(fault.parameters["file"]) for fault in faults if isinstance(fault, ModelDamaged))
    denied = (str(fault.parameters["path"]) for fault in faults if isinstance(fault, AccessDenied))
    return ModelInfo(
        name=folder.name,
        config=config,
        parameters=count_parameters(config) if config else None,
        created_at=created_at,
        trained=bool(lineage),
        tokenizer_size=tokenizer_size,
        iteration=lineage[-1].iteration if lineage else 0,
        val_loss=lineage[-1].val_loss if lineage else None,
        bits_per_byte=lineage[-1].bits_per_byte if lineage else None,
        books=books_of(lineage),
        bytes=_size(folder),
        lineage=lineage,
        damaged=next(damaged, None),
        denied=next(denied, None),
        notes=read_notes(folder),
    )


@contextlib.contextmanager
def _noted(faults: list[ModelDamaged | AccessDenied]) -> Iterator[None]:
    try:
        yield
    except (ModelDamaged, AccessDenied) as fault:
        faults.append(fault)


def _changed_at(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return ""


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files; a file that vanishes meanwhile does not count."""
    size = 0
    with contextlib.suppress(FileNotFoundError):
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                size += file.stat().st_size
    return size
