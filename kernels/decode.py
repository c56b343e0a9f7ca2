"""Compute tokens of a few texts through a whole model, with the C code (native.py).

Weights are float16, as in llama.cpp's default; what they are multiplied with, and the sums, are float32.

Shapes: B rows, C d_model, F d_ff, V ids, S places of the cache, H heads, K head_dim, L layers, N steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import native

NO_NUMBER = -1  # stands in a run for logits that are no numbers
READ_AT_ONCE = 64  # tokens
TILE = 32  # columns of a packed matrix side by side; every size that the C code knows is a multiple of it


def serves(device: torch.device, *sizes: int) -> bool:
    """Return whether the C code is available for this device and sizes (C, F and K)."""
    return all(size % TILE == 0 for size in sizes) and native.serves(device, torch.bfloat16)


def packed(matrices: Iterable[Tensor]) -> Tensor:
    """Return matrices (outputs, inputs) one after the other as the C code reads them, in float16; outputs are padded with zeros."""
    with torch.autocast("cpu", enabled=False):  # it knows no concatenation of float16
        return torch.cat([_packed(matrix) for matrix in matrices])


def _packed(matrix: Tensor) -> Tensor:
    outputs, inputs = matrix.shape
    tiles = matrix.new_zeros(-(-outputs // TILE) * TILE, inputs)
    tiles[:outputs] = matrix
    return tiles.view(-1, TILE, inputs).transpose(1, 2).half().flatten()  # (tiles, inputs, TILE)


@dataclass(frozen=True)
class Weights:
    """A model as the C code reads it. `matrices` are `packed`: for each layer queries, keys and values, output, gate and up, down, then
    the head; each carries the factors of the RMS norm before it."""

    embeddings: Tensor  # (V, C)
    matrices: Tensor
    tables: tuple[Tensor, Tensor]  # cos and sin (S, K)
    d_ff: int
    size: int  # of the V ids, the first `size` are written


@dataclass(frozen=True)
class Cache:
    """Keys and values (L, B or more, H, S, K), which are extended."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class Choices:
    """How the tokens of each row are chosen."""

    settings: Tensor  # (B, 5) float64: temperature, top_k (0: all), top_p, min_p, repetition penalty
    seen: Tensor  # (B, size) uint8: 1 for the ids of the context, extended
    end_of_text: int  # ends the run


def step(weights: Weights, cache: Cache, tokens: Tensor, places: Tensor) -> Tensor:
    """Return the logits (B, size) after `tokens` (B,), which stand at `places` (B,) of their texts. Raises MemoryError."""
    assert len(tokens) <= cache.keys.shape[1], "no room"
    logits = torch.empty(len(tokens), _columns(weights))
    _compute(weights, cache, tokens, places, torch.arange(len(tokens)), logits)
    return logits[:, : weights.size]


def read(weights: Weights, cache: Cache, tokens: Tensor, places: Tensor, slots: Tensor) -> None:
    """Read `tokens` (N,), which stand at `places` (N,) of the texts in the rows `slots` (N,) of the cache.

    Tokens of one text follow each other, and what is before the first of them has been read. Raises MemoryError.
    """
    for first in range(0, len(tokens), READ_AT_ONCE):
        part = slice(first, first + READ_AT_ONCE)
        _compute(weights, cache, tokens[part], places[part], slots[part], None)


def _compute(
    weights: Weights, cache: Cache, tokens: Tensor, places: Tensor, slots: Tensor, logits: Tensor | None
) -> None:
    tensors = (places, slots, weights.matrices, *weights.tables, cache.keys, cache.values, logits)
    native.call("decode_step", (weights.embeddings[tokens], *tensors), *_sizes(weights, cache, len(tokens)))


def run(
    weights: Weights, cache: Cache, tokens: Tensor, places: Tensor, choices: Choices, chances: Tensor, stop: Tensor
) -> Tensor:
    """Return up to N tokens (B, N) that follow `tokens` (B,), which stand at `places` (B,) of their texts.

    The run ends with an end of text, with logits that are no numbers, for which NO_NUMBER stands, or when another thread sets `stop` (1,), int32,
    but not before the first token. `chances` (B, N), float64, are uniform on [0, 1). Raises MemoryError.
    """
    rows, steps = chances.shape
    assert rows <= cache.keys.shape[1], "no room"
    written = torch.zeros(rows, steps + 1, dtype=torch.int64)
    written[:, 0] = tokens
    made = torch.zeros(1, dtype=torch.int64)
    slots = torch.arange(rows)
    read = (weights.embeddings, written, places, slots, weights.matrices, *weights.tables, cache.keys, cache.values)
    chosen = (choices.settings, choices.seen, chances, stop, made)
    sizes = (*_sizes(weights, cache, rows), weights.size, steps, choices.end_of_text)
    native.call("decode_run", (*read, *chosen), *sizes)
    return written[:, 1 : 1 + int(made)]


def _sizes(weights: Weights, cache: Cache, rows: int) -> tuple[int, ...]:
    layers, room, heads, window, _ = cache.keys.shape
    return rows, room, weights.embeddings.shape[1], weights.d_ff, layers, heads, window, _columns(weights)


def _columns(weights: Weights) -> int:
    return -(-weights.size // TILE) * TILE
