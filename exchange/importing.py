"""Store a model that comes from elsewhere, whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from config import ModelConfig
from errors import NameTaken
from exchange.reading import ForeignModel, read_foreign
from store import checkpoint_store, model_store
from store.model_list import ModelInfo
from workspace import MAX_NAME_LENGTH, Workspace, safe_name, scratch_folder, suggest_name

CHUNK_BYTES = 1 << 20
UNNAMED = "model"
_storing = threading.Lock()


def import_model(
    ws: Workspace,
    source: Path | BinaryIO,
    filename: str,
    name: str | None = None,
    *,
    require_fit: Callable[[ModelConfig], None],
    require_readable: Callable[[Mapping[str, Any]], None],
) -> ModelInfo:
    """Read and check a file, a folder or an upload, then store it as a model. Without a name it is called after its file.

    Raises ModelRefused, InvalidName, NameTaken, DiskFull, and what `require_fit` raises about sizes. `require_readable` raises a
    ValueError about the state of a training that cannot go on.
    """
    if name is not None and ws.model_folder(name).exists():
        raise NameTaken(field="name", name=safe_name(name))  # before a large file is read
    with scratch_folder(ws.models / "import") as scratch:
        if not isinstance(source, Path):
            source = _kept(source, scratch / "upload", filename)
        unpacked = scratch / "model"
        unpacked.mkdir()
        found = read_foreign(source, unpacked, require_fit, require_readable)
        with new_name(ws, name, suggest_name(filename, UNNAMED)) as chosen:
            return _store(ws, chosen, found)


def _kept(upload: BinaryIO, folder: Path, filename: str) -> Path:
    """Copy an upload into a new folder, under a name by which an error can call it."""
    path = folder / suggest_name(filename, UNNAMED)
    folder.mkdir()
    with path.open("wb") as file:
        shutil.copyfileobj(upload, file, CHUNK_BYTES)
    return path


def _store(ws: Workspace, name: str, found: ForeignModel) -> ModelInfo:
    checkpoint_store.delete_all(ws, name)  # of a model that was lost: they must never meet the new one
    info = model_store.add(ws, name, found.config, found.weights, found.tokenizer, found.lineage)
    if found.checkpoint is not None:
        try:
            checkpoint_store.save(ws, info.name, found.checkpoint, keep=1, budget_bytes=sys.maxsize)
        except BaseException:
            model_store.delete(ws, info.name)
            raise
    return info


@contextlib.contextmanager
def new_name(ws: Workspace, name: str | None, otherwise: str) -> Iterator[str]:
    """Yield the name of a model that is about to be stored: `name`, or a free one like `otherwise`. Raises NameTaken, InvalidName.

    One at a time: of two that want one name, the later would remove checkpoints of the earlier.
    """
    with _storing:
        if name is not None and ws.model_folder(name).exists():
            raise NameTaken(field="name", name=safe_name(name))
        yield free_name(ws, otherwise) if name is None else safe_name(name)


def free_name(ws: Workspace, wanted: str) -> str:
    """Return the wanted name, or the first of "wanted (2)", "wanted (3)" ... that no model has."""
    return next(name for name in _numbered(wanted) if not ws.model_folder(name).exists())


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        ending = f" ({number})"
        yield name[: MAX_NAME_LENGTH - len(ending)].rstrip(" .") + ending
