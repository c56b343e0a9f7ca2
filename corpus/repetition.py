"""Find the 4-grams of tokens that a book itself repeats at short range, such as the name of a speaker, and how often.

What the book repeats is no loop: self-play compares the model's texts with what is found here (selfplay/loops.py).

Particular: the book is sorted in pieces, so memory is bounded for any length; only repeated 4-grams are kept, about one in a hundred.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfplay.loops import GRAM, Gram

PIECE_TOKENS = 500_000
MULTIPLIER = 6_364_136_223_846_793_005  # of Knuth's MMIX generator: mixes four ids into 64 bits, with overflow
MOST_TIMES = 64  # nothing is counted beyond that


def most_times_within(tokens: Tensor, window: int) -> dict[Gram, int]:
    """Return how often each 4-gram stands at most within any `window` neighbouring tokens of `tokens` (N,), where it is twice or more."""
    found: dict[Gram, int] = {}
    for start in range(0, max(1, len(tokens) - GRAM), PIECE_TOKENS):
        piece = tokens[start : start + PIECE_TOKENS + window].long()
        for gram, times in _most_times(piece, window).items():
            found[gram] = max(times, found.get(gram, 0))
    return found


def _most_times(tokens: Tensor, window: int) -> dict[Gram, int]:
    order, same_as_next = _sorted_places(tokens)
    kinds = F.pad((~same_as_next).long().cumsum(0), (1, 0))  # which different 4-gram stands at each place
    found: dict[Gram, int] = {}
    times, run = 2, same_as_next
    while times <= MOST_TIMES and len(order) > times - 1:
        near = run & (order[times - 1 :] - order[: 1 - times] <= window - GRAM)
        if not bool(near.any()):
            break
        for place in order[: 1 - times][near][_first_of_each(kinds[: 1 - times][near])].tolist():
            first, second, third, fourth = tokens[place : place + GRAM].tolist()
            found[first, second, third, fourth] = times
        run = run[:-1] & same_as_next[times - 1 :]
        times += 1
    return found


def _first_of_each(kinds: Tensor) -> Tensor:
    """Return a mask (n,) of the first of equal neighbours in `kinds` (n,); a book of one line repeated has thousands of each."""
    return F.pad(kinds[1:] != kinds[:-1], (1, 0), value=True)


def _sorted_places(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of all 4-grams, equal ones side by side in the order of the book, and whether each equals the next (n-1,)."""
    count = max(0, len(tokens) - GRAM + 1)
    keys = torch.zeros(count, dtype=torch.int64)
    for offset in range(GRAM):
        keys = keys * MULTIPLIER + tokens[offset : offset + count] + 1
    keys, order = torch.sort(keys, stable=True)
    return order, keys[1:] == keys[:-1]
