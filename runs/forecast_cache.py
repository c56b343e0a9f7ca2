"""Forecasts for people who are choosing: one rehearsal at a time, remembered, and none beside a training.

A training that is asked for meanwhile ends a rehearsal. It takes some seconds of all cores, so it is made once for each model,
books and settings that its times depend on; the number of iterations and how often things happen change the sum only.

Not here: the rehearsal and the sums (forecast.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Hashable

from config import Decides, SelfPlayConfig, TrainConfig, names_of
from errors import TrainingRuns
from events import ACTIVE_STATES, Event
from runs import forecast
from runs.forecast import Forecast
from runs.jobs import JobRunner
from runs.rehearsal import Pace
from runs.training_run import TrainingPlan
from store import model_store
from workspace import Workspace

REMEMBERED = 32


class ForecastCache:
    def __init__(self) -> None:
        self._measuring = threading.Lock()
        self._known: OrderedDict[Hashable, Pace] = OrderedDict()

    def forecast(self, workspace: Workspace, plan: TrainingPlan, runner: JobRunner) -> Forecast:
        """Waits for a rehearsal when this one is new. Raises TrainingRuns, and what `forecast.pace` raises."""
        key = _key(workspace, plan)
        with self._measuring:
            if key not in self._known:
                self._known[key] = forecast.pace(workspace, plan, lambda: _require_idle(runner))
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            return forecast.forecast(workspace, plan, self._known[key])

    def known(self, workspace: Workspace, plan: TrainingPlan) -> Forecast | None:
        """The forecast that was made for such a plan, if any; never waits."""
        pace = self._known.get(_key(workspace, plan))
        return None if pace is None else forecast.forecast(workspace, plan, pace)

    def after(self, training: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """The training, begun once no rehearsal is under way: both draw from torch's random generator."""
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
    return model_store.get_model(workspace, plan.model), plan.books, timed
