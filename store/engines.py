"""Keep what writes with a model, each until newer weights are published: llama.cpp, and our own loops for many texts. Thread-safe.

llama.cpp reads a file, so a model's weights are written to the workspace's cache in the form that the engine reads, once for each
version; the files used least recently are deleted beyond BUDGET_BYTES.

Particular: whatever goes wrong here (no such runtime, no room on the disk, a file that is refused) costs speed only. It is logged once for
each version, and the model then writes with our own loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from config import SamplingConfig
from engine.batch import Batch
from engine.decoder import exact_decoder, fast_decoder
from engine.llama_cpp import LlamaCpp, best_threads, is_available, serves, slots_within
from engine.native_batch import NativeBatch
from engine.stream import Extras, Token
from engine.text import Engine
from formats.gguf import NUMBER_DIGITS, SPARE_CONTEXT, NumberType, engine_file
from store.model_cache import ModelCache, Version
from store.model_files import folder_of
from store.model_store import LoadedModel
from workspace import Workspace, disk_errors, replace_atomic

BUDGET_BYTES = 4 << 30
FEW_TEXTS = 4
MOST_THREADS = 8
WIDE = 256  # d_model from which on several threads can help with many texts
SUFFIX = ".engine.gguf"
_FORM = "1"  # of the file; a change makes old ones unused

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Writers:
    """What writes with one version of a model: our own C code where it serves, else llama.cpp a few texts and our own loop many together."""

    batch: Batch  # float32, and able to do all
    llama_cpp: LlamaCpp | None = None  # None where the runtime is missing or not wanted
    kind: NumberType = NumberType.F16  # of llama.cpp's weights
    native: NativeBatch | None = None  # None where it does not serve the model or is not wanted

    def stream(
        self, prompt: list[int], sampling: SamplingConfig, end_of_text: int, extras: Extras, texts: int
    ) -> tuple[Engine, NumberType, Iterator[list[Token]]]:
        """Choose who writes one of `texts` that are asked for together; return it, its number type and the tokens in groups."""
        llama_cpp = self.llama_cpp
        if self.native is not None and serves(extras):
            return Engine.NATIVE, NumberType.F16, self.native.stream(prompt, sampling, extras)
        if llama_cpp is not None and serves(extras) and max(texts, llama_cpp.writing + 1) <= FEW_TEXTS:
            return Engine.LLAMA_CPP, self.kind, llama_cpp.stream(prompt, sampling, end_of_text)
        return Engine.TORCH, NumberType.F32, self.batch.stream(prompt, sampling, extras)


class Engines:
    """Keeps the writers of the `capacity` most recently used models; those that still write are freed when they have ended."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], tuple[tuple[str, bool], Writers]] = OrderedDict()

    def get(
        self,
        ws: Workspace,
        name: str,
        version: Version,
        cache: ModelCache,
        beside_training: bool = False,
        kind: NumberType = NumberType.F16,
    ) -> Writers:
        """Return what writes with this version of a model, with weights of the number type `kind`: float32 is left to our own loop,
        float16 to the C code or llama.cpp, all others to llama.cpp. Beside a training each computes with one thread.

        Raises ModelNotFound, ModelDamaged, NoTokenizer, CheckpointNotKept.
        """
        stamp, loaded = cache.get_stamped(ws, name, version)
        key, now = (str(folder_of(ws, name)), str(version), str(kind)), (stamp, beside_training)
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is None or kept[0] != now:
                kept = None  # so that the old ones are freed before the new ones are loaded
                while len(self._kept) >= self._capacity:
                    self._kept.popitem(last=False)
                kept = (now, _writers(ws, f"{key[:2]} {stamp}", loaded, beside_training, kind))
            self._kept[key] = kept
        return kept[1]


def _writers(ws: Workspace, identity: str, loaded: LoadedModel, beside_training: bool, kind: NumberType) -> Writers:
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    most = 1 if beside_training else min(os.cpu_count() or 1, MOST_THREADS)
    size, end = tokenizer.size, tokenizer.end_of_text
    batch = Batch(exact_decoder(loaded.model, size), end, most if loaded.config.d_model >= WIDE else 1)
    native = fast_decoder(loaded.model, size) if kind == NumberType.F16 else None
    if native is not None and native.is_finite():
        return Writers(batch, native=NativeBatch(native, size, end, most))
    if kind == NumberType.F32 or not is_available():
        return Writers(batch)
    few = 1 if beside_training else best_threads(loaded.config)
    return Writers(batch, _loaded_or_none(ws, identity, loaded, few, kind), kind)


def _loaded_or_none(
    ws: Workspace, identity: str, loaded: LoadedModel, threads: int, kind: NumberType
) -> LlamaCpp | None:
    try:
        return _load(ws, identity, loaded, threads, kind)
    except Exception as error:  # a runtime that others build may fail in any way
        _log.warning("llama.cpp does not write, our own loop does: %r", error)
        return None


def _load(ws: Workspace, identity: str, loaded: LoadedModel, threads: int, kind: NumberType) -> LlamaCpp | None:
    if not _computes(loaded):
        return None  # our own loop says what is damaged
    config = loaded.config
    bytes_of_context = 2 * 4 * config.num_layers * config.d_model * config.max_seq_len
    digest = hashlib.sha256(f"{_FORM} {kind} {identity}".encode()).hexdigest()[:32]
    path = ws.cache / f"{digest}{SUFFIX}"
    if not path.is_file():
        with disk_errors(path):
            ws.cache.mkdir(parents=True, exist_ok=True)
        replace_atomic(path, lambda temporary: _write(temporary, loaded, kind))
    _use(ws.cache, path)
    return LlamaCpp(
        path,
        config.max_seq_len,
        config.max_seq_len + SPARE_CONTEXT,
        slots_within(bytes_of_context),
        threads,
        NUMBER_DIGITS,
    )


def _computes(loaded: LoadedModel) -> bool:
    """Return whether the model's logits are numbers: llama.cpp draws from what is none without saying so."""
    with torch.inference_mode():
        logits: Tensor = loaded.model(torch.zeros(1, 1, dtype=torch.int64))
    return bool(torch.isfinite(logits).all())


def _write(path: Path, loaded: LoadedModel, kind: NumberType) -> None:
    assert loaded.tokenizer is not None
    file: BinaryIO
    with path.open("wb") as file:
        for chunk in engine_file(loaded.config, loaded.model.state_dict(), loaded.tokenizer, kind).chunks:
            file.write(chunk)


def _use(folder: Path, used: Path) -> None:
    """Mark a file as used now, and delete the others beyond the budget, the least recently used first."""
    with contextlib.suppress(OSError):
        os.utime(used)
        files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
        size = 0
        for file in files:
            size += file.stat().st_size
            if size > BUDGET_BYTES and file != used:
                file.unlink(missing_ok=True)
