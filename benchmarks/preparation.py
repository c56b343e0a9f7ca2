"""What comes before the first iteration, and that one: seconds and most memory of each stage, for a new model and a book of any size.

    python -m benchmarks.preparation --book FILE [--preset small]

At the end the speed of tokenizing, beside the batch encoding of the `tokenizers` library with the same tokenizer on the same paragraphs.

Through `workflows`, as the pages start a training. The time of a stage is up to the next one; memory is that of the whole process. Linux only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import tokenizers
import torch

import workflows
from benchmarks.first_experiment import EXAMPLE
from benchmarks.training import read
from config import PRESETS, TrainConfig
from corpus import library
from events import IterationDone, StageBegun
from machine.memory import forget_peak_bytes, peak_bytes, use_one_heap
from tokenizer import Tokenizer
from workspace import Workspace

WORTH_TELLING = 0.05  # seconds of a stage
MOST_TOKENIZED = 10_000_000  # characters
TURNS = 5


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
    ours, theirs = tokenizing(chosen.book)
    print(f"\nTokenizing: {ours:.1f} MB/s, tokenizers' encode_batch {theirs:.1f} MB/s, {ours / theirs:.2f} of it")


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


def tokenizing(file: Path) -> tuple[float, float]:
    """Return the MB/s of encoding a book into ids on all cores, ours and that of the library: medians of turns."""
    text = read(file)[:MOST_TOKENIZED]
    tokenizer, size = Tokenizer.fit([text], PRESETS["small"].vocab_size), len(text.encode()) / 1e6
    library_own = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    paragraphs = text.split("\n\n")
    turns = [
        (
            _seconds(lambda: [torch.tensor(ids) for _, ids in tokenizer.encode_in_pieces(text)]),
            _seconds(lambda: [one.ids for one in library_own.encode_batch(paragraphs)]),
        )
        for _ in range(TURNS)
    ]
    ours, theirs = zip(*turns, strict=True)
    return size / median(ours), size / median(theirs)


def _seconds(work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at


if __name__ == "__main__":
    main()
