"""What a training will take: the sums by hand, the measuring for real."""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch

import workflows
from config import SelfPlayConfig, TrainConfig
from corpus import library
from events import IterationDone, RunMeasured, advance
from runs import forecast, rehearsal
from runs.rehearsal import Pace, straight_line
from tests.training_kit import BOOK, MODEL, OTHER_BOOK, SELF_PLAY, SHAPE, TEXT, changed, plan
from workspace import Workspace

PACE = Pace(
    iteration_seconds=0.5,
    round_seconds=2.0,
    evaluation_seconds=2.0,
    sample_seconds=1.0,
    tokens_per_iteration=100,
    train_tokens=1000,
    reading_tokens=1000,
)


def test_pace_adds_up_iterations_rounds_and_evaluations() -> None:
    config = TrainConfig(eval_every=100)  # a round every 5 iterations, from the 200th on
    assert PACE.seconds(config, 0, 300) == pytest.approx(
        300 * 0.5 + 20 * 2.0 + 4 * 3.0 + 4 / 3 * 2.0
    )  # and comparisons
    assert PACE.seconds(config, 300, 400) == 100 * 0.5 + 20 * 2.0 + 2 * 3.0 + 2 * 2.0
    assert PACE.seconds(config, 0, 100) == 100 * 0.5 + 2 * 3.0
    without = changed(config, self_play=changed(config.self_play, enabled=False))
    assert PACE.seconds(without, 0, 300) == 300 * 0.5 + 4 * 3.0


def test_pace_counts_a_sample_a_second_at_most() -> None:
    quick = dataclasses.replace(PACE, iteration_seconds=0.001, evaluation_seconds=0.1, sample_seconds=0.5)
    without = TrainConfig(eval_every=100, self_play=SelfPlayConfig(enabled=False))
    assert quick.seconds(without, 0, 10_000) == pytest.approx(10 + 101 * 0.1 + (1 + 20.1) * 0.5)


def test_pace_tells_speed_and_epoch() -> None:
    assert (PACE.tokens_per_second, PACE.epoch_seconds()) == (200.0, 5.0)


# ---- measuring what is too large to measure ----------------------------------------------------------------------------


def test_straight_line_measures_the_whole_where_the_budget_reaches() -> None:
    asked = []
    assert straight_line(lambda size: asked.append(size) or size * 2.0, 16, budget_seconds=70) == 32.0
    assert asked == [4, 16]


def test_straight_line_goes_on_from_two_sizes_where_it_does_not() -> None:
    asked = []
    assert straight_line(lambda size: asked.append(size) or 10.0 + size, 64, budget_seconds=0) == 10.0 + 64
    assert asked == [16, 4]


def test_straight_line_leaves_out_the_whole_when_two_of_it_would_take_too_long() -> None:
    asked = []
    assert straight_line(lambda size: asked.append(size) or size * 2.0, 16, budget_seconds=63.9) == 32.0
    assert asked == [4, 1]


def test_straight_line_never_falls() -> None:
    assert straight_line(lambda size: 100.0 - size, 64, budget_seconds=0) == 100.0 - 16


@pytest.mark.parametrize(("size", "sizes"), [(1, [1]), (2, [1, 2]), (3, [1, 3])])
def test_straight_line_of_a_small_size_measures_each_once(size: int, sizes: list[int]) -> None:
    asked = []
    straight_line(lambda part: asked.append(part) or 1.0, size, budget_seconds=60)
    assert asked == sizes


@pytest.mark.parametrize(
    ("seconds", "iterations"),
    [([0.1, 0.1, 0.1, 0.1, 0.1], 4), ([1.0, 0.8, 0.8], 2), ([1.0, 0.4, 0.4, 0.4, 0.4], 4), ([5.0, 4.5], 1)],
)
def test_quick_iterations_are_repeated_slower_ones_once_and_slow_ones_not(
    seconds: list[float], iterations: int
) -> None:
    counts = (count for count in range(1, len(seconds) + 1) if rehearsal.is_enough(seconds[:count]))
    assert next(counts) == iterations


# ---- for real ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_forecast_is_measured_and_leaves_no_trace(workspace: Workspace) -> None:
    wanted = plan(workspace, self_play=SELF_PLAY, iterations=50)
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    pace = workflows.pace(workspace, wanted)
    told = workflows.forecast(workspace, wanted, pace)
    assert min(pace.iteration_seconds, pace.evaluation_seconds, pace.sample_seconds) > 0
    assert pace.tokens_per_iteration == 4 * 32
    assert told.total_seconds == pace.seconds(wanted.config, 0, 50)
    assert told.epochs == pytest.approx(50 * 4 * 32 / told.train_tokens)
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_forecast_of_memory_counts_what_this_process_holds_already(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = plan(workspace)
    monkeypatch.setattr(forecast, "REHEARSED_BYTES", 0)
    before = workflows.forecast(workspace, wanted, PACE).training_bytes
    counted = workflows.estimate(SHAPE, wanted.config).training_bytes
    assert before - counted > 100_000_000  # Python and torch
    held = torch.ones(60_000_000)  # as an earlier training or a loaded model leaves it
    with_it = workflows.forecast(workspace, wanted, PACE).training_bytes
    assert with_it - before == pytest.approx(held.nbytes, abs=20_000_000)
    monkeypatch.setattr(forecast, "held_bytes", lambda: None)
    assert workflows.forecast(workspace, wanted, PACE).training_bytes == counted


def test_forecast_of_an_endless_training_has_no_end(workspace: Workspace) -> None:
    wanted = plan(workspace, iterations=None)
    told = workflows.forecast(workspace, wanted, PACE)
    assert (told.total_seconds, told.epochs) == (None, None)


def test_forecast_tells_how_often_the_book_that_weighs_most_and_least_is_read(workspace: Workspace) -> None:
    wanted = plan(workspace, (BOOK, OTHER_BOOK), iterations=40, book_weights=(4.0, 1.0))
    told = workflows.forecast(workspace, wanted, dataclasses.replace(PACE, reading_tokens=800))
    assert (told.epochs, told.epochs_least, told.train_tokens) == (5.0, 1.25, 1000)
    assert told.epoch_seconds == 4.0


@pytest.mark.slow
def test_forecast_counts_tokens_from_a_sample(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    library.add_book(workspace, "много.txt", io.BytesIO((TEXT * 6).encode()))
    wanted = plan(workspace, ("много",))
    whole = workflows.pace(workspace, wanted).train_tokens
    monkeypatch.setattr(forecast, "SAMPLE_CHARACTERS", len(TEXT))
    assert workflows.pace(workspace, wanted).train_tokens == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(("device", "devices", "rows"), [("cuda", 1, 4), ("cuda", 2, 2), ("cuda", 3, 2), ("cpu", 2, 4)])
def test_rehearsal_for_several_cards_reads_the_rows_of_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, device: str, devices: int, rows: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(rehearsal, "choose_device", lambda _: torch.device(device))
    monkeypatch.setattr(rehearsal._Rehearsal, "iteration", lambda _, rows: asked.append(rows) or 0.5)
    wanted = plan(workspace)
    pace = workflows.pace(workspace, dataclasses.replace(wanted, config=changed(wanted.config, devices=devices)))
    assert max(asked) == rows
    assert pace.tokens_per_iteration == 4 * 32


def test_finished_run_compares_itself_with_its_forecast(workspace: Workspace) -> None:
    wanted = plan(workspace)
    promised = workflows.forecast(workspace, wanted, PACE)
    events = list(workflows.train(workspace, workflows.attach_forecast(wanted, promised)))
    told = events[-1]
    assert isinstance(told, RunMeasured)
    assert (told.iteration, told.expected_seconds) == (6, promised.total_seconds)
    assert 0 < told.seconds < 60
    status = workflows.last_run(workspace)
    assert status.measured == told
    assert advance(workflows.TrainingStatus(), told).measured == told


def test_run_without_a_forecast_compares_nothing(workspace: Workspace) -> None:
    assert workflows.attach_forecast(plan(workspace), None) == plan(workspace)
    assert not any(isinstance(event, RunMeasured) for event in workflows.train(workspace, plan(workspace)))


def test_forecast_of_a_going_on_counts_from_where_it_stands(workspace: Workspace) -> None:
    list(workflows.train(workspace, plan(workspace)))
    again = plan(workspace, self_play=changed(SELF_PLAY, every=1), iterations=300, eval_every=300)
    far = dataclasses.replace(PACE, evaluation_seconds=0.0, sample_seconds=0.0)
    assert workflows.forecast(workspace, again, far).total_seconds == pytest.approx(
        300 * 0.5 + 106 * 2.0 + 2 * 106 / 300 * 2.0
    )
    assert (again.books[0], again.model) == (BOOK, MODEL)


def test_forecast_of_a_stopped_training_counts_what_is_left_of_it(workspace: Workspace) -> None:
    run = workflows.train(workspace, plan(workspace, iterations=20))
    next(event for event in run if isinstance(event, IterationDone) and event.iteration == 4)
    run.close()
    reached = workflows.newest_iteration(workspace, MODEL)
    far = dataclasses.replace(PACE, evaluation_seconds=0.0, sample_seconds=0.0)
    again = workflows.forecast(workspace, plan(workspace, iterations=20), far)
    assert (again.iterations_left, again.total_seconds) == (20 - reached, (20 - reached) * 0.5)
    longer = workflows.forecast(workspace, plan(workspace, iterations=30), far)
    assert longer.iterations_left == 30 - reached
