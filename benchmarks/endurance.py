"""Does memory grow? An endless training in a thread as the server runs it, its memory printed once a minute, and the slope of that.

    PYTHONMALLOC=malloc python -m benchmarks.endurance --hours 1

Small preset and the example book with the defaults, self-play on, but evaluations and checkpoints often, because those are what
could leak. For each minute it prints the least and the most that the process held, which fragmentation raises, and the
least and the most that was in use, by the C library's own count, which a leak lifts. That count knows Python's objects only with
PYTHONMALLOC=malloc.
The first fifth of the time warms up and does not count. The slopes of the rest are those of least squares, in MB an hour, with their
standard errors. Linux with glibc 2.33 or newer.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import workflows
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from machine.memory import forget_peak_bytes, peak_bytes, use_one_heap
from runs.jobs import JobRunner
from workspace import Workspace

WARMING = 0.2  # of the time
NAMES = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)  # of mallinfo2
MINUTE, SAMPLE_SECONDS = 60.0, 0.05  # short enough to see the moment after a checkpoint, where memory is given back


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--hours", type=float, default=1.0)
    minutes = options.parse_args().hours * 60
    use_one_heap()  # as the server does
    with tempfile.TemporaryDirectory() as folder:
        samples = list(measure(Workspace(Path(folder)), round(minutes)))
    for name, sizes in zip(
        ("least held", "most held", "least in use", "most in use"), zip(*samples, strict=True), strict=True
    ):
        counted = sizes[round(WARMING * minutes) :]
        slope, error = (60 * value for value in _slope(counted))
        print(
            f"{name} of a minute: {min(counted):.1f} to {max(counted):.1f} MB, {slope:+.2f} MB an hour, standard error {error:.2f}"
        )


def measure(workspace: Workspace, minutes: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield the least and the most MB held in each minute, then the least and the most in use."""
    runner = endless(workspace)
    for minute in range(1, minutes + 1):
        forget_peak_bytes()
        held, used = zip(*_seen_until(time.monotonic() + MINUTE), strict=True)
        most, status = (peak_bytes() or 0) / 1e6, runner.status()
        assert status.error is None, status.error
        sizes = min(held), most, min(used), max(used)
        line = "{:.1f} to {:.1f} MB, in use {:.2f} to {:.1f} MB".format(*sizes)
        print(f"{minute:4d} min, iteration {status.iteration}, {line}", flush=True)
        yield sizes
    runner.close(timeout_seconds=600)


def _slope(values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the values by least squares, and its standard error."""
    slope, intercept = statistics.linear_regression(range(len(values)), values)
    rest = sum((value - intercept - slope * number) ** 2 for number, value in enumerate(values))
    spread = sum((number - (len(values) - 1) / 2) ** 2 for number in range(len(values)))
    return slope, math.sqrt(rest / max(1, len(values) - 2) / spread)


def _seen_until(end: float) -> Iterator[tuple[float, float]]:
    """Yield the resident MB and the MB in use until `end`; counting what is in use takes milliseconds."""
    while time.monotonic() < end:
        time.sleep(SAMPLE_SECONDS)
        yield _mb()


def _mb() -> tuple[float, float]:
    resident = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident / 1e6, in_use_bytes() / 1e6


def in_use_bytes() -> int:
    """Return the bytes that were requested from glibc and not freed: in its heaps (uordblks) and mapped piece by piece (hblkhd)."""
    count = _Count.of_libc()
    return count.uordblks + count.hblkhd


class _Count(ctypes.Structure):
    """glibc's struct mallinfo2."""

    uordblks: int
    hblkhd: int
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]

    @classmethod
    def of_libc(cls) -> _Count:
        function = ctypes.CDLL(None).mallinfo2
        function.restype = cls
        count: _Count = function()
        return count


def endless(workspace: Workspace) -> JobRunner:
    workspace.prepare()
    with EXAMPLE.open("rb") as stream:
        book = library.add_book(workspace, EXAMPLE.name, stream)
    workflows.create_model(workspace, "endless", PRESETS["small"])
    config = TrainConfig(iterations=None, eval_every=50, checkpoint_every=100)
    plan = workflows.prepare_training(workspace, "endless", (book.name,), config)
    runner = JobRunner()
    runner.submit(plan.model, plan.books, lambda: workflows.train(workspace, plan), config)
    return runner


if __name__ == "__main__":
    main()
