"""The training loop: an iteration learns from a batch of book text and, every few iterations, from a round of self-play.

`AZRTrainer.run()` is a generator of events. It has no threads, callbacks, files or stop flags: the consumer stops it by closing
it and saves `snapshot()`. Between two yields the trainer either changes nothing or finishes a whole iteration, so a snapshot
taken at any yield is consistent.

Resuming is exact: data order, dropout and rollouts are drawn from (seed, iteration) and (seed, round), so a checkpoint needs no
more than weights, optimizer and the small `TrainerState`.

Not here: the round of self-play itself (learning/self_play.py), tokenizing, saving, the decision what to publish.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from config import SamplingConfig, TrainConfig
from corpus.dataset import Sequences, TokenDataset, evaluation_batches, tokens_of_reading
from engine.text import prompt_ids, write
from errors import Diverged, NumbersOutOfRange, OutOfMemory
from events import Evaluated, Event, IterationDone, Notice, RunStarted, SampleWritten, Stage, StageBegun
from learning.average import Average
from learning.learner import Learner
from learning.loss_guard import LossGuard, Verdict
from learning.schedules import dropout_at, known_after, learning_rate_at, most_decay, pull_at, weight_decay_at
from learning.self_play import Round, SelfPlay, SelfPlayState
from machine.devices import choose_num_threads, describe
from machine.memory import is_out_of_memory, lack_named
from machine.processes import ALONE, Ranks
from model import Transformer
from tokenizer import Tokenizer

MOST_VAL_TOKENS = 32_768
MOST_BAD = 5  # steps skipped in a row; then the fault is in the weights and not in the text
SAMPLE_TOKENS = 60
SAMPLE_SECONDS = 1.0  # least time between samples: a card evaluates several times a second, faster than anyone reads
MEMORISING_EVALUATIONS = 5
USUAL_SHARE = 1.5  # the norm of self-play's gradient in parts of the book's, with `max_grad_share` 1
# Where time ends the run, at least so many iterations lie between two checks, and one in SHARE_APART of those done.
LEAST_APART, SHARE_APART = 5, 3
FORMER_REFERENCE_PREFIX = "reference/"  # weights that checkpoints of earlier versions kept for self-play
WEIGHTS_PREFIX = "weights/"  # marks the weights being trained among a checkpoint's tensors
ANCHOR_PREFIX = "anchor/"  # and the best ones, from half-way to known books on


@dataclass
class TrainerState:
    """The state that a resumed training needs besides weights and optimizer: plain numbers, ready for JSON."""

    iteration: int = 0  # iterations finished, over all runs of this model
    run_start: int = 0
    run_start_seconds: float | None = None  # `elapsed_seconds` then; None in checkpoints of earlier versions
    schedule_start: int = 0  # where warm-up and average began: the first run on these books
    sequences_seen: int = 0
    elapsed_seconds: float = 0.0
    best_val_loss: float | None = None
    best_iteration: int = 0
    evaluations_since_best: int = 0
    starts_untrained: bool = False  # a new model, whose weights before the first step are never the best version
    memorising_noticed: bool = False
    known_noticed: bool = False
    evaluated_iteration: int = -1
    train_loss: float = 0.0  # mean of the batches before the last evaluation
    recent_loss_sum: float = 0.0  # of the batches since then
    recent_losses: int = 0
    micro_batches: int = 0  # 0: as configured; more after memory ran out
    rate_factor: float = 1.0  # times the learning rate; halved each time a run had to go back
    guard: LossGuard = field(default_factory=LossGuard)
    self_play: SelfPlayState = field(default_factory=SelfPlayState)

    @property
    def has_learned(self) -> bool:
        """Return whether these books have changed the weights: at least one iteration on them was not skipped."""
        return self.guard.count > 0

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"self_play": self.self_play.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainerState:
        """Return the state that a checkpoint of this or an earlier version holds."""
        renamed = {"told_memorising": "memorising_noticed"}
        values = {renamed.get(name, name): value for name, value in values.items()}
        guard = LossGuard(**values.get("guard", {}))
        return cls(**{**values, "guard": guard, "self_play": SelfPlayState.from_json(values["self_play"])})

    def has_reached_its_end(self, config: TrainConfig) -> bool:
        """Return whether the run's iterations are done or its time is spent, but after one iteration at least."""
        done, minutes = self.iteration - self.run_start, config.max_minutes
        if config.iterations is not None and done >= config.iterations:
            return True
        return minutes is not None and done > 0 and self.elapsed_seconds >= self.ends_at_seconds(minutes)

    def ends_at_seconds(self, minutes: float) -> float:
        """Return the `elapsed_seconds` at which a run of this many minutes ends."""
        begun = self.elapsed_seconds if self.run_start_seconds is None else self.run_start_seconds
        return begun + minutes * 60

    def is_out_of_patience(self, config: TrainConfig) -> bool:
        """Return whether the held-out loss has been worse than its best for as long as the training allows."""
        return config.gives_up(self.evaluations_since_best, self.iteration - self.best_iteration)

    def longer(self) -> TrainerState:
        """Return the state for extending a finished run by as many iterations or minutes again."""
        now, seconds = self.iteration, self.elapsed_seconds
        return dataclasses.replace(self, run_start=now, run_start_seconds=seconds, evaluations_since_best=0)

    def next_run(self) -> TrainerState:
        """Return the state for a new run on other books."""
        rounds = SelfPlayState(round=self.self_play.round)
        return TrainerState(
            iteration=self.iteration,
            run_start=self.iteration,
            run_start_seconds=self.elapsed_seconds,
            schedule_start=self.iteration,
            sequences_seen=self.sequences_seen,  # continues with epochs it has not seen
            elapsed_seconds=self.elapsed_seconds,
            self_play=rounds,
        )


@dataclass(frozen=True)
class Snapshot:
    """Copies, on the CPU, of everything a checkpoint holds."""

    iteration: int
    weights: dict[str, Tensor]  # the average, which is also used for generating text
    optimizer: dict[str, Tensor]  # moments, the weights being trained
    state: dict[str, Any]


class AZRTrainer:
    """Trains `model`, which it owns while it runs. `config.iterations` counts from `state.run_start`; None is endless, unless
    `config.max_minutes` ends the run, for which rank 0's clock counts.

    The average of the weights is evaluated, sampled from and published. With several processes (`ranks`) each handles its part of
    every batch, of the held-out text and of self-play's groups, and all hold the same weights; the run of rank 0 must be closed at
    an IterationDone, which stops the others.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        dataset: TokenDataset,
        config: TrainConfig,
        *,
        name: str = "model",
        self_play: SelfPlay | None = None,
        state: TrainerState | None = None,
        optimizer_state: dict[str, Tensor] | None = None,
        exact: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.config, self.tokenizer, self.dataset, self.name = config, tokenizer, dataset, name
        self.num_threads = choose_num_threads(config.num_threads, ranks.local_world_size)
        self.state = state or TrainerState()
        if self.state.run_start_seconds is None:
            self.state.run_start_seconds = self.state.elapsed_seconds
        self.resumed, self.exact = optimizer_state is not None, exact
        self.learner = Learner(model, config, ranks)
        self.self_play = self_play
        if optimizer_state is not None:
            self._load_tensors(optimizer_state)
        length = model.config.max_seq_len
        self._sequences = Sequences(dataset.train, length, config.seed, dataset.lengths, config.book_weights)
        self._evaluation = evaluation_batches(dataset.val, length, config.batch_size, MOST_VAL_TOKENS)
        size = (len(dataset.train), sum(p.numel() for p in model.parameters()))
        self._known_after, self._most_decay = known_after(*size), most_decay(*size)
        self._bad_in_a_row = 0
        self._sampled_at = -math.inf  # perf_counter

    @property
    def model(self) -> Transformer:
        return self.learner.model

    @property
    def average(self) -> Average:
        return self.learner.average

    @property
    def device(self) -> torch.device:
        return self.learner.device

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the run's iterations are done. Raises Diverged and OutOfMemory; the weights may then be bad."""
        torch.set_num_threads(self.num_threads)
        yield self._started()
        if self.learner.compiles:
            yield Notice(self.state.iteration, "compiling")
        yield StageBegun(Stage.SUPERVISED)
        try:
            with lack_named(describe(self.device)):
                yield from self._iterations()
        except GeneratorExit:
            if self.ranks.is_main:
                with contextlib.suppress(RuntimeError):  # the other processes may have died already
                    self.ranks.go_on(False)
            raise

    def _iterations(self) -> Iterator[Event]:
        while self.ranks.go_on():
            if self._evaluation_is_due():
                yield from self._evaluate()
                yield StageBegun(Stage.SUPERVISED)
            if self.state.is_out_of_patience(self.config):
                yield Notice(self.state.iteration, "early_stopped", self._patience_spent())
                return
            if self._finished():
                return
            yield from self.iterate()

    def iterate(self) -> Iterator[Event]:
        """Run one iteration: gradient of the book batch, a self-play round when due, one optimizer step."""
        started_at = time.perf_counter()
        state, config = self.state, self.config
        torch.manual_seed(((config.seed << 32) + state.iteration) ^ (self.ranks.rank << 56))  # dropout
        own_loss, notices = self._book_gradient()
        round_: Round | None = None
        played_at = time.perf_counter()
        if self.self_play is not None and self.self_play.is_due(state.iteration + 1, state.self_play):
            round_ = yield from self._play(self.self_play, notices)
        play_seconds = time.perf_counter() - played_at
        figures = torch.stack([own_loss, self.learner.clip_gradient()])
        loss, grad_norm = figures.tolist()  # the only point of an iteration that waits for a graphics card
        (loss,) = self.ranks.total(loss)
        steps = state.iteration - state.schedule_start
        learning_rate = learning_rate_at(config, steps) * state.rate_factor
        verdict = state.guard.judge(loss, self.model.config.vocab_size) if math.isfinite(grad_norm) else "non_finite"
        if verdict == "good":
            self._bad_in_a_row = 0
            state.guard = state.guard.after(loss)
            readings, known = self._readings, self._known_after
            self.learner.take_step(
                learning_rate,
                readings,
                weight_decay_at(config, readings, known, self._most_decay),
                steps + 1,
                pull_at(config, readings, known),
            )
        else:
            notices.append(self._skip_step(verdict))
        state.iteration += 1
        state.sequences_seen += config.batch_size * config.grad_accum_steps
        seconds = time.perf_counter() - started_at
        state.elapsed_seconds += self._of_the_main_rank(seconds)
        if round_ is not None:
            state.self_play = round_.state
        if math.isfinite(loss):
            state.recent_loss_sum, state.recent_losses = state.recent_loss_sum + loss, state.recent_losses + 1
        tokens = config.batch_size * config.grad_accum_steps * self.model.config.max_seq_len
        speed = tokens / (seconds - play_seconds)  # without self-play: an occasional round would make it jump
        yield IterationDone(state.iteration, loss, learning_rate, grad_norm, speed, state.elapsed_seconds)
        if round_ is not None:
            yield round_.event
            yield StageBegun(Stage.SUPERVISED)
        yield from notices

    def _book_gradient(self) -> tuple[Tensor, list[Event]]:
        """Compute the gradient of the next batch; return this process's share of the loss, and notices.

        When memory runs out, the micro-batch is halved and the batch computed again. Raises OutOfMemory if it cannot be halved.
        """
        notices: list[Event] = []
        rows = self.config.batch_size * self.config.grad_accum_steps
        own = self.ranks.share(rows)
        inputs, targets = self._sequences.batch(self.state.sequences_seen + own.start, len(own))
        dropout = dropout_at(self.config, self._readings)
        while True:
            try:
                return self.learner.compute_gradient(inputs, targets, rows, self._micro_batches, dropout), notices
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self.learner.clear_gradient()
                notices.append(self._halve_micro_batch(error))

    def _play(self, self_play: SelfPlay, notices: list[Event]) -> Generator[Event, None, Round | None]:
        """Play a round and add its gradient. On out-of-memory, skip the round and emit a notice."""
        try:
            round_ = yield from self_play.play(
                self.model, self.average.model, self.state.self_play, self.state.iteration + 1, self.learner.autocast
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self.ranks.world_size > 1:
                raise
            notices.append(Notice(self.state.iteration + 1, "self_play_left_out"))
            return None
        self._add_gradient(round_.gradient, round_.strength)
        return round_

    @property
    def _readings(self) -> float:
        """Return the number of passes over these books since their first run began."""
        rows = self.config.batch_size * self.config.grad_accum_steps
        return (self.state.iteration - self.state.schedule_start) * rows / self._sequences.per_epoch

    @property
    def _micro_batches(self) -> int:
        return self.state.micro_batches or self.config.grad_accum_steps

    def _halve_micro_batch(self, error: Exception) -> Notice:
        rows = self.config.batch_size * self.config.grad_accum_steps
        if self._micro_batches >= rows or self.ranks.world_size > 1:  # the other processes would wait for gradients
            raise OutOfMemory(device=describe(self.device)) from error
        self.state.micro_batches = min(rows, self._micro_batches * 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return Notice(self.state.iteration, "micro_batch_halved", {"batch_size": -(-rows // self._micro_batches)})

    def _add_gradient(self, gradient: list[Tensor] | None, strength: float) -> None:
        """Add self-play's gradient, scaled to `USUAL_SHARE` times the norm of the book's, times `max_grad_share` and `strength`."""
        if gradient is None:
            return
        own = [p.grad for p in self.model.parameters() if p.grad is not None]
        book_norm, play_norm = (float(torch.nn.utils.get_total_norm(g)) for g in (own, gradient))
        if not (math.isfinite(play_norm) and play_norm > 0):
            return
        share = USUAL_SHARE * self.config.self_play.max_grad_share * strength
        torch._foreach_add_(own, gradient, alpha=share * book_norm / play_norm)

    def _skip_step(self, verdict: Verdict) -> Notice:
        """Drop the gradient. Raises Diverged, or NumbersOutOfRange, after MOST_BAD skipped steps in a row."""
        self.learner.clear_gradient()
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= MOST_BAD:
            kind = NumbersOutOfRange if verdict == "non_finite" else Diverged
            raise kind(iteration=self.state.iteration + 1, times=self._bad_in_a_row)
        values: dict[str, str | int | float] = {"times": self._bad_in_a_row}
        return Notice(self.state.iteration + 1, "spike_skipped" if verdict == "spike" else "non_finite_skipped", values)

    # ---- evaluation ----------------------------------------------------------------------------------------------------

    def _evaluate(self) -> Iterator[Event]:
        yield StageBegun(Stage.EVALUATING)
        started_at, state = time.perf_counter(), self.state
        val_loss = self.validate()
        state.evaluated_iteration = state.iteration
        if state.recent_losses:
            state.train_loss = state.recent_loss_sum / state.recent_losses
        elif math.isfinite(val_loss):
            state.train_loss = val_loss
        state.recent_loss_sum, state.recent_losses = 0.0, 0
        is_best = math.isfinite(val_loss) and (state.best_val_loss is None or val_loss < state.best_val_loss)
        notices: list[Event] = []
        if state.starts_untrained and not state.has_learned:
            is_best = False
        elif is_best:
            state.best_val_loss, state.best_iteration = val_loss, state.iteration
            state.evaluations_since_best, state.memorising_noticed = 0, False
            if self._knows_the_books(half=True):
                self.learner.anchor.set(self.average.model)
        else:
            state.evaluations_since_best += 1
            notices += self._memorising()
        sample_is_due = self._sample_is_due()
        notices += self._books_known()
        if self.self_play is not None:
            state.self_play, own_notices = self.self_play.after_evaluation(
                state.self_play, state.iteration, val_loss, state.best_val_loss or val_loss, state.train_loss
            )
            notices += own_notices
            if sample_is_due or state.self_play.beginning is None:
                notices += self._compare(self.self_play)
        bits_per_byte = val_loss / math.log(2) / self.dataset.val_bytes_per_token
        sample = self.sample() if sample_is_due else None
        state.elapsed_seconds += self._of_the_main_rank(time.perf_counter() - started_at)
        yield Evaluated(state.iteration, val_loss, bits_per_byte, state.train_loss, is_best, state.elapsed_seconds)
        if sample is not None:
            yield SampleWritten(state.iteration, self.config.sample_prompt, sample)
        yield from notices

    def _compare(self, self_play: SelfPlay) -> list[Event]:
        """Compare how the model writes with how it wrote when self-play began. On out-of-memory, emit a notice instead."""
        try:
            self.state.self_play, compared = self_play.compare(
                self.average.model, self.state.self_play, self.state.iteration, self.learner.autocast
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return [Notice(self.state.iteration, "self_play_left_out")]
        return [] if compared is None else [compared]

    def validate(self, most_batches: int | None = None) -> float:
        """Return the mean loss on held-out text, or on its first `most_batches`, in nats per token.

        When memory runs out, the batches are halved. Raises OutOfMemory when one row is still too much.
        """
        while True:
            try:
                return self._validate(most_batches)
            except (MemoryError, RuntimeError) as error:
                rows = len(self._evaluation[0][0])
                if not is_out_of_memory(error) or self.ranks.world_size > 1:
                    raise
                if rows == 1:
                    raise OutOfMemory(device=describe(self.device)) from error
                halves = [zip(x.split(-(-rows // 2)), y.split(-(-rows // 2)), strict=True) for x, y in self._evaluation]
                self._evaluation = list(itertools.chain(*halves))

    @torch.no_grad()
    def _validate(self, most_batches: int | None) -> float:
        total, count = 0.0, 0
        for x, y in self._evaluation[:most_batches][self.ranks.rank :: self.ranks.world_size]:
            tokens = int((y >= 0).sum())
            with self.learner.autocast():
                total += self.average.model.loss(x.to(self.device), y.to(self.device)).item() * tokens
            count += tokens
        total, count_ = self.ranks.total(total, count)
        return total / count_

    def _sample_is_due(self) -> bool:
        """Return whether the last sample is at least SAMPLE_SECONDS old or the run is at its end."""
        return self.ranks.is_main and (self._finished() or time.perf_counter() - self._sampled_at >= SAMPLE_SECONDS)

    def sample(self) -> str:
        """Return a short continuation of the person's prompt. The seed is always the same, so that samples can be compared."""
        sampling = SamplingConfig(max_new_tokens=SAMPLE_TOKENS, seed=self.config.seed)
        ids = prompt_ids(self.tokenizer, self.config.sample_prompt)
        *_, last = write(self.average.model, self.tokenizer, ids, sampling)
        self._sampled_at = time.perf_counter()
        return last.completion

    def _memorising(self) -> list[Event]:
        """Return a notice, once, when the held-out loss has stopped falling: the model has begun to memorise the books."""
        if self.state.memorising_noticed or self.state.evaluations_since_best < MEMORISING_EVALUATIONS:
            return []
        self.state.memorising_noticed = True
        return [Notice(self.state.iteration, "memorising", {"since": self.state.best_iteration})]

    def _books_known(self) -> list[Event]:
        """Return a notice, once in a run, when weight decay by itself begins to rise because the books have been read so often."""
        if self.state.known_noticed or not self._knows_the_books():
            return []
        self.state.known_noticed = True
        return [Notice(self.state.iteration, "books_known", {"readings": round(self._readings, 1)})]

    def _knows_the_books(self, *, half: bool = False) -> bool:
        """Return whether the trainer acts against memorising by itself, or is half-way there: its best may come before."""
        return self.config.weight_decay is None and self._readings >= self._known_after / (1 + half)

    # ---- state and progress --------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return copies of everything a resume needs. Call it at a yield, never after an error."""
        tensors = self.learner.optimizers.state()
        tensors |= {WEIGHTS_PREFIX + name: tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {ANCHOR_PREFIX + name: tensor for name, tensor in self.learner.anchor.state().items()}
        return Snapshot(
            self.state.iteration, _copies(self.average.model.state_dict()), _copies(tensors), self.state.to_json()
        )

    def _load_tensors(self, tensors: dict[str, Tensor]) -> None:
        placed = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        placed = {name: tensor for name, tensor in placed.items() if not name.startswith(FORMER_REFERENCE_PREFIX)}
        own, anchor = _taken(placed, WEIGHTS_PREFIX), _taken(placed, ANCHOR_PREFIX)
        if own:  # older checkpoints hold the trained weights as their weights
            self.model.load_state_dict(own)
        if self.state.best_val_loss is not None:  # on these books
            self.learner.anchor.load_state(anchor)
        self.learner.optimizers.load_state(placed)

    def _started(self) -> RunStarted:
        state, iterations, minutes = self.state, self.config.iterations, self.config.max_minutes
        return RunStarted(
            model=self.name,
            iteration=state.iteration,
            iterations=None if iterations is None else state.run_start + iterations,
            ends_at_seconds=None if minutes is None else state.ends_at_seconds(minutes),
            resumed=self.resumed,
            exact=self.exact,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            train_tokens=tokens_of_reading(self.dataset, self.config.book_weights),
            val_tokens=len(self.dataset.val),
            device=describe(self.device),
            precision=str(self.learner.precision).removeprefix("torch."),
            num_threads=self.num_threads,
            elapsed_seconds=state.elapsed_seconds,
            best_val_loss=state.best_val_loss,
            best_iteration=state.best_iteration if state.best_val_loss is not None else None,
        )

    def _of_the_main_rank(self, seconds: float) -> float:
        """Return rank 0's seconds, so that all processes end the run after the same iteration."""
        return self.ranks.total(seconds if self.ranks.is_main else 0.0)[0]

    def _evaluation_is_due(self) -> bool:
        """Return whether to evaluate: before the first iteration of a run, every `eval_every` iterations and at the end, once each."""
        iteration = self.state.iteration
        due = iteration == self.state.run_start or self._is_a_check() or self._finished()
        return due and self.state.evaluated_iteration != iteration

    def _is_a_check(self) -> bool:
        """Return whether a check comes after this iteration.

        Where time ends the run, its number of iterations is not known: the checks are close together at first and `eval_every`
        apart later. They depend on no clock, so a resumed run has the same ones.
        """
        iteration, every = self.state.iteration, self.config.eval_every
        if not self.config.ends_by_time:
            return iteration % every == 0
        apart = max(LEAST_APART, (iteration - self.state.run_start) // SHARE_APART)
        return iteration - self.state.evaluated_iteration >= min(every, apart)

    def _finished(self) -> bool:
        return self.state.has_reached_its_end(self.config)

    def _patience_spent(self) -> dict[str, str | int | float]:
        return {"best_iteration": self.state.best_iteration, "evaluations": self.state.evaluations_since_best}


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors with this prefix out; return them without it."""
    return {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
