"""What a forecast promises against what the training then takes: time and memory.

    python -m benchmarks.forecast [--case small=1000 --case medium=100]

Each case in a process of its own, through `workflows` as the page does it: first the rehearsal, then the training on the example
book with the defaults. Prints a row for each: promised and taken seconds, promised and highest memory, and their ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import workflows
from benchmarks.alone import alone
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from events import RunMeasured
from machine.memory import use_one_heap
from workspace import Workspace


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--case", action="append", help="preset=iterations")
    chosen = options.parse_args()
    print("| preset | iterations | rehearsal s | promised s | taken s | ratio | promised MB | peak MB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for case in chosen.case or ["small=1000", "medium=100"]:
        preset, _, iterations = case.partition("=")
        seconds, measured = alone(measure, preset, int(iterations))
        time_ratio, memory_ratio = (
            measured.expected_seconds / measured.seconds,
            measured.expected_bytes / (measured.peak_bytes or 1),
        )
        cells = [
            preset,
            iterations,
            f"{seconds:.1f}",
            f"{measured.expected_seconds:.0f}",
            f"{measured.seconds:.0f}",
            f"{time_ratio:.2f}",
        ]
        cells += [
            f"{measured.expected_bytes / 1e6:.0f}",
            f"{(measured.peak_bytes or 0) / 1e6:.0f}",
            f"{memory_ratio:.2f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def measure(preset: str, iterations: int) -> tuple[float, RunMeasured]:
    use_one_heap()  # as the server does
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare()
        with EXAMPLE.open("rb") as stream:
            book = library.add_book(workspace, EXAMPLE.name, stream)
        workflows.create_model(workspace, "measured", PRESETS[preset])
        plan = workflows.prepare_training(workspace, "measured", (book.name,), TrainConfig(iterations=iterations))
        started_at = time.perf_counter()
        promised = workflows.forecast(workspace, plan, workflows.pace(workspace, plan))
        seconds = time.perf_counter() - started_at
        measured = list(workflows.train(workspace, workflows.attach_forecast(plan, promised)))[-1]
    assert isinstance(measured, RunMeasured)
    return seconds, measured


if __name__ == "__main__":
    main()
