"""Choose tokens: apply the person's sampling parameters to logits, for one text or for a batch, and draw by inversion.

Shapes: B rows, V vocab_size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from config import SamplingConfig

LEAST = 1e-30  # a smaller temperature or top_p would be 0 in float32


def filter_logits(logits: Tensor, sampling: SamplingConfig, seen: Tensor) -> Tensor:
    """Apply penalty, temperature, top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) to logits (V,).

    `seen` (n,) are the ids of the context. Returns logits (V,): ids that are ruled out become -inf, the likeliest always stays.
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


def choose(logits: Tensor, sampling: SamplingConfig, greedy: Tensor, chance: Tensor) -> Tensor:
    """Choose one id for each row of logits (B, V): the likeliest where `greedy` (B,) is true, else drawn as `sampling` says.

    Returns ids (B,). `chance` (B, 1), float64, is uniform on [0, 1). Temperature, top-k, top-p and min-p count, in the order of
    `filter_logits`; the repetition penalty does not.
    """
    chosen = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    if sampling.temperature == 0:
        return torch.argmax(logits, -1, out=chosen)
    chosen[greedy] = logits[greedy].argmax(-1)
    chosen[~greedy] = _drawn(logits[~greedy], sampling, chance[~greedy])
    return chosen


def _drawn(logits: Tensor, sampling: SamplingConfig, chance: Tensor) -> Tensor:
    most = min(sampling.top_k or logits.shape[1], logits.shape[1])
    values, ids = logits.float().topk(most)  # (B, k), the likeliest first: all filters keep a beginning of the row
    p = ((values - values[:, :1]) / max(sampling.temperature, LEAST)).softmax(-1)
    if sampling.top_p < 1:
        p = p.masked_fill(p.cumsum(-1) - p >= max(sampling.top_p, LEAST), 0.0)
        p = p / p.sum(-1, keepdim=True)
    if sampling.min_p > 0:
        p = p.masked_fill(p < sampling.min_p * p[:, :1], 0.0)
    return ids.gather(1, draw(p, chance)[:, None])[:, 0]


def draw(p: Tensor, chance: Tensor) -> Tensor:
    """Draw one id for each row of probabilities (B, V), by inversion: one random number a row, where torch.multinomial takes V.

    Returns ids (B,). `chance` (B, 1), float64, is uniform on [0, 1). An id of probability 0 is never drawn.
    """
    reached = p.double().cumsum(-1)  # (B, V)
    return torch.searchsorted(reached, chance * reached[:, -1:], right=True)[:, 0].clamp_max(p.shape[1] - 1)
