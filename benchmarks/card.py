"""On a graphics card: iterations a second, and how much of what the card can multiply that is, beside the stock peer.

    python -m benchmarks.card --book FILE
    python -m benchmarks.card --book FILE --preset large --batch-size 128 --arm compiled --arm peer

Arms: `plain` starts each operation by itself, `recorded` replays CUDA graphs, `compiled` also compiles the blocks; `peer` is
stock transformers GPT-2 in bf16 (benchmarks/peer.py) and `peer-compiled` the same through torch.compile, both with as many rows.
The real trainer runs, without self-play and evaluations. `share` is of the card's own bf16 product of 8192 x 8192 matrices.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from azr_trainer import AZRTrainer
from benchmarks.peak import operations_per_token, peak_gflops
from benchmarks.peer import Peer
from benchmarks.training import read
from config import PRESETS, ModelConfig, TrainConfig
from corpus.dataset import TokenDataset, split, tokenized
from events import IterationDone
from learning import learner
from machine.cuda_graphs import Recorder
from machine.devices import describe
from model import Transformer
from tokenizer import Tokenizer

WARM, SECONDS = 10, 4.0  # iterations that are not timed; how long the others go on
ARMS = ("plain", "recorded", "compiled", "peer", "peer-compiled")
CARD = torch.device("cuda")


@dataclass(frozen=True)
class Speed:
    first_seconds: float  # of the iterations that are not timed: compiling stands there
    iteration_seconds: float  # median
    loss: float
    peak_mb: float


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--preset", choices=sorted(PRESETS), action="append")
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--arm", choices=ARMS, action="append")
    chosen = options.parse_args()
    peak = peak_gflops(8192, device=CARD)
    print(f"{describe(CARD)}, torch {torch.__version__}, bf16 products of 8192 x 8192: {peak / 1000:.0f} TFLOP/s\n")
    print(
        "| preset | rows | arm | warm-up s | ms an iteration | iterations/s | tokens/s | TFLOP/s | share | card MB | loss |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for preset in chosen.preset or ("small", "medium", "large"):
        shape = PRESETS[preset]
        dataset, tokenizer = data(chosen.book, shape)
        for arm in chosen.arm or ARMS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            found = measured(losses(arm, shape, tokenizer, dataset, chosen.batch_size))
            tokens = chosen.batch_size * shape.max_seq_len / found.iteration_seconds
            gflops = tokens * operations_per_token(shape, gated=not arm.startswith("peer")) / 1e9
            cells = [
                preset,
                str(chosen.batch_size),
                arm,
                f"{found.first_seconds:.1f}",
                f"{found.iteration_seconds * 1000:.2f}",
            ]
            cells += [
                f"{1 / found.iteration_seconds:.0f}",
                f"{tokens:,.0f}",
                f"{gflops / 1000:.1f}",
                f"{gflops / peak:.1%}",
            ]
            print("| " + " | ".join([*cells, f"{found.peak_mb:.0f}", f"{found.loss:.3f}"]) + " |", flush=True)


def data(book: Path, shape: ModelConfig) -> tuple[TokenDataset, Tokenizer]:
    parts = split(read(book), TrainConfig().val_fraction)
    tokenizer = Tokenizer.fit([parts.train], shape.vocab_size)
    return tokenized([parts], tokenizer), tokenizer


def measured(iterations: Iterator[float]) -> Speed:
    """Return the seconds of each iteration: the time between two reports of a loss."""
    began_at = time.perf_counter()
    for _ in itertools.islice(iterations, WARM):
        pass
    torch.cuda.synchronize()
    started_at = before = time.perf_counter()
    taken, last = [], math.nan
    for loss in iterations:
        now = time.perf_counter()
        taken.append(now - before)
        before, last = now, loss
        if now - started_at > SECONDS:
            break
    return Speed(started_at - began_at, statistics.median(taken), last, torch.cuda.max_memory_allocated() / 1e6)


def losses(arm: str, shape: ModelConfig, tokenizer: Tokenizer, dataset: TokenDataset, rows: int) -> Iterator[float]:
    if arm.startswith("peer"):
        compiled = arm == "peer-compiled"
        peer = Peer(
            shape, dataset, bf16=True, learning_rate=2e-3, seed=0, device=CARD, batch_size=rows, compiled=compiled
        )
        for _ in peer.train(10**6):
            yield math.nan
    config = TrainConfig.model_validate(
        {"iterations": 10**9, "batch_size": rows, "eval_every": 10**6, "self_play": {"enabled": False}}
    )
    model = Transformer(shape)
    model.initialise(0)
    compile_from = 0 if arm == "compiled" else math.inf
    with mock.patch.multiple(
        learner, COMPILE_FROM=compile_from, Recorder=lambda device, wanted: Recorder(device, arm != "plain")
    ):
        trainer = AZRTrainer(model, tokenizer, dataset, config)
    for event in trainer.run():
        if isinstance(event, IterationDone):
            yield event.loss


if __name__ == "__main__":
    main()
