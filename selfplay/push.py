"""Decide how hard self-play pushes a model away from its repetitions: fully at first, no more once a third of them is left.

How fast a push works differs from book to book, and a model that is pushed further than that writes words that make no sense. A frozen
dataclass of plain numbers, as the gate is: a checkpoint holds `dataclasses.asdict(push)`.

Not here: what is pushed (learning/loop_breaking.py).
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_ROUNDS = 5  # which show how much the model repeated itself when self-play began
NEWEST = 0.1  # the share of a new round in the moving mean
ENOUGH, FULL_FROM = 0.33, 0.43  # shares of that at which pushing ends, and from which it is full


@dataclass(frozen=True)
class Push:
    """What the rounds so far have shown: the share of repeated tokens when self-play began, and now."""

    rounds: int = 0
    began: float = 0.0  # the mean of the first rounds
    now: float = 0.0  # a moving mean

    def after(self, looped: float) -> Push:
        """Return the state after a round in whose texts this share of the tokens repeats."""
        rounds = self.rounds + 1
        began = self.began + (looped - self.began) / rounds if rounds <= FIRST_ROUNDS else self.began
        return Push(rounds, began, self.now + (looped - self.now) * (NEWEST if self.rounds else 1.0))

    @property
    def strength(self) -> float:
        """How hard to push in the next round, from 0 to 1.

        >>> Push().strength, Push(9, 0.3, 0.3).strength, Push(9, 0.3, 0.09).strength
        (1.0, 1.0, 0.0)
        """
        if not self.rounds:
            return 1.0
        beyond = self.now - ENOUGH * self.began
        return min(1.0, max(0.0, beyond / max((FULL_FROM - ENOUGH) * self.began, 1e-9)))
