"""What stands between the network and the routes; each guard is one plain ASGI middleware, outermost first in `app.py`.

The server is one person's, on their own machine, and every page they visit in the same browser can send requests to it.
So a request must name us in `Host` exactly (a foreign domain that resolves to 127.0.0.1 does not), an unsafe one must not
come from a page of another origin, no answer may be framed or read elsewhere, and no body is larger than its route expects.
There are no CORS headers: other origins are never answered. Not covered: other users of this machine (no log-in).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errors import AZRError, BodyTooLarge, HostRefused, OriginRefused
from web.answers import shown
from web.errors import answer

NAMES = ("127.0.0.1", "localhost", "[::1]")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_FETCHES = frozenset({"same-origin", "none"})  # "none": typed or bookmarked by the person
BODY_LIMIT_BYTES = 1_000_000
DRAIN_SECONDS, DRAIN_BYTES = 2.0, 64_000_000

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def hosts(port: int) -> frozenset[str]:
    """Every `Host` that means us; the port may be left out only where browsers leave it out."""
    return frozenset(f"{name}:{port}" for name in NAMES) | (frozenset(NAMES) if port == 80 else frozenset())


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


class KnownHost:
    """421 for a request that calls us by another name: the page behind a rebound domain believes to be of that domain."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = hosts(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            given = Headers(scope=scope).getlist("host")
            if len(given) != 1 or given[0] not in self.hosts:
                await refuse(HostRefused(host=shown(", ".join(given))), scope, receive, send)
                return
        await self.app(scope, receive, send)


class SameOrigin:
    """403 for an unsafe call that a page of another origin makes. Programs that send no Origin (curl) are welcome."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.origins = frozenset(f"http://{host}" for host in hosts(port))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in SAFE_METHODS):
            headers = Headers(scope=scope)
            origins, fetches = set(headers.getlist("origin")), set(headers.getlist("sec-fetch-site"))
            if not (origins <= self.origins and fetches <= OWN_FETCHES):
                await refuse(OriginRefused(origin=shown(", ".join(origins))), scope, receive, send)
                return
        await self.app(scope, receive, send)


class _BodyCut(BaseException):
    """Not an Exception: FastAPI makes a 400 of every Exception that it meets while it reads a body."""


class BodyLimit:
    """413 for a body over its limit: at once when it says its length, else as soon as the limit is passed.

    `larger` gives the paths with a limit of their own, as (bytes that may come, what to answer beyond).
    """

    def __init__(self, app: ASGIApp, larger: Mapping[str, tuple[int, AZRError]]) -> None:
        self.app = app
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        usual = (BODY_LIMIT_BYTES, BodyTooLarge(limit_bytes=BODY_LIMIT_BYTES))
        limit_bytes, error = self.larger.get(scope["path"], usual)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit_bytes:
            await refuse(error, scope, receive, send)
            return
        received_bytes = 0

        async def limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit_bytes:
                raise _BodyCut
            return message

        try:
            await self.app(scope, limited, send)
        except _BodyCut:
            await refuse(error, scope, receive, send)


async def refuse(error: AZRError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, close the connection, and swallow for a moment what still arrives: a client that is cut off while it sends
    sees "connection reset" instead of the answer."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    response = answer(HTTPConnection(scope), error)
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            await _drain(receive)
    await send({"type": "http.response.body"})


async def _drain(receive: Receive) -> None:
    drained_bytes = 0
    while drained_bytes < DRAIN_BYTES:
        message = await receive()
        drained_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            return
