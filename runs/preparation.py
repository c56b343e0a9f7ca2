"""Prepare a training: load the model, split and tokenize the books, fit a tokenizer, continue from a checkpoint.

Training again on the same books continues from the newest checkpoint; a finished run is extended by as many iterations again. A
training on other books starts from the published model.

Not here: running (training_run.py), saving (saving.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass

from azr_trainer import AZRTrainer, TrainerState
from config import ModelConfig, TrainConfig
from corpus import library
from corpus.dataset import MOST_PLACES, SplitBook, TokenDataset, fit_tokenizer, require_size, split
from corpus.repetition import most_times_within
from corpus.token_files import TokenFiles
from events import Event, Notice, Stage, StageBegun
from learning.bigram_start import is_untrained, start_from_bigrams
from learning.self_play import SelfPlay
from machine.memory import give_back_unused
from machine.processes import Ranks
from model import Transformer
from runs.plan import BooksRead, TrainingPlan
from runs.reproducibility import circumstances, differences
from runs.run_log import truncate_after
from runs.vocabulary_fit import misfit
from selfplay.factory import make_environment, repetition_window
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from store.model_store import LoadedModel
from store.restore import load_restored
from tokenizer import Tokenizer
from workspace import Workspace


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready to run, notices for the person, and what its checkpoints store about the books."""

    trainer: AZRTrainer
    notices: list[Event]
    books: BooksRead


class Preparation:
    """Prepares one attempt at a plan; `times_back` counts how often the run went back because it diverged."""

    def __init__(self, workspace: Workspace, plan: TrainingPlan, ranks: Ranks, times_back: int) -> None:
        self.workspace, self.plan, self.config, self.ranks = workspace, plan, plan.config, ranks
        self.times_back = times_back
        self.books_read = BooksRead("", MOST_PLACES)

    def prepare(self) -> Generator[Event, None, Prepared]:
        """Load model, books and checkpoint, reporting each stage; return the trainer. Raises BookTooSmall and the errors of store/."""
        if not self.ranks.is_main:
            self.ranks.wait()  # until rank 0 has stored the tokenizer
        notices: list[Event] = []
        loaded = self._loaded(notices)
        checkpoint = self._newest_checkpoint(notices)
        places = self._held_out_places(checkpoint)
        texts = (library.open_text(self.workspace, book) for book in self.plan.books)
        books = [split(text, self.config.val_fraction, places) for text in texts]
        tokenizer, new_tokenizer = yield from self._tokenizer(loaded, books)
        give_back_unused()
        dataset = yield from self._tokens(books, tokenizer, places)
        give_back_unused()
        require_size(dataset, loaded.config.max_seq_len)
        if new_tokenizer:
            model_store.set_tokenizer(self.workspace, self.plan.model, tokenizer)
        if self.ranks.is_main:
            self.ranks.wait()
        weights = f"/{self.config.book_weights}" if len(set(self.config.book_weights)) > 1 else ""
        key = hashlib.sha256(f"{dataset.fingerprint}/{self.config.optimizer}{weights}".encode()).hexdigest()
        self.books_read = BooksRead(key, places)
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
        return Prepared(trainer, notices, self.books_read)

    def _loaded(self, notices: list[Event]) -> LoadedModel:
        """Load the published model; damaged weights are replaced by the newest checkpoint's, with a notice."""
        if not self.ranks.is_main:
            return model_store.load(self.workspace, self.plan.model)
        loaded, restored = load_restored(self.workspace, self.plan.model)
        if restored is not None:
            notices.append(Notice(restored, "weights_restored", {"iteration": restored}))
        return loaded

    def _tokenizer(self, loaded: LoadedModel, books: list[SplitBook]) -> Generator[Event, None, tuple[Tokenizer, bool]]:
        """Return the model's tokenizer and False, or one fitted on the training parts of its first books and True."""
        if loaded.tokenizer is not None:
            return loaded.tokenizer, False
        return (yield from fit_tokenizer(books, loaded.config.vocab_size)), True

    def _tokens(
        self, books: list[SplitBook], tokenizer: Tokenizer, places: int
    ) -> Generator[Event, None, TokenDataset]:
        texts = (library.text_identity(self.workspace, book) for book in self.plan.books)
        identities = [f"{text}/{self.config.val_fraction}/{places}" for text in texts]
        dataset = yield from TokenFiles(self.workspace.cache, tokenizer).tokenize(books, identities)
        return dataset

    def _newest_checkpoint(self, notices: list[Event]) -> Checkpoint | None:
        checkpoint, damaged = checkpoint_store.latest(self.workspace, self.plan.model)
        used = checkpoint.iteration if checkpoint else 0
        notices += [Notice(used, "checkpoint_corrupt", {"iteration": iteration}) for iteration in damaged]
        return checkpoint

    def _held_out_places(self, checkpoint: Checkpoint | None) -> int:
        """Return the number of places to hold out: as in the checkpoint's run on these books, so that no text it read is held out."""
        if checkpoint is None or tuple(checkpoint.state["books"]) != self.plan.books:
            return MOST_PLACES
        return int(checkpoint.state.get("held_out_places", 1))  # the first version held out the end of a book

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
            same_books = checkpoint.state["books_key"] == self.books_read.key
            if same_books:
                model.load_state_dict(checkpoint.weights)
                optimizer = checkpoint.optimizer
                exact = self._is_exact(loaded.config, checkpoint, notices)
                then = TrainConfig.model_construct(**checkpoint.state["config"])  # perhaps of another version
                if any(state.has_reached_its_end(c) or state.is_out_of_patience(c) for c in (then, self.config)):
                    state = state.longer()
            else:
                state = state.next_run()
        return AZRTrainer(
            model,
            tokenizer,
            dataset,
            self.config,
            name=self.plan.model,
            self_play=self._self_play(model, tokenizer, dataset, books),
            state=state,
            optimizer_state=optimizer,
            exact=exact,
            ranks=self.ranks,
        )

    def _slow_down(self, state: TrainerState, checkpoint: Checkpoint | None, notices: list[Event]) -> None:
        """Halve the learning rate for each time that this run went back; a rate that the person changed is used as it is."""
        if checkpoint is not None and checkpoint.state["config"]["learning_rate"] != self.config.learning_rate:
            state.rate_factor = 1.0
        if self.times_back:
            state.rate_factor = min(state.rate_factor, 0.5**self.times_back)
            values: dict[str, str | int | float] = {"learning_rate": self.config.learning_rate * state.rate_factor}
            notices.append(Notice(state.iteration, "went_back", values))

    def _is_exact(self, model: ModelConfig, checkpoint: Checkpoint, notices: list[Event]) -> bool:
        """Return whether the run continues from `checkpoint` bit for bit; add a notice that says so or names what has changed."""
        now = circumstances(model, self.config, self.ranks)
        changed = differences(now, checkpoint.state["circumstances"])
        values: dict[str, str | int | float] = {"iteration": checkpoint.iteration, "reason": changed}
        notices.append(Notice(checkpoint.iteration, "resumed_not_exact" if changed else "resumed", values))
        return not changed

    def _self_play(
        self, model: Transformer, tokenizer: Tokenizer, dataset: TokenDataset, books: list[SplitBook]
    ) -> SelfPlay | None:
        config = self.config.self_play
        if not config.enabled:
            return None
        texts = [book.train for book in books]
        repeated = most_times_within(dataset.train, repetition_window(config, model.config))
        environment = make_environment(
            config, model.config, texts, repeated, tokenizer.encode, tokenizer.decode, self.config.seed
        )
        return SelfPlay(environment, config, tokenizer, model.config, self.config.seed, self.ranks)
