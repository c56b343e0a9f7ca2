"""Decide when self-play starts, when it pauses, and how strongly a round teaches.

Two small state machines. Each is a frozen dataclass of plain numbers, so a checkpoint holds `dataclasses.asdict(gate)`
and a resumed run continues from `Gate(**state)`; `after` returns the next state and perhaps the code of a notice for the person.
A value that is not finite is ignored.

Not here: acting on the decisions (learning/self_play.py); the limit of its gradient (azr_trainer.py).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

NoticeCode = Literal["self_play_started", "self_play_paused", "self_play_resumed", "self_play_acquitted"]

MIN_FALL = 0.3  # of val_loss, before self-play starts
MIN_ITERATIONS = 200
PAUSE_MARGIN = 0.05  # nats per token above the best val_loss
PAUSE_EVALUATIONS = 3
CONTROL_EVALUATIONS = 6  # without self-play, after which it is known whether self-play was the cause
RECOVERY = PAUSE_MARGIN / 2  # nats per token by which val_loss falls in that time if it was
FULL_FROM = 0.25  # share of texts with faults from which a round teaches with full strength
NONE_LEFT, FULL_LEFT = 0.15, 0.3  # of the repetition, where a round teaches nothing, and where fully


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
    """Pauses self-play after three evaluations in a row above best + 0.05, and resumes it after the first one that is not.

    A pause is also a control: if val_loss has not fallen in six evaluations without self-play, something else lifts it, for instance
    a book that is learned by heart or a rising weight decay. Then self-play resumes, and is judged from there on.
    """

    best_val_loss: float | None = None
    evaluations_over: int = 0
    closed: bool = False
    closed_at: float | None = None  # val_loss at the beginning of the control
    evaluations_closed: int = 0  # since then

    def after(self, val_loss: float) -> tuple[Gate, NoticeCode | None]:
        """Return the state after an evaluation, and a notice if it changed. A val_loss that is not finite counts as too high."""
        best = self.best_val_loss
        if math.isfinite(val_loss):
            best = val_loss if best is None else min(best, val_loss)
        if best is not None and val_loss <= best + PAUSE_MARGIN:
            return Gate(best), "self_play_resumed" if self.closed else None
        if self.closed:
            return self._after_control(val_loss)
        count = self.evaluations_over + 1
        if count < PAUSE_EVALUATIONS:
            return Gate(best, count), None
        return Gate(best, count, closed=True, closed_at=_finite(val_loss)), "self_play_paused"

    def _after_control(self, val_loss: float) -> tuple[Gate, NoticeCode | None]:
        count = self.evaluations_closed + 1
        if count < CONTROL_EVALUATIONS:
            return dataclasses.replace(self, evaluations_closed=count), None
        fell = self.closed_at is None or not val_loss > self.closed_at - RECOVERY
        if fell or not math.isfinite(val_loss):
            return dataclasses.replace(self, closed_at=_finite(val_loss), evaluations_closed=0), None
        return Gate(val_loss), "self_play_acquitted"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def strength(looping: float, left: float | None) -> float:
    """Return how strongly a round teaches, from 0 to 1: less where few texts loop, and where little of the repetition is left.

    `looping` is the share of texts with faults. `left` is the share of tokens of the greedy texts that are faults, in parts of that when
    self-play began; None where it is not known. The trainer scales the gradient by the book's, so without this the last faults would
    weigh most, which makes texts less likely (docs/en/defaults.md).

    >>> strength(0.5, 1.0), strength(0.125, 1.0), round(strength(0.5, 0.225), 3), strength(0.5, 0.1), strength(0.5, None)
    (1.0, 0.5, 0.5, 0.0, 1.0)
    """
    needed = 1.0 if left is None else (left - NONE_LEFT) / (FULL_LEFT - NONE_LEFT)
    return min(1.0, looping / FULL_FROM) * min(1.0, max(0.0, needed))
