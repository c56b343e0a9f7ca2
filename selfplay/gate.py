"""Decide when self-play starts and when it pauses.

Two small state machines. Each is a frozen dataclass of plain numbers, so a checkpoint holds `dataclasses.asdict(gate)`
and a resumed run continues from `Gate(**state)`; `after` returns the next state and perhaps the code of a notice for the person.
A value that is not finite is ignored.

Not here: acting on the decisions (learning/self_play.py); the limit of its gradient (azr_trainer.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

NoticeCode = Literal["self_play_started", "self_play_paused", "self_play_resumed"]

MIN_FALL = 0.3  # of val_loss, before self-play starts
MIN_ITERATIONS = 200
PAUSE_MARGIN = 0.05  # nats per token above the best val_loss
PAUSE_EVALUATIONS = 3


@dataclass(frozen=True)
class Starter:
    """Starts self-play when the model can write: after 200 iterations, with val_loss 30 % below `first_val_loss`.

    `first_val_loss` must come from the untrained model: evaluate before the first iteration, or give ln(vocab_size).
    """

    first_val_loss: float | None = None
    started: bool = False

    def after(self, iteration: int, val_loss: float) -> tuple[Starter, NoticeCode | None]:
        """Return the state after an evaluation, and the notice at the start, once."""
        if self.started or not math.isfinite(val_loss):
            return self, None
        first = val_loss if self.first_val_loss is None else self.first_val_loss
        ready = iteration >= MIN_ITERATIONS and val_loss <= (1 - MIN_FALL) * first
        return Starter(first, ready), "self_play_started" if ready else None


@dataclass(frozen=True)
class Gate:
    """Pauses self-play after three evaluations in a row above best + 0.05, and resumes it after the first one that is not."""

    best_val_loss: float | None = None
    evaluations_over: int = 0
    closed: bool = False

    def after(self, val_loss: float) -> tuple[Gate, NoticeCode | None]:
        """Return the state after an evaluation, and a notice if it changed. A val_loss that is not finite counts as too high."""
        best = self.best_val_loss
        if math.isfinite(val_loss):
            best = val_loss if best is None else min(best, val_loss)
        over = best is None or not val_loss <= best + PAUSE_MARGIN
        count = self.evaluations_over + 1 if over else 0
        closed = over and (self.closed or count >= PAUSE_EVALUATIONS)
        return Gate(best, count, closed), self._notice(closed)

    def _notice(self, closed: bool) -> NoticeCode | None:
        if closed == self.closed:
            return None
        return "self_play_paused" if closed else "self_play_resumed"
