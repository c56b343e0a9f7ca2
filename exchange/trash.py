"""Keep deleted models for an hour, so that a deletion can be undone.

A deleted model and its checkpoints lie under temporary names in the folders where they stood: nothing is copied, no list shows
them, and what a crash leaves is removed at the next start. The space on the disk becomes free when the hour is over, when the
program ends, or when a person says so.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from errors import AZRError, ModelNotFound
from exchange.importing import free_name
from store import checkpoint_store, model_store
from store.model_list import ModelInfo, get_model
from workspace import Workspace, disk_errors, name_key, remove

KEPT_SECONDS = 3600.0


@dataclass(frozen=True)
class DeletedModel:
    """A deleted model that can still be brought back."""

    name: str
    deleted_at: str  # ISO 8601, UTC
    bytes: int  # on the disk, with its checkpoints


@dataclass(frozen=True)
class _Held:
    model: DeletedModel
    folder: Path  # where the model lies
    checkpoints: Path | None
    timer: threading.Timer


class Trash:
    """The deleted models of one workspace, known to this process alone. All methods are thread-safe."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self.kept_seconds = kept_seconds
        self._held: list[_Held] = []
        self._lock = threading.RLock()

    def put(self, ws: Workspace, name: str) -> DeletedModel:
        """Delete a model, so that it can be brought back. Raises ModelNotFound, InvalidName, DiskFull, AccessDenied."""
        with self._lock:
            checkpoints = checkpoint_store.set_aside(ws, name)  # first: a new model of this name must never meet them
            try:
                name, folder = model_store.set_aside(ws, name)
            except BaseException:
                if checkpoints is not None:
                    checkpoint_store.bring_back(ws, checkpoints, name)
                raise
            size = _size(folder) + (_size(checkpoints) if checkpoints else 0)
            deleted = DeletedModel(name, datetime.now(UTC).isoformat(timespec="seconds"), size)
            timer = threading.Timer(self.kept_seconds, self._expire, [deleted])
            timer.daemon = True
            self._held.append(_Held(deleted, folder, checkpoints, timer))
            timer.start()
            return deleted

    def models(self) -> list[DeletedModel]:
        """Return what can be brought back, the newest first."""
        with self._lock:
            return [held.model for held in reversed(self._held)]

    def restore(self, ws: Workspace, name: str) -> ModelInfo:
        """Bring a model back, under "name (2)" if its name was given to another one meanwhile. Raises ModelNotFound, DiskFull."""
        with self._lock:
            held = self._find(name)
            target = held.model.name
            if ws.model_folder(target).exists():
                target = free_name(ws, target)
            model_store.bring_back(ws, held.folder, target)
            self._forget(held)
            if held.checkpoints is not None:
                checkpoint_store.bring_back(ws, held.checkpoints, target)
            return get_model(ws, target)

    def empty(self, name: str) -> None:
        """Delete for good what was deleted under this name. Raises ModelNotFound, DiskFull, AccessDenied."""
        with self._lock:
            self._discard(self._find(name))

    def empty_all(self) -> None:
        with self._lock, contextlib.suppress(OSError, AZRError):
            for held in list(self._held):
                self._discard(held)

    def _find(self, name: str) -> _Held:
        wanted = name_key(name)
        found = [held for held in self._held if name_key(held.model.name) == wanted]
        if not found:
            raise ModelNotFound(name=name, field="model", reason="deleted")
        return found[-1]

    def _expire(self, deleted: DeletedModel) -> None:
        with (
            self._lock,
            contextlib.suppress(OSError, AZRError),
        ):  # what cannot be removed now is removed at the next start
            for held in [held for held in self._held if held.model is deleted]:
                self._discard(held)

    def _discard(self, held: _Held) -> None:
        self._forget(held)
        for place in filter(None, (held.checkpoints, held.folder)):
            if place.exists():
                with disk_errors(place):
                    remove(place)

    def _forget(self, held: _Held) -> None:
        held.timer.cancel()
        self._held.remove(held)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
