"""Train models on one book with and without self-play, let them write, and let a judge rate the texts.

Particular: all arms share split, tokenizer, order of batches and prompts. Time is that of iterations and rounds, without evaluations.
The judge has the same shape and another seed; it has read the whole book, the held-out part included, so it knows how the book goes
on where the others must guess. Prompts are held-out passages; the judge reads them too, but only what follows is rated.

Not here: comparing the trials (verdict.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

import kernels
from azr_trainer import AZRTrainer
from benchmarks.course import Course
from benchmarks.texts import Measures, mean, measured
from benchmarks.training import read
from config import ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig
from corpus.dataset import SplitBook, TokenDataset, split, tokenized
from corpus.repetition import most_times_within
from engine.rollouts import write_rollouts
from events import IterationDone
from learning.bigram_start import start_from_bigrams
from learning.self_play import SelfPlay
from machine.memory import memory_kept
from model import Transformer
from selfplay.environment import Environment, Prompt
from selfplay.factory import make_environment, repetition_window
from tokenizer import Tokenizer

PROMPT_TOKENS, NEW_TOKENS = 24, 100
ROWS_AT_ONCE = 64  # bounds the memory
JUDGE_SEED = 1_000_003
CONTROL = "control"  # the arm without self-play
GREEDY, DEFAULT = "greedy", f"{SamplingConfig().temperature:g}"
TEMPERATURES = (0.3, 0.5, 0.7, 0.9, 1.0, 1.1)  # with top-k and top-p as people get them
WAYS = (GREEDY, *sorted({DEFAULT, *(f"{temperature:g}" for temperature in TEMPERATURES)}, key=float))


@dataclass(frozen=True)
class Budget:
    """How long each training lasts, so many iterations or so many seconds, and on how many threads (None: all cores)."""

    iterations: int | None = None
    seconds: float = math.inf
    threads: int | None = None


@dataclass(frozen=True)
class Written:
    """What the texts of one way of writing are like, and their nats per token under the judge."""

    measures: Measures
    nats: float
    example: str


@dataclass(frozen=True)
class Trial:
    """One training and its texts, by way of writing."""

    arm: str
    seed: int
    course: Course
    val_loss: float
    bits_per_byte: float
    written: dict[str, Written]


class Pair:
    """One book, the passages to continue, and the work on them. Raises SystemExit if the held-out text is too short."""

    def __init__(self, book: Path, shape: ModelConfig, budget: Budget, passages: int, judge_books: list[Path]) -> None:
        self.shape, self.budget = shape, budget
        self.judge_texts = [read(one) for one in (book, *judge_books)]
        self.parts = split(self.judge_texts[0], TrainConfig().val_fraction)
        self.tokenizer = Tokenizer.fit([self.parts.train], shape.vocab_size)
        self.dataset = tokenized([self.parts], self.tokenizer)
        self.environment = self._environment(SelfPlayConfig(), seed=0)  # pays all arms alike
        self.new_tokens = min(NEW_TOKENS, shape.max_seq_len - PROMPT_TOKENS)
        self.passages = self._passages(passages)

    def _passages(self, count: int) -> list[list[int]]:
        """Return evenly spread passages of the held-out text: a prompt and as many tokens as a model may write."""
        held_out, size = self.dataset.val[:-1].tolist(), PROMPT_TOKENS + self.new_tokens  # without end-of-text
        room = len(held_out) - size
        if room < count:
            raise SystemExit(f"The held-out text has {len(held_out)} tokens; {count} passages need {size + count}.")
        return [held_out[start : start + size] for start in (room * i // max(1, count - 1) for i in range(count))]

    def book(self) -> list[Measures]:
        """Return the figures of the held-out passages, each scored as if a model had written it."""
        rows = [(row[:PROMPT_TOKENS], row[PROMPT_TOKENS:]) for row in self.passages]
        return [self._measured(prompt, tokens, finished=False) for prompt, tokens in rows]

    def _measured(self, prompt: list[int], completion: list[int], *, finished: bool) -> Measures:
        tokens = completion[:-1] if finished else completion
        score = self.environment.score(Prompt("", tuple(prompt)), completion, finished)
        return measured(tokens, self.tokenizer.decode(tokens), score.reward)

    # ---- training ----------------------------------------------------------------------------------------------------

    def trial(self, arm: str, settings: dict[str, Any], seed: int, judge: bytes) -> Trial:
        """Train with `settings` of self-play and rate the texts of the averaged weights, which are what people get."""
        config = TrainConfig.model_validate({"self_play": settings, "seed": seed} | self._settings())
        trainer, course = self._trainer(self.dataset, config)
        val_loss = trainer.validate()
        bits_per_byte = val_loss / math.log(2) / self.dataset.val_bytes_per_token
        written = dict(self._all_written(trainer.average.model, self._judge(judge)))
        return Trial(arm, seed, course, val_loss, bits_per_byte, written)

    def judge(self) -> tuple[bytes, float]:
        """Train the judge; return its weights and the nats per token of the book's own passages."""
        whole = tokenized([SplitBook(text, "") for text in self.judge_texts], self.tokenizer)
        dataset = TokenDataset(whole.train, self.dataset.val, self.dataset.val_bytes, whole.fingerprint)
        off = {"self_play": {"enabled": False}, "seed": JUDGE_SEED, "eval_every": 10**6}
        trainer, _ = self._trainer(dataset, TrainConfig.model_validate(self._settings() | off))
        weights = save(trainer.average.model.state_dict())
        return weights, self._nats(self._judge(weights), self.passages, [PROMPT_TOKENS] * len(self.passages))

    def _settings(self) -> dict[str, Any]:
        return {
            "iterations": self.budget.iterations,
            "num_threads": self.budget.threads,
            "early_stopping_patience": 0,
        }

    @memory_kept()
    def _trainer(self, dataset: TokenDataset, config: TrainConfig) -> tuple[AZRTrainer, Course]:
        """Return a trainer at its end, and its course."""
        model = Transformer(self.shape)
        model.initialise(config.seed)
        start_from_bigrams(model, dataset.train)
        play = None
        if config.self_play.enabled:
            environment = self._environment(config.self_play, config.seed)
            play = SelfPlay(environment, config.self_play, self.tokenizer, self.shape, config.seed)
        trainer = AZRTrainer(model, self.tokenizer, dataset, config, self_play=play)
        course, tokens = Course(), config.batch_size * self.shape.max_seq_len
        for event in (run := trainer.run()):
            course.add(event, tokens)
            if isinstance(event, IterationDone) and course.seconds >= self.budget.seconds:
                run.close()
        return trainer, course

    def _environment(self, config: SelfPlayConfig, seed: int) -> Environment:
        repeated = most_times_within(self.dataset.train, repetition_window(config, self.shape))
        known = self.tokenizer
        return make_environment(config, self.shape, [self.parts.train], repeated, known.encode, known.decode, seed)

    # ---- texts -------------------------------------------------------------------------------------------------------

    def _all_written(self, model: Transformer, judge: Transformer) -> Iterator[tuple[str, Written]]:
        for way in WAYS:
            rows = list(self._texts(model.eval(), way))
            figures = [self._measured(prompt, completion, finished=ended) for prompt, completion, ended in rows]
            kept = [[*prompt, *(completion[:-1] if ended else completion)] for prompt, completion, ended in rows]
            nats = self._nats(judge, kept, [len(prompt) for prompt, _, _ in rows])
            yield way, Written(mean(figures), nats, self.tokenizer.decode(kept[0]))

    def _texts(self, model: Transformer, way: str) -> Iterator[tuple[list[int], list[int], bool]]:
        """Yield prompt, completion and whether the model ended it. All arms draw the same random numbers."""
        prompts, known = [row[:PROMPT_TOKENS] for row in self.passages], self.tokenizer
        sampling = SamplingConfig(max_new_tokens=self.new_tokens)
        if way != GREEDY:
            sampling = sampling.model_copy(update={"temperature": float(way)})
        for first in range(0, len(prompts), ROWS_AT_ONCE):
            some = prompts[first : first + ROWS_AT_ONCE]
            generator, part = torch.Generator().manual_seed(0), (first, len(prompts))
            greedy = [way == GREEDY] * len(some)
            written = write_rollouts(model, some, greedy, sampling, known.size, known.end_of_text, generator, part=part)
            yield from zip(some, written.completions, written.finished, strict=True)

    def _judge(self, weights: bytes) -> Transformer:
        model = Transformer(self.shape)
        model.load_state_dict(load(weights))
        return model.eval()

    @torch.no_grad()
    def _nats(self, judge: Transformer, rows: Sequence[list[int]], starts: Sequence[int]) -> float:
        """Return minus the mean log-probability of all tokens from `starts` on; nan if there are none."""
        total, count = 0.0, 0
        head = judge.lm_head.weight[: self.tokenizer.size]
        for row, start in zip(rows, starts, strict=True):
            if len(row) > start:
                hidden = judge.hidden(torch.tensor([row[:-1]]))[0, start - 1 :]
                total -= float(kernels.logprobs(hidden, head, torch.tensor(row[start:])).sum())
                count += len(row) - start
        return total / count if count else math.nan
