"""Write whole batches of continuations for self-play, in the ways in which people let a model write: greedily, or sampled.

Where the C code serves the model, one call of it writes them all; else one token of each follows the other.

Shapes: B rows, T tokens, N new tokens, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from engine.decoder import Decoder, NativeDecoder, decoder
from engine.sampling import choose
from kernels.decode import NO_NUMBER, Choices
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
    decoding: Decoder | None = None,
) -> Rollouts:
    """Continue each prompt by at most `sampling.max_new_tokens` of the first `size` ids: the likeliest ones where `greedy`, else sampled.

    Prompts longer than the window allows keep their end. Runs under the caller's autocast. `part` (first, total) says
    that these are the rows from `first` on of `total`, so that each row draws what it would draw among all of them. `decoding` is a decoder without
    rows; the fastest one is taken unless given.
    """
    device, new = model.lm_head.weight.device, sampling.max_new_tokens
    first, total = part or (0, len(prompts))
    prompts = [prompt[-(model.config.max_seq_len - new) :] for prompt in prompts]
    starts = [len(prompt) for prompt in prompts]
    tokens = torch.full((len(prompts), max(starts) + new), end_of_text, device=device)  # (B, T)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt, device=device)
    chances = torch.rand(new, total, dtype=torch.float64, generator=generator).T[first : first + len(prompts)]  # (B, N)
    decoding = decoding or decoder(model, size)
    decoding.grow(len(prompts))
    if isinstance(decoding, NativeDecoder):
        _write_in_one_call(decoding, tokens, starts, _choices(sampling, greedy, size), chances, end_of_text)
    else:
        _write_step_by_step(decoding, tokens, starts, sampling, torch.tensor(greedy), chances, end_of_text)
    written = zip(tokens.tolist(), starts, strict=True)
    completions = [_completion(row[start : start + new], end_of_text) for row, start in written]
    return Rollouts(tokens, starts, completions, [completion[-1] == end_of_text for completion in completions])


def _choices(sampling: SamplingConfig, greedy: Sequence[bool], size: int) -> Choices:
    s = sampling
    settings = [(0.0 if likeliest else s.temperature, s.top_k, s.top_p, s.min_p, 1.0) for likeliest in greedy]
    seen = torch.zeros(len(settings), size, dtype=torch.uint8)
    return Choices(torch.tensor(settings, dtype=torch.float64), seen, end_of_text=-1)  # no text ends the others' run


def _write_in_one_call(
    decoding: NativeDecoder, tokens: Tensor, starts: list[int], choices: Choices, chances: Tensor, end_of_text: int
) -> None:
    """Write the new tokens into `tokens`, with padding behind an end of text, which logits that are no numbers count as."""
    prompts = [row[:start] for row, start in zip(tokens.tolist(), starts, strict=True)]
    decoding.read_rows(0, [prompt[:-1] for prompt in prompts])
    last, places = torch.tensor([prompt[-1] for prompt in prompts]), torch.tensor(starts) - 1
    never = torch.zeros(1, dtype=torch.int32)
    for row, written in enumerate(decoding.run(last, places, choices, chances.contiguous(), never)):
        found = _completion([end_of_text if token == NO_NUMBER else token for token in written], end_of_text)
        tokens[row, starts[row] : starts[row] + len(found)] = torch.tensor(found)


def _write_step_by_step(
    decoding: Decoder,
    tokens: Tensor,
    starts: list[int],
    sampling: SamplingConfig,
    greedy: Tensor,
    chances: Tensor,
    end_of_text: int,
) -> None:
    """Write the new tokens into `tokens`, with padding behind an end of text."""
    device = tokens.device
    rows, at = torch.arange(len(starts), device=device), torch.tensor(starts, device=device)  # the next token's place
    logits = decoding.read(tokens[:, : max(starts)], at - 1)  # (B, V)
    done = torch.zeros(len(starts), dtype=torch.bool, device=device)
    for chance in chances.T.to(device):
        chosen = choose(logits, sampling, greedy.to(device), chance[:, None])
        tokens[rows, at] = chosen.masked_fill(done, end_of_text)
        done |= chosen == end_of_text
        at = at + 1
        if int(at.max()) == tokens.shape[1] or bool(done.all()):
            return
        logits = decoding.step(tokens[rows, at - 1], at - 1)


def _completion(row: list[int], end_of_text: int) -> list[int]:
    """Return what was written, up to and including the first end-of-text."""
    return row[: row.index(end_of_text) + 1] if end_of_text in row else row
