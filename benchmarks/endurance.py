"""Does memory grow? An endless training through `workflows`, its resident memory told once a minute, and the slope of it.

    python -m benchmarks.endurance --hours 1

Small preset and the example book with the defaults, self-play on, but evaluations and checkpoints often, because those are what
could leak. The first fifth of the time warms up and does not count; the slope of the rest is that of least squares, in MB an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import workflows
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from events import Event, IterationDone
from workspace import Workspace

WARMING = 0.2  # of the time
SAMPLE_SECONDS = 5.0


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--hours", type=float, default=1.0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = list(measure(Workspace(Path(folder)), chosen.hours * 3600))
    counted = [(seconds, mb) for seconds, mb, _ in samples if seconds >= WARMING * chosen.hours * 3600]
    slope, _ = statistics.linear_regression(*zip(*counted, strict=True))
    sizes = [mb for _, mb in counted]
    iterations = samples[-1][2]
    print(f"\n{iterations} iterations in {samples[-1][0] / 60:.0f} minutes; {min(sizes):.0f} to {max(sizes):.0f} MB, {slope * 3600:+.2f} MB an hour")


def measure(workspace: Workspace, wanted: float) -> Iterator[tuple[float, float, int]]:
    """(seconds, resident MB, iterations) every few seconds."""
    started_at = told_at = sampled_at = time.monotonic()
    iteration = 0
    with contextlib.closing(endless(workspace)) as events:
        for event in events:
            if isinstance(event, IterationDone):
                iteration = event.iteration
            now = time.monotonic()
            if now - sampled_at < SAMPLE_SECONDS:
                continue
            sampled_at = now
            yield now - started_at, resident_mb(), iteration
            if now - told_at > 60:
                told_at = now
                print(f"{(now - started_at) / 60:5.1f} min, iteration {iteration}, {resident_mb():.1f} MB", flush=True)
            if now - started_at > wanted:
                return


def endless(workspace: Workspace) -> Generator[Event, None, None]:
    workspace.prepare()
    with EXAMPLE.open("rb") as stream:
        book = library.add_book(workspace, EXAMPLE.name, stream)
    workflows.create_model(workspace, "endless", PRESETS["small"])
    config = TrainConfig(iterations=None, eval_every=50, checkpoint_every=100)
    return workflows.train(workspace, workflows.prepare_training(workspace, "endless", (book.name,), config))


def resident_mb() -> float:
    """Linux only."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
