"""The first run over HTTP: from an empty workspace to a running training with one call."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Response

import workflows
from config import PRESETS, TrainConfig
from errors import NoBooks
from web.answers import JSONAnswer
from web.bodies import ERROR_ANSWERS, JSON_BODY
from web.schemas import FirstRun
from web.services import Services, ServicesDep, TranslatorDep
from web.training_queue import begin, require_idle


@dataclass(frozen=True)
class Started:
    job_id: str
    model: str
    books: tuple[str, ...]
    seconds: float


router = APIRouter(tags=["training"], responses=ERROR_ANSWERS)


@router.post(
    "/first_run", status_code=202, dependencies=[JSON_BODY], summary="Create a model and train it for some minutes"
)
def first_run(body: FirstRun, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Create a model and start a training that ends after `minutes`, however fast this machine is.

    Without `books` it reads the example book in your language. 409 while a training runs; nothing stays behind after an error.
    """
    require_idle(services)
    books = tuple(workflows.get_book(services.workspace, name) for name in body.books)
    books = books or (_example(services, translator.language),)
    name = body.name if body.name is not None else workflows.name_after(services.workspace, books[0])
    model = workflows.create_model(services.workspace, name, PRESETS[body.preset])
    try:
        return JSONAnswer(_start(services, model.name, books, body.minutes), status_code=202)
    except BaseException:
        workflows.delete_model(services.workspace, model.name)
        raise


def _example(services: Services, language: str) -> workflows.BookInfo:
    if services.example_book is None:
        raise NoBooks(field="books")
    return workflows.add_example(services.workspace, services.example_book, language)


def _start(services: Services, model: str, books: tuple[workflows.BookInfo, ...], minutes: float) -> Started:
    config = TrainConfig(iterations=None, max_minutes=minutes)
    if (prompt := workflows.sample_prompt(books)) is not None:
        config = config.model_copy(update={"sample_prompt": prompt})
    plan = workflows.prepare_training(services.workspace, model, tuple(book.name for book in books), config)
    with services.changes:
        job_id = begin(services, plan)
    return Started(job_id, model, plan.books, minutes * 60)
