"""Training over HTTP: start, stop, status, history, rollouts. The live stream is in `web/event_stream.py`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

import workflows
from config import TrainConfig
from events import TrainingStatus
from i18n import Translator
from web.answers import JSONAnswer, plain
from web.bodies import ERROR_ANSWERS, JSON_BODY
from web.schemas import Train, narrowed
from web.services import ServicesDep, TranslatorDep
from web.training_queue import begin, dequeue, enqueue, require_idle

router = APIRouter(tags=["training"], responses=ERROR_ANSWERS)


@router.post("/train", status_code=202, dependencies=[JSON_BODY], summary="Start or resume a training")
def train(body: Train, services: ServicesDep) -> Response:
    """Start a training; only one runs at a time. `iterations: null` trains until it is stopped.

    With `queue: true` it waits its turn instead, and `job_id` is that of its place in the queue.
    """
    with services.changes:
        if not body.queue:
            require_idle(services)
        plan = workflows.prepare_training(services.workspace, body.model, body.books, narrowed(body, TrainConfig))
        job_id = enqueue(services, plan).id if body.queue else begin(services, plan)
    return JSONAnswer({"job_id": job_id, "model": plan.model, "resumed": plan.resumed}, status_code=202)


@router.post("/forecast", dependencies=[JSON_BODY], summary="Measure how long a training will take")
def forecast(body: Train, services: ServicesDep) -> Response:
    """Rehearse the training for some seconds, once for such settings. Nothing is started or kept.

    409 while a training runs; 503 with Retry-After when many forecasts wait already.
    """
    with services.forecasts.place():
        plan = workflows.prepare_training(services.workspace, body.model, body.books, narrowed(body, TrainConfig))
        return JSONAnswer(services.forecasts.forecast(services.workspace, plan, services.runner))


@router.post("/stop_training", status_code=202, summary="Stop after the running iteration and save")
def stop_training(services: ServicesDep, translator: TranslatorDep) -> Response:
    """Stop and save. Training the same model again continues from there."""
    services.runner.stop()
    return JSONAnswer(status_json(services.runner.status(), translator), status_code=202)


@router.get("/queue", summary="Trainings that wait their turn")
def queue(services: ServicesDep, translator: TranslatorDep) -> Response:
    """Return them in their order; `error` says why one cannot begin. The one that runs is not among them."""
    waiting = [each for each in workflows.read_queue(services.workspace) if not each.begun]
    return JSONAnswer({"waiting": [waiting_json(each, translator) for each in waiting]})


@router.delete("/queue/{job_id}", status_code=204, summary="Remove a training from the queue")
def leave_queue(job_id: str, services: ServicesDep) -> None:
    with services.changes:
        dequeue(services, job_id)


def waiting_json(waiting: workflows.Waiting, translator: Translator) -> dict[str, Any]:
    """Return a waiting training for clients."""
    error = waiting.error and {**waiting.error, "message": translator.error(waiting.error)}
    facts = {"job_id": waiting.id, "model": waiting.model, "books": waiting.books}
    return facts | {"iterations": waiting.config.iterations, "max_minutes": waiting.config.max_minutes, "error": error}


@router.get("/training_status", summary="Status of the training")
async def training_status(services: ServicesDep, translator: TranslatorDep) -> Response:
    """Return the status. `state` is idle, queued, running, stopping, stopped, done, failed or interrupted. Unknown values are null."""
    return JSONAnswer(status_json(services.runner.status(), translator))


@router.get("/training_history", summary="Data for the charts of a model's trainings")
def training_history(
    model: str,
    services: ServicesDep,
    translator: TranslatorDep,
    points: Annotated[int, Query(ge=10, le=100_000)] = 1000,
) -> Response:
    """Return at most about `points` points per curve, how self-play has changed the model's texts, and the status of its last run (both null before that). Pass `last_event_id` to `/training_events` to continue without a gap."""
    last_event_id = services.runner.last_event_id  # before reading: an event in between is seen twice rather than never
    name = workflows.get_model(services.workspace, model).name
    history = plain(workflows.history(services.workspace, name, points))
    compared = plain(workflows.comparison(services.workspace, name))
    last = workflows.last_status(services.workspace, name)
    status = last and status_json(last, translator)
    return JSONAnswer(history | {"compared": compared, "status": status, "last_event_id": last_event_id})


@router.get("/rollouts", summary="Self-play texts with their rewards")
def rollouts(
    model: str,
    services: ServicesDep,
    before: Annotated[int | None, Query(ge=0, description="only rounds before this one")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
) -> Response:
    """Return rounds of self-play, the newest first."""
    name = workflows.get_model(services.workspace, model).name
    return JSONAnswer({"rounds": workflows.rollouts(services.workspace, name, before=before, limit=limit)})


def status_json(status: TrainingStatus, translator: Translator) -> dict[str, Any]:
    """Return the status for clients, with the messages of notices and error and the number of iterations left."""
    answer: dict[str, Any] = plain(status)
    for notice in answer["notices"]:
        notice["message"] = translator.notice(notice["code"], notice["parameters"])
    if status.error is not None:
        answer["error"] = {**status.error, "message": translator.error(status.error)}
    left = None if status.iterations is None else max(0, status.iterations - status.iteration)
    return answer | {"iterations_left": left}
