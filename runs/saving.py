"""Decide when a training is saved and published, and do it on rank 0.

A checkpoint is due by count and by time, once more when the person stops the training, and at its end; the model is published
whenever the held-out loss is the best so far.

Not here: how checkpoints and models are stored (store/).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from azr_trainer import AZRTrainer
from events import CheckpointSaved, Evaluated, Event, ModelPublished, Stage, StageBegun
from formats.lineage import TrainingSummary
from machine.memory import give_back_unused
from machine.processes import Ranks
from runs.plan import BooksRead, TrainingPlan
from runs.reproducibility import circumstances
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from workspace import Workspace


class Saver:
    """Saves and publishes one run. Each checkpoint stores which text was read, so that only a training on the same text continues from it."""

    def __init__(self, workspace: Workspace, plan: TrainingPlan, ranks: Ranks, books: BooksRead) -> None:
        self.workspace, self.plan, self.config, self.ranks = workspace, plan, plan.config, ranks
        self.books = books
        self.saved_at = time.monotonic()
        self.saved_state: dict[str, Any] | None = None

    def is_due(self, iteration: int) -> bool:
        """Return whether a checkpoint is due, by count or by time."""
        minutes = (time.monotonic() - self.saved_at) / 60
        return iteration % self.config.checkpoint_every == 0 or minutes >= self.config.checkpoint_minutes

    def saved(self, trainer: AZRTrainer) -> Generator[Event, None, None]:
        """Save a checkpoint and report it."""
        yield StageBegun(Stage.SAVING)
        if (event := self.save(trainer)) is not None:
            yield event

    def save(self, trainer: AZRTrainer) -> CheckpointSaved | None:
        """Save a checkpoint on rank 0, unless this state was saved already. Raises DiskFull; the previous checkpoint then remains."""
        if not self.ranks.is_main or trainer.state.to_json() == self.saved_state:
            return None
        snapshot = trainer.snapshot()
        state = {
            "trainer": snapshot.state,
            "books": list(self.plan.books),
            "books_key": self.books.key,
            "held_out_places": self.books.held_out_places,
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

    def is_worth_publishing(self, trainer: AZRTrainer, event: Evaluated) -> bool:
        """Return whether this is the best version so far and comes after at least one step on these books."""
        return event.is_best and trainer.state.has_learned and self.ranks.is_main

    def publish(self, trainer: AZRTrainer, event: Evaluated) -> ModelPublished:
        """Publish the averaged weights as the model's own. Raises DiskFull."""
        summary = TrainingSummary(
            iteration=event.iteration,
            val_loss=event.val_loss,
            bits_per_byte=event.bits_per_byte,
            books=self.plan.books,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            elapsed_seconds=event.elapsed_seconds,
            from_iteration=trainer.state.schedule_start,
        )
        weights = trainer.average.model.state_dict()
        model_store.publish(self.workspace, self.plan.model, trainer.model.config, weights, summary)
        return ModelPublished(event.iteration, event.val_loss)
