"""Read a GGUF file that this program wrote, with nothing in it taken on trust.

The head is parsed here, with a limit on every number, before a tensor is touched; a file with other names, shapes, number types or
settings than `formats.gguf` writes is refused. Tensors are read one after the other and become float32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from config import ModelConfig
from errors import AZRError, ModelRefused
from formats.foreign_tokenizer import tokenizer_of_lists
from formats.gguf import ALIGNMENT, BYTES_OF_32, LINEAGE, NumberType, halves, is_permuted, tensor_sources
from formats.lineage import KEY, Lineage, from_metadata
from model import NORM_EPS, Transformer
from tokenizer import Tokenizer

MAGIC = b"GGUF"
MOST_HEAD_ENTRIES, MOST_LIST, MOST_TEXT_BYTES, MOST_DIMENSIONS = 1000, 2_000_000, 1_000_000, 4
MOST_HEAD_BYTES = 64 << 20  # in the file, and of the lists in memory
_POINTER_BYTES = 8
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
_KINDS = {0: NumberType.F32, 1: NumberType.F16, 8: NumberType.Q8_0, 30: NumberType.BF16}


@dataclass(frozen=True)
class GGUFModel:
    name: str
    config: ModelConfig
    weights: dict[str, Tensor]  # our names, float32
    tokenizer: Tokenizer
    kind: NumberType
    lineage: Lineage  # not checked: whatever the file says


@dataclass(frozen=True)
class _Entry:
    """A tensor in the head: its shape as ours (rows, columns), where its numbers begin and how they are stored."""

    shape: tuple[int, ...]
    kind: NumberType
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * BYTES_OF_32[self.kind] // 32


def read_gguf(path: Path, require_fit: Callable[[ModelConfig], None] = lambda config: None) -> GGUFModel:
    """Read a GGUF file. Raises ModelRefused, OSError, and what `require_fit` raises about its sizes before a tensor is read."""
    with path.open("rb") as file:
        try:
            values, entries, start = _head(file)
            config = _config(values)
            require_fit(config)
            weights = _weights(file, config, entries, start, path.stat().st_size)
            lineage = from_metadata({KEY: str(values.get(LINEAGE, "[]"))})
        except (
            struct.error,
            UnicodeDecodeError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            AttributeError,
            RecursionError,
        ) as error:
            if isinstance(error, AZRError):
                raise
            raise ModelRefused(field="file", reason="damaged", found=path.name) from error
    return GGUFModel(
        _text(values, "general.name"), config, weights, _tokenizer(values, config), _kind_of(entries), lineage
    )


# ---- the head --------------------------------------------------------------------------------------------------------


class _Head:
    """The head of a file, read within MOST_HEAD_BYTES: numbers of one byte each would fill eight times as much in a list."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MOST_HEAD_BYTES

    def read(self, size: int) -> bytes:
        self.spend(size)
        return self._file.read(size)

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("a head that is too long")


def _head(file: BinaryIO) -> tuple[dict[str, Any], dict[str, _Entry], int]:
    """Return the values, the tensors, and where their numbers start."""
    magic, version, tensors, values = struct.unpack("<4sIQQ", file.read(24))
    if magic != MAGIC or version not in (2, 3) or max(tensors, values) > MOST_HEAD_ENTRIES * 10:
        raise ModelRefused(field="file", reason="damaged", found="GGUF")
    head = _Head(file)
    found = {_read_text(head): _read_value(head, _read(head, "<I")) for _ in range(values)}
    entries = dict(_read_entry(head) for _ in range(tensors))
    return found, entries, file.tell() + -file.tell() % ALIGNMENT


def _read(file: _Head, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _read_text(file: _Head) -> str:
    size = _read(file, "<Q")
    if size > MOST_TEXT_BYTES:
        raise ValueError(f"a text of {size} bytes")
    return file.read(size).decode("utf-8")


def _read_value(file: _Head, kind: int) -> Any:
    if kind == _TEXT:
        return _read_text(file)
    if kind != _LIST:
        return _read(file, _NUMBERS[kind])
    of, count = _read(file, "<I"), _read(file, "<Q")
    if of == _LIST or count > MOST_LIST:
        raise ValueError(f"a list of {count}")
    file.spend(count * _POINTER_BYTES)
    if of in _NUMBERS:
        form = f"<{count}{_NUMBERS[of][1]}"
        return list(struct.unpack(form, file.read(struct.calcsize(form))))
    return [_read_value(file, of) for _ in range(count)]


def _read_entry(file: _Head) -> tuple[str, _Entry]:
    name, dimensions = _read_text(file), _read(file, "<I")
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions")
    shape = tuple(_read(file, "<Q") for _ in range(dimensions))[::-1]
    kind, offset = _read(file, "<I"), _read(file, "<Q")
    if kind not in _KINDS:
        raise ModelRefused(field="file", reason="numbers", found=f"{name}: {kind}")
    return name, _Entry(shape, _KINDS[kind], offset)


# ---- what it says ----------------------------------------------------------------------------------------------------


def _config(values: Mapping[str, Any]) -> ModelConfig:
    kind = values.get("general.architecture")
    if kind not in ("llama", "gpt2"):
        raise ModelRefused(field="file", reason="architecture", found=str(kind)[:40])
    names = {
        "vocab_size": "vocab_size",
        "d_model": "embedding_length",
        "num_layers": "block_count",
        "num_heads": "attention.head_count",
        "d_ff": "feed_forward_length",
        "max_seq_len": "context_length",
    }
    eps = "attention.layer_norm_rms_epsilon" if kind == "llama" else "attention.layer_norm_epsilon"
    if not math.isclose(values[f"{kind}.{eps}"], NORM_EPS, rel_tol=1e-6):
        raise ModelRefused(field="file", reason="setting", found=f"{eps} = {values[f'{kind}.{eps}']}")
    heads = values[f"{kind}.attention.head_count"]
    if values.get(f"{kind}.attention.head_count_kv", heads) != heads:
        raise ModelRefused(field="file", reason="setting", found="attention.head_count_kv")
    sizes = {ours: values[f"{kind}.{theirs}"] for ours, theirs in names.items()}
    return sized(kind, sizes | ({"rope_theta": values["llama.rope.freq_base"]} if kind == "llama" else {}))


def sized(architecture: Any, sizes: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration of these sizes. Raises ModelRefused with the size that is out of bounds."""
    try:
        return ModelConfig(architecture=architecture, **sizes)
    except ValidationError as error:
        where = error.errors()[0]["loc"]  # of sizes that do not fit each other it says nothing
        names = (str(where[0]),) if where else ("d_model", "num_heads")
        found = ", ".join(f"{name} = {str(sizes.get(name))[:40]}" for name in names)
        raise ModelRefused(field="file", reason="size", found=found) from error


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(values.get(key, ""))


def _tokenizer(values: Mapping[str, Any], config: ModelConfig) -> Tokenizer:
    """Return the tokenizer without the tokens that only fill the vocabulary up."""
    for key, wanted in (("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "llama-bpe")):
        if values.get(key) != wanted:
            raise ModelRefused(field="file", reason="tokenizer", found=f"{key} = {str(values.get(key))[:40]}")
    tokens, kinds, merges = (values.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges"))
    if not (isinstance(tokens, list) and isinstance(kinds, list) and isinstance(merges, list)):
        raise ModelRefused(field="file", reason="tokenizer", found="tokenizer.ggml.tokens")
    unused = 5  # llama.cpp's number for a token that is never used
    if len(tokens) != config.vocab_size or len(kinds) != len(tokens):
        raise ModelRefused(field="file", reason="tokenizer", found=f"tokenizer.ggml.tokens: {len(tokens)}")
    used = len(tokens) - kinds.count(unused)
    if unused in kinds[:used]:
        raise ModelRefused(field="file", reason="tokenizer", found="tokenizer.ggml.token_type")
    return tokenizer_of_lists(tokens[:used], merges)


def _kind_of(entries: Mapping[str, _Entry]) -> NumberType:
    return entries["output.weight"].kind


# ---- the tensors -----------------------------------------------------------------------------------------------------


def _weights(
    file: BinaryIO, config: ModelConfig, entries: Mapping[str, _Entry], start: int, size: int
) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}
    sources = dict(tensor_sources(config))
    if strange := sorted(sources.keys() ^ entries.keys()):
        raise ModelRefused(field="file", reason="names", found=", ".join(strange[:3]))
    weights: dict[str, Tensor] = {}
    for theirs, ours in sources.items():
        entry = entries[theirs]
        rows = [shapes[name][0] for name in ours]
        if entry.shape != (sum(rows), *shapes[ours[0]][1:]):
            raise ModelRefused(field="file", reason="shape", found=f"{theirs} {list(entry.shape)}")
        if start + entry.offset + entry.size > size:
            raise ModelRefused(field="file", reason="damaged", found=theirs)
        tensor = _numbers(file, entry, start)
        tensor = halves(tensor, config.num_heads) if is_permuted(theirs) else tensor
        weights |= {name: part.contiguous() for name, part in zip(ours, torch.split(tensor, rows), strict=True)}
    return weights


def _numbers(file: BinaryIO, entry: _Entry, start: int) -> Tensor:
    import gguf

    file.seek(start + entry.offset)
    raw = np.frombuffer(file.read(entry.size), dtype=np.uint8)
    kind = gguf.GGMLQuantizationType[entry.kind.name]
    rows = raw.reshape(*entry.shape[:-1], -1)
    return torch.from_numpy(np.array(gguf.quants.dequantize(rows, kind), dtype=np.float32)).reshape(entry.shape)
