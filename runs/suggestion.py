"""Suggest a number of iterations for the chosen books.

A model learns most from its first passes over a book; after a few it memorises the wording and its loss on held-out text
rises. The figures behind READINGS are in docs/en/defaults.md ("How many iterations pay").

Not here: ending a training that no longer improves (`TrainConfig.patience`), measuring how long it takes (rehearsal.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config import TrainConfig
from errors import WeightsDoNotFit

READINGS = 4.0  # of a novel: measured on three; Muennighoff et al. 2023 (arXiv 2305.16264) found the same limit in large models
TOKENS_PER_PARAMETER = 20  # beyond it, further text brings little (Hoffmann et al. 2022, arXiv 2203.15556)
LEAST = 50  # iterations; in a shorter training most would be warm-up
CHECKS, LEAST_APART, MOST_APART = 10, 5, 100  # evaluations of a training, and the iterations between two


def suggested_iterations(train_tokens: int, parameters: int, tokens_per_iteration: int) -> int:
    """Return the number of iterations after which more bring little for `train_tokens` tokens, rounded to two digits.

    That is four passes over a text that is short for the model, fewer over a longer one, but at least one.

    >>> suggested_iterations(90_000, 2_300_000, 16 * 128)  # a short novel, small preset
    180
    """
    readings = min(READINGS, max(1.0, TOKENS_PER_PARAMETER * parameters / max(1, train_tokens)))
    iterations = max(LEAST, round(readings * train_tokens / tokens_per_iteration))
    return round(iterations, 2 - len(str(iterations)))


def one_reading(sizes: Sequence[int], weights: Sequence[float]) -> int:
    """Return how much text is read until the book with the largest weight has been read once, and others in part.

    >>> one_reading((100, 300), ()), one_reading((100, 300), (2, 1))
    (400, 250)

    Raises WeightsDoNotFit.
    """
    if len(set(weights)) < 2:
        return sum(sizes)
    require_weights(weights, len(sizes))
    return round(sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / max(weights))


def require_weights(weights: Sequence[float], books: int) -> None:
    """Raise WeightsDoNotFit unless there is a weight for each book, or none at all."""
    if weights and len(weights) != books:
        raise WeightsDoNotFit(field="book_weights", weights=len(weights), books=books)


def tokens_per_iteration(config: TrainConfig, max_seq_len: int) -> int:
    """Return how many tokens of the books one iteration reads."""
    return config.batch_size * config.grad_accum_steps * max_seq_len


def iterations_within(seconds: float, spent: Callable[[int], float]) -> int:
    """Return the most iterations that `spent` allows in this time, at least one; `spent` is rising.

    >>> iterations_within(60.0, lambda iterations: 2.0 + 0.5 * iterations)
    116
    """
    most = 1
    while spent(2 * most) <= seconds:
        most *= 2
    step = most
    while step := step // 2:
        most += step if spent(most + step) <= seconds else 0
    return most


def evaluations_apart(iterations: int) -> int:
    """Return after how many iterations to check a training of this length: about ten times in a short one."""
    return min(MOST_APART, max(LEAST_APART, round(iterations / CHECKS)))
