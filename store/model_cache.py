"""Keep loaded models in memory until newer weights are published. Thread-safe."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Literal

from torch import Tensor

from errors import CheckpointNotKept, NoTokenizer
from store import checkpoint_store, model_store
from store.model_files import folder_of
from store.model_store import LoadedModel
from workspace import Workspace

Version = Literal["best", "last"] | int  # an iteration is that of a checkpoint that is kept


def version_of(value: object) -> Version | None:
    """Return the version that `value` names, an iteration also as digits; None where it names none."""
    if value == "best" or value == "last":
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    return None


class ModelCache:
    """Keeps the `capacity` most recently used models."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[str, LoadedModel]] = OrderedDict()

    def get(self, ws: Workspace, name: str, version: Version = "best") -> LoadedModel:
        """Return the model with the published weights, or for "last" with the newest checkpoint's, if there is one.

        An iteration stands for its checkpoint. Raises ModelNotFound, ModelDamaged, NoTokenizer, CheckpointNotKept.
        """
        return self.get_stamped(ws, name, version)[1]

    def get_stamped(self, ws: Workspace, name: str, version: Version = "best") -> tuple[str, LoadedModel]:
        """Return the model as `get` does, and before it what changes whenever other weights take their place."""
        key, now = (str(folder_of(ws, name)), str(version)), _stamps(ws, name, version)
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is None or kept[0] != now:
                kept = None  # so that the old model is freed before the new one is loaded
                while len(self._kept) >= self._capacity:
                    self._kept.popitem(last=False)
                kept = (now, _load(ws, name, version))
            self._kept[key] = kept
        return kept


def _stamps(ws: Workspace, name: str, version: Version) -> str:
    iteration = version if isinstance(version, int) else None
    checkpoint = None if version == "best" else checkpoint_store.version(ws, name, iteration)
    return f"{model_store.version(ws, name)} {checkpoint}"


def _load(ws: Workspace, name: str, version: Version) -> LoadedModel:
    weights = _weights(ws, name, version)
    loaded = model_store.load(ws, name) if weights is None else model_store.load_with(ws, name, weights, "checkpoint")
    if loaded.tokenizer is None:
        raise NoTokenizer(name=name, field="model")
    return loaded


def _weights(ws: Workspace, name: str, version: Version) -> dict[str, Tensor] | None:
    """Return the weights of a checkpoint, None where the published ones are to be used."""
    if version == "best":
        return None
    if version == "last":
        return checkpoint_store.last_weights(ws, name)
    weights = checkpoint_store.weights_at(ws, name, version)
    if weights is None:
        kept = ", ".join(map(str, checkpoint_store.iterations(ws, name))) or "—"
        raise CheckpointNotKept(name=name, field="version", iteration=version, kept=kept)
    return weights
