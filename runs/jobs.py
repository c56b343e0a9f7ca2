"""Run one training at a time in a worker thread and keep its state, its status and its latest events.

A job is a generator of events (`workflows.train`). The thread consumes it; other threads read a frozen status, computed from
the events by `events.advance`, and the events themselves from a ring buffer. Stopping closes the
generator from the worker thread, where the workflow saves. Ids of events grow by one and never repeat in a runner.

Two things are not kept in the ring buffer: the texts of self-play (`SelfPlayDone.rollouts`, which are on disk) and
`StageBegun`, of which only the newest matters and is part of the status.

Not covered: the order of waiting trainings (queue.py), more than one at a time, and what a training is: nothing here knows torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from config import TrainConfig
from errors import AZRError, InternalError, NothingToStop, Overloaded, TrainingRuns
from events import ACTIVE_STATES, Event, SelfPlayDone, StageBegun, State, TrainingStatus, advance, stopped

Run = Callable[[], Generator[Event, None, None]]

LOG_SIZE = 2_000  # events: minutes of a training on a processor, seconds on a card; a page reconnects faster

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A requested training, with its first status and the function that returns its generator."""

    id: str
    status: TrainingStatus
    run: Run


class JobRunner:
    """Runs jobs in a worker thread. All methods are thread-safe; only `wait` and `close` wait for the training."""

    def __init__(self, *, log_size: int = LOG_SIZE, first_id: int = 1) -> None:
        self._changed = threading.Condition()
        self._status = TrainingStatus()
        self._log: deque[tuple[int, Event]] = deque(maxlen=log_size)
        self._last_id = first_id - 1
        self._waiting: Job | None = None
        self._stop_asked = False
        self._closed = False
        self._worker: threading.Thread | None = None
        self._after_each: Callable[[], None] | None = None

    # ---- asking ------------------------------------------------------------------------------------------------------

    def submit(self, model: str, books: tuple[str, ...], run: Run, config: TrainConfig | None = None) -> str:
        """Queue a training and return its id. Raises TrainingRuns while another one is active, Overloaded after `close`."""
        with self._changed:
            if self._status.state in ACTIVE_STATES:
                raise TrainingRuns(model=self._status.model or "")
            if self._closed:
                raise Overloaded(seconds=10)
            job_id = secrets.token_hex(6)
            self._status = TrainingStatus(state=State.QUEUED, job_id=job_id, model=model, books=books, config=config)
            self._waiting = Job(job_id, self._status, run)
            self._stop_asked = False
            self._start_worker()
            self._changed.notify_all()
            return job_id

    def after_each(self, action: Callable[[], None]) -> None:
        """Let the worker thread call `action` whenever a training has ended, but not while the server goes down."""
        self._after_each = action

    def stop(self) -> None:
        """Ask the training to save and end; asking again changes nothing. Raises NothingToStop."""
        with self._changed:
            if self._status.state not in ACTIVE_STATES:
                raise NothingToStop()
            self._stop_asked = True
            self._status = dataclasses.replace(self._status, state=State.STOPPING)
            self._changed.notify_all()

    def status(self) -> TrainingStatus:
        with self._changed:
            return self._status

    @property
    def last_event_id(self) -> int:
        with self._changed:
            return self._last_id

    def events_after(self, last_id: int) -> tuple[list[tuple[int, Event]], bool]:
        """Return the events after `last_id` with their ids, and whether the buffer still held all of them."""
        with self._changed:
            known = self._last_id - len(self._log)  # the newest id that is not in the ring
            complete = known <= last_id <= self._last_id
            return list(islice(self._log, max(0, last_id - known), None)), complete

    def restore(self, status: TrainingStatus) -> None:
        """Set the status to that of the last run in the workspace, until a new one is submitted."""
        with self._changed:
            assert self._status.state not in ACTIVE_STATES
            if status.state in ACTIVE_STATES:  # its process is gone
                status = dataclasses.replace(status, state=State.INTERRUPTED)
            self._status = status

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until no training is active; return whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._status.state not in ACTIVE_STATES, timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Accept no more jobs, stop the running one and wait until it is saved; return whether that happened in time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with contextlib.suppress(NothingToStop):
            self.stop()
        if self._worker is not None:
            self._worker.join(timeout_seconds)
        return self._worker is None or not self._worker.is_alive()

    # ---- the worker thread -------------------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="training", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            state, error = self._outcome(job)
            with self._changed:
                self._status = dataclasses.replace(self._status, state=state, error=error, stage=None, eta_seconds=None)
                self._status = stopped(self._status) if state is State.STOPPED else self._status
                self._changed.notify_all()
                goes_on = not self._closed
            if goes_on and self._after_each is not None:
                self._after_each()

    def _next_job(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closed)
            job, self._waiting = self._waiting, None
            if job is not None and not self._stop_asked:
                self._status = dataclasses.replace(self._status, state=State.RUNNING)
            return job

    def _outcome(self, job: Job) -> tuple[State, dict[str, Any] | None]:
        try:
            return (State.DONE if self._consume(job.run) else State.STOPPED), None
        except AZRError as error:
            return State.FAILED, _described(error)
        except BaseException:  # after any error the state must not stay "running"
            reference = secrets.token_hex(4)
            logger.exception("training %s of model %r failed, reference %s", job.id, job.status.model, reference)
            return State.FAILED, _described(InternalError(reference=reference))

    def _consume(self, run: Run) -> bool:
        """Consume the generator; return True if it reached its end, False if it was stopped."""
        if self._stop_asked:
            return False
        with contextlib.closing(run()) as generator:
            for event in generator:
                self._record(event)
                if self._stop_asked:
                    return False
        return True

    def _record(self, event: Event) -> None:
        with self._changed:
            self._status = advance(self._status, event)
            if isinstance(event, StageBegun):
                return
            if isinstance(event, SelfPlayDone):
                event = dataclasses.replace(event, rollouts=())
            self._last_id += 1
            self._log.append((self._last_id, event))


def _described(error: AZRError) -> dict[str, Any]:
    """Return the error in the form of `TrainingStatus.error`; the message is added when it is shown."""
    return {"code": error.code, "parameters": error.parameters, "field": error.field}
