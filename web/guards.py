"""Guards between the network and the routes. Each is a plain ASGI middleware; `app.py` lists them, outermost first.

The server is one person's, on their own machine, and every page they visit in the same browser can send requests to it.
So a request must name us in `Host` exactly (a foreign domain that resolves to 127.0.0.1 does not), an unsafe one must not
come from a page of another origin, no answer may be framed or read elsewhere, and no body is larger or slower than its
route expects. A caller from the local network must also know the token; without it there is nothing but the sign-in page
and the style sheets it is drawn with.
There are no CORS headers: other origins are never answered. Not covered: other users of this machine (no log-in).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errors import AZRError, BodyTooLarge, BodyTooSlow, HostRefused, NetworkClosed, OriginRefused
from web.answers import shown
from web.errors import answer, wants_page
from web.network import Network, is_here, trust
from web.sign_in import PUBLIC_PATHS, sign_in_page, token_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_FETCHES = frozenset({"same-origin", "none"})  # "none": typed or bookmarked by the person
BODY_LIMIT_BYTES = 1_000_000
SILENCE_SECONDS = 20.0  # without a byte of a body that is awaited
DRAIN_SECONDS, DRAIN_BYTES = 5.0, 1_000_000_000

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


class SecurityHeaders:
    """Add SECURITY_HEADERS to every response that does not set them itself."""

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
    """Answer 421 to a request with a foreign Host, such as a page whose domain was rebound to 127.0.0.1."""

    def __init__(self, app: ASGIApp, network: Network) -> None:
        self.app = app
        self.network = network

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            access = self.network.access_of(scope)
            if access is None:
                await refuse(NetworkClosed(), scope, receive, send)
                return
            given = Headers(scope=scope).getlist("host")
            if len(given) != 1 or given[0] not in access.hosts:
                await refuse(HostRefused(host=shown(", ".join(given))), scope, receive, send)
                return
        await self.app(scope, receive, send)


class SameOrigin:
    """Answer 403 to a request that changes something and comes from a page of another origin; curl sends no Origin."""

    def __init__(self, app: ASGIApp, network: Network) -> None:
        self.app = app
        self.network = network

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in SAFE_METHODS):
            headers = Headers(scope=scope)
            origins, fetches = set(headers.getlist("origin")), set(headers.getlist("sec-fetch-site"))
            access = self.network.access_of(scope)
            if access is None or not (origins <= access.origins and fetches <= OWN_FETCHES):
                await refuse(OriginRefused(origin=shown(", ".join(origins))), scope, receive, send)
                return
        await self.app(scope, receive, send)


class Token:
    """Answer 401 to a request from the local network without the token; a browser gets the page to sign in."""

    def __init__(self, app: ASGIApp, network: Network) -> None:
        self.app = app
        self.network = network

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            if is_here(scope):
                trust(scope)
            elif scope["path"] not in PUBLIC_PATHS:
                connection = HTTPConnection(scope)
                if error := self.network.objection(scope, token_of(connection, self.network)):
                    await self._refuse(connection, error, receive, send)
                    return
                trust(scope)
        await self.app(scope, receive, send)

    async def _refuse(self, connection: HTTPConnection, error: AZRError, receive: Receive, send: Send) -> None:
        if wants_page(connection):
            await sign_in_page(connection, error)(connection.scope, receive, send)
        else:
            await refuse(error, connection.scope, receive, send)


class _BodyCut(BaseException):
    """Stop reading a body and carry the error to answer with.

    Not an Exception: FastAPI makes a 400 of every Exception that it meets while it reads a body.
    """

    def __init__(self, answer: AZRError) -> None:
        self.answer = answer


class BodyLimit:
    """Answer 413 to a body over its limit and 408 to one that stops arriving; let early answers reach the client.

    A body is refused at once when it says its length, else as soon as the limit is passed. `larger` gives the paths with a
    limit of their own, as (bytes that may come, what to answer beyond).
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
        body = _Body(scope, receive, send, limit_bytes, error)
        try:
            await self.app(scope, body.receive, body.send)
        except _BodyCut as cut:
            await refuse(cut.answer, scope, receive, send)


class _Body:
    """A request's body on its way in, and the answer on its way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit_bytes: int, too_large: AZRError) -> None:
        self.receive_next, self.send_next = receive, send
        self.limit_bytes, self.too_large = limit_bytes, too_large
        headers = Headers(scope=scope)
        self.complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self.answering = False
        self.received_bytes = 0

    async def receive(self) -> Message:
        """Return the next piece. Raises _BodyCut beyond the limit, and after SILENCE_SECONDS while nothing is answered yet."""
        try:
            async with asyncio.timeout(None if self.complete or self.answering else SILENCE_SECONDS):
                message = await self.receive_next()
        except TimeoutError:
            raise _BodyCut(BodyTooSlow(seconds=SILENCE_SECONDS)) from None
        self.received_bytes += len(message.get("body", b""))
        if self.received_bytes > self.limit_bytes:
            raise _BodyCut(self.too_large)
        self.complete = self.complete or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass the response on; if the body is incomplete, read the rest for a moment and close the connection."""
        if message["type"] == "http.response.start":
            self.answering = True
            if not self.complete:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        elif not self.complete and not message.get("more_body", False):
            await _send_last(message.get("body", b""), self.receive_next, self.send_next)
            return
        await self.send_next(message)


async def refuse(error: AZRError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error and close the connection.

    A client that is cut off while it sends sees "connection reset" instead of the response, so the rest is read first.
    """
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    response = answer(HTTPConnection(scope), error)
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await _send_last(response.body, receive, send)


async def _send_last(body: bytes | memoryview, receive: Receive, send: Send) -> None:
    """Send the end of a response, but first read what the client is still sending, for a moment."""
    await send({"type": "http.response.body", "body": body, "more_body": True})
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
