"""A checked request for a training, and what its checkpoints store about its books."""

from __future__ import annotations

from dataclasses import dataclass

from config import TrainConfig
from events import State
from runs.run_record import read_run, status_of
from store import checkpoint_store
from workspace import Workspace


@dataclass(frozen=True)
class BooksRead:
    """What a checkpoint stores about its books, so that only a training on the same text continues from it."""

    key: str  # changes with the tokens, their split and the optimizer
    held_out_places: int  # in one book, at most


@dataclass(frozen=True)
class TrainingPlan:
    """A checked request: the model and every book exist, and the training fits into memory."""

    model: str
    books: tuple[str, ...]
    config: TrainConfig
    resumed: bool = False  # continues an unfinished run on the same books
    expected_seconds: float | None = None  # as forecast, for comparison at the end of the run
    expected_bytes: int | None = None


def can_resume(workspace: Workspace, model: str, books: tuple[str, ...]) -> bool:
    """Return whether the last run of a model was on these books, ended early and left a checkpoint."""
    return is_unfinished(workspace, model) and status_of(model, read_run(workspace, model)).books == books


def is_unfinished(workspace: Workspace, model: str) -> bool:
    """Return whether the last run of a model ended early and left a checkpoint."""
    last = status_of(model, read_run(workspace, model))
    return last.state is not State.DONE and bool(checkpoint_store.iterations(workspace, model))


def last_iteration(workspace: Workspace, plan: TrainingPlan, first: int) -> int | None:
    """Return the iteration at which a training that begins at `first` will end, or None where it is endless.

    An unfinished run counts its iterations from where it once began; every other training adds them to `first`.
    """
    iterations = plan.config.iterations
    if iterations is None:
        return None
    last = status_of(plan.model, read_run(workspace, plan.model)) if plan.resumed else None
    if last and last.config and last.iterations is not None and last.config.iterations is not None:
        goal = last.iterations - last.config.iterations + iterations
        return goal if goal > first else first + iterations
    return first + iterations
