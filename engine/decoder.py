"""Decode texts side by side, one token of each at a time: with the C code where it is available, else with the model itself.

The keys and values of all texts lie in one cache, a row each. The first rows are in use; there may be room for more.

Shapes: B rows in use, T tokens, C d_model, V ids, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from kernels import decode
from model import Block, KVCache, SwiGLU, Transformer


def decoder(model: Transformer, size: int) -> Decoder:
    """Return the fastest decoder of texts out of the first `size` ids, with the weights that `model` has now, under the caller's autocast."""
    device = model.lm_head.weight.device
    dtype = _compute_dtype(device)
    fast = fast_decoder(model, size) if dtype == torch.bfloat16 else None
    return fast or Decoder(model, size, dtype)


def exact_decoder(model: Transformer, size: int) -> Decoder:
    """Return a decoder that computes with the model's own number format."""
    return Decoder(model, size, model.lm_head.weight.dtype)


def fast_decoder(model: Transformer, size: int) -> NativeDecoder | None:
    """Return a decoder in C, which is several times as fast; None where the C code does not serve this model."""
    config, device = model.config, model.lm_head.weight.device
    gated = all(isinstance(block.feed_forward, SwiGLU) for block in _blocks(model))
    serves = gated and decode.serves(device, config.d_model, config.d_ff, config.head_dim)
    return NativeDecoder(model, size) if serves else None


class Decoder:
    """The model with a cache of the number format `dtype`, with no rows at first."""

    def __init__(self, model: Transformer, size: int, dtype: torch.dtype) -> None:
        self._model, self._size, self._dtype = model, size, dtype
        self._device = model.lm_head.weight.device
        self.drop()

    @property
    def window(self) -> int:
        """Return how many tokens a row can hold."""
        return self._model.config.max_seq_len

    @property
    def room(self) -> int:
        """Return for how many rows there is room."""
        return self._cache.keys.shape[1]

    def drop(self) -> None:
        """Give up all rows and their memory."""
        self._cache = KVCache(self._model.config, 0, device=self._device, dtype=self._dtype)

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows; what stands in those there are stays."""
        old, have = self._cache, self.room
        self._cache = KVCache(self._model.config, rows, device=self._device, dtype=self._dtype)
        self._cache.keys[:, :have], self._cache.values[:, :have] = old.keys, old.values

    def move(self, source: int, target: int) -> None:
        """Copy the row `source` over the row `target`."""
        for part in (self._cache.keys, self._cache.values):
            part[:, target] = part[:, source]

    def read(self, prompts: Tensor, ends: Tensor) -> Tensor:
        """Read `prompts` (B, T); return the logits (B, V) after the token at place `ends` (B,) of each, behind which is padding."""
        hidden = self._model.hidden(prompts, self._cache.rows(0, len(prompts)))  # (B, T, C)
        return self._logits(hidden[torch.arange(len(ends), device=ends.device), ends])

    def read_rows(self, first: int, contexts: Sequence[Sequence[int]]) -> None:
        """Read equally long contexts into the rows from `first` on."""
        cache = self._cache.rows(first, first + len(contexts))
        self._model.hidden(torch.tensor(contexts, device=self._device), cache)

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return the logits (B, V) after `tokens` (B,), which stand at `places` (B,) of the texts in the first rows."""
        tokens, places = tokens.to(self._device), places.to(self._device)
        ragged = bool((places != places[0]).any())
        cache = self._cache.rows(0, len(tokens))
        hidden = self._model.hidden(tokens[:, None], cache, places[:, None] if ragged else places[:1])
        return self._logits(hidden[:, -1])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._model.lm_head(hidden)
        return logits[:, : self._size]


class NativeDecoder(Decoder):
    """The C code, with weights of float16 that are packed for it at the first step.

    What it makes of a row does not depend on the others, nor on the number of threads.
    """

    def __init__(self, model: Transformer, size: int) -> None:
        super().__init__(model, size, torch.float32)

    def read(self, prompts: Tensor, ends: Tensor) -> Tensor:
        self._read_rows(0, [row[:end] for row, end in zip(prompts, ends.tolist(), strict=True)])
        return self.step(prompts[torch.arange(len(ends)), ends], ends)

    def read_rows(self, first: int, contexts: Sequence[Sequence[int]]) -> None:
        self._read_rows(first, [torch.tensor(context, dtype=torch.int64) for context in contexts])

    def _read_rows(self, first: int, contexts: Sequence[Tensor]) -> None:
        lengths = torch.tensor([len(context) for context in contexts])
        slots = torch.arange(first, first + len(contexts)).repeat_interleave(lengths)
        places = torch.cat([torch.arange(length) for length in lengths.tolist()])
        decode.read(self._weights, self._now, torch.cat(list(contexts)), places, slots)

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        return decode.step(self._weights, self._now, tokens, places)

    def run(
        self, tokens: Tensor, places: Tensor, choices: decode.Choices, chances: Tensor, stop: Tensor
    ) -> list[list[int]]:
        """Return the next tokens of each of the first rows, as many as decode.run makes."""
        return decode.run(self._weights, self._now, tokens, places, choices, chances, stop).tolist()

    @property
    def _now(self) -> decode.Cache:
        return decode.Cache(self._cache.keys, self._cache.values)

    def is_finite(self) -> bool:
        """Return whether all weights are numbers in float16 as well, which knows none beyond 65,504."""
        return bool(self._weights.matrices.isfinite().all())

    @cached_property
    def _weights(self) -> decode.Weights:
        model = self._model
        assert model.rotary is not None
        matrices = decode.packed(_matrices(model, self._size))
        tables = (model.rotary.cos, model.rotary.sin)
        return decode.Weights(model.embed_tokens.weight, matrices, tables, model.config.d_ff, self._size)


def _blocks(model: Transformer) -> Iterator[Block]:
    return (block for block in model.layers if isinstance(block, Block))


def _matrices(model: Transformer, size: int) -> Iterator[Tensor]:
    """Yield the matrices in the order in which they are needed, with the factors of the norm before them, side by side where they
    read the same."""
    for block in _blocks(model):
        attention, feed_forward = block.attention, block.feed_forward
        assert isinstance(feed_forward, SwiGLU)
        yield _scaled(block.attention_norm, attention.q_proj, attention.k_proj, attention.v_proj)
        yield attention.o_proj.weight
        yield _scaled(block.feed_forward_norm, feed_forward.gate_proj, feed_forward.up_proj)
        yield feed_forward.down_proj.weight
    yield _scaled(model.norm, model.lm_head)[:size]


def _scaled(norm: nn.Module, *layers: nn.Linear) -> Tensor:
    factors = norm.weight
    assert isinstance(factors, Tensor)
    return torch.cat([layer.weight for layer in layers]) * factors


def _compute_dtype(device: torch.device) -> torch.dtype:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
