"""A training from the person's point of view: books and a model go in, events come out, and everything worth keeping is kept.

Joins the trainer (which knows no disk), the corpus and the stores, and decides when to save: a checkpoint by count and by
time, the published model whenever held-out loss is the best so far, and one more checkpoint when the person stops (the
generator is closed) or the run is done. After an error nothing is saved, because the weights may be bad.

Training again on the same books goes on where the newest checkpoint stands; when that run was finished, for as many iterations
again. Other books start from the published model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azr_trainer import AZRTrainer, TrainerState
from config import ModelConfig, TrainConfig
from corpus import library
from corpus.dataset import SplitBook, TokenDataset, fit_tokenizer, require_size, split, tokenize
from errors import AZRError, Diverged
from events import (
    CheckpointSaved,
    Evaluated,
    Event,
    IterationDone,
    ModelPublished,
    Notice,
    RunMeasured,
    RunStarted,
    Stage,
    StageBegun,
    State,
    TrainingStatus,
    advance,
    stopped,
)
from formats.lineage import TrainingSummary
from learning.bigram_start import is_untrained, start_from_bigrams
from learning.policy_gradient import SelfPlay
from machine.devices import choose_device, describe
from machine.memory import forget_peak_bytes, give_back_unused, lack_named, memory_kept, peak_bytes
from machine.processes import ALONE, Ranks
from model import Transformer
from runs import launcher
from runs.reproducibility import circumstances, differences
from runs.run_log import RunLog, truncate_after
from runs.run_record import next_number, read_run, status_of, write_run
from runs.vocabulary_fit import misfit
from selfplay.factory import make_environment
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from store.model_store import LoadedModel
from store.restore import load_restored
from tokenizer import Tokenizer
from workspace import Workspace

MOST_TIMES_BACK = 3  # then a person has to look at it


@dataclass(frozen=True)
class TrainingPlan:
    """A checked request: the model and every book exist, and the training fits into memory."""

    model: str
    books: tuple[str, ...]
    config: TrainConfig
    resumed: bool = False  # an unfinished run on the same books goes on
    expected_seconds: float | None = None  # what a forecast promised, to be compared with what comes
    expected_bytes: int | None = None


def can_resume(workspace: Workspace, model: str, books: tuple[str, ...]) -> bool:
    """Whether the last run of a model ended before its time on these books, and a checkpoint of it stands."""
    last = status_of(model, read_run(workspace, model))
    unfinished = last.state is not State.DONE and last.books == books
    return unfinished and bool(checkpoint_store.iterations(workspace, model))


def train(workspace: Workspace, plan: TrainingPlan, ranks: Ranks = ALONE) -> Generator[Event, None, None]:
    """Run the plan. Close the generator to stop and save. Raises what a person may cause (BookTooSmall, DiskFull ...).

    A plan for more devices than `ranks` has processes starts processes of its own.
    """
    status = TrainingStatus(state=State.RUNNING, model=plan.model, books=plan.books, config=plan.config)
    started_at, number = _now(), next_number(workspace)

    def record(state: State, error: AZRError | None = None) -> None:
        shown = None if error is None else {"code": error.code, "parameters": error.parameters, "field": error.field}
        values = _record(dataclasses.replace(status, state=state, error=shown), started_at)
        write_run(workspace, plan.model, values | {"number": number})

    record(State.RUNNING)
    forget_peak_bytes()
    with RunLog(workspace, plan.model) as log:
        try:
            with contextlib.closing(_events(workspace, plan, ranks)) as events:  # else its last save fails unseen
                for event in events:
                    status = advance(status, event)
                    log.append(event)
                    if isinstance(event, Evaluated | CheckpointSaved | RunStarted):
                        record(State.RUNNING)
                    yield event
                if measured := _measured(plan, status):
                    status = advance(status, measured)
                    log.append(measured)
                    yield measured
        except GeneratorExit:
            status = stopped(status)
            record(State.STOPPED)
            raise
        except AZRError as error:
            record(State.FAILED, error)
            raise
        except BaseException:
            record(State.FAILED)
            raise
        with contextlib.suppress(
            AZRError
        ):  # everything is saved: a record that cannot be written makes no failure of it
            record(State.DONE)


def _events(workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> Generator[Event, None, None]:
    if plan.config.devices > ranks.world_size:
        return launcher.events(workspace, plan.model, plan.books, plan.config)
    return work(workspace, plan, ranks)


def work(workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> Generator[Event, None, None]:
    """This process's part of the work: the events alone, with neither log nor record. Only rank 0 saves and publishes."""
    yield from _Run(workspace, plan, ranks).events()


def _record(status: TrainingStatus, started_at: str) -> dict[str, Any]:
    values = dataclasses.asdict(dataclasses.replace(status, config=None))
    config = status.config.model_dump(mode="json") if status.config else None
    return values | {"config": config, "started_at": started_at, "updated_at": _now()}


def _measured(plan: TrainingPlan, status: TrainingStatus) -> RunMeasured | None:
    """What a finished run took beside what was promised; None where nothing was. Memory of other processes is not known."""
    if plan.expected_seconds is None or plan.expected_bytes is None:
        return None
    seconds = status.elapsed_seconds - status.started_seconds
    peak = peak_bytes() if plan.config.devices == 1 else None
    return RunMeasured(status.iteration, seconds, plan.expected_seconds, peak, plan.expected_bytes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Run:
    """One run: what it works on, and what it has saved."""

    def __init__(self, workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> None:
        self.workspace, self.plan, self.config, self.ranks = workspace, plan, plan.config, ranks
        self.books_key = ""
        self.saved_at = time.monotonic()
        self.saved_state: dict[str, Any] | None = None
        self.times_back = 0

    def events(self) -> Generator[Event, None, None]:
        """The run; one that diverges goes back to its newest checkpoint with half the learning rate, a few times."""
        while True:
            try:
                with lack_named(describe(choose_device(self.config.device))):  # also while preparing and saving
                    yield from self._attempt()
                return
            except Diverged:
                self.times_back += 1
                if self.times_back > MOST_TIMES_BACK:
                    raise

    def _attempt(self) -> Generator[Event, None, None]:
        trainer, notices = yield from self._prepare()
        give_back_unused()
        with memory_kept():
            yield from self._training(trainer, notices)

    def _training(self, trainer: AZRTrainer, notices: list[Event]) -> Generator[Event, None, None]:
        run = trainer.run()
        try:
            for event in run:
                published: ModelPublished | None = None
                if isinstance(event, Evaluated) and self._is_worth_publishing(trainer, event):
                    published = self._publish(trainer, event)  # before the event goes out: the state counts it already
                yield event
                if isinstance(event, RunStarted):
                    yield from notices
                elif published is not None:
                    yield published
                elif isinstance(event, IterationDone) and self._is_due(event.iteration):
                    yield from self._saved(trainer)
                    yield StageBegun(Stage.SUPERVISED)
        except GeneratorExit:
            run.close()
            self._save(trainer)
            raise
        yield from self._saved(trainer)

    # ---- before the first iteration ------------------------------------------------------------------------------------

    def _prepare(self) -> Generator[Event, None, tuple[AZRTrainer, list[Event]]]:
        if not self.ranks.is_main:
            self.ranks.wait()  # until the tokenizer stands
        notices: list[Event] = []
        loaded = self._loaded(notices)
        books = [split(library.read_text(self.workspace, book), self.config.val_fraction) for book in self.plan.books]
        tokenizer, new_tokenizer = yield from self._tokenizer(loaded, books)
        give_back_unused()
        dataset: TokenDataset = yield from tokenize(books, tokenizer)
        give_back_unused()
        require_size(dataset, loaded.config.max_seq_len)
        if new_tokenizer:
            model_store.set_tokenizer(self.workspace, self.plan.model, tokenizer)
        if self.ranks.is_main:
            self.ranks.wait()
        self.books_key = hashlib.sha256(f"{dataset.fingerprint}/{self.config.optimizer}".encode()).hexdigest()
        checkpoint = self._newest_checkpoint(notices)
        new = checkpoint is None and is_untrained(loaded.model)
        if self.config.bigram_start and new:
            yield StageBegun(Stage.COUNTING_PAIRS)
            start_from_bigrams(loaded.model, dataset.train)
        if self.config.self_play.enabled:
            yield StageBegun(Stage.MEASURING_BOOKS)
        trainer = self._trainer(loaded, tokenizer, dataset, books, checkpoint, notices)
        trainer.state.starts_untrained |= new
        self._slow_down(trainer.state, checkpoint, notices)
        if loaded.lineage and not trainer.resumed:
            unfit = misfit(self.workspace, tokenizer, loaded.lineage[0].books, [book.train for book in books])
            notices += [Notice(trainer.state.iteration, "vocab_hardly_fits", unfit)] if unfit else []
        if tokenizer.size < loaded.config.vocab_size:
            values: dict[str, str | int | float] = {"tokens": tokenizer.size, "vocab_size": loaded.config.vocab_size}
            notices.append(Notice(trainer.state.iteration, "vocab_smaller", values))
        if self.ranks.is_main:
            truncate_after(self.workspace, self.plan.model, trainer.state.iteration)
        return trainer, notices

    def _loaded(self, notices: list[Event]) -> LoadedModel:
        """Load the published model; damaged weights are replaced by the newest checkpoint's, with a notice."""
        if not self.ranks.is_main:
            return model_store.load(self.workspace, self.plan.model)
        loaded, restored = load_restored(self.workspace, self.plan.model)
        if restored is not None:
            notices.append(Notice(restored, "weights_restored", {"iteration": restored}))
        return loaded

    def _tokenizer(self, loaded: LoadedModel, books: list[SplitBook]) -> Generator[Event, None, tuple[Tokenizer, bool]]:
        """The model's own, or one fitted on the training part of its first books."""
        if loaded.tokenizer is not None:
            return loaded.tokenizer, False
        return (yield from fit_tokenizer(books, loaded.config.vocab_size)), True

    def _newest_checkpoint(self, notices: list[Event]) -> Checkpoint | None:
        checkpoint, damaged = checkpoint_store.latest(self.workspace, self.plan.model)
        used = checkpoint.iteration if checkpoint else 0
        notices += [Notice(used, "checkpoint_corrupt", {"iteration": iteration}) for iteration in damaged]
        return checkpoint

    def _trainer(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        dataset: TokenDataset,
        books: list[SplitBook],
        checkpoint: Checkpoint | None,
        notices: list[Event],
    ) -> AZRTrainer:
        model, state, optimizer, exact = loaded.model, TrainerState(), None, True
        if checkpoint is not None:
            state = TrainerState.from_json(checkpoint.state["trainer"])
            same_books = checkpoint.state["books_key"] == self.books_key
            if same_books:
                model.load_state_dict(checkpoint.weights)
                optimizer = checkpoint.optimizer
                exact = self._is_exact(loaded.config, checkpoint, notices)
                then = TrainConfig.model_construct(**checkpoint.state["config"])  # perhaps of another version
                if _is_finished(state, then) or _is_finished(state, self.config):
                    state = state.longer()
            else:
                state = state.next_run()
        return AZRTrainer(
            model,
            tokenizer,
            dataset,
            self.config,
            name=self.plan.model,
            self_play=self._self_play(model, tokenizer, books),
            state=state,
            optimizer_state=optimizer,
            exact=exact,
            ranks=self.ranks,
        )

    def _slow_down(self, state: TrainerState, checkpoint: Checkpoint | None, notices: list[Event]) -> None:
        """Half the learning rate for each time that this run went back; a rate that the person chose anew is taken as it is."""
        if checkpoint is not None and checkpoint.state["config"]["learning_rate"] != self.config.learning_rate:
            state.rate_factor = 1.0
        if self.times_back:
            state.rate_factor = min(state.rate_factor, 0.5**self.times_back)
            values: dict[str, str | int | float] = {"learning_rate": self.config.learning_rate * state.rate_factor}
            notices.append(Notice(state.iteration, "went_back", values))

    def _is_exact(self, model: ModelConfig, checkpoint: Checkpoint, notices: list[Event]) -> bool:
        """Whether the run goes on bit for bit from `checkpoint`; adds a notice that says so, or what has changed."""
        now = circumstances(model, self.config, self.ranks)
        changed = differences(now, checkpoint.state["circumstances"])
        values: dict[str, str | int | float] = {"iteration": checkpoint.iteration, "reason": changed}
        notices.append(Notice(checkpoint.iteration, "resumed_not_exact" if changed else "resumed", values))
        return not changed

    def _self_play(self, model: Transformer, tokenizer: Tokenizer, books: list[SplitBook]) -> SelfPlay | None:
        config = self.config.self_play
        if not config.enabled:
            return None
        texts = [book.train for book in books]
        environment = make_environment(
            config, model.config, texts, tokenizer.encode, tokenizer.decode, self.config.seed
        )
        return SelfPlay(environment, config, tokenizer, model.config, self.config.seed, self.ranks)

    # ---- saving --------------------------------------------------------------------------------------------------------

    def _is_due(self, iteration: int) -> bool:
        minutes = (time.monotonic() - self.saved_at) / 60
        return iteration % self.config.checkpoint_every == 0 or minutes >= self.config.checkpoint_minutes

    def _saved(self, trainer: AZRTrainer) -> Generator[Event, None, None]:
        yield StageBegun(Stage.SAVING)
        if (event := self._save(trainer)) is not None:
            yield event

    def _save(self, trainer: AZRTrainer) -> CheckpointSaved | None:
        """Save a checkpoint on rank 0, unless this very state is saved already. Raises DiskFull; the checkpoint before stays."""
        if not self.ranks.is_main or trainer.state.to_json() == self.saved_state:
            return None
        snapshot = trainer.snapshot()
        state = {
            "trainer": snapshot.state,
            "books": list(self.plan.books),
            "books_key": self.books_key,
            "circumstances": circumstances(trainer.model.config, self.config, self.ranks),
            "config": self.config.model_dump(mode="json"),
        }
        size = checkpoint_store.save(
            self.workspace,
            self.plan.model,
            Checkpoint(snapshot.iteration, snapshot.weights, snapshot.optimizer, state),
            keep=self.config.keep_checkpoints,
            budget_bytes=self.config.disk_budget_bytes,
        )
        self.saved_at, self.saved_state = time.monotonic(), snapshot.state
        give_back_unused()
        return CheckpointSaved(snapshot.iteration, size)

    def _is_worth_publishing(self, trainer: AZRTrainer, event: Evaluated) -> bool:
        """Whether this is the best version so far, and these books have been learned from at all."""
        return event.is_best and trainer.state.has_learned and self.ranks.is_main

    def _publish(self, trainer: AZRTrainer, event: Evaluated) -> ModelPublished:
        summary = TrainingSummary(
            iteration=event.iteration,
            val_loss=event.val_loss,
            bits_per_byte=event.bits_per_byte,
            books=self.plan.books,
            trained_at=_now(),
            elapsed_seconds=event.elapsed_seconds,
            from_iteration=trainer.state.schedule_start,
        )
        weights = trainer.average.model.state_dict()
        model_store.publish(self.workspace, self.plan.model, trainer.model.config, weights, summary)
        return ModelPublished(event.iteration, event.val_loss)


def _is_finished(state: TrainerState, config: TrainConfig) -> bool:
    if config.patience is not None and state.evaluations_since_best >= config.patience:
        return True
    return config.iterations is not None and state.iteration >= state.run_start + config.iterations
