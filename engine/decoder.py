"""Decode batches of texts, one token of each at a time: with the C code where it is available, else with the model itself and a cache.

Shapes: B rows, T tokens, C d_model, V ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from kernels import decode
from model import Block, KVCache, SwiGLU, Transformer


class Decoder(Protocol):
    def read(self, prompts: Tensor, ends: Tensor) -> Tensor:
        """Read `prompts` (B, T); return the logits (B, V) after the token at place `ends` (B,) of each, behind which is padding."""
        ...

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return the logits (B, V) after `tokens` (B,), which stand at `places` (B,) of their texts."""
        ...


def decoder(model: Transformer, rows: int, size: int) -> Decoder:
    """Return a decoder of `rows` texts out of the first `size` ids, with the weights that `model` has now, under the caller's autocast."""
    device, config = model.lm_head.weight.device, model.config
    dtype = _compute_dtype(device)
    gated = all(isinstance(block.feed_forward, SwiGLU) for block in _blocks(model))
    if gated and decode.serves(device, dtype, config.d_model, config.d_ff, config.head_dim):
        return _Native(model, rows, size)
    return _Cached(model, rows, size, dtype)


class _Cached:
    """The model with a key-value cache."""

    def __init__(self, model: Transformer, rows: int, size: int, dtype: torch.dtype) -> None:
        self._model, self._size = model, size
        self._cache = KVCache(model.config, rows, device=model.lm_head.weight.device, dtype=dtype)

    def read(self, prompts: Tensor, ends: Tensor) -> Tensor:
        hidden = self._model.hidden(prompts, self._cache)  # (B, T, C)
        return self._logits(hidden[torch.arange(len(ends), device=ends.device), ends])

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        ragged = bool((places != places[0]).any())
        return self._logits(
            self._model.hidden(tokens[:, None], self._cache, places[:, None] if ragged else places[:1])[:, -1]
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._model.lm_head(hidden)
        return logits[:, : self._size]


class _Native(_Cached):
    """The C code, with the weights packed for it; the prompts are read by the model."""

    def __init__(self, model: Transformer, rows: int, size: int) -> None:
        super().__init__(model, rows, size, torch.float32)
        self._matrices = decode.packed(_matrices(model, size))
        assert model.rotary is not None
        self._tables = (model.rotary.cos.contiguous(), model.rotary.sin.contiguous())

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        x, cache = self._model.embed_tokens.weight[tokens], (self._cache.keys, self._cache.values)
        return decode.step(x, places, self._matrices, self._tables, cache, self._model.config.d_ff, self._size)


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
