"""Compute the gradient that teaches a model to go on where its own texts repeat a passage.

Where a text wrote the passage first, the probabilities of the averaged weights show how else it might have gone on. Where it repeats the
passage, the model learns these, without the token it repeated. Making the token less likely and no more (unlikelihood, Welleck et al.,
arXiv 1908.04319) leaves to chance what comes instead: inside a loop little probability is left to the other tokens, and nothing there
says which of them makes sense.

A token that was certain where it first stood, such as the rest of a word, counts little: with 1 - q the probability that was left to
others, by (1 - q)^2.

Shapes: B rows, T tokens, C d_model, N chosen tokens, V ids.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from learning.parameter_groups import EMBEDDINGS, HEAD
from model import Transformer

ROWS_AT_ONCE = 16  # bounds the memory
# Rows and chosen tokens come in multiples of these, as the libraries beneath keep memory for every size of a product they have met.
FEW_ROWS, PADDED = 8, 64
BYTES_PER_LOGIT = 24  # at the peak
BLOCKS_SHARE = 0.4  # of their gradient


def loop_breaking_gradient(
    model: Transformer,
    averaged: Transformer,
    tokens: Tensor,
    weights: Tensor,
    repeats: Tensor,
    size: int,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> list[Tensor]:
    """Return the gradient of the sum of weights[:, t] (1 - q)^2 H over the first `size` ids.

    `weights` and `repeats` are (B, T-1). H is the cross-entropy of the probabilities p_v after tokens[:, :t+1] with q_v / (1 - q), a
    constant: q_v are the probabilities of `averaged` at the place t' = repeats[:, t], v any id but the repeated token tokens[:, t+1], and
    q that of the token. The gradient is in the order of `model.parameters()`, and zero where all weights are.
    """
    total = [torch.zeros_like(parameter) for parameter in model.parameters()]
    needed = _with_weights(weights)
    for rows, shares, firsts in zip(
        *(part[needed].split(ROWS_AT_ONCE) for part in (tokens, weights, repeats)), strict=True
    ):
        if bool(shares.any()):
            with autocast():
                loss = _loss(model, averaged, rows, shares, firsts, size)
            torch._foreach_add_(total, list(torch.autograd.grad(loss, list(model.parameters()))))
    return total


def lighten_blocks(model: Transformer, gradient: list[Tensor]) -> None:
    """Multiply the gradient by `BLOCKS_SHARE` in place, except that of the embeddings and the head.

    Muon makes a full step of whatever direction the blocks get; the more of self-play they learn, the less likely texts become
    (docs/en/defaults.md).
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = [part for name, part in zip(names, gradient, strict=True) if not name.startswith((EMBEDDINGS, HEAD))]
    torch._foreach_mul_(blocks, BLOCKS_SHARE)


def _with_weights(weights: Tensor) -> Tensor:
    """Return the numbers of the rows that have weights, and of a few others, so that there are few different numbers of them."""
    weighted = weights.any(dim=1)
    count = -(-int(weighted.sum()) // FEW_ROWS) * FEW_ROWS
    return weighted.int().argsort(descending=True, stable=True)[:count]


def _loss(
    model: Transformer, averaged: Transformer, tokens: Tensor, weights: Tensor, repeats: Tensor, size: int
) -> Tensor:
    rows, chosen = weights.nonzero(as_tuple=True)
    padding = (0, -len(chosen) % PADDED)
    shares = F.pad(weights[rows, chosen], padding)  # (N,)
    rows, here, first = (F.pad(numbers, padding) for numbers in (rows, chosen, repeats[rows, chosen]))
    with torch.no_grad():
        others = _logits(averaged, tokens, rows, first, size).softmax(-1).scatter(1, tokens[rows, here + 1, None], 0.0)
        others *= others.sum(-1, keepdim=True)  # which is 1 - q
    logprobs = _logits(model, tokens, rows, here, size).log_softmax(-1)
    return -(shares[:, None] * others * logprobs).sum()


def _logits(model: Transformer, tokens: Tensor, rows: Tensor, places: Tensor, size: int) -> Tensor:
    """Return the logits (N, V), float32, after tokens[rows, : places + 1]."""
    hidden = model.hidden(tokens[:, :-1])[rows, places]  # (N, C)
    return F.linear(hidden, model.lm_head.weight[:size]).float()
