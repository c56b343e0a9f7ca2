"""Begin trainings: at once, or one after another from the queue. `services.changes` guards every change of the queue."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
from collections.abc import Iterator

import workflows
from errors import AZRError, QueueEntryNotFound, TrainingRuns
from events import ACTIVE_STATES
from web.services import Services
from workflows import TrainingPlan, Waiting

_log = logging.getLogger(__name__)


def require_idle(services: Services) -> None:
    """Raise TrainingRuns while a training runs."""
    running = services.runner.status()
    if running.state in ACTIVE_STATES:
        raise TrainingRuns(model=running.model or "")


def begin(services: Services, plan: TrainingPlan) -> str:
    """Begin a checked training, with its forecast if that is known, and return its job id. Call it under `services.changes`.

    Raises TrainingRuns, Overloaded.
    """
    plan = workflows.attach_forecast(plan, services.forecasts.known(services.workspace, plan))
    run = lambda: services.forecasts.after(workflows.train(services.workspace, plan))  # noqa: E731
    return services.runner.submit(plan.model, plan.books, run, plan.config)


def enqueue(services: Services, plan: TrainingPlan) -> Waiting:
    """Put a checked training at the end of the queue; where nothing runs it begins now. Call it under `services.changes`."""
    entry = Waiting(secrets.token_hex(6), plan.model, plan.books, plan.config)
    workflows.write_queue(services.workspace, [*workflows.read_queue(services.workspace), entry])
    begin_next(services)
    return entry


def dequeue(services: Services, entry_id: str) -> None:
    """Remove a training that has not begun. Raises QueueEntryNotFound. Call it under `services.changes`."""
    queue = workflows.read_queue(services.workspace)
    left = [each for each in queue if each.id != entry_id or each.begun]
    if len(left) == len(queue):
        raise QueueEntryNotFound(id=entry_id)
    workflows.write_queue(services.workspace, left)


def follow_rename(services: Services, name: str, new_name: str) -> None:
    """Let the waiting trainings of a model follow its new name. Call it under `services.changes`."""
    queue = workflows.read_queue(services.workspace)
    renamed = [dataclasses.replace(each, model=new_name) if each.model == name else each for each in queue]
    if renamed != queue:
        workflows.write_queue(services.workspace, renamed)


def begin_next(services: Services) -> None:
    """Begin the first training that can, unless one runs. Call it under `services.changes`."""
    if services.runner.status().state in ACTIVE_STATES:
        return
    for entry in workflows.read_queue(services.workspace):
        if entry.error is not None:
            continue
        try:
            plan = workflows.prepare_training(services.workspace, entry.model, entry.books, entry.config)
            begin(services, plan)
        except AZRError as error:
            shown = {"code": error.code, "parameters": error.parameters, "field": error.field}
            _replace(services, dataclasses.replace(entry, error=shown, begun=False))
            continue
        _replace(services, dataclasses.replace(entry, begun=True))
        return


def after_a_training(services: Services) -> None:
    """Take the training that has ended out of the queue and begin the next one; the worker thread calls this."""
    with services.changes, _only_logged():
        queue = workflows.read_queue(services.workspace)
        if any(each.begun for each in queue):
            workflows.write_queue(services.workspace, [each for each in queue if not each.begun])
        begin_next(services)


def after_the_start(services: Services) -> None:
    """Go on with the queue of the server before."""
    with services.changes, _only_logged():
        begin_next(services)


@contextlib.contextmanager
def _only_logged() -> Iterator[None]:
    """Log any error instead of raising it: a queue that cannot go on stops neither the server nor its worker thread."""
    try:
        yield
    except Exception:
        _log.exception("the queue cannot go on")


def _replace(services: Services, entry: Waiting) -> None:
    queue = workflows.read_queue(services.workspace)
    workflows.write_queue(services.workspace, [entry if each.id == entry.id else each for each in queue])
