"""What comes before the first iteration, and that one: seconds and most memory of each stage, for a new model and a book of any size.

    python -m benchmarks.preparation --book FILE [--preset small]

Through `workflows`, as the pages start a training. The time of a stage is up to the next one; memory is that of the whole process. Linux only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import workflows
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from events import IterationDone, StageBegun
from machine.memory import forget_peak_bytes, peak_bytes, use_one_heap
from workspace import Workspace

WORTH_TELLING = 0.05  # seconds of a stage


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, default=EXAMPLE)
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    chosen = options.parse_args()
    use_one_heap()  # as the server does
    print("| stage | seconds | most MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for stage, seconds, peak in measure(Workspace(Path(folder)), chosen.book, chosen.preset):
            print(f"| {stage} | {seconds:.1f} | {peak / 1e6:,.0f} |", flush=True)


def measure(workspace: Workspace, file: Path, preset: str) -> Iterator[tuple[str, float, int]]:
    workspace.prepare()
    began_at, now = time.perf_counter(), "adding the book"
    forget_peak_bytes()
    with file.open("rb") as stream:
        book = library.add_book(workspace, file.name, stream)
    workflows.create_model(workspace, "prepared", PRESETS[preset])
    plan = workflows.prepare_training(workspace, "prepared", (book.name,), TrainConfig(iterations=1))
    for event in workflows.train(workspace, plan):
        if isinstance(event, StageBegun) and event.stage.value == now:
            continue
        if isinstance(event, StageBegun | IterationDone):
            if (seconds := time.perf_counter() - began_at) > WORTH_TELLING:
                yield now, seconds, peak_bytes() or 0
            began_at, now = time.perf_counter(), event.stage.value if isinstance(event, StageBegun) else ""
            forget_peak_bytes()
        if isinstance(event, IterationDone):
            return


if __name__ == "__main__":
    main()
