"""When self-play starts and pauses, step by step, and through a checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from selfplay.gate import Gate, Starter


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


# ---- the control -----------------------------------------------------------------------------------------------------

PAUSED = [5.0, 5.1, 5.1, 5.1]


def test_gate_opens_when_val_loss_rises_without_self_play_as_well() -> None:
    gate, notices = after_all(Gate(), [*PAUSED, 5.12, 5.13, 5.14, 5.15, 5.16, 5.17])
    assert notices[4:] == [None] * 5 + ["self_play_acquitted"]
    assert gate == Gate(best_val_loss=5.17)


def test_gate_judges_self_play_from_the_acquittal_on() -> None:
    gate, notices = after_all(Gate(best_val_loss=5.17), [5.2, 5.23, 5.23, 5.23])
    assert gate.closed and notices == [None, None, None, "self_play_paused"]


def test_gate_stays_closed_while_val_loss_falls() -> None:
    gate, notices = after_all(Gate(), [5.0, 6.0, 6.0, 6.0, 5.9, 5.8, 5.7, 5.6, 5.5, 5.4])
    assert gate.closed and set(notices[4:]) == {None}
    assert (gate.closed_at, gate.evaluations_closed) == (5.4, 0)  # another control begins


def test_gate_does_not_acquit_by_values_that_are_not_finite() -> None:
    gate, _ = after_all(Gate(), [*PAUSED, *[math.nan] * 6])
    assert gate.closed and gate.closed_at is None
    gate, notices = after_all(gate, [5.3] * 12)
    assert notices.index("self_play_acquitted") == 11  # six evaluations to have a value, six to compare with it


def test_gate_continues_from_a_checkpoint_in_the_middle_of_a_control() -> None:
    gate, _ = after_all(Gate(), [*PAUSED, 5.12])
    assert through_json(gate) == gate
    assert Gate(best_val_loss=5.0, evaluations_over=3, closed=True).after(5.2)[0].closed  # as earlier versions wrote it
