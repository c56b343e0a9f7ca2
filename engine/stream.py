"""Generate one text token by token, with a key-value cache and the person's sampling parameters.

Ids the tokenizer does not know (a small book may yield fewer than vocab_size) are never generated. When the context is full,
its later half is read again and generation goes on.

Not here: text out of tokens (text.py), where models come from, HTTP. Shapes: V vocab_size.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from engine.sampling import filter_logits
from model import KVCache, Transformer


class NonFiniteLogits(ArithmeticError):
    """The model computes NaN or infinity: its weights are damaged."""


@dataclass(frozen=True)
class Token:
    """A generated token."""

    id: int
    logprob: float  # natural log, under the distribution it was drawn from


def stream(
    model: Transformer, prompt: list[int], sampling: SamplingConfig, size: int, end_of_text: int
) -> Iterator[Token]:
    """Yield the tokens after `prompt` (at least one id), up to `max_new_tokens` or end of text, which is the last one then.

    Chooses among the first `size` ids. Raises NonFiniteLogits.
    """
    window = model.config.max_seq_len
    generator = torch.Generator().manual_seed(secrets.randbits(32) if sampling.seed is None else sampling.seed)
    context = list(prompt[-window:])
    logits, cache = _read(model, context)
    for _ in range(sampling.max_new_tokens):
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteLogits
        filtered = filter_logits(logits[:size], sampling, torch.tensor(context))
        logprobs = filtered.log_softmax(-1)
        token = int(torch.multinomial(logprobs.exp(), 1, generator=generator))
        yield Token(token, float(logprobs[token]))
        if token == end_of_text:
            return
        if len(context) == window:
            context = context[window // 2 :]
            logits, cache = _read(model, [*context, token])
        else:
            logits = _step(model, token, len(context), cache)
        context.append(token)


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
