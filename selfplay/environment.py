"""What the trainer knows of self-play: it asks for a prompt, lets the model write, and asks what the writing is worth.

Particular: an environment sees tokens and text, never a tensor, and keeps no state between calls, so that a run resumed
from the trainer's `random.Random` proposes the same prompts and pays the same.

Not here: sampling, log-probabilities, the update (trainer); the KL penalty (`rewards.penalised`, `leash.KLController`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked. `tokens` is what it sees (never empty), `text` is for people."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """What one rollout is worth. `reward`, within [0, 1], is the number shown; `breakdown` holds its parts by name."""

    reward: float
    breakdown: Mapping[str, float]
    copied: float = 0.0  # share of the rollout's word 8-grams that stand verbatim in the book
    copied_in_book: float = 0.0  # the same share of the book's own, each looked up in the text read before it


class Environment(Protocol):
    def propose(self, rng: random.Random) -> Prompt:
        """One prompt; the trainer lets the policy write a group of rollouts to it."""
        ...

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        """`completion_tokens` are all that was sampled; when `finished`, the last of them is the end-of-text token."""
        ...
