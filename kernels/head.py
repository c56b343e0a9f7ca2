"""Compute the head and its loss without the whole matrix of logits.

Shapes: N tokens, C d_model, V vocab_size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.blocks import compute

ROWS_AT_ONCE = 512  # of logits: (512, V) fits the cache and bounds the memory for any batch
ROWS_ON_A_CARD = 8192


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of `targets` (N,) under the logits `x` (N, C) @ `weight`' (C, V), in nats; -100 is ignored."""
    counted = targets >= 0
    return weighted_nll(x, weight, targets.clamp_min(0), counted / counted.sum().clamp_min(1))


def weighted_nll(x: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of `weights` (N,) times -log p of `targets` (N,) under the softmax of `x` (N, C) @ `weight`' (C, V), in nats.

    Logits are computed a few rows at a time and, if a gradient is needed, replaced by it in place, so the whole (N, V)
    matrix never exists; after Hsu et al. 2024 (arXiv 2410.10989).
    """
    if torch.is_grad_enabled():
        return _WeightedNLL.apply(compute(x), weight, targets, weights)  # type: ignore[no-untyped-call, no-any-return]
    return -(logprobs(x, weight, targets) * weights).sum()


def logprobs(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return log p (N,) of `targets` under the softmax of `x` (N, C) @ `weight`' (C, V), a few rows at a time, without a gradient."""
    with torch.no_grad():
        size = rows_at_once(x.device)
        parts = zip(torch.split(x, size), torch.split(targets, size), strict=True)
        return -torch.cat(
            [F.cross_entropy(F.linear(rows, weight).float(), target, reduction="none") for rows, target in parts]
        )


def rows_at_once(device: torch.device) -> int:
    """Return how many rows of logits exist at a time."""
    return ROWS_AT_ONCE if device.type == "cpu" else ROWS_ON_A_CARD


class _WeightedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            loss, grad_x, grad_weight = _loss_and_gradients(x, weight.to(x.dtype), targets, weights)
        ctx.save_for_backward(grad_x, grad_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_x, grad_weight = ctx.saved_tensors
        return grad_x * gradients[0].to(grad_x.dtype), grad_weight * gradients[0], None, None


def _loss_and_gradients(x: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and its gradients (N, C) and (V, C)."""
    loss = torch.zeros((), device=x.device)
    grad_x, grad_weight = torch.empty_like(x), torch.zeros(weight.shape, device=x.device)
    size = rows_at_once(x.device)
    spaces = [
        x.new_empty(min(size, len(x)), len(weight)) for _ in range(2)
    ]  # allocating for each part would take a third longer
    whole = (x, targets[:, None], weights[:, None], grad_x)
    parts = (torch.split(tensor, size) for tensor in whole)
    for rows, target, share, grad_rows in zip(*parts, strict=True):
        logits, p = (space[: len(rows)] for space in spaces)  # (n, V)
        torch.softmax(torch.mm(rows, weight.t(), out=logits), -1, out=p)
        chosen = p.gather(1, target)  # (n, 1)
        each = torch.arange(len(p), device=p.device)
        loss -= (chosen.float().clamp_min(torch.finfo(torch.float32).tiny).log() * share).sum()
        p.index_put_((each, target[:, 0]), (chosen - 1)[:, 0])  # scatter_ copies all of p, twice
        torch.mul(torch.mm(p, weight), share, out=grad_rows)  # scale the narrow side: (n, C) instead of (n, V)
        _add_product(grad_weight, p.t(), (rows * share).to(rows.dtype))
    return loss, grad_x, grad_weight


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Compute total += a @ b, without an intermediate matrix where the number formats are equal."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += torch.mm(a, b)
