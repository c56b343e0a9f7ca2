"""Load a model from its newest checkpoint if its published weights are damaged."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from errors import ModelDamaged
from formats.lineage import TrainingSummary
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from store.model_files import WEIGHTS
from store.model_store import LoadedModel
from workspace import Workspace

_log = logging.getLogger(__name__)


def load_or_checkpoint(ws: Workspace, name: str) -> LoadedModel:
    """Load the published model, or its newest checkpoint's weights where the published ones are damaged.

    Writes nothing. Raises ModelNotFound, AccessDenied for a file that may not be read, and ModelDamaged if no checkpoint can
    replace the weights.
    """
    try:
        return model_store.load(ws, name)
    except ModelDamaged as damage:
        return _from(ws, name, _rescue(ws, name, damage))


def load_restored(ws: Workspace, name: str) -> tuple[LoadedModel, int | None]:
    """Load the published model; damaged weights are replaced by the newest checkpoint's first.

    Also returns the iteration of that checkpoint, or None if nothing was damaged. Raises ModelNotFound, DiskFull,
    AccessDenied for weights that only may not be read, and ModelDamaged if no checkpoint can replace them.
    """
    try:
        return model_store.load(ws, name), None
    except ModelDamaged as damage:
        checkpoint = _rescue(ws, name, damage)
        loaded = _from(ws, name, checkpoint)
    _log.warning("the weights of %s were damaged; checkpoint %d replaces them", name, checkpoint.iteration)
    model_store.publish(ws, name, loaded.config, checkpoint.weights, _summary(checkpoint))
    return model_store.load(ws, name), checkpoint.iteration


def _rescue(ws: Workspace, name: str, damage: ModelDamaged) -> Checkpoint:
    if damage.parameters["file"] != WEIGHTS:
        raise damage
    checkpoint, _ = checkpoint_store.latest(ws, name)
    if checkpoint is None:
        raise damage
    return checkpoint


def _from(ws: Workspace, name: str, checkpoint: Checkpoint) -> LoadedModel:
    return model_store.load_with(ws, name, checkpoint.weights, "checkpoint")


def _summary(checkpoint: Checkpoint) -> TrainingSummary:
    """Describe a checkpoint's weights; its loss on held-out text was not necessarily measured."""
    trainer = checkpoint.state["trainer"]
    return TrainingSummary(
        iteration=checkpoint.iteration,
        val_loss=None,
        bits_per_byte=None,
        books=tuple(checkpoint.state["books"]),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_seconds=trainer["elapsed_seconds"],
        from_iteration=trainer.get("schedule_start", 0),
    )
