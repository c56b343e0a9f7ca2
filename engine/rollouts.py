"""Write whole batches of continuations for self-play, in the ways in which people let a model write: greedily, or sampled.

Shapes: B rows, T tokens, V vocab_size, C d_model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from engine.decoder import decoder
from engine.sampling import choose
from model import Transformer


@dataclass(frozen=True)
class Rollouts:
    """Written continuations. `tokens` (B, T) holds prompt and completion of each row, padded with end-of-text."""

    tokens: Tensor
    starts: list[int]  # where each row's completion begins
    completions: list[list[int]]  # all that was written; an end-of-text is the last one
    finished: list[bool]  # ends with an end-of-text


@torch.no_grad()
def write_rollouts(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    greedy: Sequence[bool],
    sampling: SamplingConfig,
    size: int,
    end_of_text: int,
    generator: torch.Generator,
    part: tuple[int, int] | None = None,
) -> Rollouts:
    """Continue each prompt by at most `sampling.max_new_tokens` of the first `size` ids: the likeliest ones where `greedy`, else sampled.

    Prompts longer than the window allows keep their end. Runs under the caller's autocast. `part` (first, total) says
    that these are the rows from `first` on of `total`, so that each row draws what it would draw among all of them.
    """
    device, new = model.lm_head.weight.device, sampling.max_new_tokens
    first, total = part or (0, len(prompts))
    prompts = [prompt[-(model.config.max_seq_len - new) :] for prompt in prompts]
    starts = [len(prompt) for prompt in prompts]
    tokens = torch.full((len(prompts), max(starts) + new), end_of_text, device=device)  # (B, T)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt, device=device)
    rows, at = (
        torch.arange(len(prompts), device=device),
        torch.tensor(starts, device=device),
    )  # `at`: the next token's place
    likeliest = torch.tensor(greedy, device=device)
    decoding = decoder(model, len(prompts), size)
    logits = decoding.read(tokens[:, : max(starts)], at - 1)  # (B, V)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for number in range(1, new + 1):
        chance = torch.rand(total, 1, dtype=torch.float64, generator=generator)[first : first + len(prompts)]
        chosen = choose(logits, sampling, likeliest, chance.to(device))
        tokens[rows, at] = chosen.masked_fill(done, end_of_text)
        done |= chosen == end_of_text
        if number == new or bool(done.all()):
            break
        logits = decoding.step(tokens[rows, at], at)
        at = at + 1
    written = zip(tokens.tolist(), starts, strict=True)
    completions = [_completion(row[start : start + new], end_of_text) for row, start in written]
    return Rollouts(tokens, starts, completions, [completion[-1] == end_of_text for completion in completions])


def _completion(row: list[int], end_of_text: int) -> list[int]:
    """Return what was written, up to and including the first end-of-text."""
    return row[: row.index(end_of_text) + 1] if end_of_text in row else row
