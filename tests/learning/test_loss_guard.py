"""Which losses are wrong, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.loss_guard import LossGuard

VOCAB = 1000  # ln is 6.9078


def after(losses: list[float]) -> LossGuard:
    guard = LossGuard()
    for loss in losses:
        guard = guard.after(loss)
    return guard


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [(6.9, "good"), (10.3, "good"), (10.4, "spike"), (math.inf, "non_finite"), (math.nan, "non_finite")],
)
def test_guard_judges_from_the_second_loss_on(loss: float, verdict: str) -> None:
    assert after([6.9]).judge(loss, VOCAB) == verdict


@pytest.mark.parametrize(("loss", "verdict"), [(15.9, "good"), (math.inf, "non_finite"), (math.nan, "non_finite")])
def test_guard_takes_a_first_loss_for_the_text_and_not_for_the_step(loss: float, verdict: str) -> None:
    assert LossGuard().judge(loss, VOCAB) == verdict


def test_guard_of_a_hard_text_judges_by_its_first_losses() -> None:
    guard = after([16.0, 15.0, 17.0])
    assert guard.first == pytest.approx(16.0)
    assert (guard.judge(23.9, VOCAB), guard.judge(24.1, VOCAB)) == ("good", "spike")
    assert after([16.0] * 10 + [4.0] * 30).first == 16.0  # later losses do not move it


def test_guard_without_its_first_losses_judges_by_the_vocabulary() -> None:
    """As a checkpoint of an earlier version holds it."""
    guard = LossGuard(mean=5.0, variance=0.1, count=20)
    assert (guard.judge(10.3, VOCAB), guard.judge(10.4, VOCAB)) == ("good", "spike")


@pytest.mark.parametrize(("loss", "verdict"), [(3.99, "good"), (4.01, "spike")])
def test_guard_of_steady_losses_allows_one_nat(loss: float, verdict: str) -> None:
    assert after([3.0] * 50).judge(loss, VOCAB) == verdict
    assert after([3.0] * 49).judge(loss, VOCAB) == "good"


def test_guard_of_noisy_losses_allows_more() -> None:
    guard = after([3.0, 4.0] * 200)
    assert guard.mean == pytest.approx(3.5, abs=0.02)
    assert math.sqrt(guard.variance) == pytest.approx(0.5, rel=0.02)
    assert (guard.judge(7.4, VOCAB), guard.judge(7.7, VOCAB)) == ("good", "spike")


@given(st.lists(st.floats(0, 7), min_size=1, max_size=80))
def test_guard_goes_on_alike_from_its_plain_numbers(losses: list[float]) -> None:
    guard = after(losses)
    assert LossGuard(**dataclasses.asdict(guard)) == guard
    assert min(losses) - 1e-9 <= guard.mean <= max(losses) + 1e-9
