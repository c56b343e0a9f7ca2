"""Text from a model: sampling, a streaming engine with a key-value cache, and whole batches of rollouts for self-play.

`stream` yields one token at a time with its logprob; `text_pieces` turns tokens into text that never splits a character and
stops at the person's stop strings; `write_rollouts` samples many continuations at once from the untouched softmax
(temperature 1), which is what the policy gradient differentiates.

Ids the tokenizer does not know (a small book may yield fewer than vocab_size) are never generated. When the context is full,
the later half of it is read again and writing goes on.

Not here: where models come from, HTTP. Shapes: B rows, T tokens, V vocab_size.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from model import KVCache, Transformer
from tokenizer import Tokenizer


@dataclass(frozen=True)
class Token:
    id: int
    logprob: float  # natural log, under the distribution it was drawn from


@dataclass(frozen=True)
class Piece:
    """Some more text. The last piece carries the reason for the end: "length", "stop" or "eos"."""

    text: str
    tokens: int  # generated so far
    finish_reason: str | None = None


LEAST = 1e-30  # a smaller temperature or top_p would be 0 in float32


# ---- sampling --------------------------------------------------------------------------------------------------------


def filter_logits(logits: Tensor, sampling: SamplingConfig, seen: Tensor) -> Tensor:
    """The logits (V,) that are drawn from: penalty, temperature, top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024).

    `seen` (n,) are the ids of the context. What is ruled out becomes -inf; the likeliest token always stays.
    """
    logits = logits.float().clone()
    if sampling.repetition_penalty != 1.0 and len(seen):  # Keskar et al. 2019, section 4.1
        ids = seen.unique()
        values = logits[ids]
        logits[ids] = torch.where(
            values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty
        )
    if sampling.temperature == 0:
        return torch.full_like(logits, -torch.inf).index_fill(0, logits.argmax(), 0.0)
    logits = (logits - logits.max()) / max(sampling.temperature, LEAST)
    if 0 < sampling.top_k < len(logits):
        logits[logits < logits.topk(sampling.top_k).values[-1]] = -torch.inf
    if sampling.top_p < 1:
        ordered, order = logits.softmax(-1).sort(descending=True)
        logits[order[ordered.cumsum(-1) - ordered >= max(sampling.top_p, LEAST)]] = -torch.inf
    if sampling.min_p > 0:
        probabilities = logits.softmax(-1)
        logits[probabilities < sampling.min_p * probabilities.max()] = -torch.inf
    return logits


def stream(
    model: Transformer, prompt: list[int], sampling: SamplingConfig, size: int, end_of_text: int
) -> Iterator[Token]:
    """Tokens after `prompt` (at least one id), up to `max_new_tokens` or end of text, which is yielded as the last one."""
    window = model.config.max_seq_len
    generator = torch.Generator().manual_seed(secrets.randbits(32) if sampling.seed is None else sampling.seed)
    context = list(prompt[-window:])
    logits, cache = _read(model, context)
    for _ in range(sampling.max_new_tokens):
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


# ---- text ------------------------------------------------------------------------------------------------------------


def text_pieces(tokens: Iterator[Token], tokenizer: Tokenizer, sampling: SamplingConfig) -> Iterator[Piece]:
    """Turn tokens into text as they come. A character or a possible stop string is held back until it is whole;
    bytes that make no character (a model in its first minutes writes such) are left out."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    held, count, reason = "", 0, "length"
    for token in tokens:
        if token.id == tokenizer.end_of_text:
            reason = "eos"
            break
        count += 1
        held += decoder.decode(tokenizer.token_bytes(token.id))
        if (found := _first_stop(held, sampling.stop)) is not None:
            yield Piece(held[:found], count, "stop")
            return
        ready = len(held) - _possible_stop(held, sampling.stop)
        yield Piece(held[:ready], count)
        held = held[ready:]
    yield Piece(held + decoder.decode(b"", final=True), count, reason)


def _first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    found = [index for stop in stops if (index := text.find(stop)) >= 0]
    return min(found, default=None)


def _possible_stop(text: str, stops: tuple[str, ...]) -> int:
    """How many last characters of `text` could be the beginning of a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """What the model reads: a text starts after an end-of-text, as books do in training."""
    return [tokenizer.end_of_text, *tokenizer.encode(prompt)]


# ---- rollouts --------------------------------------------------------------------------------------------------------


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

    Prompts longer than the window allows keep their end. Runs under the caller's autocast. `part` (first, total) tells that
    these are the rows from `first` on of `total`: each row draws what it would draw among all of them.
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


def draw(p: Tensor, chance: Tensor) -> Tensor:
    """One id for each row of probabilities (B, V), by inversion: one random number a row, where torch.multinomial takes V.

    `chance` (B, 1), float64, is uniform on [0, 1). An id of probability 0 is never drawn.
    """
    reached = p.double().cumsum(-1)  # (B, V)
    return torch.searchsorted(reached, chance * reached[:, -1:], right=True)[:, 0].clamp_max(p.shape[1] - 1)


def _completion(row: list[int], end_of_text: int) -> list[int]:
    """What was sampled, up to and including the first end-of-text."""
    return row[: row.index(end_of_text) + 1] if end_of_text in row else row


def _cache_dtype(device: torch.device) -> torch.dtype:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
