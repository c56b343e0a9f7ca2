"""Quality per minute: our training and a stock one, one after the other, on the same split, tokenizer, threads and machine.

    python -m benchmarks.training --book FILE --preset small --minutes 10
    python -m benchmarks.training --book FILE --minutes 10 --ours 1/6 --ours 1/4 --arm dropout=0 --seeds 3
    python -m benchmarks.training --book FILE --tokens 500000 --arm dropout=0 --arm learning_rate=0.004 --seeds 3
    python -m benchmarks.training --book FILE --minutes 10 --command "python other.py {train} {val} --seconds {seconds}"

The peer (benchmarks/peer.py) trains for about the given minutes, in float32 and in bfloat16; the better counts. Ours then trains for the
given shares of the time that the peer took to its best loss (of the minutes where there is no peer), each a training of its own with
its whole schedule. Prints a row for each training and the share of the peer's time that ours needs for the peer's best loss; --out
keeps the curves as JSON and as a picture. With `--architecture gpt2` ours has the matrices of the peer; those of a llama are 16 % more.
With --tokens only ours trains, each arm for so many tokens: a comparison of losses that other work on the machine cannot disturb.

A --command is another peer: it finds the two parts of the book as UTF-8 text in the files {train} and {val}, trains for about {seconds},
and prints the seconds and the bits per byte that it has come to, two numbers on a line, as often as it likes; other lines do not count.

Seconds are those of the iterations and of the start from bigrams: everything but evaluations. GFLOP/s count 6 operations for each
weight that is multiplied and 12 d_model T a layer for attention, as a share of this machine's own product of 2048 x 2048 matrices,
in bfloat16 or float32, whichever is quicker here.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import get_args

import torch

from azr_trainer import MOST_VAL_TOKENS, AZRTrainer
from benchmarks.alone import alone, peak_bytes
from benchmarks.command import run
from benchmarks.curve import Training, best_of, compare
from benchmarks.first_experiment import parse
from benchmarks.peak import operations_per_token, peak_gflops
from benchmarks.peer import CPU, TOKENS_PER_ITERATION, Peer
from benchmarks.plot import picture
from config import PRESETS, Architecture, ModelConfig, TrainConfig
from corpus import library
from corpus.dataset import evaluation_batches, split, tokenized
from events import Evaluated, IterationDone
from learning.bigram_start import start_from_bigrams
from machine.devices import choose_precision
from machine.memory import memory_kept
from model import Transformer
from tokenizer import Tokenizer
from workspace import Workspace

POINTS = 12  # of a curve
WARM, TIMED = 3, 8  # iterations that are thrown away, and those whose median predicts the speed


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    options.add_argument(
        "--architecture", choices=get_args(Architecture), default="llama", help="of ours; the peer is gpt2"
    )
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--tokens", type=int, help="instead of minutes: what each of our trainings reads")
    options.add_argument(
        "--ours", type=Fraction, action="append", help="share of the minutes; 1/6, 1/4 and 1 unless given"
    )
    options.add_argument(
        "--arm", action="append", help="name=value,name=value of TrainConfig; give it once for each arm"
    )
    options.add_argument("--peer-learning-rate", type=float, default=2e-3)
    options.add_argument(
        "--peer", choices=["bf16", "float32", "none"], action="append", help="both formats unless given"
    )
    options.add_argument(
        "--command", action="append", help="another peer's command line with {train}, {val} and {seconds}"
    )
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--out", type=Path, help="a folder for curves.json and curves.svg")
    chosen = options.parse_args()
    bench = Bench(chosen.book, PRESETS[chosen.preset].model_copy(update={"architecture": chosen.architecture}))
    print(
        "| training | seed | seconds | best bits/byte | at seconds | last | tokens/s | GFLOP/s | of peak | peak RSS MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    trainings = []
    for training in bench.read(chosen) if chosen.tokens else bench.run(chosen):
        trainings.append(training)
        print(bench.row(training), flush=True)
    compare(trainings)
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "curves.json").write_text(json.dumps([asdict(t) for t in trainings], indent=1), encoding="utf-8")
        lines = {f"{t.name} {t.seed}": list(zip(t.seconds, t.bits_per_byte, strict=True)) for t in trainings}
        (chosen.out / "curves.svg").write_text(picture(lines, "seconds", "bits per byte"), encoding="utf-8")


class Bench:
    """A comparison on one book, one preset and one machine."""

    def __init__(self, book: Path, shape: ModelConfig) -> None:
        self.shape = shape
        self.parts = split(read(book), TrainConfig().val_fraction)
        self.tokenizer = Tokenizer.fit([self.parts.train], shape.vocab_size)
        self.dataset = tokenized([self.parts], self.tokenizer)
        self.peak = peak_gflops()  # and again after each training: other work on the machine may hide it
        print(
            f"{book.name}: {len(self.dataset.train):,} tokens to train on, {self.dataset.val_bytes_per_token:.2f} bytes a token; ",
            end="",
        )
        print(
            f"peak is of {str(choose_precision('auto', CPU)).removeprefix('torch.')} with {torch.get_num_threads()} threads\n"
        )

    def row(self, t: Training) -> str:
        at = t.seconds[t.bits_per_byte.index(t.best)]
        cells = [
            t.name,
            str(t.seed),
            f"{t.seconds[-1]:.0f}",
            f"{t.best:.4f}",
            f"{at:.0f}",
            f"{t.bits_per_byte[-1]:.4f}",
        ]
        if t.tokens_per_second:  # not of a command
            self.peak = max(self.peak, peak_gflops())
            share = f"{t.gflops / self.peak:.0%} of {self.peak:.0f}"
            cells += [f"{t.tokens_per_second:,.0f}", f"{t.gflops:.0f}", share, f"{t.peak_rss_mb:.0f}"]
        else:
            cells += ["–"] * 4
        return "| " + " | ".join(cells) + " |"

    def run(self, chosen: argparse.Namespace) -> Iterator[Training]:
        for seed in range(chosen.seeds):
            peers = list(self.peers(chosen, seed))
            yield from peers
            seconds = best_of(peers)[1] if peers else chosen.minutes * 60
            for share in chosen.ours or [Fraction(1, 6), Fraction(1, 4), Fraction(1)]:
                for arm in chosen.arm or [""]:
                    yield alone(self.ours, f"ours {share} {arm}".strip(), seed, seconds * float(share), arm)

    def peers(self, chosen: argparse.Namespace, seed: int) -> Iterator[Training]:
        for kind in chosen.peer or ["bf16", "float32"]:
            if kind != "none":
                yield alone(self.peer, seed, chosen.minutes * 60, kind == "bf16", chosen.peer_learning_rate)
        for command in chosen.command or []:
            yield alone(self.other, seed, chosen.minutes * 60, command)

    def read(self, chosen: argparse.Namespace) -> Iterator[Training]:
        """Train only ours, on a given number of tokens."""
        for arm in chosen.arm or [""]:
            for seed in range(chosen.seeds):
                yield alone(self.ours_of, f"ours {arm}".strip(), seed, chosen.tokens, arm)

    # ---- ours ----------------------------------------------------------------------------------------------------------

    def ours(self, name: str, seed: int, seconds: float, arm: str) -> Training:
        settings = _settings(seed, arm) | {"iterations": WARM + TIMED}
        with memory_kept():  # as training_run does
            speed = _median_seconds(self._iterations(settings, seed))
        return self.ours_of(name, seed, round(seconds / speed * self._tokens_per_iteration(settings)), arm)

    @memory_kept()
    def ours_of(self, name: str, seed: int, tokens: int, arm: str) -> Training:
        settings = _settings(seed, arm)
        of_iteration = self._tokens_per_iteration(settings)
        iterations = max(POINTS, round(tokens / of_iteration))
        settings |= {"iterations": iterations, "eval_every": max(1, iterations // POINTS)}
        training, seen, began_at = Training(name, seed), 0, time.perf_counter()
        trainer = self.trainer(settings, seed)
        spent = starting = time.perf_counter() - began_at  # the start from bigrams counts
        for event in trainer.run():
            if isinstance(event, IterationDone):
                spent, seen = spent + of_iteration / event.tokens_per_second, seen + of_iteration
            elif isinstance(event, Evaluated):
                training.seconds.append(spent)
                training.bits_per_byte.append(event.bits_per_byte)
        return self._finish(training, seen / (spent - starting), gated=self.shape.architecture == "llama")

    def _tokens_per_iteration(self, settings: dict[str, object]) -> int:
        config = TrainConfig.model_validate(settings)
        return config.batch_size * config.grad_accum_steps * self.shape.max_seq_len

    def _iterations(self, settings: dict[str, object], seed: int) -> Iterator[float]:
        for event in self.trainer(settings, seed).run():
            if isinstance(event, IterationDone):
                yield self._tokens_per_iteration(settings) / event.tokens_per_second

    def trainer(self, settings: dict[str, object], seed: int) -> AZRTrainer:
        config = TrainConfig.model_validate(settings)
        model = Transformer(self.shape)
        model.initialise(seed)
        if config.bigram_start:
            start_from_bigrams(model, self.dataset.train)
        return AZRTrainer(model, self.tokenizer, self.dataset, config)

    # ---- the peer ------------------------------------------------------------------------------------------------------

    def peer(self, seed: int, seconds: float, bf16: bool, learning_rate: float) -> Training:
        def make() -> Peer:
            return Peer(self.shape, self.dataset, bf16=bf16, learning_rate=learning_rate, seed=seed)

        speed = _median_seconds(make().train(WARM + TIMED))
        iterations = max(POINTS, round(seconds / speed))
        batches = evaluation_batches(self.dataset.val, self.shape.max_seq_len, 16, MOST_VAL_TOKENS)
        training, spent, peer = Training(f"peer {'bf16' if bf16 else 'float32'}", seed), 0.0, make()
        for done, took in enumerate(peer.train(iterations), 1):
            spent += took
            if done % max(1, iterations // POINTS) == 0 or done == iterations:
                training.seconds.append(spent)
                training.bits_per_byte.append(peer.validate(batches) / math.log(2) / self.dataset.val_bytes_per_token)
        return self._finish(training, iterations * TOKENS_PER_ITERATION / spent, gated=False)

    def other(self, seed: int, seconds: float, command: str) -> Training:
        training = Training(f"peer {command}", seed)
        for at, bits_per_byte in run(command, self.parts, seconds):
            training.seconds.append(at)
            training.bits_per_byte.append(bits_per_byte)
        return training

    def _finish(self, training: Training, tokens_per_second: float, *, gated: bool) -> Training:
        operations = operations_per_token(self.shape, gated=gated)
        training.tokens_per_second, training.gflops = tokens_per_second, tokens_per_second * operations / 1e9
        training.peak_rss_mb = peak_bytes() / 1e6
        return training


def read(book: Path) -> str:
    """Return a book's text as the product reads it: decoded and cleaned."""
    with tempfile.TemporaryDirectory() as folder, book.open("rb") as stream:
        workspace = Workspace(folder)
        workspace.prepare()
        return library.read_text(workspace, library.add_book(workspace, book.name, stream).name)


def _settings(seed: int, arm: str) -> dict[str, object]:
    return {"self_play": {"enabled": False}, "seed": seed} | parse(arm)


def _median_seconds(iterations: Iterator[float]) -> float:
    return statistics.median(list(iterations)[WARM:])


if __name__ == "__main__":
    main()
