"""The peak of memory of short trainings against what the create page says beforehand.

    python -m benchmarks.memory [--book FILE] [--cases 1]

Each training in a process of its own, through `workflows` as the pages start it, on the example book or another; six iterations, of which
every second plays with itself (its usual threshold is lifted), evaluations and checkpoints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import workflows
from benchmarks.alone import alone, peak_bytes
from benchmarks.first_experiment import EXAMPLE
from config import PRESETS, TrainConfig
from corpus import library
from machine.memory import use_one_heap
from workspace import Workspace

QUIET = {"self_play": {"enabled": False}}
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("small", {}),
    ("small", QUIET),
    ("small", {"batch_size": 64}),
    ("small", {"precision": "float32"}),
    ("small", {"optimizer": "adamw"}),
    ("medium", {}),
    ("medium", {"precision": "float32"}),
    ("large", QUIET),
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, default=EXAMPLE)
    options.add_argument("--cases", type=int, default=len(CASES), help="how many of them, from the first")
    chosen = options.parse_args()
    print("| preset | settings | peak MB | estimate MB | estimate / peak |\n|---|---|---|---|---|")
    for preset, settings in CASES[: chosen.cases]:
        peak, estimate = alone(measure, chosen.book, preset, settings)
        shown = json.dumps(settings) if settings else "defaults"
        print(f"| {preset} | {shown} | {peak / 1e6:,.0f} | {estimate / 1e6:,.0f} | {estimate / peak:.2f} |", flush=True)


def measure(file: Path, preset: str, settings: dict[str, Any]) -> tuple[int, int]:
    """Return the peak and the estimate, in bytes."""
    use_one_heap()  # as the server does
    chosen_settings = {"iterations": 6, "eval_every": 3, "checkpoint_every": 3} | settings
    chosen_settings["self_play"] = {"every": 2} | chosen_settings.get("self_play", {})
    config = TrainConfig.model_validate(chosen_settings)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare()
        with file.open("rb") as stream:
            book = library.add_book(workspace, file.name, stream)
        workflows.create_model(workspace, "measured", PRESETS[preset])
        plan = workflows.prepare_training(workspace, "measured", (book.name,), config)
        with mock.patch.multiple("selfplay.gate", MIN_ITERATIONS=0, MIN_FALL=-1.0):
            played = sum(type(event).__name__ == "SelfPlayDone" for event in workflows.train(workspace, plan))
    assert bool(played) == config.self_play.enabled
    return peak_bytes(), workflows.estimate(PRESETS[preset], config).training_bytes


if __name__ == "__main__":
    main()
