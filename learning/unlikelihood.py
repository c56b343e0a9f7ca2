"""Compute the gradient that makes repeated tokens of a model's own texts less likely: unlikelihood (Welleck et al., arXiv 1908.04319).

A token that the model could hardly avoid where it first wrote it, such as the rest of a word, is not what makes a loop, and without it texts
fall apart. So each counts by (1 - q)^2, where q is the probability it had there.

Particular: the gradient of -log(1 - p) is that of -log p times -p / (1 - p), so the fused head with its few rows of logits at a
time serves here as well; only the hidden states of the chosen tokens go through it.

Shapes: B rows, T tokens, C d_model, N chosen tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from model import Transformer

ROWS_AT_ONCE = 16  # bounds the memory
# Rows and chosen tokens come in multiples of these, as the libraries beneath keep memory for every size of a product they have met.
FEW_ROWS, PADDED = 8, 256
MOST_PROBABLE = 0.9999  # the factor p / (1 - p) has no limit, and in bfloat16 p may round to 1


def unlikelihood_gradient(
    model: Transformer,
    tokens: Tensor,
    weights: Tensor,
    repeats: Tensor,
    size: int,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> list[Tensor]:
    """Return the gradient of the sum of weights[:, t] (1 - q)^2 times -log(1 - p), over the first `size` ids.

    `weights` and `repeats` are (B, T-1). p is the probability of tokens[:, t+1] after tokens[:, :t+1], and q, a constant, that of the same
    token at the place t' = repeats[:, t]. The gradient is in the order of `model.parameters()`, and zero where all weights are.
    """
    total = [torch.zeros_like(parameter) for parameter in model.parameters()]
    needed = _with_weights(weights)
    for rows, shares, firsts in zip(
        *(part[needed].split(ROWS_AT_ONCE) for part in (tokens, weights, repeats)), strict=True
    ):
        if bool(shares.any()):
            with autocast():
                loss = _loss(model, rows, shares, firsts, size)
            torch._foreach_add_(total, list(torch.autograd.grad(loss, list(model.parameters()))))
    return total


def _with_weights(weights: Tensor) -> Tensor:
    """Return the numbers of the rows that have weights, and of a few others, so that there are few different numbers of them."""
    weighted = weights.any(dim=1)
    count = -(-int(weighted.sum()) // FEW_ROWS) * FEW_ROWS
    return weighted.int().argsort(descending=True, stable=True)[:count]


def _loss(model: Transformer, tokens: Tensor, weights: Tensor, repeats: Tensor, size: int) -> Tensor:
    """Return a loss () with the gradient, not the value, of the weighted unlikelihood."""
    rows, chosen = weights.nonzero(as_tuple=True)
    padding = (0, -len(chosen) % PADDED)
    shares = F.pad(weights[rows, chosen], padding)  # (N,)
    hidden = model.hidden(tokens[:, :-1])  # (B, T-1, C)
    x, first = (hidden[F.pad(rows, padding), F.pad(places, padding)] for places in (chosen, repeats[rows, chosen]))
    head, targets = model.lm_head.weight[:size], F.pad(tokens[rows, chosen + 1], padding)
    p, q = (kernels.logprobs(place.detach(), head, targets).exp() for place in (x, first))
    p = p.clamp_max(MOST_PROBABLE)
    return kernels.weighted_nll(x, head, targets, -shares * (1 - q) ** 2 * p / (1 - p))
