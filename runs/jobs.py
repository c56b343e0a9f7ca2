"""One training at a time, in one worker thread: its state, its status and the log of its events.

A job is a generator of events (`workflows.train`). The thread consumes it; whoever asks sees a frozen status, folded from
the events by `events.advance`, and the events themselves out of a ring that forgets the oldest. Stopping closes the
generator from the worker thread, where the workflow saves. Ids of events grow by one and never repeat in a runner.

Two things are not kept in the ring: the texts of self-play (`SelfPlayDone.rollouts`, they stand on disk) and `StageBegun`,
of which only the newest says anything and which the status holds.

Not covered: queues of trainings, more than one at a time, and what a training is: nothing here knows torch.
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

LOG_SIZE = 2_000  # events: minutes on a processor, seconds on a card, which is longer than a page takes to come back

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What was asked for: `status` is the one it starts from, `run` makes the generator."""

    id: str
    status: TrainingStatus
    run: Run


class JobRunner:
    """Runs jobs; every method may be called from any thread and none waits for the training (but `close`)."""

    def __init__(self, *, log_size: int = LOG_SIZE, first_id: int = 1) -> None:
        self._changed = threading.Condition()
        self._status = TrainingStatus()
        self._log: deque[tuple[int, Event]] = deque(maxlen=log_size)
        self._last_id = first_id - 1
        self._waiting: Job | None = None
        self._stop_asked = False
        self._closed = False
        self._worker: threading.Thread | None = None

    # ---- asking ------------------------------------------------------------------------------------------------------

    def submit(self, model: str, books: tuple[str, ...], run: Run, config: TrainConfig | None = None) -> str:
        """Queue a training and give its id. Raises TrainingRuns while another one is not over, Overloaded after `close`."""
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

    def stop(self) -> None:
        """Ask the training to save and end. Asking twice is asking once. Raises NothingToStop."""
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
        """The events newer than `last_id`; False beside them when some are lost or the id was never given out."""
        with self._changed:
            known = self._last_id - len(self._log)  # the newest id that is not in the ring
            complete = known <= last_id <= self._last_id
            return list(islice(self._log, max(0, last_id - known), None)), complete

    def restore(self, status: TrainingStatus) -> None:
        """Show what the workspace remembers of the last run, until a new one is submitted."""
        with self._changed:
            assert self._status.state not in ACTIVE_STATES
            if status.state in ACTIVE_STATES:  # nobody runs it any more
                status = dataclasses.replace(status, state=State.INTERRUPTED)
            self._status = status

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until no training is active; False when it still is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._status.state not in ACTIVE_STATES, timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Take no more jobs, stop the running one and wait for its saving; False when that takes longer."""
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
        except BaseException:  # whatever it was, the state must not stay "running"
            reference = secrets.token_hex(4)
            logger.exception("training %s of model %r failed, reference %s", job.id, job.status.model, reference)
            return State.FAILED, _described(InternalError(reference=reference))

    def _consume(self, run: Run) -> bool:
        """True when the generator came to its own end, False when it was closed because of a stop."""
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
    """The error as the status carries it; the edge adds the message."""
    return {"code": error.code, "parameters": error.parameters, "field": error.field}
