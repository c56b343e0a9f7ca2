"""Compute one token of each of a few texts through a whole model, with the C code (native.py).

Shapes: B rows, C d_model, F d_ff, V ids, S places of the cache, H heads, K head_dim, L layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kernels import native

TILE = 32  # columns of a packed matrix side by side; every size that the C code knows is a multiple of it
ROWS = 8  # rows of a product that are computed together


def serves(device: torch.device, dtype: torch.dtype, *sizes: int) -> bool:
    """Return whether the C code is available for this device, number format and sizes (C, F and K)."""
    return all(size % TILE == 0 for size in sizes) and native.serves(device, dtype)


def packed(matrices: Iterable[Tensor]) -> Tensor:
    """Return matrices (outputs, inputs) one after the other as the C code reads them, in bfloat16; outputs are padded with zeros."""
    return torch.cat([_packed(matrix) for matrix in matrices])


def _packed(matrix: Tensor) -> Tensor:
    outputs, inputs = matrix.shape
    tiles = matrix.new_zeros(-(-outputs // TILE) * TILE, inputs)
    tiles[:outputs] = matrix
    return tiles.view(-1, TILE, inputs // 2, 2).transpose(1, 2).bfloat16().flatten()  # (tiles, inputs / 2, TILE, 2)


def step(
    x: Tensor,
    places: Tensor,
    matrices: Tensor,
    tables: tuple[Tensor, Tensor],
    cache: tuple[Tensor, Tensor],
    d_ff: int,
    size: int,
) -> Tensor:
    """Return the logits (B, V) of the first `size` ids after tokens with the embeddings `x` (B, C), at `places` (B,) of their texts.

    `matrices` are `packed`: for each layer queries, keys and values, output, gate and up, down, then the head; each carries the factors
    of the RMS norm before it. `tables` are cos and sin (S, K), `cache` keys and values (L, B, H, S, K), which are extended.
    Raises MemoryError.
    """
    layers, rows, heads, window, _ = cache[0].shape
    columns = -(-size // TILE) * TILE
    logits = torch.empty(-(-rows // ROWS) * ROWS, columns)
    tensors = (x.contiguous(), places, matrices, *tables, *cache, logits)
    native.call("decode_step", tensors, rows, x.shape[1], d_ff, layers, heads, window, columns)
    return logits[:rows, :size]
