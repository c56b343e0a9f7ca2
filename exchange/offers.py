"""List the files that a model can be downloaded as, with their sizes, before any of them is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from config import ModelConfig
from exchange.verdicts import Verdict, all_known, tested_as
from formats.exports import TYPED, Format
from formats.gguf import NumberType, tensor_bytes
from model import Transformer
from store import checkpoint_store
from store.model_list import ModelInfo
from workspace import Workspace

WORD_BYTES = 50  # of one token in a GGUF file: its text, its kind, its merge


@dataclass(frozen=True)
class OfferedFile:
    """One file: its number type where the format has several, about how large it will be, and what its test found.

    A page of text has no size and needs no test.
    """

    kind: NumberType | None
    bytes: int | None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Offer:
    """One format, with a file for each of its number types."""

    format: Format
    files: tuple[OfferedFile, ...]


def offers(ws: Workspace, info: ModelInfo) -> tuple[Offer, ...]:
    """Return what a model can be downloaded as: a damaged one as nothing, one without tokenizer as its card."""
    if info.config is None or info.damaged or info.denied:
        return ()
    tested = {(each.format, each.kind): each for each in all_known(ws, info.name)}

    def files(format: Format, sizes: dict[NumberType | None, int | None]) -> Offer:
        verdicts = {kind: tested.get((tested_as(format), kind)) for kind in sizes}
        return Offer(format, tuple(OfferedFile(kind, size, verdicts[kind]) for kind, size in sizes.items()))

    card = files(Format.CARD, {None: None})
    if info.tokenizer_size is None:
        return (card,)
    sizes: dict[NumberType | None, int | None] = {kind: _gguf_bytes(info.config, kind) for kind in NumberType}
    found = [files(Format.HF, {None: info.bytes}), *(files(format, sizes) for format in Format if format in TYPED)]
    if checkpoint := checkpoint_store.newest_bytes(ws, info.name):
        found.append(files(Format.CHECKPOINT, {None: info.bytes + checkpoint}))
    return (*found, card)


@lru_cache(maxsize=256)
def _gguf_bytes(config: ModelConfig, kind: NumberType) -> int:
    with torch.device("meta"):
        weights = Transformer(config.model_copy(update={"num_layers": 1})).state_dict()
    one = config.model_copy(update={"num_layers": 1})
    total = tensor_bytes(one, weights, kind)
    layer = sum(size for name, size in total.items() if name.startswith("blk."))
    return sum(total.values()) + (config.num_layers - 1) * layer + config.vocab_size * WORD_BYTES
