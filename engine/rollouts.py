"""Sample whole batches of continuations for self-play, from the untouched softmax (temperature 1): that is the distribution
which the policy gradient differentiates.

Shapes: B rows, T tokens, V vocab_size, C d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.sampling import draw
from model import KVCache, Transformer


@dataclass(frozen=True)
class Rollouts:
    """Sampled continuations. `tokens` (B, T) holds prompt and completion of each row, padded with end-of-text."""

    tokens: Tensor
    logprobs: Tensor  # (B, T-1) of the sampled tokens, at the place of the token before; 0 elsewhere
    starts: list[int]  # where each row's completion begins
    completions: list[list[int]]  # all that was sampled; an end-of-text is the last one
    finished: list[bool]  # ends with an end-of-text
    entropy: float  # mean over the sampled tokens, nats


@torch.no_grad()
def write_rollouts(
    model: Transformer,
    prompts: list[list[int]],
    max_new_tokens: int,
    size: int,
    end_of_text: int,
    generator: torch.Generator,
    part: tuple[int, int] | None = None,
) -> Rollouts:
    """Sample a continuation of each prompt at temperature 1 from the whole softmax over the first `size` ids.

    Prompts longer than the window allows keep their end. Runs under the caller's autocast. `part` (first, total) says
    that these are the rows from `first` on of `total`, so that each row draws what it would draw among all of them.
    """
    first, total = part or (0, len(prompts))
    device = model.lm_head.weight.device
    prompts = [prompt[-(model.config.max_seq_len - max_new_tokens) :] for prompt in prompts]
    starts = [len(prompt) for prompt in prompts]
    tokens = torch.full((len(prompts), max(starts) + max_new_tokens), end_of_text, device=device)  # (B, T)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt, device=device)
    logprobs = torch.zeros((len(prompts), tokens.shape[1] - 1), device=device)  # (B, T-1)
    rows, at = (
        torch.arange(len(prompts), device=device),
        torch.tensor(starts, device=device),
    )  # `at`: where the next token goes
    cache = KVCache(model.config, len(prompts), device=device, dtype=_cache_dtype(device))
    hidden = model.hidden(tokens[:, : max(starts)], cache)[rows, at - 1]  # (B, C)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    ragged = len(set(starts)) > 1
    entropy_sum, count = 0.0, 0
    for _ in range(max_new_tokens):
        log_p = model.lm_head(hidden)[:, :size].float().log_softmax(-1)  # (B, V)
        p = log_p.exp()
        chance = torch.rand(total, 1, dtype=torch.float64, generator=generator)[first : first + len(prompts)]
        drawn = draw(p, chance.to(device))
        entropy_sum -= float((p * log_p).sum(-1)[~done].sum())
        count += int((~done).sum())
        logprobs[rows, at - 1] = log_p[rows, drawn].masked_fill(done, 0.0)
        tokens[rows, at] = drawn.masked_fill(done, end_of_text)
        done |= drawn == end_of_text
        if bool(done.all()) or int(at.max()) + 1 == tokens.shape[1]:
            break
        hidden = model.hidden(tokens[rows, at][:, None], cache, at[:, None] if ragged else at[:1])[:, -1]
        at = at + 1
    completions = [
        _completion(row[start : start + max_new_tokens], end_of_text)
        for row, start in zip(tokens.tolist(), starts, strict=True)
    ]
    finished = [completion[-1] == end_of_text for completion in completions]
    return Rollouts(tokens, logprobs, starts, completions, finished, entropy_sum / count)


def _completion(row: list[int], end_of_text: int) -> list[int]:
    """Return what was sampled, up to and including the first end-of-text."""
    return row[: row.index(end_of_text) + 1] if end_of_text in row else row


def _cache_dtype(device: torch.device) -> torch.dtype:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
