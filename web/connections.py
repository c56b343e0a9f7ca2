"""Connections to the server: how many there may be, and how long a client may take over the head of a request.

uvicorn waits for ever for a request that arrives slowly, and asyncio accepts connections until no descriptor is left. Here
the head of a request has a deadline and the number of connections a limit: at the limit, a new connection replaces the one
that has kept the server waiting longest. A request that is being answered is never cut, nor an upload that sends steadily.

The deadline for a body is in `guards.BodyLimit`, where its answer can be in the person's language.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
UNREAD_BODY_SECONDS = 20.0  # for a body that nobody wants, after the answer
SLOW_BODY_SECONDS, SLOW_BODY_BYTES_PER_SECOND = 5.0, 1000.0  # below this rate a body may lose its place
QUIET_SECONDS = 60.0  # between two log lines of one kind

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

logger = logging.getLogger("uvicorn.error")


class Connection(H11Protocol):
    """One client's connection. uvicorn's `limit_concurrency` is the number of connections there may be.

    `admits` tells from a client's address whether it is heard at all.
    """

    def __init__(self, *arguments: Any, admits: Callable[[str | None], bool], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.admits = admits
        self.most, self.limit_concurrency = self.limit_concurrency, None
        self.waiting_since: float | None = time.monotonic()  # for the rest of a head; None between two requests
        self.heard_at = time.monotonic()
        self.body_began_at = 0.0
        self.body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self.admits(self.address):
            transport.abort()
            return
        if self.most is not None and len(self.connections) > self.most:
            self._make_room(self.most)

    @property
    def address(self) -> str | None:
        """Return the address of the client."""
        return self.client[0] if self.client else None

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        if self.conn.their_state is h11.IDLE and self.waiting_since is None:
            self.waiting_since = self.heard_at
        if self.conn.their_state is h11.SEND_BODY:
            self.body_bytes += len(data)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            if self.waiting_since is not None:
                self.body_began_at, self.body_bytes = self.heard_at, 0
            self.waiting_since = None

    def close_if_late(self, now: float) -> None:
        """Cut a connection whose head, or whose unwanted body, has not arrived in time."""
        if self.transport.is_closing():
            return
        if self.waiting_since is not None and now - self.waiting_since > HEAD_SECONDS:
            self._refuse(_TIMED_OUT if self.conn.trailing_data[0] else b"")
        elif self._is_answered_early() and now - self.body_began_at > UNREAD_BODY_SECONDS:
            self.transport.abort()

    def rank(self, now: float) -> tuple[int, float] | None:
        """Return the place in the order in which connections are given up, the first first; None for one that stays."""
        if self.transport.is_closing():
            return None
        if self.waiting_since is not None:
            return 0, self.waiting_since
        if self.conn.their_state is h11.IDLE:  # between two requests
            return 1, self.heard_at
        seconds = now - self.body_began_at
        if self.conn.their_state is h11.SEND_BODY and seconds > SLOW_BODY_SECONDS and not self.flow.read_paused:
            rate = self.body_bytes / seconds
            return (2, rate) if rate < SLOW_BODY_BYTES_PER_SECOND else None
        return None

    def _make_room(self, most: int) -> None:
        others = [other for other in self.connections if isinstance(other, Connection) and other is not self]
        if sum(not other.transport.is_closing() for other in others) < most:
            return
        now = time.monotonic()
        ranked = [(rank, other) for other in others if (rank := other.rank(now)) is not None]
        if ranked:
            logger.warning("All %d connections are in use: new ones take the place of the slowest.", most)
            min(ranked, key=lambda pair: pair[0])[1].transport.abort()
        else:
            logger.warning("All %d connections are in use: further ones are refused.", most)
            self._refuse(_FULL)

    def _is_answered_early(self) -> bool:
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self.conn.their_state is h11.SEND_BODY

    def _refuse(self, farewell: bytes) -> None:
        self.transport.write(farewell)
        self.transport.close()


def close_late(connections: Iterable[Any]) -> None:
    """Cut the connections that are past their deadline; call it about once a second, in the event loop."""
    now = time.monotonic()
    for connection in list(connections):
        if isinstance(connection, Connection):
            connection.close_if_late(now)


class Quiet(logging.Filter):
    """Let one record of a kind pass in QUIET_SECONDS: a client can cause thousands of them."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (str(record.msg), type(record.exc_info[1]).__name__ if record.exc_info else "")
        now = time.monotonic()
        if now - self.passed_at.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self.passed_at[kind] = now
        return True
