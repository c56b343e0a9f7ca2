"""How hard self-play pushes: fully while a model repeats itself much, no more when a third of that is left, and through a checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from selfplay.push import Push


def after(*shares: float) -> Push:
    push = Push()
    for share in shares:
        push = push.after(share)
    return push


def test_push_is_full_before_the_first_round_and_while_repetition_stays() -> None:
    assert Push().strength == 1.0
    assert after(*[0.3] * 40).strength == 1.0


def test_push_measures_the_beginning_by_the_first_five_rounds() -> None:
    assert after(0.1, 0.2, 0.3, 0.4, 0.5).began == pytest.approx(0.3)
    assert after(0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0).began == pytest.approx(0.3)


@pytest.mark.parametrize(("left", "strength"), [(0.5, 1.0), (0.43, 1.0), (0.38, 0.5), (0.33, 0.0), (0.1, 0.0)])
def test_push_ends_when_a_third_of_the_repetition_is_left(left: float, strength: float) -> None:
    assert after(*[0.4] * 5, *[0.4 * left] * 200).strength == pytest.approx(strength, abs=1e-3)


def test_push_returns_when_the_repetition_returns() -> None:
    quiet = after(*[0.4] * 5, *[0.0] * 100)
    for _ in range(10):
        quiet = quiet.after(0.4)
    assert quiet.strength == 1.0


def test_one_quiet_round_does_not_end_the_push() -> None:
    assert after(*[0.4] * 30, 0.0).strength == 1.0


def test_push_of_a_model_that_never_repeated_itself_is_none() -> None:
    assert after(*[0.0] * 10).strength == 0.0


def test_push_survives_a_checkpoint() -> None:
    push = after(0.3, 0.1, 0.2)
    assert Push(**json.loads(json.dumps(asdict(push)))) == push
