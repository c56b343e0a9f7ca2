"""When a loss says that something is wrong: not a number, worse than guessing, or far above what it has been.

A small state machine of plain numbers, so that a checkpoint holds it and a resumed training judges alike. Its measure is the running
mean of the losses so far and their spread (exponential, as in Welford's method); what is judged wrong never enters it.

Not here: what to do about it. The trainer leaves such a step out, and after some in a row the run goes back to its checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "spike", "non_finite"]

FACTOR = 0.98  # of the running mean: about the last fifty losses
WARM_UP = 50  # losses before the spread is trusted
SPREADS, LEAST_NATS = 8.0, 1.0  # above the mean by as many standard deviations and at least so much
WORSE_THAN_GUESSING = 1.5  # times ln(vocab_size), which uniform guessing costs


@dataclass(frozen=True)
class LossGuard:
    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def judge(self, loss: float, vocab_size: int) -> Verdict:
        if not math.isfinite(loss):
            return "non_finite"
        if loss > WORSE_THAN_GUESSING * math.log(vocab_size):
            return "spike"
        limit = self.mean + max(LEAST_NATS, SPREADS * math.sqrt(self.variance))
        return "spike" if self.count >= WARM_UP and loss > limit else "good"

    def after(self, loss: float) -> LossGuard:
        """With one more good loss."""
        if self.count == 0:
            return LossGuard(loss, 0.0, 1)
        difference = loss - self.mean
        variance = FACTOR * (self.variance + (1 - FACTOR) * difference**2)
        return LossGuard(self.mean + (1 - FACTOR) * difference, variance, self.count + 1)
