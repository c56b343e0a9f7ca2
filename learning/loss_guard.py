"""Decide whether a step may be taken: not when its loss is not a number, or far above what this run has seen so far.

A small state machine of plain numbers, so that a checkpoint can hold it and a resumed training decides alike. It compares with
the mean of the run's first losses, which shows how hard the text is for the initial weights, and with the running mean and spread
of all losses (exponential, as in Welford's method). A loss that was judged bad is not included in them.

Not here: what to do about a bad loss. The trainer skips the step, and after several in a row the run goes back to its checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "spike", "non_finite"]

FACTOR = 0.98  # of the running mean: about the last fifty losses
WARM_UP = 50  # losses before the spread is trusted
SPREADS, LEAST_NATS = 8.0, 1.0  # allowed above the mean: standard deviations, and the least number of nats
FIRST_LOSSES = 10
WORSE_THAN_FIRST = 1.5  # times the mean of the first losses, or times ln(vocab_size), which uniform guessing costs


@dataclass(frozen=True)
class LossGuard:
    """The running statistics of one run's losses on the same books; `count` of them were good."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0
    first: float = 0.0  # mean of the first FIRST_LOSSES losses

    def judge(self, loss: float, vocab_size: int) -> Verdict:
        """Return the verdict on the next loss, in nats per token.

        The first loss of a run is good if it is finite: no step has been taken yet, so it depends on the text and not on the
        training. A model that continues with a book in another language starts far above ln(vocab_size).
        """
        if not math.isfinite(loss):
            return "non_finite"
        if self.count == 0:
            return "good"
        if loss > WORSE_THAN_FIRST * max(self.first, math.log(vocab_size)):
            return "spike"
        limit = self.mean + max(LEAST_NATS, SPREADS * math.sqrt(self.variance))
        return "spike" if self.count >= WARM_UP and loss > limit else "good"

    def after(self, loss: float) -> LossGuard:
        """Return the guard with one more good loss included."""
        if self.count == 0:
            return LossGuard(loss, 0.0, 1, loss)
        difference = loss - self.mean
        variance = FACTOR * (self.variance + (1 - FACTOR) * difference**2)
        first = self.first
        if self.count < FIRST_LOSSES:
            first += (loss - first) / (self.count + 1)
        return LossGuard(self.mean + (1 - FACTOR) * difference, variance, self.count + 1, first)
