"""The number of threads follows what steps really take, and a slow number is tried ever more rarely."""

from __future__ import annotations

from engine.threads import FIRST_PERIOD, LONGEST_PERIOD, TRIES, ThreadChoice


def _steps(choice: ThreadChoice, number: int, seconds: dict[int, float]) -> list[int]:
    """The threads of so many steps, each of which takes what `seconds` says."""
    used = []
    for _ in range(number):
        used.append(choice.now)
        choice.took(seconds[used[-1]])
    return used


def test_faster_number_is_used_after_both_were_tried() -> None:
    for seconds, best in ({1: 2.0, 2: 1.0}, 2), ({1: 1.0, 2: 2.0}, 1):
        used = _steps(ThreadChoice(2), 2 * TRIES + FIRST_PERIOD, seconds)
        assert used[: 2 * TRIES] == [1] * TRIES + [2] * TRIES
        assert used[2 * TRIES :] == [best] * FIRST_PERIOD


def test_number_changes_when_the_machine_becomes_busy() -> None:
    choice = ThreadChoice(2)
    assert _steps(choice, 200, {1: 2.0, 2: 1.0})[-1] == 2
    assert _steps(choice, 1000, {1: 2.0, 2: 20.0})[-1] == 1


def test_number_that_never_wins_is_tried_ever_more_rarely() -> None:
    used = _steps(ThreadChoice(2), 20_000, {1: 1.0, 2: 10.0})
    assert used[-5000:].count(2) <= TRIES * (5000 // LONGEST_PERIOD + 1)
    assert used[-5000:].count(2) > 0


def test_hopeless_number_is_tried_for_one_step_only() -> None:
    assert _steps(ThreadChoice(2), TRIES + 1 + FIRST_PERIOD, {1: 1.0, 2: 9.0}).count(2) == 1


def test_one_thread_is_never_compared_with_anything() -> None:
    assert set(_steps(ThreadChoice(1), 100, {1: 1.0})) == {1}
