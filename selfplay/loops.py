"""Find the tokens with which a text loops: each ends a 4-gram that stands in the text more often than the book ever has it.

Particular: what the book itself repeats at short range, such as "- said the", is allowed as often as the book does it
(corpus/repetition.py); a first repetition of any other 4-gram counts already, because it is where a loop begins.

Not here: what is learned from these places (learning/loop_breaking.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

GRAM = 4  # tokens
Gram = tuple[int, int, int, int]


def loop_places(tokens: Sequence[int], start: int, allowed: Mapping[Gram, int]) -> dict[int, int]:
    """Return the places from `start` on of the tokens that end a 4-gram for the second time, or more often than `allowed` says, each with
    the place of the token that ended it the first time.

    4-grams before `start`, in the prompt, count as occurrences.

    >>> loop_places([5, 1, 2, 3, 4, 1, 2, 3, 4, 1], 1, {})
    {8: 4, 9: 5}
    """
    seen: Counter[Gram] = Counter()
    first: dict[Gram, int] = {}
    places = {}
    for end, gram in enumerate(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False), GRAM - 1):
        seen[gram] += 1
        first.setdefault(gram, end)
        if end >= start and seen[gram] > allowed.get(gram, 1):
            places[end] = first[gram]
    return places


def spans(places: Sequence[int], borders: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Join places into spans of characters, where token number i covers the characters from `borders[i]` to `borders[i + 1]`.

    >>> spans([1, 2, 4], [0, 3, 5, 6, 8, 9])
    ((3, 6), (8, 9))
    """
    joined: list[tuple[int, int]] = []
    for place in places:
        first, last = borders[place], borders[place + 1]
        if joined and joined[-1][1] >= first:
            joined[-1] = (joined[-1][0], last)
        elif last > first:
            joined.append((first, last))
    return tuple(joined)
