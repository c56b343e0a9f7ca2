"""The interface between trainer and self-play: the environment proposes prompts, scores what the model writes and names its faults.

Particular: an environment handles tokens and text, never tensors, and keeps no state between calls, so a resumed run
gets the same prompts and scores from the same `random.Random`.

Not here: sampling and the update (learning/self_play.py).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Band = tuple[float, float, float]  # a low value, the mean and a high one


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
    faults: tuple[int, ...] = ()  # the tokens of the completion, by number, that the model should find less likely
    repeats: tuple[int, ...] = ()  # for each of them the token that it repeats; negative numbers stand in the prompt
    copied: float = 0.0  # share of the rollout's word 8-grams that are in the book
    copies: tuple[tuple[int, int], ...] = ()  # the characters of the completion that these cover


class Environment(Protocol):
    @property
    def book(self) -> Mapping[str, Band]:
        """Return what the person's books score: bands of `reward`, of its parts and of `looped`, the share of faults. May be empty."""
        ...

    def propose(self, rng: random.Random) -> Prompt:
        """Return a prompt for one rollout."""
        ...

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        """Return the score of a rollout. `completion_tokens` are all sampled tokens; when `finished`, the last is the end of text."""
        ...
