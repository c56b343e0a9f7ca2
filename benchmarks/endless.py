"""Does a training that goes on become worse? The best and the last held-out bits per byte, beside a constant weight decay.

    python -m benchmarks.endless --book FILE --characters 350000 --iterations 1000 --num-threads 1

Self-play off, the same seed, order and split for both; the characters are taken from a tenth of the book on, because
a file often begins with what is not the book. "Readings" counts how often the last iteration has read the text.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from azr_trainer import AZRTrainer
from benchmarks.training import read
from config import PRESETS, ModelConfig, SelfPlayConfig, TrainConfig
from corpus.dataset import split, tokenized
from events import Evaluated
from learning.bigram_start import start_from_bigrams
from machine.memory import memory_kept
from model import Transformer
from tokenizer import Tokenizer

ARMS = {"by itself": None, "constant": 0.1}  # weight decay


@dataclass(frozen=True)
class Course:
    best: Evaluated
    last: Evaluated
    readings: float


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--characters", type=int, help="of the book; all from its first tenth on unless given")
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    options.add_argument("--iterations", type=int, default=1000)
    options.add_argument("--eval-every", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--num-threads", type=int)
    options.add_argument("--arm", choices=ARMS, action="append")
    chosen = options.parse_args()
    text = read(chosen.book)
    text = text[len(text) // 10 :][: chosen.characters]
    print("| weight decay | best | at | last | over the best | readings |\n|---|---|---|---|---|---|")
    for arm in chosen.arm or ARMS:
        config = TrainConfig(
            iterations=chosen.iterations,
            eval_every=chosen.eval_every,
            seed=chosen.seed,
            num_threads=chosen.num_threads,
            weight_decay=ARMS[arm],
            early_stopping_patience=0,
            self_play=SelfPlayConfig(enabled=False),
        )
        print(row(arm, course(text, PRESETS[chosen.preset], config)), flush=True)


def course(text: str, shape: ModelConfig, config: TrainConfig) -> Course:
    """Train a new model on the text; return its best and its last evaluation."""
    parts = split(text, config.val_fraction)
    tokenizer = Tokenizer.fit([parts.train], shape.vocab_size)
    data, model = tokenized([parts], tokenizer), Transformer(shape)
    model.initialise(config.seed)
    start_from_bigrams(model, data.train)
    trainer = AZRTrainer(model, tokenizer, data, config)
    with memory_kept():
        found = [event for event in trainer.run() if isinstance(event, Evaluated)]
    return Course(min(found, key=lambda event: event.bits_per_byte), found[-1], trainer._readings)


def row(arm: str, course: Course) -> str:
    best, last = course.best.bits_per_byte, course.last.bits_per_byte
    cells = (arm, f"{best:.4f}", f"{course.best.iteration}", f"{last:.4f}", f"{100 * (last / best - 1):+.2f}%")
    return "| " + " | ".join((*cells, f"{course.readings:.1f}")) + " |"


if __name__ == "__main__":
    main()
