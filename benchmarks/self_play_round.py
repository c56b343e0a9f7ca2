"""What a round of self-play costs: milliseconds of its parts, beside an iteration on the book.

    python -m benchmarks.self_play_round --preset small --threads 1

Texts are written by the model itself, a token of each after the other, and by the fastest decoder that there is (engine/decoder.py). The model is new and
no text ends early; every text has the most faults that count. Turns alternate, and medians are printed.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from statistics import median

import torch

from config import PRESETS, ModelConfig, SamplingConfig, TrainConfig
from engine.decoder import Decoder
from engine.rollouts import write_rollouts
from learning.learner import Learner
from learning.loop_breaking import loop_breaking_gradient
from learning.schedules import WeightDecay
from learning.self_play import FIRST_FAULTS
from model import Transformer
from selfplay.factory import rollout_tokens
from selfplay.text import BOOK_PREFIX_TOKENS

NO_END = -1


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--turns", type=int, default=15)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    works = Parts(PRESETS[chosen.preset]).works()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(chosen.turns + 1):
        for name, work in works.items():
            began_at = time.perf_counter()
            work()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - began_at)
    print("| part | ms |\n|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {1000 * median(taken):.0f} |")


class Parts:
    """The parts of a training of a new model of this shape, with the defaults."""

    def __init__(self, shape: ModelConfig) -> None:
        self.config, self.size = TrainConfig(device="cpu"), shape.vocab_size
        play = self.config.self_play
        self.model = Transformer(shape)
        self.model.initialise(0)
        self.learner = Learner(self.model, self.config)
        self.sampling = SamplingConfig(
            max_new_tokens=rollout_tokens(play, shape), temperature=play.temperature, top_k=play.top_k, top_p=play.top_p
        )
        self.book = torch.randint(self.size, (self.config.batch_size, shape.max_seq_len + 1))
        self.prompts = torch.randint(self.size, (play.num_prompts, BOOK_PREFIX_TOKENS)).tolist()
        self.greedy = [row < play.num_prompts * play.greedy_share for row in range(play.num_prompts)]

    def works(self) -> dict[str, Callable[[], object]]:
        texts, exact = f"{len(self.prompts)} texts", functools.partial(Decoder, self.model, self.size)
        return {
            "an iteration on the book": self.iteration,
            f"{texts}, by the model": lambda: self.write(exact(self.learner.precision)),
            f"{texts}, by the fastest decoder": self.write,
            "their gradient": self.gradient,
        }

    def iteration(self) -> None:
        x, y = self.book[:, :-1], self.book[:, 1:]
        self.learner.compute_gradient(x, y, len(x), self.config.grad_accum_steps, 0.0)
        self.learner.clip_gradient()
        self.learner.take_step(0.0, 0.0, WeightDecay(0.1, 0.1), 1)

    def write(self, decoding: Decoder | None = None) -> None:
        self.model.eval()
        with self.learner.autocast():
            write_rollouts(
                self.model,
                self.prompts,
                self.greedy,
                self.sampling,
                self.size,
                NO_END,
                torch.Generator(),
                decoding=decoding,
            )

    def gradient(self) -> None:
        start, length = BOOK_PREFIX_TOKENS, self.sampling.max_new_tokens
        tokens = torch.randint(self.size, (len(self.prompts), start + length))
        weights, repeats = torch.zeros(len(tokens), start + length - 1), torch.zeros_like(tokens[:, 1:])
        weights[:, start : start + FIRST_FAULTS] = 1.0
        loop_breaking_gradient(
            self.model, self.learner.average.model, tokens, weights, repeats, self.size, self.learner.autocast
        )


if __name__ == "__main__":
    main()
