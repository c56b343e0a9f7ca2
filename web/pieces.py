"""Carry the pieces of texts that are being written from a thread to a client: whole or streamed, and no longer than it stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

import workflows
from errors import Overloaded
from web.bodies import EVENT_STREAM_TYPE
from workflows import Piece

T = TypeVar("T")
CLIENT_GONE = 499  # nginx's number; nobody reads it

Pieces = AsyncGenerator[Piece, None]


class PieceStream(StreamingResponse):
    """Frees the places of its texts however the answer ends: a client may leave before its first byte, or amid a send."""

    def __init__(self, texts: list[Pieces], events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, media_type=EVENT_STREAM_TYPE)
        self._texts = texts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            for pieces in self._texts:
                await stack.enter_async_context(aclosing(pieces))
            await super().__call__(scope, receive, send)


async def following(found: AsyncGenerator[T, None]) -> T:
    """Return what comes next. Raises Overloaded where nothing does: the server is going down."""
    async for each in found:
        return each
    raise Overloaded(reason="closing", seconds=workflows.RETRY_AFTER_SECONDS)


async def all_of(pieces: Pieces) -> list[Piece]:
    """Return the pieces of one text, the last one with its finish reason."""
    async with aclosing(pieces):
        found = [await following(pieces)]
        while found[-1].finish_reason is None:
            found.append(await following(pieces))
        return found


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
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
