"""Run a training: a plan goes in, events come out, and checkpoints, the published model, the log and the record are written.

Joins preparation, trainer and saving. When the person stops the training (the generator is closed), it is saved; after an error
nothing is saved, because the weights may be bad.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from azr_trainer import AZRTrainer
from errors import AZRError, Diverged
from events import (
    CheckpointSaved,
    Evaluated,
    Event,
    IterationDone,
    ModelPublished,
    RunMeasured,
    RunStarted,
    Stage,
    StageBegun,
    State,
    TrainingStatus,
    advance,
    stopped,
)
from machine.devices import choose_device, describe
from machine.memory import forget_peak_bytes, give_back_unused, lack_named, memory_kept, peak_bytes
from machine.processes import ALONE, Ranks
from runs import launcher
from runs.plan import TrainingPlan
from runs.preparation import Preparation
from runs.run_log import RunLog
from runs.run_record import next_number, write_run
from runs.saving import Saver
from workspace import Workspace

MOST_TIMES_BACK = 3  # after that the run fails with Diverged


def train(workspace: Workspace, plan: TrainingPlan, ranks: Ranks = ALONE) -> Generator[Event, None, None]:
    """Run a plan; close the generator to stop and save. Raises AZRError, such as BookTooSmall, DiskFull or Diverged.

    A plan for more devices than there are `ranks` starts its own processes.
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
            with contextlib.closing(
                _events(workspace, plan, ranks)
            ) as events:  # else a failure of the last save is lost
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
        ):  # everything else is saved; failing to write the record is no failure of the run
            record(State.DONE)


def _events(workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> Generator[Event, None, None]:
    if plan.config.devices > ranks.world_size:
        return launcher.events(workspace, plan.model, plan.books, plan.config)
    return work(workspace, plan, ranks)


def work(workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> Generator[Event, None, None]:
    """Run this process's part of a training, without log and record. Only rank 0 saves and publishes."""
    yield from _Run(workspace, plan, ranks).events()


def _record(status: TrainingStatus, started_at: str) -> dict[str, Any]:
    values = dataclasses.asdict(dataclasses.replace(status, config=None))
    config = status.config.model_dump(mode="json") if status.config else None
    return values | {"config": config, "started_at": started_at, "updated_at": _now()}


def _measured(plan: TrainingPlan, status: TrainingStatus) -> RunMeasured | None:
    """Compare a finished run with its forecast; return None without one. The memory of other processes is not known."""
    if plan.expected_seconds is None or plan.expected_bytes is None:
        return None
    seconds = status.elapsed_seconds - status.started_seconds
    peak = peak_bytes() if plan.config.devices == 1 else None
    return RunMeasured(status.iteration, seconds, plan.expected_seconds, peak, plan.expected_bytes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Run:
    """Runs one plan, in several attempts if it diverges."""

    def __init__(self, workspace: Workspace, plan: TrainingPlan, ranks: Ranks) -> None:
        self.workspace, self.plan, self.ranks = workspace, plan, ranks
        self.times_back = 0

    def events(self) -> Generator[Event, None, None]:
        """Run; after a divergence go back to the newest checkpoint with half the learning rate, at most MOST_TIMES_BACK times."""
        while True:
            try:
                with lack_named(describe(choose_device(self.plan.config.device))):  # also while preparing and saving
                    yield from self._attempt()
                return
            except Diverged:
                self.times_back += 1
                if self.times_back > MOST_TIMES_BACK:
                    raise

    def _attempt(self) -> Generator[Event, None, None]:
        prepared = yield from Preparation(self.workspace, self.plan, self.ranks, self.times_back).prepare()
        saver = Saver(self.workspace, self.plan, self.ranks, prepared.books)
        give_back_unused()
        with memory_kept():
            yield from _training(prepared.trainer, saver, prepared.notices)


def _training(trainer: AZRTrainer, saver: Saver, notices: list[Event]) -> Generator[Event, None, None]:
    run = trainer.run()
    try:
        for event in run:
            published: ModelPublished | None = None
            if isinstance(event, Evaluated) and saver.is_worth_publishing(trainer, event):
                published = saver.publish(
                    trainer, event
                )  # before the event is yielded, because the state counts it already
            yield event
            if isinstance(event, RunStarted):
                yield from notices
            elif published is not None:
                yield published
            elif isinstance(event, IterationDone) and saver.is_due(event.iteration):
                yield from saver.saved(trainer)
                yield StageBegun(Stage.SUPERVISED)
    except GeneratorExit:
        run.close()
        saver.save(trainer)
        raise
    yield from saver.saved(trainer)
