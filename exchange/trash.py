"""Keep deleted models and books for an hour, so that a deletion can be undone.

What is deleted lies under temporary names in the folders where it stood: nothing is copied, no list shows it, and what a crash
leaves is removed at the next start. The space on the disk becomes free when the hour is over, when the program ends, or when a
person says so.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from corpus import library
from corpus.library import BookInfo
from errors import AZRError, BookNotFound, ModelNotFound
from exchange.importing import free_name
from store import checkpoint_store, model_store
from store.model_list import ModelInfo, get_model
from workspace import Workspace, disk_errors, move, name_key, remove

KEPT_SECONDS = 3600.0

I = TypeVar("I")  # noqa: E741  # what is brought back


@dataclass(frozen=True)
class Deleted:
    """A deleted model or book that can still be brought back."""

    name: str
    title: str  # of a book; a model is called by its name
    deleted_at: str  # ISO 8601, UTC
    bytes: int  # on the disk, with all that belongs to it


@dataclass(frozen=True)
class Aside:
    """What was hidden: its name and title, and where it lies."""

    name: str
    title: str
    places: tuple[Path, ...]


@dataclass(frozen=True)
class _Held:
    deleted: Deleted
    aside: Aside
    timer: threading.Timer


class Trash(ABC, Generic[I]):
    """What was deleted from one workspace, known to this process alone. All methods are thread-safe."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self.kept_seconds = kept_seconds
        self._held: list[_Held] = []
        self._lock = threading.RLock()

    def put(self, ws: Workspace, name: str) -> Deleted:
        """Delete something, so that it can be brought back. Raises NotFound, InvalidName, DiskFull, AccessDenied; it stays then."""
        with self._lock:
            aside = self._set_aside(ws, name)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            deleted = Deleted(aside.name, aside.title, now, sum(map(_size, aside.places)))
            timer = threading.Timer(self.kept_seconds, self._expire, [deleted])
            timer.daemon = True
            self._held.append(_Held(deleted, aside, timer))
            timer.start()
            return deleted

    def all(self) -> list[Deleted]:
        """Return what can be brought back, the newest first."""
        with self._lock:
            return [held.deleted for held in reversed(self._held)]

    def restore(self, ws: Workspace, name: str) -> I:
        """Bring something back, under "name (2)" if its name was given to another meanwhile. Raises NotFound, DiskFull, AccessDenied."""
        with self._lock:
            held = self._find(name)
            restored = self._bring_back(ws, held.aside)
            self._forget(held)
            return restored

    def empty(self, name: str) -> None:
        """Delete for good what was deleted under this name. Raises NotFound, DiskFull, AccessDenied."""
        with self._lock:
            self._discard(self._find(name))

    def empty_all(self) -> None:
        with self._lock, contextlib.suppress(OSError, AZRError):
            for held in list(self._held):
                self._discard(held)

    @abstractmethod
    def _set_aside(self, ws: Workspace, name: str) -> Aside: ...

    @abstractmethod
    def _bring_back(self, ws: Workspace, aside: Aside) -> I: ...

    @abstractmethod
    def _missing(self, name: str) -> AZRError: ...

    def _find(self, name: str) -> _Held:
        wanted = name_key(name)
        found = [held for held in self._held if name_key(held.deleted.name) == wanted]
        if not found:
            raise self._missing(name)
        return found[-1]

    def _expire(self, deleted: Deleted) -> None:
        with (
            self._lock,
            contextlib.suppress(OSError, AZRError),
        ):  # what cannot be removed now is removed at the next start
            for held in [held for held in self._held if held.deleted is deleted]:
                self._discard(held)

    def _discard(self, held: _Held) -> None:
        self._forget(held)
        for place in held.aside.places:
            if place.exists():
                with disk_errors(place):
                    remove(place)

    def _forget(self, held: _Held) -> None:
        held.timer.cancel()
        self._held.remove(held)


class ModelTrash(Trash[ModelInfo]):
    """Deleted models, each with its checkpoints."""

    def _set_aside(self, ws: Workspace, name: str) -> Aside:
        checkpoints = checkpoint_store.set_aside(ws, name)  # first: a new model of this name must never meet them
        try:
            name, folder = model_store.set_aside(ws, name)
        except BaseException:
            if checkpoints is not None:
                checkpoint_store.bring_back(ws, checkpoints, name)
            raise
        return Aside(name, name, (folder,) if checkpoints is None else (folder, checkpoints))

    def _bring_back(self, ws: Workspace, aside: Aside) -> ModelInfo:
        folder, *checkpoints = aside.places
        target = free_name(ws, aside.name) if ws.model_folder(aside.name).exists() else aside.name
        model_store.bring_back(ws, folder, target)
        try:
            for place in checkpoints:
                checkpoint_store.bring_back(ws, place, target)
        except BaseException:
            move(ws.model_folder(target), folder)
            raise
        return get_model(ws, target)

    def _missing(self, name: str) -> AZRError:
        return ModelNotFound(name=name, field="model", reason="deleted")


class BookTrash(Trash[BookInfo]):
    """Deleted books, each with its original."""

    def _set_aside(self, ws: Workspace, name: str) -> Aside:
        name, title, place = library.set_aside(ws, name)
        return Aside(name, title, (place,))

    def _bring_back(self, ws: Workspace, aside: Aside) -> BookInfo:
        return library.bring_back(ws, aside.places[0], aside.name)

    def _missing(self, name: str) -> AZRError:
        return BookNotFound(name=name, reason="deleted")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
