"""Choose tokens: apply the person's sampling parameters to logits, for one text or for a batch, and draw by inversion.

Shapes: B rows, V vocab_size, k ids that are left to draw from.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from config import SamplingConfig

LEAST = 1e-30  # a smaller temperature or top_p would be 0 in float32


def penalised(
    logits: Tensor,
    sampling: SamplingConfig,
    seen: Tensor,
    written: Mapping[int, int],
    presence: float,
    frequency: float,
) -> Tensor:
    """Return logits (V,) in which tokens that already stand in the text are less likely.

    The repetition penalty (Keskar et al. 2019, section 4.1) counts the ids of the context, `seen` (n,). The other two, as OpenAI
    defines them, count what was generated: `written` says how often each id was.
    """
    logits = logits.float().clone()
    if sampling.repetition_penalty != 1.0 and len(seen):
        ids = seen.unique()
        values, penalty = logits[ids], sampling.repetition_penalty
        logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
    if written and (presence or frequency):
        counts = torch.tensor(list(written.values()), dtype=torch.float32)
        logits[torch.tensor(list(written))] -= presence + frequency * counts
    return logits


def candidates(logits: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Apply temperature, top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024), in this order, to logits (B, V).

    Returns the ids that are left (B, k), the likeliest first, and their probabilities (B, k). Ids that are ruled out in a row have
    probability 0; the likeliest always stays.
    """
    most = min(sampling.top_k or logits.shape[1], logits.shape[1]) if sampling.temperature else 1
    values, ids = logits.float().topk(most)  # all filters keep a beginning of the row
    p = ((values - values[:, :1]) / max(sampling.temperature, LEAST)).softmax(-1)
    if sampling.top_p < 1:
        p = p.masked_fill(p.cumsum(-1) - p >= max(sampling.top_p, LEAST), 0.0)
    if sampling.min_p > 0:
        p = p.masked_fill(p < sampling.min_p * p[:, :1], 0.0)
    return ids, p / p.sum(-1, keepdim=True)


def choose(logits: Tensor, sampling: SamplingConfig, greedy: Tensor, chance: Tensor) -> Tensor:
    """Choose one token for each row of logits (B, V): the likeliest where `greedy` (B,), else a draw with `chance`.

    Returns ids (B,). `chance` (B, 1), float64, is uniform on [0, 1). No penalty counts.
    """
    chosen = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    if sampling.temperature == 0:
        return torch.argmax(logits, -1, out=chosen)
    chosen[greedy] = logits[greedy].argmax(-1)
    ids, p = candidates(logits[~greedy], sampling)
    chosen[~greedy] = ids.gather(1, draw(p, chance[~greedy])[:, None])[:, 0]
    return chosen


def draw(p: Tensor, chance: Tensor) -> Tensor:
    """Draw one place for each row of probabilities (B, k), by inversion: one random number a row, where torch.multinomial takes k.

    Returns places (B,). `chance` (B, 1), float64, is uniform on [0, 1). A place of probability 0 is never drawn.
    """
    reached = p.double().cumsum(-1)  # (B, k)
    return torch.searchsorted(reached, chance * reached[:, -1:], right=True)[:, 0].clamp_max(p.shape[1] - 1)
