"""Cache forecasts: one rehearsal at a time, and none while a training runs.

A rehearsal takes several seconds on all cores, so its result is kept for each combination of model, books and settings that
affect the pace. A training that starts meanwhile ends the rehearsal.

Not here: measuring and computing (forecast.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterator

from config import Decides, ModelConfig, SelfPlayConfig, TrainConfig, names_of
from corpus import library
from errors import Overloaded, TrainingRuns
from events import ACTIVE_STATES, Event
from runs import forecast
from runs.forecast import Forecast
from runs.jobs import JobRunner
from runs.plan import TrainingPlan
from runs.rehearsal import Pace
from store.model_list import get_model
from workspace import Workspace

REMEMBERED = 32
MOST_WAITING = 8  # requests; each holds one of the server's forty threads until its rehearsal is done
RETRY_SECONDS = 15  # about the length of a rehearsal


class ForecastCache:
    def __init__(self) -> None:
        self._measuring = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._known: OrderedDict[Hashable, Pace] = OrderedDict()
        self._of_new: dict[ModelConfig, tuple[Pace, int]] = {}  # with the characters of the books it was measured on

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for one request. Take it before checking the plan, so that refusing costs nothing.

        Raises Overloaded if MOST_WAITING requests are waiting.
        """
        if not self._waiting.acquire(blocking=False):
            raise Overloaded(reason="forecasts", seconds=RETRY_SECONDS)
        try:
            yield
        finally:
            self._waiting.release()

    def forecast(self, workspace: Workspace, plan: TrainingPlan, runner: JobRunner) -> Forecast:
        """Return the forecast for a plan; rehearse it first if it is not known. Call it inside `place`.

        Raises TrainingRuns and the errors of `forecast.pace`.
        """
        if (known := self.known(workspace, plan)) is not None:
            return known
        return forecast.forecast(workspace, plan, self._measured(workspace, plan, runner))

    def _measured(self, workspace: Workspace, plan: TrainingPlan, runner: JobRunner) -> Pace:
        key = _key(workspace, plan)
        with self._measuring:
            if key not in self._known:
                self._known[key] = forecast.pace(workspace, plan, lambda: _require_idle(runner))
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            return self._known[key]

    def pace_of_new(self, workspace: Workspace, shape: ModelConfig, books: tuple[str, ...], runner: JobRunner) -> Pace:
        """Return the pace of a training of a new model with the defaults, measured once. Call it inside `place`.

        The time is that of the books it was first asked for; only the tokens are those of `books`.
        Raises TrainingRuns, BookNotFound, BookTooSmall, OutOfMemory.
        """
        characters = sum(library.get_book(workspace, book).characters for book in books)
        with self._measuring:
            if shape not in self._of_new:
                found = forecast.pace_of_new(workspace, shape, books, TrainConfig(), lambda: _require_idle(runner))
                self._of_new[shape] = found, characters
            found, measured = self._of_new[shape]
        tokens = max(1, round(found.train_tokens * characters / measured))
        return dataclasses.replace(found, train_tokens=tokens, reading_tokens=tokens)

    def known(self, workspace: Workspace, plan: TrainingPlan) -> Forecast | None:
        """Return the forecast for a plan if its pace is known, else None; never waits."""
        pace = self._known.get(_key(workspace, plan))
        return None if pace is None else forecast.forecast(workspace, plan, pace)

    def after(self, training: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Run a training after any current rehearsal has ended: both draw from torch's random generator."""
        with self._measuring:
            pass
        yield from training


def _require_idle(runner: JobRunner) -> None:
    status = runner.status()
    if status.state in ACTIVE_STATES:
        raise TrainingRuns(model=status.model or "")


def _key(workspace: Workspace, plan: TrainingPlan) -> Hashable:
    timed = (
        plan.config.model_dump_json(include=set(names_of(TrainConfig, Decides.PACE))),
        plan.config.self_play.model_dump_json(include=set(names_of(SelfPlayConfig, Decides.PACE))),
    )
    return get_model(workspace, plan.model), plan.books, timed
