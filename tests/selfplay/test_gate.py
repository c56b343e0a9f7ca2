"""The state machines of the leash, step by step, and through a checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.gate import Gate, KLController, Starter, may_be_reference


def through_json(state: Any) -> Any:
    return type(state)(**json.loads(json.dumps(asdict(state), allow_nan=False)))


# ---- start -----------------------------------------------------------------------------------------------------------


def test_starter_needs_both_the_iterations_and_the_fall() -> None:
    starter = Starter(first_val_loss=10.0)
    assert starter.after(199, 5.0)[1] is None  # too early
    assert starter.after(300, 7.01)[1] is None  # fell by 29.9 %
    assert starter.after(200, 6.99) == (Starter(10.0, started=True), "self_play_started")


def test_starter_measures_the_fall_from_its_first_evaluation() -> None:
    starter, notice = Starter().after(0, 10.0)
    assert (starter, notice) == (Starter(10.0), None)
    assert starter.after(200, 7.1)[1] is None
    assert starter.after(200, 6.9)[1] == "self_play_started"


def test_starter_tells_once_and_never_takes_it_back() -> None:
    started = Starter(8.5, started=True)
    assert started.after(400, 5.0) == (started, None)
    assert started.after(500, 9.0) == (started, None)


def test_starter_overlooks_a_value_that_is_not_finite() -> None:
    assert Starter().after(0, math.nan) == (Starter(), None)


# ---- gate ------------------------------------------------------------------------------------------------------------


def after_all(gate: Gate, val_losses: list[float]) -> tuple[Gate, list[str | None]]:
    notices: list[str | None] = []
    for val_loss in val_losses:
        gate, notice = gate.after(val_loss)
        notices.append(notice)
    return gate, notices


def test_gate_closes_at_the_third_evaluation_over() -> None:
    gate, notices = after_all(Gate(), [5.0, 5.06, 5.06, 5.06, 5.06])
    assert notices == [None, None, None, "self_play_paused", None]
    assert gate.closed


def test_gate_stays_open_within_the_margin() -> None:
    gate, notices = after_all(Gate(), [5.0] + [5.04] * 5)
    assert not gate.closed and set(notices) == {None}


def test_gate_counts_only_evaluations_in_a_row() -> None:
    gate, _ = after_all(Gate(), [5.0, 5.1, 5.1, 5.0, 5.1, 5.1])
    assert not gate.closed


def test_gate_opens_when_val_loss_has_come_back() -> None:
    gate, notices = after_all(Gate(), [5.0, 5.1, 5.1, 5.1, 5.2, 5.04])
    assert not gate.closed and notices[-1] == "self_play_resumed"
    assert gate.evaluations_over == 0 and gate.best_val_loss == 5.0


def test_gate_takes_a_value_that_is_not_finite_for_one_above() -> None:
    gate, notices = after_all(Gate(), [5.0, math.nan, math.inf, math.nan])
    assert gate.closed and notices[-1] == "self_play_paused"
    assert gate.best_val_loss == 5.0
    assert Gate().after(math.nan)[0].best_val_loss is None


# ---- KL --------------------------------------------------------------------------------------------------------------


def test_kl_controller_starts_within_the_range_of_the_specification() -> None:
    assert KLController.start(0.05, 0.05) == KLController(0.05, 0.05, lowest=0.005, highest=0.5)


def test_kl_controller_starts_where_the_person_set_it() -> None:
    assert KLController.start(2.0, 0.05) == KLController(2.0, 0.05, lowest=0.2, highest=20.0)


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.05, 1.0), (0.5, 1.02), (0.0, 0.98), (-0.1, 0.98), (0.055, 1.01), (0.045, 0.99)]
)
def test_kl_controller_steers_by_at_most_two_percent_a_round(kl: float, factor: float) -> None:
    assert KLController.start(0.05, 0.05).after(kl).kl_coef == pytest.approx(0.05 * factor)


def test_kl_controller_stays_within_its_range() -> None:
    high = low = KLController.start(0.05, 0.05)
    for _ in range(500):
        high, low = high.after(10.0), low.after(0.0)
    assert (low.kl_coef, high.kl_coef) == (0.005, 0.5)


def test_kl_controller_leaves_a_leash_that_is_off() -> None:
    assert KLController.start(0.0, 0.05).after(10.0).kl_coef == 0.0


def test_kl_controller_overlooks_a_value_that_is_not_finite() -> None:
    controller = KLController.start(0.05, 0.05)
    assert controller.after(math.nan) == controller.after(math.inf) == controller


# ---- reference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("val_loss", "may"), [(4.9, True), (5.01, True), (5.02, False), (math.inf, False), (math.nan, False)]
)
def test_reference_is_never_a_model_that_became_worse(val_loss: float, may: bool) -> None:
    assert may_be_reference(val_loss, 5.0) is may


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.integers(0, 29))
def test_states_saved_and_loaded_go_on_alike(values: list[float], saved_at: int) -> None:
    straight: list[Any] = [Starter(), Gate(), KLController.start(0.05, 0.05)]
    resumed = list(straight)
    for step, value in enumerate(values):
        if step == saved_at:
            resumed = [through_json(state) for state in resumed]
        straight, resumed = (_all_after(states, step * 50, value) for states in (straight, resumed))
    assert resumed == straight


def _all_after(states: list[Any], iteration: int, value: float) -> list[Any]:
    starter, gate, controller = states
    return [starter.after(iteration, value)[0], gate.after(value)[0], controller.after(value)]
