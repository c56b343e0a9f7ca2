"""What dividing one training among processes costs on this machine: tokens a second and memory with one and with two.

    python -m benchmarks.processes [--preset small] [--preset medium]

The example book with the defaults, without self-play, through `workflows` as the pages start it: the processor's cores are divided
among the processes. The speed is that of the middle iteration, the memory the sum of all processes' peaks (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import workflows
from benchmarks.alone import alone
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from events import IterationDone
from workspace import Workspace

ITERATIONS = 24


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), action="append")
    chosen = options.parse_args()
    print("| preset | processes | tokens/s | all processes MB |\n|---|---|---|---|", flush=True)
    for preset in chosen.preset or ["small", "medium"]:
        for processes in (1, 2):
            speed, megabytes = alone(measure, preset, processes)
            print(f"| {preset} | {processes} | {speed:,.0f} | {megabytes:,.0f} |", flush=True)


def measure(preset: str, processes: int) -> tuple[float, float]:
    settings = {"iterations": ITERATIONS, "eval_every": 10**6, "devices": processes, "self_play": {"enabled": False}}
    speeds, peak = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare()
        with EXAMPLE.open("rb") as stream:
            book = library.add_book(workspace, EXAMPLE.name, stream)
        workflows.create_model(workspace, "measured", PRESETS[preset])
        plan = workflows.prepare_training(workspace, "measured", (book.name,), TrainConfig.model_validate(settings))
        for event in workflows.train(workspace, plan):
            if isinstance(event, IterationDone):
                speeds.append(event.tokens_per_second)
                peak = max(peak, sum(_peaks(folder)))
    return statistics.median(speeds[4:]), peak


def _peaks(folder: str) -> Iterator[float]:
    """Return in MB the peaks of this process and of each process that has the workspace `folder` on its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name == str(os.getpid()) or folder.encode() in (process / "cmdline").read_bytes():
                lines = (process / "status").read_text(encoding="utf-8").splitlines()
                yield next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
        except (OSError, StopIteration):
            continue  # it has ended


if __name__ == "__main__":
    main()
