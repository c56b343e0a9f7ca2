"""Tokens on their way from one thread to another: all of them, in order, the first at once, errors behind them."""

from __future__ import annotations

import threading
import time
from itertools import chain

import pytest

from engine import handover
from engine.handover import Handover


def test_everything_given_is_read_in_order_and_the_error_comes_last() -> None:
    given: Handover[int] = Handover()
    for number in range(5):
        given.give(number)
    given.end(ValueError("over"))
    read = iter(given)
    assert [next(read), next(read)] == [[0], [1, 2, 3, 4]]
    with pytest.raises(ValueError, match="over"):
        next(read)


def test_first_token_is_read_at_once_and_those_after_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(handover.time, "monotonic", lambda: now[0])
    given: Handover[int] = Handover()
    sizes = []
    for number in range(9):
        given.give(number)
        sizes.append(given._given.qsize())
        now[0] += handover.PAUSE_SECONDS / 4
    assert sizes == [1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_reader_in_another_thread_waits_for_what_is_not_given_yet() -> None:
    given: Handover[int] = Handover()
    read: list[int] = []
    reader = threading.Thread(target=lambda: read.extend(chain.from_iterable(given)))
    reader.start()
    for number in range(50):
        given.give(number)
        time.sleep(0.001)
    given.end()
    reader.join(5)
    assert read == list(range(50))
