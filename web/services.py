"""The services that routes use: one frozen object made by `create_app`, passed to each route as a dependency.

The dependencies are `async` on purpose: a plain `def` one would wait for a thread, and `/training_status` must never wait.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

import i18n
import workflows
from errors import InUse
from events import ACTIVE_STATES
from web.network import Network
from workspace import Workspace, name_key

LANGUAGE_COOKIE = "azr_language"


@dataclass(frozen=True)
class Services:
    workspace: Workspace
    runner: workflows.JobRunner
    cache: workflows.ModelCache
    engines: workflows.Engines
    generations: workflows.Generations
    upload_limit_bytes: int
    network: Network
    docs: Path  # the folder of the documents
    example_book: Path | None = None  # the product's own, for a person who has none at hand
    deleted_models: workflows.ModelTrash = field(default_factory=workflows.ModelTrash)
    deleted_books: workflows.BookTrash = field(default_factory=workflows.BookTrash)
    forecasts: workflows.ForecastCache = field(default_factory=workflows.ForecastCache)
    changes: threading.Lock = field(default_factory=threading.Lock)  # "is it in use?" and the change are one step
    closing: asyncio.Event = field(default_factory=asyncio.Event)  # set when the server goes down: streams end at once


async def _services(connection: HTTPConnection) -> Services:
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services


def translator_of(connection: HTTPConnection) -> i18n.Translator:
    """Return the translator for the language in the cookie, else for the browser's."""
    cookie = connection.cookies.get(LANGUAGE_COOKIE)
    return i18n.translator(i18n.negotiate(cookie, connection.headers.get("accept-language")))


def refuse_in_use(services: Services, *, model: str | None = None, book: str | None = None) -> None:
    """Raise InUse if the running training uses this model or book."""
    status = services.runner.status()
    if status.state not in ACTIVE_STATES or status.model is None:
        return
    if model is not None and name_key(model) == name_key(status.model):
        raise InUse(name=model, model=status.model)
    if book is not None and name_key(book) in {name_key(used) for used in status.books}:
        raise InUse(name=book, model=status.model)


def is_training(services: Services) -> bool:
    return services.runner.status().state in ACTIVE_STATES


async def _translator(connection: HTTPConnection) -> i18n.Translator:
    return translator_of(connection)


ServicesDep = Annotated[Services, Depends(_services)]
TranslatorDep = Annotated[i18n.Translator, Depends(_translator)]
