"""Rehearse a requested training for a few seconds to forecast how long it will take on this machine.

The real trainer reads a sample of the real books with the real settings; parts that take too long at full size (many sequences,
long rollouts, all held-out text) are measured at smaller sizes and extrapolated linearly. Nothing is saved.

Not here: memory, loading models and books (forecast.py).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from azr_trainer import MOST_VAL_TOKENS, SAMPLE_SECONDS, AZRTrainer
from config import TrainConfig
from corpus.dataset import SplitBook, TokenDataset
from learning.schedules import dropout_at
from learning.self_play import SelfPlay
from machine.devices import autocast, choose_device, choose_precision, describe
from machine.memory import lack_named, memory_kept
from model import Transformer
from runs.suggestion import one_reading
from selfplay.factory import make_environment, rollout_tokens
from selfplay.gate import MIN_ITERATIONS
from tokenizer import Tokenizer

ITERATION_SECONDS, SELF_PLAY_SECONDS = 12.0, 4.0  # budget for measuring each of them
REPEATED = 3  # iterations of a size after its first, which is a warm-up; their median counts
QUICK_SECONDS, SLOW_SECONDS = 0.5, 4.0  # a slower iteration is repeated only once, or not at all


@dataclass(frozen=True)
class Sample:
    """The beginning of each book; `share` in (0, 1] is their part of all characters."""

    books: tuple[SplitBook, ...]
    dataset: TokenDataset
    share: float


@dataclass(frozen=True)
class Pace:
    """Time of each part of a training, in seconds."""

    iteration_seconds: float  # on the book alone
    round_seconds: float  # of self-play; 0 when it is off
    evaluation_seconds: float  # without its sample
    sample_seconds: float
    tokens_per_iteration: int
    train_tokens: int  # of all books, estimated from the sample
    reading_tokens: (
        int  # read until the book that weighs most has been read once; without weights as many as `train_tokens`
    )
    unfit: Mapping[str, str | int | float] | None = None  # what `misfit` found about the model's vocabulary

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_per_iteration / self.iteration_seconds

    def seconds(self, config: TrainConfig, first: int, last: int) -> float:
        """Return the time of the iterations after `first` up to `last`, with self-play from its earliest possible start on."""
        played = last - max(first, min(last, MIN_ITERATIONS)) if config.self_play.enabled else 0
        rounds = played // config.self_play.every
        evaluations = 1 + (last - first) // config.eval_every
        seconds = (
            (last - first) * self.iteration_seconds
            + rounds * self.round_seconds
            + evaluations * self.evaluation_seconds
        )
        samples = min(evaluations, 1 + seconds / SAMPLE_SECONDS)
        compared = samples * played / max(1, last - first)  # each writes as many texts as a round
        return seconds + samples * self.sample_seconds + compared * self.round_seconds

    def epoch_seconds(self) -> float:
        """Return the time of reading all books once, or the one that weighs most, without self-play."""
        return self.reading_tokens / self.tokens_per_second


@memory_kept()
def rehearse(
    model: Transformer,
    tokenizer: Tokenizer,
    sample: Sample,
    config: TrainConfig,
    go_on: Callable[[], None] = lambda: None,
) -> Pace:
    """Train `model` a little on `sample`.

    `go_on` is called at every event and may raise to end the rehearsal. Raises OutOfMemory.
    """
    dataset, share = sample.dataset, sample.share
    config = config.model_copy(
        update={"dropout": dropout_at(config, readings=2.0)}
    )  # the value does not matter for the time, but most iterations use dropout
    rehearsal = _Rehearsal(model, tokenizer, sample, config, go_on)
    rows = config.batch_size * config.grad_accum_steps
    on_card = (
        choose_device(config.device).type == "cuda"
    )  # fast enough to measure whole, and each size would need a new CUDA graph
    if on_card:  # the exchange of gradients between cards is not counted
        iteration = rehearsal.iteration(-(-rows // config.devices))
    else:  # several processes share the cores, so together they take about as long as one
        iteration = straight_line(rehearsal.iteration, rows, ITERATION_SECONDS)
    round_ = 0.0
    if config.self_play.enabled:
        longest = rollout_tokens(config.self_play, model.config)
        round_ = straight_line(rehearsal.round, longest, SELF_PLAY_SECONDS)
    sample_seconds, evaluation_seconds = rehearsal.evaluation(min(MOST_VAL_TOKENS, round(len(dataset.val) / share)))
    return Pace(
        iteration_seconds=iteration,
        round_seconds=round_,
        evaluation_seconds=evaluation_seconds,
        sample_seconds=sample_seconds,
        tokens_per_iteration=rows * model.config.max_seq_len,
        train_tokens=round(len(dataset.train) / share),
        reading_tokens=max(1, round(one_reading(dataset.lengths, config.book_weights) / share)),
    )


def straight_line(measure: Callable[[int], float], size: int, budget_seconds: float) -> float:
    """Return the seconds of `measure(size)`: measured within the budget, else extrapolated from a quarter and a sixteenth of `size`.

    Extrapolated values are too high: one row among many costs less than one among few.
    """
    began_at, quarter, few = time.perf_counter(), max(1, size >> 2), max(1, size >> 4)
    seconds = measure(quarter)
    if quarter == size:
        return seconds
    left = budget_seconds - (time.perf_counter() - began_at)
    if few == quarter or 2 * seconds * size / quarter <= left:  # twice, because the first iteration is a warm-up
        return measure(size)
    return seconds + max(0.0, seconds - measure(few)) / (quarter - few) * (size - quarter)


def is_enough(taken: Sequence[float]) -> bool:
    """Return whether a size was measured often enough; `taken` holds the seconds of its iterations so far."""
    if taken[-1] > SLOW_SECONDS:
        return True
    return len(taken) > (1 if taken[-1] > QUICK_SECONDS else REPEATED)


class _Rehearsal:
    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        sample: Sample,
        config: TrainConfig,
        go_on: Callable[[], None],
    ) -> None:
        self._go_on = go_on
        self._model, self._tokenizer, self._dataset, self._config = model, tokenizer, sample.dataset, config
        self._environment = make_environment(
            config.self_play,
            model.config,
            [book.train for book in sample.books],
            {},
            tokenizer.encode,
            tokenizer.decode,
            config.seed,
        )

    def iteration(self, rows: int) -> float:
        """Measure one iteration of `rows` sequences, in seconds."""
        trainer = self._trainer(_micro_batches(self._config, rows))
        torch.set_num_threads(trainer.num_threads)
        taken: list[float] = []
        with lack_named(describe(trainer.device)):
            while not taken or not (len(taken) > REPEATED or (is_enough(taken) and not trainer.learner.warms_up)):
                before = trainer.state.elapsed_seconds
                for _ in trainer.iterate():
                    self._go_on()
                taken.append(trainer.state.elapsed_seconds - before)
        return _typical(taken)

    def round(self, tokens: int) -> float:
        """Measure a self-play round with rollouts of at most `tokens` tokens, in seconds."""
        config, device = self._config, choose_device(self._config.device)
        play = config.self_play.model_copy(update={"max_new_tokens": tokens})
        player = SelfPlay(self._environment, play, self._tokenizer, self._model.config, config.seed)
        model = self._model.to(device)
        state = player.begin()
        calculation = functools.partial(autocast, device, choose_precision(config.precision, device))
        taken: list[float] = []
        with lack_named(describe(device)):
            while not taken or not is_enough(taken):
                started_at = time.perf_counter()
                for _ in player.play(model, model, state, 1, calculation):
                    self._go_on()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - started_at)
        return _typical(taken)

    def evaluation(self, val_tokens: int) -> tuple[float, float]:
        """Measure a sample, and an evaluation on `val_tokens` held-out tokens, in seconds."""
        on_card = (
            choose_device(self._config.device).type == "cuda"
        )  # the time of a batch there does not depend on its rows
        rows = self._config.batch_size if on_card else max(1, self._config.batch_size // 4)
        trainer = self._trainer(self._config.model_copy(update={"batch_size": rows}))
        if on_card:  # the first of each includes loading kernels
            trainer.sample()
            trainer.validate(most_batches=1)
        started_at = time.perf_counter()
        trainer.sample()
        sampled_at = time.perf_counter()
        trainer.validate(most_batches=1)
        seen = min(rows * self._model.config.max_seq_len, len(self._dataset.val))
        return sampled_at - started_at, (time.perf_counter() - sampled_at) * val_tokens / seen

    def _trainer(self, config: TrainConfig) -> AZRTrainer:
        return AZRTrainer(self._model, self._tokenizer, self._dataset, config)


def _typical(taken: Sequence[float]) -> float:
    """Return the median; the first value, which includes warm-up, counts only if it is the only one."""
    return statistics.median(taken[1:] or taken)


def _micro_batches(config: TrainConfig, rows: int) -> TrainConfig:
    """Return the configuration for `rows` sequences in micro-batches no larger than configured."""
    size = min(config.batch_size, rows)
    return config.model_copy(update={"batch_size": size, "grad_accum_steps": max(1, rows // size)})
