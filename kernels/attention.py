"""Compute causal self-attention from one projected tensor, a few sequences and a few queries at a time.

This version uses torch's operations; the native kernel (native_attention.py) is two to three times as fast where it is available.

On a CPU most of the time goes into the T x T scores. In small pieces they stay in the cache, and pieces that lie
wholly in the future are skipped. Rotary positions (Su et al. 2021, arXiv 2104.09864) are applied to a piece in place;
a product with a small matrix rotates its halves without copies.

Shapes: B sequences, T tokens, C d_model, H heads, K head_dim; n = rows x H matrices at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import native_attention

MATRICES_AT_ONCE = 64
QUERIES_AT_ONCE = 64
LONGEST_KEPT = 256  # tokens; for longer windows the backward pass computes the probabilities again, so memory grows with T, not T x T


def causal_attention(qkv: Tensor, num_heads: int, cos: Tensor | None = None, sin: Tensor | None = None) -> Tensor:
    """Return softmax(q k' / sqrt(K)) v over the tokens so far, (B, T, C), for queries, keys and values side by side (B, T, 3C).

    With `cos` and `sin` (T, K), queries and keys are rotated first.
    """
    if native_attention.takes(qkv, num_heads):
        return native_attention.causal_attention(qkv, num_heads, cos, sin)
    if qkv.device.type == "cpu":
        return _CausalAttention.apply(qkv, num_heads, cos, sin)  # type: ignore[no-untyped-call, no-any-return]
    q, k, v = qkv.view(*qkv.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, K) each
    if cos is not None and sin is not None:
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x` (..., T, K) by its positions, in its own number format; pairs are one number from each half of K."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        pieces = _Pieces(qkv, num_heads, cos, sin)
        y = qkv.new_empty(*qkv.shape[:2], num_heads, pieces.head_dim)
        heads, kept = [], []
        learns = ctx.needs_input_grad[0]
        with torch.autocast("cpu", enabled=False):  # it would make the scores float32
            for rows in pieces.rows(len(qkv)):
                q, k, v = x = pieces.heads(qkv[rows])
                if learns:
                    heads.append(x)
                for first, last in pieces.queries:
                    p = pieces.probabilities(q, k, first, last)
                    y[rows, first:last] = (
                        torch.bmm(p, v[:, :last]).view(-1, num_heads, last - first, pieces.head_dim).transpose(1, 2)
                    )
                    if learns and pieces.length <= LONGEST_KEPT:
                        kept.append(p)
        ctx.pieces = pieces
        ctx.save_for_backward(*heads, *kept)  # heads are as large as qkv, which is freed
        return y.flatten(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        pieces: _Pieces = ctx.pieces
        grad_y = gradients[0].view(-1, pieces.length, pieces.num_heads, pieces.head_dim)  # (B, T, H, K)
        grad_qkv = grad_y.new_empty(*grad_y.shape[:2], 3 * gradients[0].shape[2])
        rows = list(pieces.rows(len(grad_y)))
        heads, kept = ctx.saved_tensors[: len(rows)], ctx.saved_tensors[len(rows) :]
        each = len(pieces.queries)
        for number, (some, x) in enumerate(zip(rows, heads, strict=True)):
            grad = grad_y[some].transpose(1, 2).reshape(x.shape[1:])
            pieces.put(grad_qkv[some], pieces.gradients(x, grad, kept[number * each : (number + 1) * each]))
        return grad_qkv, None, None, None


class _Pieces:
    """Cuts the work into pieces and computes one piece. Holds no activations, because autograd has to free them."""

    def __init__(self, qkv: Tensor, num_heads: int, cos: Tensor | None, sin: Tensor | None) -> None:
        self.num_heads, self.length, self.head_dim = num_heads, qkv.shape[1], qkv.shape[2] // (3 * num_heads)
        scale = 1 / math.sqrt(self.head_dim)
        self.scales = torch.tensor([scale, 1.0], dtype=qkv.dtype)[:, None, None, None]
        self.cos = self.sin = None
        if cos is not None and sin is not None:
            self.cos, self.sin = (
                self.scales * table.to(qkv.dtype) for table in (cos, sin)
            )  # (2, 1, T, K): of queries and keys
            self.turn = _turn(self.head_dim, qkv.dtype)
        self.later = torch.full((QUERIES_AT_ONCE, QUERIES_AT_ONCE), -math.inf, dtype=qkv.dtype).triu(1)
        starts = range(0, self.length, QUERIES_AT_ONCE)
        self.queries = [(first, min(self.length, first + QUERIES_AT_ONCE)) for first in starts]

    def rows(self, count: int) -> Iterator[slice]:
        """Yield slices of `count` sequences with about MATRICES_AT_ONCE matrices each."""
        size = max(1, MATRICES_AT_ONCE // self.num_heads)
        return (slice(first, first + size) for first in range(0, count, size))

    def heads(self, qkv: Tensor) -> Tensor:
        """Return queries (divided by sqrt(K)), keys and values of some rows, rotated: (3, n, T, K)."""
        x = self._apart(qkv).clone(memory_format=torch.contiguous_format).flatten(1, 2)
        if self.cos is None or self.sin is None:
            x[:1].mul_(self.scales[0])
        else:
            turned = x[:2] @ self.turn
            x[:2].mul_(self.cos).addcmul_(turned, self.sin)
        return x

    def _apart(self, x: Tensor) -> Tensor:
        """Return a view of (B, T, 3C) as (3, B, H, T, K)."""
        return x.view(-1, self.length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)

    def gradients(self, x: Tensor, grad_y: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the gradient of `x`, the result of `heads`, (3, n, T, K), from the output's (n, T, K) and the kept probabilities.

        The last queries attend to all keys and values, so they come first and write those gradients; the others add to them.
        """
        (q, k, v), grads = x, torch.empty_like(x)
        grad_q, grad_k, grad_v = grads
        for number, (first, last) in reversed(list(enumerate(self.queries))):
            p = kept[number] if kept else self.probabilities(q, k, first, last)
            grad_p = torch.bmm(grad_y[:, first:last], v[:, :last].mT)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
            grad_q[:, first:last] = torch.bmm(grad_scores, k[:, :last])
            beta = int(last < self.length)  # 0 writes, 1 adds
            grad_k[:, :last].baddbmm_(grad_scores.mT, q[:, first:last], beta=beta)
            grad_v[:, :last].baddbmm_(p.mT, grad_y[:, first:last], beta=beta)
        return grads

    def put(self, grad_qkv: Tensor, grads: Tensor) -> None:
        """Write the gradient of a result of `heads` into `grad_qkv` (rows, T, 3C), undoing scale and rotation."""
        space = self._apart(grad_qkv)
        grads = grads.view(space.shape)
        if self.cos is None or self.sin is None:
            torch.mul(grads[0], self.scales[0], out=space[0])
            space[1:].copy_(grads[1:])
        else:
            cos, sin = self.cos[:, :, None], self.sin[:, :, None]  # (2, 1, 1, T, K)
            turned = (grads[:2] * sin) @ self.turn.t()
            torch.add(grads[:2].mul_(cos), turned, out=space[:2])
            space[2].copy_(grads[2])

    def probabilities(self, q: Tensor, k: Tensor, first: int, last: int) -> Tensor:
        """Return the attention of queries `first` to `last` over the keys so far, (n, last - first, last)."""
        scores = torch.bmm(q[:, first:last], k[:, :last].mT)
        scores[:, :, first:].add_(self.later[: last - first, : last - first])
        return torch.softmax(scores, -1)


def _turn(head_dim: int, dtype: torch.dtype) -> Tensor:
    """Return a matrix for which x @ turn is (-second half, first half) of x, (K, K)."""
    half = head_dim // 2
    turn = torch.zeros(head_dim, head_dim, dtype=dtype)
    turn[:half, half:] = torch.eye(half)
    turn[half:, :half] = -torch.eye(half)
    return turn
