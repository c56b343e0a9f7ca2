"""What a book repeats at short range, against counting every window."""

from __future__ import annotations

import random
import time

import pytest
import torch

from corpus import repetition
from corpus.repetition import most_times_within


def _counted(tokens: list[int], window: int) -> dict[tuple[int, ...], int]:
    places: dict[tuple[int, ...], list[int]] = {}
    for place, gram in enumerate(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False)):
        places.setdefault(gram, []).append(place)
    most = {g: max(sum(first <= p <= first + window - 4 for p in all_) for first in all_) for g, all_ in places.items()}
    return {gram: times for gram, times in most.items() if times > 1}


@pytest.mark.parametrize("seed", range(4))
def test_most_times_within_equals_counting_every_window(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "PIECE_TOKENS", 150)
    tokens = random.Random(seed).choices(range(4), k=900)
    found = most_times_within(torch.tensor(tokens, dtype=torch.int32), 60)
    assert found == _counted(tokens, 60)
    assert len(found) > 50


def test_most_times_within_leaves_out_what_stands_further_apart() -> None:
    tokens = [1, 2, 3, 4, *range(10, 70), 1, 2, 3, 4]
    assert most_times_within(torch.tensor(tokens), 67) == {}
    assert most_times_within(torch.tensor(tokens), 68) == {(1, 2, 3, 4): 2}


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_most_times_within_a_few_tokens_is_nothing(count: int) -> None:
    assert most_times_within(torch.arange(count), 100) == {}


def test_most_times_within_a_book_of_one_line_repeated_is_quick() -> None:
    tokens = torch.arange(200_000) % 2
    started = time.monotonic()
    assert most_times_within(tokens, 104) == {(0, 1, 0, 1): 51, (1, 0, 1, 0): 51}
    assert time.monotonic() - started < 10
