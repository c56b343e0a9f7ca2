"""Compute causal self-attention with the C code (native.py), as an operation that torch can differentiate.

The backward pass needs qkv, the output and two numbers for each query and head, but no probabilities.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import native

DIMENSIONS_AT_ONCE = 32


def takes(qkv: Tensor, num_heads: int) -> bool:
    """Return whether the native kernel can compute attention for `qkv` (B, T, 3C)."""
    return serves(qkv.device, qkv.dtype, qkv.shape[2] // (3 * num_heads))


def serves(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Return whether the native kernel is available for this device, number format and head size."""
    return head_dim % DIMENSIONS_AT_ONCE == 0 and native.serves(device, dtype)


def causal_attention(qkv: Tensor, num_heads: int, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """Compute the same as attention.causal_attention. Raises MemoryError."""
    tables = [None if table is None else table.float().contiguous() for table in (cos, sin)]
    return _Attention.apply(qkv.contiguous(), num_heads, *tables)  # type: ignore[no-untyped-call, no-any-return]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        rows, length, size = qkv.shape
        y, kept = qkv.new_empty(rows, length, size // 3), torch.empty(rows, num_heads, length, 2)
        ctx.shape = rows, length, num_heads, size // (3 * num_heads)
        native.call("attention_forward", (qkv, cos, sin, y, kept), *ctx.shape)
        ctx.save_for_backward(qkv, cos, sin, y, kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        qkv, cos, sin, y, kept = ctx.saved_tensors
        grad_qkv = torch.empty_like(qkv)
        native.call("attention_backward", (qkv, cos, sin, y, gradients[0].contiguous(), kept, grad_qkv), *ctx.shape)
        return grad_qkv, None, None, None
