"""The interface between trainer and self-play: the trainer asks for a prompt, lets the model write, and asks for a score.

Particular: an environment sees tokens and text, never a tensor, and keeps no state between calls, so that a run resumed
from the trainer's `random.Random` proposes the same prompts and gives the same scores.

Not here: sampling, log-probabilities, the update (trainer); the KL penalty (`rewards.penalised`, `leash.KLController`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt for the policy: it sees `tokens` (never empty); `text` is for people."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """The score of one rollout: `reward`, within [0, 1], and its parts by the names that the environment gives them.

    A part's name is shown to people: `reward.part.<name>` in the catalogues translates it, else it stands as it is.
    """

    reward: float
    breakdown: Mapping[str, float]
    copied: float = 0.0  # share of the rollout's word 8-grams that stand verbatim in the book
    copied_in_book: float = 0.0  # the same share of the book's own, each looked up in the text read before it


class Environment(Protocol):
    def propose(self, rng: random.Random) -> Prompt:
        """Return a prompt, to which the policy will write a group of rollouts."""
        ...

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        """Return the score of a rollout. `completion_tokens` are all sampled tokens; when `finished`, the last is the end of text."""
        ...
