"""Read a text that already stands: how likely the model finds each of its tokens, what it would rather have read, and where it looks.

Shapes: T tokens, V ids, H heads, K head_dim, C d_model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import kernels
from engine.details import TokenDetails, describe, offsets
from engine.stream import NonFiniteLogits, Token
from errors import InvalidInput
from model import Block, Place, Transformer
from tokenizer import Tokenizer

MOST_TOKENS = 4096  # in one request
ROUNDED = 5  # digits of an attention weight


@dataclass(frozen=True)
class Head:
    """One attention head, counted from 0."""

    layer: int
    head: int


@dataclass(frozen=True)
class Score:
    """`attention` (T, T) says how much each token (row) looked at each (column), both as they are read: with the first id.

    It covers the end of the text that fits into the context, without `unseen` ids before it.
    """

    tokens: tuple[TokenDetails, ...]
    attention: tuple[tuple[float, ...], ...] | None = None
    unseen: int = 0


def score(
    model: Transformer, tokenizer: Tokenizer, ids: list[int], alternatives: int, look: Head | None = None
) -> Score:
    """Return the details of all `ids` but a first end-of-text, which starts every text.

    Where the context is full its later half is kept, as when a text is written. Raises InvalidInput, NonFiniteLogits.
    """
    if len(ids) > MOST_TOKENS:
        raise InvalidInput(field="text", reason="too_many_tokens", tokens=len(ids), most=MOST_TOKENS)
    told = [Token(ids[0]), *_told(model, tokenizer.size, ids, alternatives)]
    if ids[0] == tokenizer.end_of_text:
        told = told[1:]
    places = offsets((token.id for token in told), tokenizer)
    details = tuple(describe(token, place, tokenizer) for token, place in zip(told, places, strict=True))
    if look is None:
        return Score(details)
    unseen = max(0, len(ids) - model.config.max_seq_len)
    return Score(details, _attention(model, ids[unseen:], look), unseen)


@torch.inference_mode()
def surprise(model: Transformer, ids: list[int]) -> float:
    """Return the loss over all `ids` but the first, in nats, read one context after the other. Raises NonFiniteLogits."""
    window, total = model.config.max_seq_len, 0.0
    for start in range(0, len(ids) - 1, window):
        part = torch.tensor([ids[start : start + window + 1]])
        total += model.loss(part[:, :-1], part[:, 1:]).item() * (part.shape[1] - 1)
    if not math.isfinite(total):
        raise NonFiniteLogits
    return total


@torch.inference_mode()
def _told(model: Transformer, size: int, ids: list[int], alternatives: int) -> Iterator[Token]:
    """Yield the tokens from the second on, each with what the model says before it reads it."""
    window = model.config.max_seq_len
    start, known = 0, 1  # where the context begins, and the first token that is not told yet
    while known < len(ids):
        part = ids[start : start + window + 1]
        logits = model(torch.tensor([part[:window]]))[0, :, :size].float()  # (T, V)
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteLogits
        for place in range(known - start, len(part)):
            logprobs = logits[place - 1].log_softmax(-1)
            values, likeliest = logprobs.topk(min(alternatives, size))
            pairs = zip(likeliest.tolist(), values.tolist(), strict=True)
            yield Token(part[place], float(logprobs[part[place]]), tuple(pairs))
        known = start + len(part)
        start += window // 2


@torch.inference_mode()
def _attention(model: Transformer, ids: list[int], look: Head) -> tuple[tuple[float, ...], ...]:
    """Return the attention weights (T, T) of one head. Raises InvalidInput."""
    config = model.config
    for field, given, number in (("layer", look.layer, config.num_layers), ("head", look.head, config.num_heads)):
        if not 0 <= given < number:
            raise InvalidInput(field=field, reason="not_there", value=given, largest=number - 1)
    found: list[Tensor] = []

    def run(block: nn.Module, x: Tensor, place: Place) -> Tensor:
        assert isinstance(block, Block)
        if block.attention.layer == look.layer:
            found.append(_weights(block, x, place, look.head))
        return block(x, place)

    model.hidden(torch.tensor([ids]), run=run)
    return tuple(tuple(round(weight, ROUNDED) for weight in row) for row in found[0].tolist())


def _weights(block: Block, x: Tensor, place: Place, head: int) -> Tensor:
    attention, normed = block.attention, block.attention_norm(x)
    q, k = (
        proj(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)[:, head : head + 1]
        for proj in (attention.q_proj, attention.k_proj)
    )  # (1, 1, T, K) each
    if place.cos is not None and place.sin is not None:
        q, k = kernels.rotate(q, place.cos, place.sin), kernels.rotate(k, place.cos, place.sin)
    scores = (q @ k.transpose(-1, -2))[0, 0] * q.shape[-1] ** -0.5  # (T, T)
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1)
