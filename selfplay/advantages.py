"""Compute the advantages of rollout groups by RLOO, without groups of nearly equal rewards.

Particular: nothing is divided by a standard deviation, so two rewards that hardly differ do not become +1 and
-1 as in GRPO (Liu et al., Dr. GRPO, arXiv 2503.20783, section 3.1).

Not here: the constant length normaliser 1 / (P * G * max_new_tokens) of the loss; it belongs to the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

MIN_SPREAD = 0.01  # reward between the best and the worst of a group


def advantages(groups: Sequence[Sequence[float]], min_spread: float = MIN_SPREAD) -> list[list[float] | None]:
    """Return the advantages of each group of rewards in the same order, or None for a flat group (DAPO's dynamic sampling,
    Yu et al., arXiv 2503.14476, section 3.2; we skip the group instead of drawing another).

    [[1.0, 0.5, 0.0], [0.3, 0.3, 0.3]] -> [[0.75, 0.0, -0.75], None]
    """
    return [None if _is_flat(rewards, min_spread) else leave_one_out(rewards) for rewards in groups]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """Return A_i = R_i - mean of the others (RLOO, Ahmadian et al., arXiv 2402.14740) for at least two rewards."""
    total, others = sum(rewards), len(rewards) - 1
    return [reward - (total - reward) / others for reward in rewards]


def _is_flat(rewards: Sequence[float], min_spread: float) -> bool:
    return len(rewards) < 2 or max(rewards) - min(rewards) < min_spread
