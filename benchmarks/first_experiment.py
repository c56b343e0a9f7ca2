"""The newcomer's first experiment, timed: a small model, a book, 1,000 iterations, then a prompt.

    python -m benchmarks.first_experiment
    python -m benchmarks.first_experiment --arm dropout=0.1 --arm dropout=0.3,batch_size=8 --book FILE --iterations 400

Each arm is a training through `workflows`, exactly as the pages start it, in a process and a workspace of its own;
an arm without text is the defaults. Prints a Markdown row for each: seconds from the click to the end, held-out loss at the
start, at its best and at the end, peak memory, and then the text that the published model writes. With self-play unless
the arm says self_play.enabled=false.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import workflows
from benchmarks.alone import alone, peak_bytes
from config import PRESETS, SamplingConfig, TrainConfig
from corpus import library
from events import Evaluated, IterationDone, SelfPlayDone
from machine.memory import use_one_heap
from workspace import Workspace

EXAMPLE = Path(__file__).resolve().parent.parent / "books" / "example_book.txt"
PROMPT = "Искусственный интеллект"
COLUMNS = (
    "arm",
    "seconds",
    "tokens/s",
    "first val_loss",
    "best val_loss",
    "bits/byte",
    "at iteration",
    "last val_loss",
    "rewards",
    "peak RSS MB",
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, default=EXAMPLE)
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    options.add_argument("--iterations", type=int, default=1000)
    options.add_argument(
        "--arm", action="append", help="name=value,name=value of TrainConfig; give it once for each arm"
    )
    options.add_argument("--keep", type=Path, help="a folder in which the workspaces stay: arm-1, arm-2 ...")
    chosen = options.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    texts = []
    for number, arm in enumerate(chosen.arm or [""], 1):
        with tempfile.TemporaryDirectory() as folder:
            place = chosen.keep / f"arm-{number}" if chosen.keep else folder
            texts.append((arm, alone(measure, chosen, arm, Workspace(place))))
    for arm, text in texts:
        print(f"\n{arm or 'defaults'}:\n\n> {text}")


def measure(chosen: argparse.Namespace, arm: str, workspace: Workspace) -> str:
    """Train one arm, print its row, return what the model writes."""
    use_one_heap()  # as the server does
    workspace.prepare()
    with chosen.book.open("rb") as stream:
        book = library.add_book(workspace, chosen.book.name, stream)
    workflows.create_model(workspace, "first", PRESETS[chosen.preset])
    config = TrainConfig.model_validate({"iterations": chosen.iterations} | parse(arm))
    plan = workflows.prepare_training(workspace, "first", (book.name,), config)
    started_at = time.perf_counter()
    events = list(workflows.train(workspace, plan))
    seconds = time.perf_counter() - started_at
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    best = min(evaluations, key=lambda event: event.val_loss)
    speeds = sorted(event.tokens_per_second for event in events if isinstance(event, IterationDone))
    rewards = [event.reward for event in events if isinstance(event, SelfPlayDone)]
    cells: tuple[Any, ...] = (
        arm or "defaults",
        f"{seconds:.0f}",
        f"{speeds[len(speeds) // 2]:,.0f}",
        f"{evaluations[0].val_loss:.3f}",
        f"{best.val_loss:.3f}",
        f"{best.bits_per_byte:.3f}",
        best.iteration,
        f"{evaluations[-1].val_loss:.3f}",
        f"{rewards[0]:.2f} → {rewards[-1]:.2f}" if rewards else "–",
        peak_bytes() // 1_000_000,
    )
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
    sampling = SamplingConfig(max_new_tokens=120, seed=0)
    pieces = workflows.generate(workspace, "first", PROMPT, sampling, cache=workflows.ModelCache())
    return PROMPT + "".join(piece.text for piece in pieces).replace("\n", " ")


def parse(arm: str) -> dict[str, Any]:
    """
    >>> parse("dropout=0.3,self_play.enabled=false")
    {'dropout': 0.3, 'self_play': {'enabled': False}}
    """
    values: dict[str, Any] = {}
    for part in filter(None, arm.split(",")):
        name, _, text = part.partition("=")
        group, _, field = name.rpartition(".")
        value = json.loads(text) if text[:1] in "0123456789-tfn" else text
        (values.setdefault(group, {}) if group else values)[field] = value
    return values


if __name__ == "__main__":
    main()
