"""What a training of a new model would bring: the time of other sizes, the best choice for a time and a memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from config import PRESETS, TrainConfig
from runs.forecast import Estimate, estimate
from runs.outlook import Outlook, best_of, outlook, scaled
from runs.rehearsal import Pace
from runs.suggestion import iterations_within, suggested_iterations

CONFIG = TrainConfig()
SMALL = Pace(0.2, 0.5, 0.1, 0.1, tokens_per_iteration=2048, train_tokens=300_000, reading_tokens=300_000)
SIZE = Estimate(2_300_000, 600, 1000, True, 300_000, 0.13, None)


def test_pace_of_medium_follows_from_that_of_small_as_it_was_measured() -> None:
    """docs/en/benchmarks.md, "Speed": 11,361 and 2,912 tokens a second on the same core."""
    small, medium = PRESETS["small"], PRESETS["medium"]
    known = dataclasses.replace(SMALL, iteration_seconds=2048 / 11_361)
    assert scaled(known, small, medium, CONFIG).tokens_per_second == pytest.approx(2912, rel=0.05)
    assert scaled(known, small, small, CONFIG) == known


def test_outlook_without_limits_is_the_suggested_training() -> None:
    found = outlook(SIZE, SMALL, CONFIG)
    assert found.iterations == suggested_iterations(300_000, 2_300_000, 2048) == 590
    assert (found.fits, found.in_time) == (True, True)
    assert found.epochs == pytest.approx(4.03, abs=0.01)
    assert found.seconds == SMALL.seconds(CONFIG, 0, 590)


def test_outlook_stops_where_the_time_ends_and_tells() -> None:
    found = outlook(SIZE, SMALL, CONFIG, seconds=60)
    assert found.seconds <= 60 < SMALL.seconds(CONFIG, 0, found.iterations + 1)
    assert not found.in_time
    assert outlook(SIZE, SMALL, CONFIG, seconds=3600).iterations == 590  # more would learn by heart


@pytest.mark.parametrize(("memory", "fits"), [(None, True), (600, True), (599, False)])
def test_outlook_fits_into_the_memory_that_was_named(memory: int | None, fits: bool) -> None:
    assert outlook(SIZE, SMALL, CONFIG, memory_bytes=memory).fits == fits


def test_what_the_machine_cannot_hold_never_fits() -> None:
    assert not outlook(dataclasses.replace(SIZE, fits=False), SMALL, CONFIG, memory_bytes=10**12).fits


@pytest.mark.parametrize(
    ("small", "large", "best"),
    [
        ({}, {}, "large"),
        ({}, {"in_time": False}, "small"),
        ({"in_time": False}, {"in_time": False}, "small"),
        ({}, {"fits": False}, "small"),
        ({"fits": False}, {"fits": False}, None),
    ],
)
def test_best_is_the_largest_that_fits_and_is_done_in_time(small: Any, large: Any, best: str | None) -> None:
    plain = Outlook(1, 1, True, True, 1, 5, 1.0, 1.0)
    found = {"small": dataclasses.replace(plain, **small), "large": dataclasses.replace(plain, parameters=2, **large)}
    assert best_of(found) == best


@pytest.mark.parametrize(("seconds", "iterations"), [(0.1, 1), (3, 3), (4.9, 4), (1000, 1000)])
def test_iterations_within_is_the_most_that_the_time_allows(seconds: float, iterations: int) -> None:
    assert iterations_within(seconds, float) == iterations


def test_estimate_and_outlook_agree_on_the_size() -> None:
    counted = estimate(PRESETS["medium"], CONFIG, (1_000_000,))
    assert outlook(counted, SMALL, CONFIG).parameters == counted.parameters == 10_390_784
