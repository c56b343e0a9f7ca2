"""Split a model's log into its runs, each with its held-out losses, so that one can be drawn over another.

Iterations are counted over all runs of a model: a run begins where the one before it ended. A training that was stopped, or went
back to a checkpoint, and then went on is one run; so many iterations more after the end of a run are another.

Particular: the log is read once from the start, in pieces. Only the lines of starts, checks and notices are parsed; they are found by
their first letters, which takes half the time of a pattern.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runs.digest import Sums, blocks, numbers, parse
from runs.history import columns_of
from runs.run_log import METRICS, iteration_of
from workspace import Workspace

_BEGINNINGS = tuple(b'{"event": "%s"' % event for event in (b"RunStarted", b"Evaluated", b"Notice"))


@dataclass(frozen=True)
class PastRun:
    """One run: its number, counted from 1, the iterations that it began and ended with, and columns of its checks on held-out text."""

    number: int
    from_iteration: int
    to_iteration: int
    evaluations: dict[str, list[float | None]]


@dataclass
class _Run:
    start: int
    goal: int | None  # the iteration at which it was to end
    ended_early: bool = False
    checks: dict[int, Sums] = field(default_factory=dict)  # by iteration; of two in one place the later one counts

    def is_finished_at(self, iteration: int) -> bool:
        return self.ended_early or (self.goal is not None and iteration >= self.goal)


def past_runs(ws: Workspace, name: str, points: int = 1000) -> list[PastRun]:
    """Return the runs of a model, the oldest first, with at most `points` checks each. A run without an iteration counts only as the last."""
    runs: list[_Run] = []
    last = 0
    for block in blocks(ws.checkpoint_folder(name) / METRICS):
        for record in _records(block):
            _take(runs, record)
        last = iteration_of(block.rsplit(b"\n", 2)[-2]) or last
    found: list[PastRun] = []
    for run, after in itertools.zip_longest(runs, runs[1:]):
        end = after.start if after else max(last, run.start)
        checks = columns_of(list(run.checks.values()), "Evaluated", points)
        found.append(PastRun(len(found) + 1, run.start, end, checks))
    return found


def _records(block: bytes) -> Iterator[dict[str, Any]]:
    starts = sorted(start for beginning in _BEGINNINGS for start in _places(block, beginning))
    lines = (block[start : block.index(b"\n", start)] for start in starts)
    return (record for line in lines if (record := parse(line)))


def _places(block: bytes, beginning: bytes) -> Iterator[int]:
    """Yield where lines with this beginning start; inside a line its quotes would be escaped."""
    place = -1
    while (place := block.find(beginning, place + 1)) >= 0:
        yield place


def _take(runs: list[_Run], record: Mapping[str, Any]) -> None:
    """Add one event of the log to the runs before it."""
    iteration = record["iteration"]
    if record["event"] == "RunStarted":
        _begin(runs, record)
        return
    if not runs:  # the first versions did not write where a run began
        runs.append(_Run(0, None))
    if record["event"] == "Evaluated":
        runs[-1].checks[iteration] = check = Sums()
        check.add(iteration, numbers(dict(record)))
    elif record.get("code") == "early_stopped":
        runs[-1].ended_early = True


def _begin(runs: list[_Run], record: Mapping[str, Any]) -> None:
    """Begin a run, or go on with the last one; what was written beyond its first iteration was rolled back."""
    start, goal = record["iteration"], record.get("iterations")
    while runs and runs[-1].start >= start:
        runs.pop()
    goal = goal if isinstance(goal, int) else None
    if not runs or record.get("resumed") is not True:
        runs.append(_Run(start, goal))
        return
    if runs[-1].is_finished_at(start):  # on the same books: the last check is the first one of the new run
        check = runs[-1].checks.get(start)
        runs.append(_Run(start, goal, checks={start: check} if check else {}))
        return
    runs[-1].goal = goal
    runs[-1].checks = {iteration: check for iteration, check in runs[-1].checks.items() if iteration <= start}
