"""The constant learning rate with averaged weights against a falling one that was planned for each length.

    python -m benchmarks.schedules --book FILE --iterations 250 --iterations 500
    python -m benchmarks.schedules --iterations 1000

One training with a constant rate, as the product does it, gives two columns at each length: the average and the weights
themselves. For each length one more training lets the rate fall in a straight line over its last 60 % to a twentieth of it.
Small preset, self-play off, the same seed; held-out loss in nats per token.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import azr_trainer
from azr_trainer import AZRTrainer
from benchmarks.first_experiment import EXAMPLE
from benchmarks.training import Bench
from config import PRESETS, TrainConfig
from events import IterationDone
from learning.schedules import learning_rate_at

FALLING_SHARE, FLOOR = 0.6, 0.05
Rate = Callable[[TrainConfig, int], float]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, default=EXAMPLE)
    options.add_argument("--iterations", type=int, action="append", required=True)
    chosen = options.parse_args()
    lengths = sorted(chosen.iterations)
    bench = Bench(chosen.book, PRESETS["small"])
    constant = losses(bench, lengths, learning_rate_at)
    print("| iterations | constant, averaged | constant | falling | averaged / falling |\n|---|---|---|---|---|")
    for length in lengths:
        averaged, plain = constant[length]
        _, falling = losses(bench, [length], falling_rate(length))[length]
        print(f"| {length:,} | {averaged:.3f} | {plain:.3f} | {falling:.3f} | {averaged / falling:.3f} |", flush=True)


def falling_rate(length: int) -> Rate:
    def rate(config: TrainConfig, iteration: int) -> float:
        left = min(1.0, (length - iteration) / (FALLING_SHARE * length))
        return learning_rate_at(config, iteration) * (FLOOR + (1 - FLOOR) * left)

    return rate


def losses(bench: Bench, lengths: list[int], rate: Rate) -> dict[int, tuple[float, float]]:
    """Return the loss of the averaged weights and of the weights themselves after each of `lengths` iterations."""
    settings = {"iterations": max(lengths), "eval_every": max(lengths), "self_play": {"enabled": False}}
    trainer, found = bench.trainer(settings, seed=0), {}
    with mock.patch.object(azr_trainer, "learning_rate_at", rate):
        for event in trainer.run():
            if isinstance(event, IterationDone) and event.iteration in lengths:
                found[event.iteration] = (trainer.validate(), of_the_weights(trainer))
    return found


def of_the_weights(trainer: AZRTrainer) -> float:
    average, trainer.average.model = trainer.average.model, trainer.model.eval()
    try:
        return trainer.validate()
    finally:
        trainer.average.model = average
        trainer.model.train()


if __name__ == "__main__":
    main()
