"""The formulas of text self-play: pure functions, words or tokens in, floats out.

Particular: diversity is two-sided. It rewards text as varied as the book and not as varied as possible, because
a list of the vocabulary is more varied than any real sentence (`python -m benchmarks.reward_table`).
Length counts only tokens before the text begins to loop.

Not covered: shuffled words score like prose, and so does one word among a hundred different punctuation marks,
because diversity looks at words alone. `book.py` measures how varied the book is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence

WORD = re.compile(r"\w+")
LOOP_TOKENS = 4  # a loop is a 4-gram of tokens ...
LOOP_COUNT = 3  # ... that stands for the third time


def words(text: str) -> list[str]:
    """Split a text into words in lower case: 'Скажи-ка, дядя: 2 слова' -> ['скажи', 'ка', 'дядя', '2', 'слова']"""
    return WORD.findall(text.lower())


def distinct_n(items: Sequence[Hashable], n: int) -> float:
    """Return the share of different n-grams among all (Li et al., arXiv 1510.03055): 'a b a b', n=2 -> 2/3.

    Fewer than n items repeat nothing: 1.
    """
    total = len(items) - n + 1
    return len(set(zip(*(items[i:] for i in range(n)), strict=False))) / total if total > 0 else 1.0


def variety(items: Sequence[Hashable]) -> float:
    """Return d = (distinct-1 + distinct-2) / 2: 'a b a b' -> (2/4 + 2/3) / 2"""
    return (distinct_n(items, 1) + distinct_n(items, 2)) / 2


def diversity_score(d: float, mu: float, sd: float) -> float:
    """Return clip(1 - max(0, |d - mu| - sd) / mu, 0, 1): 1 within one sd of the book's mean, less on both sides."""
    return min(1.0, max(0.0, 1 - max(0.0, abs(d - mu) - sd) / mu))


def useful_tokens(tokens: Sequence[int]) -> int:
    """Count the tokens before the third occurrence of any 4-gram: [1 2 3 4 5] five times -> 10"""
    seen: Counter[tuple[int, ...]] = Counter()
    for start in range(len(tokens) - LOOP_TOKENS + 1):
        gram = tuple(tokens[start : start + LOOP_TOKENS])
        seen[gram] += 1
        if seen[gram] == LOOP_COUNT:
            return start
    return len(tokens)


def length_score(tokens: Sequence[int], max_new_tokens: int) -> float:
    """Return min(1, useful / max_new_tokens) for `tokens` without end-of-text."""
    return min(1.0, useful_tokens(tokens) / max_new_tokens)


def reward(diversity: float, length: float, diversity_weight: float, length_weight: float) -> float:
    """Return R, the weighted mean: weights 0.5 and 0.5, (0.75, 0.62) -> 0.685; 0 if both weights are 0."""
    weights = diversity_weight + length_weight
    return (diversity * diversity_weight + length * length_weight) / weights if weights else 0.0
