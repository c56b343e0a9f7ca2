"""Text from a model over HTTP: whole, or streamed as server-sent events while it is written.

Until the first piece is there, everything that goes wrong is an ordinary error answer; after it, an `error` event. A client
that goes away ends its generation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

import workflows
from config import SamplingConfig
from errors import AZRError, Overloaded
from i18n import Translator
from web.answers import JSONAnswer, to_json
from web.bodies import ERROR_ANSWERS, EVENT_STREAM, EVENT_STREAM_TYPE, JSON_BODY
from web.errors import error_json, unexpected
from web.schemas import Generate, narrowed
from web.services import Services, ServicesDep, TranslatorDep

R = TypeVar("R")
CLIENT_GONE = 499  # nginx's number; nobody reads it

router = APIRouter(tags=["generation"], responses=ERROR_ANSWERS)


@dataclass(frozen=True)
class Written:
    """One more piece of a text; the last one, which has a finish_reason, carries the whole completion."""

    text: str
    completion: str
    tokens: int
    finish_reason: str | None
    tokens_per_second: float | None


@router.post(
    "/generate", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Let a model write on from a prompt"
)
async def generate(body: Generate, request: Request, services: ServicesDep, translator: TranslatorDep) -> Response:
    """With `stream`, server-sent events: `token` {text, tokens}, and at the end `done` with what is answered otherwise."""
    pieces = services.generations.run(lambda: _write(services, body))
    if not body.stream:
        written = await _unless_gone(request, _last(pieces))
        return JSONAnswer(_whole(body.prompt, written)) if written else Response(status_code=CLIENT_GONE)
    first = await _unless_gone(request, _next(pieces))
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return StreamingResponse(_events(first, pieces, body.prompt, translator), media_type=EVENT_STREAM_TYPE)


def _write(services: Services, body: Generate) -> Generator[Written, None, None]:
    """Runs in a thread. The speed is counted from the first piece on: loading the model is not writing."""
    sampling = narrowed(body, SamplingConfig)
    cache, version = services.cache, body.version
    started_at, before = 0.0, 0
    texts: list[str] = []
    for piece in workflows.generate(
        services.workspace, body.model, body.prompt, sampling, cache=cache, version=version
    ):
        now = time.perf_counter()
        if not started_at:
            started_at, before = now, piece.tokens
        seconds = now - started_at
        speed = (piece.tokens - before) / seconds if seconds > 0 and piece.tokens > before else None
        texts.append(piece.text)
        completion = "".join(texts) if piece.finish_reason else ""
        yield Written(piece.text, completion, piece.tokens, piece.finish_reason, speed)


async def _next(pieces: AsyncGenerator[Written, None]) -> Written:
    async for written in pieces:
        return written
    raise Overloaded(seconds=workflows.RETRY_AFTER_SECONDS)  # ended before its time: the server is going down


async def _last(pieces: AsyncGenerator[Written, None]) -> Written:
    async with aclosing(pieces):
        written = await _next(pieces)
        while written.finish_reason is None:
            written = await _next(pieces)
        return written


async def _events(
    first: Written, pieces: AsyncGenerator[Written, None], prompt: str, translator: Translator
) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        try:
            written = first
            while True:
                if written.text:
                    yield _event("token", {"text": written.text, "tokens": written.tokens})
                if written.finish_reason is not None:
                    break
                written = await _next(pieces)
            yield _event("done", _whole(prompt, written))
        except AZRError as error:
            yield _event("error", error_json(translator, error))
        except Exception as error:
            yield _event("error", error_json(translator, unexpected(error, "POST /generate")))


def _whole(prompt: str, written: Written) -> dict[str, Any]:
    return {
        "text": prompt + written.completion,
        "completion": written.completion,
        "tokens": written.tokens,
        "finish_reason": written.finish_reason,
        "tokens_per_second": written.tokens_per_second,
    }


def _event(name: str, data: object) -> bytes:
    return format_sse_event(event=name, data_str=to_json(data))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, R]) -> R | None:
    """The result of `work`, or None when the client went away first, which cancels the work."""
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
