"""Learning rate and dropout as pure functions of the iteration and of how often the books have been read.

The schedule has no end: a training of 1,000 iterations that goes on for 1,000 more is the training of 2,000, bit for bit.
"""

from __future__ import annotations

from config import TrainConfig

KNOWN_DROPOUT = 0.1


def learning_rate_at(config: TrainConfig, iteration: int) -> float:
    """Return the rate of the iteration after `iteration` finished ones: linear warm-up, then constant.

    It never falls: what a falling rate gains, `Average` gains at every moment, however long the training will be.
    """
    return config.learning_rate * min(1.0, (iteration + 1) / max(1, config.warmup_iterations))


def how_known(readings: float) -> float:
    """Return 0 when the books are new, 1 when they have been read once, and linear values between."""
    return min(1.0, max(0.0, readings))


def dropout_at(config: TrainConfig, readings: float) -> float:
    """Return the configured dropout, or choose it: none on the first pass over the books, because what is read once cannot be learned
    by heart; then rising during the second pass.
    """
    return config.dropout if config.dropout is not None else KNOWN_DROPOUT * how_known(readings - 1)
