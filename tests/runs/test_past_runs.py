"""The runs of a model as its log tells them: where each began and ended, and its checks on held-out text."""

from __future__ import annotations

from pathlib import Path

import pytest

from events import Evaluated, Event, IterationDone, Notice, RunStarted
from runs.past_runs import PastRun, past_runs
from runs.run_log import RunLog
from workspace import Workspace

NAME = "poet"
EARLY = "early_stopped"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def started(iteration: int, goal: int | None, *, resumed: bool) -> RunStarted:
    return RunStarted(NAME, iteration, goal, resumed, True, 1000, 900, 100, "CPU", "float32", 1)


def check(iteration: int, loss: float) -> Evaluated:
    return Evaluated(iteration, loss, loss / 3, loss, True, 1.0)


def step(iteration: int) -> IterationDone:
    return IterationDone(iteration, 3.0, 0.001, 1.0, 100.0, 1.0)


def runs_of(ws: Workspace, *events: Event) -> list[PastRun]:
    with RunLog(ws, NAME) as log:
        for event in events:
            log.append(event)
    return past_runs(ws, NAME)


def spans(runs: list[PastRun]) -> list[tuple[int, int, int]]:
    return [(run.number, run.from_iteration, run.to_iteration) for run in runs]


def test_each_run_keeps_its_own_checks_even_where_two_meet(ws: Workspace) -> None:
    first = (started(0, 4, resumed=False), check(0, 5.0), step(4), check(4, 4.0))
    runs = runs_of(ws, *first, started(4, 9, resumed=False), check(4, 6.0), check(8, 5.5), step(9))
    assert spans(runs) == [(1, 0, 4), (2, 4, 9)]
    assert runs[0].evaluations["iteration"] == [0, 4] and runs[0].evaluations["val_loss"] == [5.0, 4.0]
    assert runs[1].evaluations["iteration"] == [4, 8] and runs[1].evaluations["val_loss"] == [6.0, 5.5]


def test_stopped_and_resumed_run_is_one_and_more_iterations_after_its_end_are_another(ws: Workspace) -> None:
    stopped = (started(0, 10, resumed=False), step(3), started(3, 10, resumed=True), step(10), check(10, 4.0))
    runs = runs_of(ws, *stopped, started(10, 20, resumed=True), step(12))
    assert spans(runs) == [(1, 0, 10), (2, 10, 12)]
    assert runs[1].evaluations["val_loss"] == [4.0]  # on the same books the last check is where the next run begins


def test_run_that_ended_early_is_followed_by_another(ws: Workspace) -> None:
    early = (started(0, 100, resumed=False), step(6), Notice(6, EARLY))
    assert spans(runs_of(ws, *early, started(6, 106, resumed=True), step(7))) == [(1, 0, 6), (2, 6, 7)]


def test_checks_that_were_rolled_back_and_runs_without_an_iteration_are_left_out(ws: Workspace) -> None:
    back = (started(0, None, resumed=False), check(2, 4.0), check(4, 9.0), started(2, None, resumed=True), step(3))
    runs = runs_of(ws, *back, started(3, 8, resumed=False), started(3, 8, resumed=False), step(5))
    assert spans(runs) == [(1, 0, 3), (2, 3, 5)]
    assert runs[0].evaluations["iteration"] == [2]


def test_log_without_starts_is_one_run_and_no_log_is_none(ws: Workspace) -> None:
    assert past_runs(ws, NAME) == []
    assert spans(runs_of(ws, check(2, 4.0), step(3))) == [(1, 0, 3)]
