"""The interface between trainer and self-play: the environment proposes prompts and scores what the model writes.

Particular: an environment handles tokens and text, never tensors, and keeps no state between calls, so a resumed run
gets the same prompts and scores from the same `random.Random`.

Not here: sampling, log-probabilities, the update (trainer); the KL penalty (`rewards.penalised`, `leash.KLController`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt for the policy, which reads `tokens` (never empty); `text` is shown to people."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """The score of one rollout: `reward`, within [0, 1], and its parts by the names that the environment gives them.

    The names are shown to people; `reward.part.<name>` in the catalogues translates them.
    """

    reward: float
    breakdown: Mapping[str, float]
    copied: float = 0.0  # share of the rollout's word 8-grams that are in the book
    copied_in_book: float = 0.0  # share of the book's own 8-grams that occurred earlier in it


class Environment(Protocol):
    def propose(self, rng: random.Random) -> Prompt:
        """Return a prompt for a group of rollouts."""
        ...

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        """Return the score of a rollout. `completion_tokens` are all sampled tokens; when `finished`, the last is the end of text."""
        ...
