"""The transformer, whole: its blocks, its initialisation, its loss and its key-value cache.

Two architectures share the code. "llama": RMSNorm, rotary positions in the rotate-half layout, SwiGLU, no biases. "gpt2":
learned positions, LayerNorm, GELU, biases. Both norm before each sublayer and once at the end, and have an untied head. Leaf
names are Hugging Face's (q_proj, gate_proj ...), so that weights read the same everywhere.

Particular: the projections that write into the residual stream and the head start at zero, so an untrained model predicts
the uniform distribution and its first loss is ln(vocab_size) exactly.

Not here: disk, optimizers, sampling, printing. Shapes: B batch, T tokens, S cached tokens, C d_model, H heads, K head_dim,
V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels
from config import ROPE_THETA, ModelConfig

NORM_EPS = 1e-5


class KVCache:
    """The keys and values of the tokens seen so far, for `batch_size` rows that may differ in length."""

    def __init__(self, config: ModelConfig, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.num_layers, batch_size, config.num_heads, config.max_seq_len, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (layers, B, H, S, K)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    def rows(self, first: int, last: int) -> KVCache:
        """Return the rows from `first` to before `last` as a cache that shares their memory."""
        part = object.__new__(KVCache)
        part.keys, part.values = self.keys[:, first:last], self.values[:, first:last]
        return part

    def extend(self, layer: int, positions: Tensor, k: Tensor, v: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Store k and v (B, H, T, K) at `positions` (B, T), or (T,) for all rows; return the first `length` of each row."""
        if positions.dim() == 1:
            first, last = length - k.shape[2], length
            self.keys[layer, :, :, first:last] = k
            self.values[layer, :, :, first:last] = v
        else:
            rows = torch.arange(k.shape[0], device=k.device)[:, None]
            self.keys[layer, rows, :, positions] = k.transpose(1, 2).to(self.keys.dtype)
            self.values[layer, rows, :, positions] = v.transpose(1, 2).to(self.values.dtype)
        return self.keys[layer, :, :, :length], self.values[layer, :, :, :length]


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864), rotate-half layout as in Llama."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_seq_len: int, theta: float = ROPE_THETA) -> None:
        super().__init__()
        if torch.empty(0).is_meta:  # no tables: arithmetic there would load torch's compiler, 80 MB and three seconds
            return
        frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float32), frequencies)  # (S, K/2)
        angles = torch.cat((angles, angles), dim=-1)  # (S, K)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin for `positions` (T,) or (B, T), ready to multiply (B, H, T, K)."""
        cos, sin = self.cos[positions], self.sin[positions]
        return (cos, sin) if positions.dim() == 1 else (cos[:, None], sin[:, None])


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: ModelConfig, layer: int, bias: bool) -> None:
        super().__init__()
        self.layer, self.num_heads = layer, config.num_heads
        self.q_proj = nn.Linear(config.d_model, config.d_model, bias=bias)
        self.k_proj = nn.Linear(config.d_model, config.d_model, bias=bias)
        self.v_proj = nn.Linear(config.d_model, config.d_model, bias=bias)
        self.o_proj = nn.Linear(config.d_model, config.d_model, bias=bias)

    def forward(self, x: Tensor, place: Place) -> Tensor:
        if place.cache is not None:
            return self.o_proj(self._cached(x, place, place.cache))
        qkv = kernels.linear(kernels.compute(x), self.q_proj, self.k_proj, self.v_proj)  # (B, T, 3C)
        return self.o_proj(kernels.causal_attention(qkv, self.num_heads, place.cos, place.sin))  # (B, T, C)

    def _cached(self, x: Tensor, place: Place, cache: KVCache) -> Tensor:
        """Attend from new tokens to the cached ones and to each other."""
        q, k, v = (self._heads(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))  # (B, H, T, K) each
        if place.cos is not None and place.sin is not None:
            q, k = kernels.rotate(q, place.cos, place.sin), kernels.rotate(k, place.cos, place.sin)
        k, v = cache.extend(self.layer, place.positions, k, v, place.length)  # (B, H, S, K)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=place.mask, is_causal=place.is_causal)
        return y.transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = kernels.compute(x)
        return self.down_proj(kernels.silu_gate(self.gate_proj(x), self.up_proj(x)))


class GELUFeedForward(nn.Module):
    """d_model -> d_ff -> d_model with GPT-2's tanh form of GELU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, config.d_ff)
        self.down_proj = nn.Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.up_proj(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int, dropout: float) -> None:
        super().__init__()
        llama = config.architecture == "llama"
        self.attention_norm = _norm(config)
        self.attention = Attention(config, layer, bias=not llama)
        self.feed_forward_norm = _norm(config)
        self.feed_forward: nn.Module = SwiGLU(config) if llama else GELUFeedForward(config)
        self.dropout = kernels.Dropout(dropout)

    def forward(self, x: Tensor, place: Place) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), place))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Place:
    """The place of one forward pass: the positions of its tokens, the tokens they may attend to, the cache they extend."""

    def __init__(self, model: Transformer, tokens: Tensor, cache: KVCache | None, positions: Tensor | None) -> None:
        seen = tokens.shape[1]
        if positions is None:
            positions = torch.arange(seen, device=tokens.device)
        self.cache, self.positions = cache, positions
        self.length = seen if cache is None else int(positions.max()) + 1
        self.is_causal = seen > 1 and self.length == seen
        self.mask: Tensor | None = None
        ragged = cache is not None and (positions.dim() == 2 or seen > 1)
        if ragged and not self.is_causal:
            at = positions if positions.dim() == 2 else positions[None]  # (B, T)
            keys = torch.arange(self.length, device=tokens.device)  # (S,)
            self.mask = (keys <= at[..., None])[:, None]  # (B, 1, T, S): True may be looked at
        self.cos: Tensor | None = None
        self.sin: Tensor | None = None
        if model.rotary is not None:
            self.cos, self.sin = model.rotary.at(positions)


RunBlock = Callable[[nn.Module, Tensor, Place], Tensor]


class Transformer(nn.Module):
    """tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = _embedding(config.vocab_size, config.d_model)
        llama = config.architecture == "llama"
        self.embed_positions = None if llama else _embedding(config.max_seq_len, config.d_model)
        self.rotary = Rotary(config.head_dim, config.max_seq_len, config.rope_theta) if llama else None
        self.dropout = kernels.Dropout(dropout)
        self.layers = nn.ModuleList(Block(config, layer, dropout) for layer in range(config.num_layers))
        self.norm = _norm(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor, cache: KVCache | None = None, positions: Tensor | None = None) -> Tensor:
        """Return the logits of every token. With a cache, `positions` (T,) or (B, T) are the places of the new tokens."""
        return self.lm_head(self.hidden(tokens, cache, positions))  # (B, T, V)

    def hidden(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        run: RunBlock = nn.Module.__call__,
    ) -> Tensor:
        """Return the head's input, (B, T, C). `run` calls a block; it may be compiled."""
        place = Place(self, tokens, cache, positions)
        x = self.embed_tokens(tokens)  # (B, T, C)
        if self.embed_positions is not None:
            x = x + self.embed_positions(place.positions)
        x = self.dropout(x)
        for block in self.layers:
            x = run(block, x, place)
        return self.norm(x)

    def loss(self, tokens: Tensor, targets: Tensor, run: RunBlock = nn.Module.__call__) -> Tensor:
        """Return the mean cross-entropy of `targets` (B, T) in nats per token; targets of -100 do not count."""
        x = self.hidden(tokens, run=run).flatten(0, 1)
        return kernels.linear_cross_entropy(x, self.lm_head.weight, targets.flatten())

    def set_dropout(self, dropout: float | Tensor) -> None:
        for module in self.modules():
            if isinstance(module, kernels.Dropout):
                module.p = dropout

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Set every weight from `seed`: the same seed gives the same model, independent of the global random state."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight", "bias")):
                parameter.zero_()
            elif name.startswith("embed_"):
                parameter.normal_(0.0, EMBEDDING_STD, generator=generator)
            elif parameter.dim() == 2:
                parameter.normal_(0.0, 1.0 / math.sqrt(parameter.shape[1]), generator=generator)
            else:
                parameter.fill_(1.0)  # norms


EMBEDDING_STD = 0.5


def _embedding(rows: int, d_model: int) -> nn.Embedding:
    """Return an embedding of zeros, filled by `initialise`: on the meta device torch's own initialisation would load its compiler."""
    return nn.Embedding(rows, d_model, _weight=torch.zeros(rows, d_model))


def _norm(config: ModelConfig) -> nn.Module:
    kind = kernels.RMSNorm if config.architecture == "llama" else nn.LayerNorm
    return kind(config.d_model, eps=NORM_EPS)


def count_parameters(config: ModelConfig) -> int:
    """Return the number of parameters, counted on torch's meta device, which allocates nothing."""
    with torch.device("meta"):
        model = Transformer(config.model_copy(update={"num_layers": 1}))
    total, of_a_layer = (sum(p.numel() for p in part.parameters()) for part in (model, model.layers[0]))
    return total + (config.num_layers - 1) * of_a_layer  # layers are alike
