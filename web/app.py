"""`create_app(workspace)` builds the web application. Nothing happens at import, and nothing on disk before the start.

Middlewares, outermost first: security headers (on every answer), our own mistakes, Host, Origin, token, body size. Then the routes.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import i18n
import workflows
from errors import BodyTooLarge, BookTooLarge
from events import TrainingStatus
from web import (
    api_books,
    api_deleted,
    api_exports,
    api_first_run,
    api_generation,
    api_imports,
    api_models,
    api_network,
    api_openai,
    api_runs,
    api_training,
    documents,
    event_stream,
    help_pages,
    library_pages,
    pages,
    sign_in,
)
from web.answers import JSONAnswer
from web.errors import UnexpectedErrors, handlers
from web.guards import BodyLimit, KnownHost, SameOrigin, SecurityHeaders, Token
from web.network import Network
from web.services import Services
from web.training_queue import after_a_training, after_the_start
from workspace import Workspace

TITLE = "AZR Model Trainer"
STATIC = Path(__file__).resolve().parent.parent / "static"
FORM_OVERHEAD_BYTES = 100_000  # names and boundaries around the file
PASTED_LIMIT_BYTES = 20_000_000  # of a text that is pasted instead of uploaded
SAVE_SECONDS = 120.0  # how long a training may take to save when the server goes down
UNSAVED_SECONDS = 2.0  # and how long to end when it has nothing to save


def create_app(
    workspace: Workspace,
    *,
    network: Network | None = None,
    upload_limit_bytes: int = workflows.DEFAULT_LIMIT_BYTES,
    example_book: Path | None = None,
    docs: Path = documents.DOCS,
) -> FastAPI:
    """Return the application for one workspace, which answers only those whom `network` allows: by default this machine."""
    _name_file_types()
    network = network or Network()
    book_too_large = BookTooLarge(field="file", limit_bytes=upload_limit_bytes)
    upload = (upload_limit_bytes + FORM_OVERHEAD_BYTES, book_too_large)
    pasted = (PASTED_LIMIT_BYTES, BookTooLarge(field="text", limit_bytes=PASTED_LIMIT_BYTES))
    model_too_large = BodyTooLarge(field="file", limit_bytes=workflows.MODEL_LIMIT_BYTES)
    model = (workflows.MODEL_LIMIT_BYTES + FORM_OVERHEAD_BYTES, model_too_large)
    app = FastAPI(
        title=TITLE,
        summary="Books in, your own language model out. Everything stays on this machine.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(),
        exception_handlers=handlers(),
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(UnexpectedErrors),
            Middleware(KnownHost, network=network),
            Middleware(SameOrigin, network=network),
            Middleware(Token, network=network),
            Middleware(BodyLimit, larger={"/upload_book": upload, "/books": pasted, "/import_model": model}),
        ],
    )
    app.state.services = Services(
        workspace=workspace,
        runner=workflows.JobRunner(first_id=_first_event_id()),
        cache=workflows.ModelCache(),
        engines=workflows.Engines(),
        generations=workflows.Generations(),
        upload_limit_bytes=upload_limit_bytes,
        docs=docs,
        example_book=example_book,
        network=network,
    )
    rooms = (
        api_models,
        api_exports,
        api_imports,
        api_books,
        api_deleted,
        api_training,
        api_first_run,
        api_runs,
        event_stream,
        api_generation,
        api_openai,
        api_network,
        sign_in,
        pages,
        library_pages,
        help_pages,
    )
    for room in rooms:
        app.include_router(room.router)
    app.add_api_route("/healthz", _healthz, tags=["server"], summary="Is the server alive?")
    app.mount("/static", _Static(directory=STATIC, check_dir=False), name="static")
    app.mount("/help/img", _Static(directory=docs / "img", check_dir=False), name="pictures")
    return app


async def _healthz() -> Response:
    return JSONAnswer({"status": "ok"})


def _lifespan() -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services: Services = app.state.services
        await run_in_threadpool(_prepare, services)
        try:
            yield
        finally:
            begin_closing(app)
            await run_in_threadpool(services.runner.close, _patience_seconds(services.runner.status()))
            await run_in_threadpool(services.deleted_models.empty_all)
            await run_in_threadpool(services.deleted_books.empty_all)

    return lifespan


def begin_closing(app: FastAPI) -> None:
    """End the open streams and generations and tell the training to save. Call it in the event loop."""
    services: Services = app.state.services
    services.closing.set()
    services.generations.close()
    services.runner.close(timeout_seconds=0)


def _patience_seconds(status: TrainingStatus) -> float:
    """Return how long to wait for the training to end; before a run's first iteration there is nothing to save."""
    return SAVE_SECONDS if status.iteration > status.started_iteration else UNSAVED_SECONDS


def _prepare(services: Services) -> None:
    services.workspace.prepare()
    workflows.sweep_books(services.workspace)
    if services.example_book is not None:
        workflows.ensure_example(services.workspace, services.example_book)
    services.runner.restore(workflows.last_run(services.workspace))
    services.runner.after_each(lambda: after_a_training(services))
    after_the_start(services)
    for language in i18n.LANGUAGES:
        i18n.translator(language)  # compiled once here, not in the first request


def _first_event_id() -> int:
    """Return an id above those of every earlier server start; JavaScript counts exactly up to 2**53."""
    return int(time.time()) << 20


class _Static(StaticFiles):
    """Static files: cached for ever under an address with a version, revalidated under any other."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        versioned = scope["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if versioned else "no-cache"
        return response


def _name_file_types() -> None:
    """Set the media types of scripts and styles: the Windows registry may say "text/plain", which browsers refuse."""
    for suffix, media_type in ((".js", "text/javascript"), (".css", "text/css"), (".svg", "image/svg+xml")):
        mimetypes.add_type(media_type, suffix)
