"""What saving costs a training: seconds of a checkpoint against the seconds between two.

    python -m benchmarks.saving [--preset small --preset medium --preset large]

The example book with the defaults, without self-play, through `workflows` as the pages start it; a checkpoint after each second
iteration and a published model after each fourth, with their snapshot, digests and fsync. The share is that at the default distances:
a checkpoint after so many iterations or minutes, whichever comes first, a published model after each evaluation (which does not count).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import workflows
from benchmarks.alone import alone
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from events import CheckpointSaved, Evaluated, Event, IterationDone, StageBegun
from store import model_store
from workspace import Workspace

TIMES = 5


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), action="append")
    chosen = options.parse_args()
    print(
        "| preset | checkpoint MB | save s | publish s | iteration s | share |\n|---|---|---|---|---|---|", flush=True
    )
    for preset in chosen.preset or ["small", "medium", "large"]:
        megabytes, save, publish, iteration = alone(measure, preset)
        config = TrainConfig()
        between = min(config.checkpoint_every * iteration, config.checkpoint_minutes * 60)
        share = save / between + publish / (config.eval_every * iteration)
        print(
            f"| {preset} | {megabytes:.0f} | {save:.2f} | {publish:.2f} | {iteration:.2f} | {share:.2%} |", flush=True
        )


def measure(preset: str) -> tuple[float, float, float, float]:
    """Return the MB of a checkpoint and the median seconds of saving, publishing and an iteration."""
    settings = {"iterations": 4 * TIMES, "eval_every": 4, "checkpoint_every": 2, "self_play": {"enabled": False}}
    saves, iterations, size, before = [], [], 0, 0.0
    published: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare()
        with EXAMPLE.open("rb") as stream:
            book = library.add_book(workspace, EXAMPLE.name, stream)
        workflows.create_model(workspace, "measured", PRESETS[preset])
        plan = workflows.prepare_training(workspace, "measured", (book.name,), TrainConfig.model_validate(settings))
        for event in _timed(workflows.train(workspace, plan), published):
            if isinstance(event, IterationDone):
                iterations.append(event.elapsed_seconds - before)
            if isinstance(event, (IterationDone, Evaluated)):
                before = event.elapsed_seconds
            elif isinstance(event, StageBegun):
                began_at = time.perf_counter()
            elif isinstance(event, CheckpointSaved) and event.bytes:
                saves.append(time.perf_counter() - began_at)
                size = event.bytes
    return size / 1e6, statistics.median(saves), statistics.median(published), statistics.median(iterations)


def _timed(events: Iterator[Event], published: list[float]) -> Iterator[Event]:
    """Pass the events on; append the seconds of each publication to `published`."""
    publish = model_store.publish

    def timed(*given: Any) -> None:
        began_at = time.perf_counter()
        publish(*given)
        published.append(time.perf_counter() - began_at)

    with mock.patch.object(model_store, "publish", timed):
        yield from events


if __name__ == "__main__":
    main()
