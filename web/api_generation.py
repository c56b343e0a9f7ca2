"""Generate text over HTTP: whole, or streamed as server-sent events while it is written.

Until the first piece is there, everything that goes wrong is an ordinary error answer; after it, an `error` event. A client
that goes away ends its generation, and so does one that stops reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

import workflows
from config import SamplingConfig
from errors import AZRError, Overloaded
from i18n import Translator
from web.answers import JSONAnswer, to_json
from web.bodies import ERROR_ANSWERS, EVENT_STREAM, EVENT_STREAM_TYPE, JSON_BODY
from web.errors import error_json, unexpected
from web.schemas import Generate, narrowed
from web.services import Services, ServicesDep, TranslatorDep
from workflows import Piece

R = TypeVar("R")
CLIENT_GONE = 499  # nginx's number; nobody reads it

router = APIRouter(tags=["generation"], responses=ERROR_ANSWERS)


@router.post("/generate", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Continue a prompt")
async def generate(body: Generate, request: Request, services: ServicesDep, translator: TranslatorDep) -> Response:
    """With `stream`, server-sent events: `token` {text, tokens}, and at the end `done` with what is answered otherwise."""
    pieces = services.generations.run(lambda: _pieces(services, body))
    if not body.stream:
        last = await _unless_gone(request, _last(pieces))
        return JSONAnswer(_answer(body.prompt, last)) if last else Response(status_code=CLIENT_GONE)
    first = await _unless_gone(request, _next(pieces))
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return _PieceStream(pieces, _events(first, pieces, body.prompt, translator))


class _PieceStream(StreamingResponse):
    """Frees the generation's place however the answer ends: a client may leave before its first byte, or amid a send."""

    def __init__(self, pieces: AsyncGenerator[Piece, None], events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, media_type=EVENT_STREAM_TYPE)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces):
            await super().__call__(scope, receive, send)


def _pieces(services: Services, body: Generate) -> Generator[Piece, None, None]:
    """Load the model and write; runs in a thread."""
    sampling = narrowed(body, SamplingConfig)
    return workflows.generate(
        services.workspace, body.model, body.prompt, sampling, cache=services.cache, version=body.version
    )


async def _next(pieces: AsyncGenerator[Piece, None]) -> Piece:
    async for piece in pieces:
        return piece
    raise Overloaded(seconds=workflows.RETRY_AFTER_SECONDS)  # ended before its time: the server is going down


async def _last(pieces: AsyncGenerator[Piece, None]) -> Piece:
    async with aclosing(pieces):
        piece = await _next(pieces)
        while piece.finish_reason is None:
            piece = await _next(pieces)
        return piece


async def _events(
    first: Piece, pieces: AsyncGenerator[Piece, None], prompt: str, translator: Translator
) -> AsyncGenerator[bytes, None]:
    try:
        piece = first
        while True:
            if piece.text:
                yield _event("token", {"text": piece.text, "tokens": piece.tokens})
            if piece.finish_reason is not None:
                break
            piece = await _next(pieces)
        yield _event("done", _answer(prompt, piece))
    except AZRError as error:
        yield _event("error", error_json(translator, error))
    except Exception as error:
        yield _event("error", error_json(translator, unexpected(error, "POST /generate")))


def _answer(prompt: str, last: Piece) -> dict[str, Any]:
    """Return what a client is answered once a text is complete."""
    return {
        "text": prompt + last.completion,
        "completion": last.completion,
        "tokens": last.tokens,
        "finish_reason": last.finish_reason,
        "tokens_per_second": last.tokens_per_second,
    }


def _event(name: str, data: object) -> bytes:
    return format_sse_event(event=name, data_str=to_json(data))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, R]) -> R | None:
    """Return the result of `work`, or None when the client went away first, which cancels the work."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        gone.cancel()
        working.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
