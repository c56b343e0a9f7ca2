"""The operations around a block's matrix products: normalisation, dropout, the number format, several products at once.

A few rows are processed at a time, so that they stay in the cache between passes, and the gradient is written out instead of
being composed of a dozen small operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUMBERS_AT_ONCE = 2**18  # in the rows of one piece, so that it stays in the cache


def compute(x: Tensor) -> Tensor:
    """Cast `x` to the number format that autocast multiplies in, once instead of in each layer that reads it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def linear(x: Tensor, *layers: nn.Linear) -> Tensor:
    """Return the outputs of several layers side by side, computed in one product."""
    weight = torch.cat([compute(layer.weight) for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([compute(layer.bias) for layer in layers])
    return F.linear(x, weight, bias)


class RMSNorm(nn.RMSNorm):
    """RMS normalisation (Zhang and Sennrich 2019, arXiv 1910.07467) with its output in the number format of the products."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return compute(super().forward(x))
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return _RMSNorm.apply(x, self.weight, eps, kind)  # type: ignore[no-untyped-call, no-any-return]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        flat = x.flatten(0, -2)
        y = torch.empty(flat.shape, dtype=dtype)
        scale = (
            torch.linalg.vector_norm(flat, dim=1, keepdim=True).square_().div_(flat.shape[1]).add_(eps).rsqrt_()
        )  # (N, 1)
        for rows, out, r in zip(*_pieces(flat, y, scale), strict=True):
            out.copy_((rows * r).mul_(weight))
        ctx.save_for_backward(x, weight, scale)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x), torch.zeros_like(weight)
        whole = (x.flatten(0, -2), gradients[0].flatten(0, -2), scale, grad_x.flatten(0, -2))
        for rows, grad, r, out in zip(*_pieces(*whole), strict=True):
            unit = rows * r  # (n, C)
            along = unit * grad
            grad_weight += along.sum(0)
            torch.mul(grad, weight, out=out)
            out.addcmul_(unit, (along @ weight[:, None]).div_(-rows.shape[1])).mul_(r)
        return grad_x, grad_weight, None, None


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut each tensor into the same pieces of rows, with NUMBERS_AT_ONCE numbers of the first tensor (N, C) in each."""
    rows = max(1, NUMBERS_AT_ONCE // tensors[0].shape[1])
    return (torch.split(tensor, rows) for tensor in tensors)


class Dropout(nn.Dropout):
    """Dropout whose mask takes one random byte a number on the CPU, where `p` is rounded to 1/256.

    `p` may be a tensor (), which a CUDA graph reads at each replay.
    """

    p: float | Tensor  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if isinstance(self.p, Tensor):
            kept = torch.rand_like(x, dtype=torch.float32) >= self.p
            return x * (kept / (1 - self.p)).to(x.dtype)
        if self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        dropped = min(255, round(self.p * 256))
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # every bit is random
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))
