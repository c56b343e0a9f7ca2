"""Generate one text token by token, with a key-value cache and the person's sampling parameters.

Ids the tokenizer does not know (a small book may yield fewer than vocab_size) are never generated. When the context is full,
its later half is read again and generation goes on.

Not here: text out of tokens (text.py), where models come from, HTTP. Shapes: V vocab_size.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from engine.sampling import candidates, draw, penalised
from model import KVCache, Transformer


class NonFiniteLogits(ArithmeticError):
    """The model computes NaN or infinity: its weights are damaged."""


@dataclass(frozen=True)
class Extras:
    """What a program may ask for beyond the person's sampling settings."""

    alternatives: int | None = (
        None  # how many of the likeliest tokens are told at each place; None tells no logprobs either
    )
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


PLAIN = Extras()


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token. Logprobs are natural logarithms of the model's own probabilities, before any sampling parameter."""

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()  # (id, logprob), the likeliest first


def stream(
    model: Transformer,
    prompt: list[int],
    sampling: SamplingConfig,
    size: int,
    end_of_text: int,
    extras: Extras = PLAIN,
) -> Iterator[Token]:
    """Yield the tokens after `prompt` (at least one id), up to `max_new_tokens` or end of text, which is the last one then.

    Chooses among the first `size` ids. Raises NonFiniteLogits.
    """
    window, chances = model.config.max_seq_len, chances_of(sampling)
    context, written = list(prompt[-window:]), Counter[int]()
    logits, cache = _read(model, context)
    for _ in range(sampling.max_new_tokens):
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteLogits
        logits = logits[:size]
        token = next_token(logits, sampling, context, written, extras, chances.random())
        yield token
        if token.id == end_of_text:
            return
        if len(context) == window:
            context = context[window // 2 :]
            logits, cache = _read(model, [*context, token.id])
        else:
            logits = _step(model, token.id, len(context), cache)
        context.append(token.id)
        written[token.id] += 1


def chances_of(sampling: SamplingConfig) -> random.Random:
    """Return the source of the random numbers of a text: one for each token."""
    return random.Random(secrets.randbits(32) if sampling.seed is None else sampling.seed)


def next_token(
    logits: Tensor,
    sampling: SamplingConfig,
    context: list[int],
    written: Counter[int],
    extras: Extras,
    chance: float,
) -> Token:
    """Choose from logits (V,) and tell what `extras` ask for."""
    presence, frequency = extras.presence_penalty, extras.frequency_penalty
    weighed = logits
    if sampling.repetition_penalty != 1.0 or presence or frequency:
        weighed = penalised(logits, sampling, torch.tensor(context), written, presence, frequency)
    ids, p = candidates(weighed[None], sampling)
    token = int(ids[0, draw(p, torch.tensor([[chance]], dtype=torch.float64))])
    return Token(token) if extras.alternatives is None else _told(token, logits, extras.alternatives)


def _told(token: int, logits: Tensor, alternatives: int) -> Token:
    logprobs = logits.float().log_softmax(-1)
    values, ids = logprobs.topk(min(alternatives, len(logprobs)))
    return Token(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


@torch.inference_mode()
def _read(model: Transformer, context: list[int]) -> tuple[Tensor, KVCache]:
    device = model.lm_head.weight.device
    cache = KVCache(model.config, 1, device=device, dtype=model.lm_head.weight.dtype)
    hidden = model.hidden(torch.tensor([context], device=device), cache)
    return model.lm_head(hidden[0, -1]).cpu(), cache


@torch.inference_mode()
def _step(model: Transformer, token: int, position: int, cache: KVCache) -> Tensor:
    device = model.lm_head.weight.device
    hidden = model.hidden(torch.tensor([[token]], device=device), cache, torch.tensor([position], device=device))
    return model.lm_head(hidden[0, -1]).cpu()
