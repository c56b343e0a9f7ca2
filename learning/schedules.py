"""Learning rate, dropout and weight decay as pure functions of the iteration and of how often the books have been read.

The schedule has no end: a training of 1,000 iterations, continued for 1,000 more, equals one of 2,000 bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from config import TrainConfig

KNOWN_DROPOUT = 0.1
NEW_DECAY = 0.1  # weight decay while the books are new
LEAST_KNOWN = 2.0  # readings before which no book counts as known
KNOWN_FACTOR = 84.0  # readings for each token per parameter until a book counts as known
LONG = 0.0736  # tokens per parameter, beyond which a book is long
LONG_POWER = 0.45  # by which these readings grow with it
DECAY_RISE = 0.25  # for each reading after that
MOST_DECAY = 1.8  # beyond it, rare words are forgotten
DECAY_FALL = 1.5  # the power by which it is less for longer books, of which more is worth keeping
EMBEDDING_SHARE = 0.5  # of the rise, for embeddings
PULL_RISE = 0.002  # of the distance to the anchor, a step; for each reading after twice as many as `known_after`
MOST_PULL = 0.05  # up to `MANY_READINGS`
MANY_READINGS = 100.0  # beyond it, the pull rises further, up to 1
LATE_PULL_RISE = 0.0005  # for each of these readings


def learning_rate_at(config: TrainConfig, iteration: int) -> float:
    """Return the rate of the iteration after `iteration` finished ones: linear warm-up, then constant.

    It never falls: `Average` has the effect of a falling rate at any time, without knowing the length of the training.
    """
    return config.learning_rate * min(1.0, (iteration + 1) / max(1, config.warmup_iterations))


def how_known(readings: float) -> float:
    """Return 0 for new books, 1 for books that have been read once, and linear values in between."""
    return min(1.0, max(0.0, readings))


def dropout_at(config: TrainConfig, readings: float) -> float:
    """Return the configured dropout, or by default none in the first pass over the books, when nothing can be memorised yet, and a
    rising one during the second pass.
    """
    return config.dropout if config.dropout is not None else KNOWN_DROPOUT * how_known(readings - 1)


def known_after(tokens: int, parameters: int) -> float:
    """Return the readings after which a model of so many parameters begins to memorise books of so many tokens.

    The fewer tokens there are for each parameter, the sooner it does: in proportion up to `LONG`, slower beyond (docs/en/defaults.md).
    """
    each = tokens / parameters
    return max(LEAST_KNOWN, KNOWN_FACTOR * min(each, LONG) * max(1.0, each / LONG) ** LONG_POWER)


def most_decay(tokens: int, parameters: int) -> float:
    """Return the weight decay up to which it rises by itself on books of so many tokens: less, the longer they are, at least `NEW_DECAY`."""
    return max(NEW_DECAY, MOST_DECAY * min(1.0, LONG * parameters / tokens) ** DECAY_FALL)


@dataclass(frozen=True)
class WeightDecay:
    """The decay of the matrices and of the head, and that of the embeddings."""

    matrices: float
    embeddings: float = 0.0


def weight_decay_at(config: TrainConfig, readings: float, known: float, most: float = MOST_DECAY) -> WeightDecay:
    """Return the configured weight decay, or by default a small one, which rises from `known` readings on, up to `most`, against memorising.

    Embeddings keep what they have learned while the books are new; then they take part in the rise, because a small book is
    memorised in them as well.
    """
    if config.weight_decay is not None:
        return WeightDecay(config.weight_decay)
    rise = min(most - NEW_DECAY, DECAY_RISE * max(0.0, readings - known))
    return WeightDecay(NEW_DECAY + rise, EMBEDDING_SHARE * rise)


def pull_at(config: TrainConfig, readings: float, known: float) -> float:
    """Return the share of the distance to the best weights (anchor.py) by which each step goes back: 0 up to twice `known` readings.

    It belongs to the weight decay that rises by itself; with a configured one there is none.
    """
    if config.weight_decay is not None:
        return 0.0
    early = min(MOST_PULL, PULL_RISE * max(0.0, readings - 2 * known))
    return min(1.0, early + LATE_PULL_RISE * max(0.0, readings - MANY_READINGS))
