"""The status that follows from the events, and the time left worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from functools import reduce

import pytest

from config import TrainConfig
from events import (
    MOST_NOTICES,
    CheckpointSaved,
    Evaluated,
    Event,
    IterationDone,
    ModelPublished,
    Notice,
    Rollout,
    RunStarted,
    SampleWritten,
    SelfPlayCompared,
    SelfPlayDone,
    Stage,
    StageBegun,
    State,
    TrainingStatus,
    Writing,
    advance,
    from_json,
    to_json,
)

STARTED = RunStarted("поэт", 100, 110, True, False, 1234, 900, 100, "CPU", "float32", 2)
ROLLOUT = Rollout("а", "б", 0.5, {"diversity": 0.4, "length": 0.6}, 0.0, True, 0.25, ((0, 1),))
BOOK = {"reward": (0.8, 0.9, 1.0)}
ROUND = SelfPlayDone(101, 7, 0.5, {"diversity": 0.4, "length": 0.6}, 0.0, (ROLLOUT,), 0.25, BOOK)
WRITING = {"greedy": Writing(0.5, {"length": 0.5}, 0.25, "б", ((0, 1),))}
COMPARED = SelfPlayCompared(300, 200, "а", WRITING, WRITING, BOOK)


def _done(iteration: int, elapsed_seconds: float) -> IterationDone:
    return IterationDone(iteration, 3.5, 1e-3, 0.7, 900.0, elapsed_seconds)


def _after(*told: Event) -> TrainingStatus:
    return reduce(advance, told, TrainingStatus(state=State.RUNNING))


def _differences(*told: Event) -> dict[str, object]:
    """What the last event changes."""
    before, after = _after(*told[:-1]), _after(*told)
    names = [field.name for field in dataclasses.fields(TrainingStatus)]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (StageBegun(Stage.TOKENIZING, 5, 10), {"stage": Stage.TOKENIZING, "stage_done": 5, "stage_total": 10}),
        (Evaluated(101, 3.0, 2.0, 3.5, False, 9.0), {"val_loss": 3.0, "bits_per_byte": 2.0}),
        (
            Evaluated(101, 3.0, 2.0, 3.5, True, 9.0),
            {"val_loss": 3.0, "bits_per_byte": 2.0, "best_val_loss": 3.0, "best_iteration": 101},
        ),
        (ROUND, {"reward": 0.5, "reward_breakdown": {"diversity": 0.4, "length": 0.6}, "looped": 0.25, "book": BOOK}),
        (COMPARED, {"compared": COMPARED}),
        (SampleWritten(101, "Старик", " пел"), {"sample": "Старик пел"}),
        (CheckpointSaved(101, 5), {"checkpoint_iteration": 101}),
        (ModelPublished(101, 3.0), {"published_iteration": 101}),
        (Event(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_status_changes_in_what_the_event_tells_and_nothing_else(event: Event, expected: dict[str, object]) -> None:
    assert _differences(STARTED, event) == expected


def test_status_of_a_started_run_counts_from_where_it_began() -> None:
    status = _after(STARTED)
    assert (status.iteration, status.started_iteration, status.iterations) == (100, 100, 110)
    assert (status.resumed, status.exact, status.parameters, status.device, status.num_threads) == (
        True,
        False,
        1234,
        "CPU",
        2,
    )


def test_time_left_is_the_mean_of_all_iterations_but_the_first_times_those_left() -> None:
    told: list[Event] = [STARTED, _done(101, 507.0)]  # 7 s of warm-up, 500 s in runs before
    assert _after(*told).eta_seconds is None
    told.append(_done(102, 509.0))
    assert _after(*told).eta_seconds == pytest.approx(2.0 * 8)
    told.append(_done(103, 513.0))
    assert _after(*told).eta_seconds == pytest.approx(3.0 * 7)
    assert _after(*told).run_seconds == pytest.approx(6.0)
    assert _after(*told).eta_seconds != pytest.approx(513.0 / 3 * 7)


def test_time_left_at_the_end_is_none_to_wait_for() -> None:
    told = [STARTED, *(_done(iteration, 500.0 + iteration) for iteration in range(101, 111))]
    assert _after(*told).eta_seconds == 0.0


def test_time_left_of_an_endless_run_is_unknown() -> None:
    endless = dataclasses.replace(STARTED, iterations=None)
    assert _after(endless, *(_done(i, float(i)) for i in range(101, 105))).eta_seconds is None


def test_end_of_a_run_that_time_ends_is_estimated_until_it_is_there() -> None:
    config = TrainConfig(iterations=None, max_minutes=1.0)
    status = TrainingStatus(state=State.RUNNING, config=config)
    for event in [dataclasses.replace(STARTED, iterations=None, ends_at_seconds=560.0), _done(101, 507.0)]:
        status = advance(status, event)
    assert (status.iterations, status.eta_seconds) == (None, pytest.approx(53.0))
    status = advance(status, _done(102, 509.0))  # two seconds each
    assert (status.iterations, status.eta_seconds) == (102 + 26, pytest.approx(51.0))
    assert advance(status, _done(103, 561.0)).iterations == 103
    assert advance(status, Evaluated(102, 3.0, 2.0, 3.5, False, 561.0)).iterations == 102


def test_time_left_is_the_limit_where_the_iterations_would_take_longer() -> None:
    limited = dataclasses.replace(STARTED, ends_at_seconds=520.0)
    assert _after(limited, _done(101, 507.0), _done(102, 509.0)).eta_seconds == pytest.approx(11.0)
    assert _after(limited, _done(101, 507.0), _done(102, 508.0)).eta_seconds == pytest.approx(8.0)


def test_status_keeps_the_newest_notices() -> None:
    notices = [Notice(iteration, "resumed") for iteration in range(MOST_NOTICES + 3)]
    assert _after(*notices).notices == tuple(notices[3:])


def test_status_is_never_changed_in_place() -> None:
    before = _after(STARTED)
    copy = dataclasses.replace(before)
    advance(before, _done(101, 1.0))
    assert before == copy


def test_event_written_to_json_is_its_class_and_fields() -> None:
    assert to_json(CheckpointSaved(5, 7)) == {"event": "CheckpointSaved", "iteration": 5, "bytes": 7}
    assert to_json(StageBegun(Stage.SAVING)) == {"event": "StageBegun", "stage": "saving", "done": 0, "total": 0}


@pytest.mark.parametrize(
    "event", [STARTED, _done(1, 1.0), ROUND, COMPARED, Notice(1, "x", {"a": 1})], ids=lambda e: type(e).__name__
)
def test_event_survives_json(event: Event) -> None:
    read = json.loads(json.dumps(to_json(event)))
    assert read["event"] == type(event).__name__
    assert from_json(read) == event


def test_round_of_a_policy_gradient_is_read_without_what_only_that_needed() -> None:
    values = to_json(ROUND) | {"kl": 0.01, "kl_coef": 0.05, "entropy": 3.0, "skipped_share": 0.25}
    del values["looped"], values["book"]
    kept = {name: ROLLOUT.__dict__[name] for name in ("prompt", "completion", "reward", "reward_breakdown", "copied")}
    values["rollouts"] = [kept | {"kl": 0.01, "advantage": 0.2}]
    read = from_json(values)
    assert isinstance(read, SelfPlayDone)
    assert (read.looped, read.book, read.rollouts[0].greedy, read.rollouts[0].loops) == (None, {}, None, ())
    assert read.rollouts[0].completion == "б"
