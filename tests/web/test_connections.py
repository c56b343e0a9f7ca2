"""Slow clients: a deadline for the head of a request, a limit of connections, and a log that does not grow with them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn

import server
from web import connections
from web.connections import Connection, Quiet
from web.network import Network

pytestmark = pytest.mark.slow  # seconds of processor time

HALF_A_HEAD = b"POST /train HTTP/1.1\r\nHost: localhost\r\nContent-Le"
HALF_A_BODY = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nhalf"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, but `/body` after the body has come, and `/stream` never to the end."""
    while scope["path"] == "/body" and (await receive()).get("more_body", False):
        pass
    headers = [] if scope["path"] == "/stream" else [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"first", "more_body": scope["path"] == "/stream"})
    while scope["path"] == "/stream" and (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def serving(most: int) -> Iterator[Callable[[bytes], socket.socket]]:
    """A server for `most` connections in a thread; yields what opens one and sends its first bytes."""
    ready = threading.Event()
    network = Network()
    http: Any = partial(Connection, admits=network.admits)
    config = uvicorn.Config(
        application, http=http, ws="none", lifespan="off", log_config=None, limit_concurrency=most, backlog=4
    )
    running = server.Server(config, network, None, ready.set, lambda: None)
    sockets = server.listen(0)
    thread = threading.Thread(target=lambda: asyncio.run(running._serve(sockets)))
    thread.start()
    with contextlib.ExitStack() as held:

        def connect(data: bytes) -> socket.socket:
            opened = held.enter_context(socket.create_connection(sockets[0].getsockname(), 10))
            opened.sendall(data)
            return opened

        try:
            assert ready.wait(10)
            yield connect
        finally:
            running.force_exit = running.should_exit = True
            thread.join(10)
            for each in sockets:
                each.close()


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def answer(connection: socket.socket) -> bytes:
    """What comes back, up to the application's word or the end; nothing from a connection that was cut."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while not received.endswith(b"first") and (piece := connection.recv(1)):
            received += piece
    return received


def stays_open(connection: socket.socket) -> None:
    connection.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        assert connection.recv(100) == b"\r\n"  # the end of a chunk


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "UNREAD_BODY_SECONDS"):
        monkeypatch.setattr(connections, name, 0.3)
    monkeypatch.setattr(server, "TICKS_PER_SECOND", 1)


@pytest.mark.usefixtures("short_deadlines")
def test_head_has_a_deadline_however_it_drips() -> None:
    with serving(most=20) as connect:
        half, silent = connect(HALF_A_HEAD), connect(b"")
        dripping = connect(request("/")[:-2])
        second = connect(request("/"))
        assert answer(second).startswith(b"HTTP/1.1 200")
        second.sendall(HALF_A_HEAD)  # a deadline for each request of a connection
        for _ in range(4):
            time.sleep(0.1)
            with contextlib.suppress(ConnectionError):
                dripping.sendall(b"X: y\r\n")
        assert answer(half).startswith(b"HTTP/1.1 408")
        assert answer(second).startswith(b"HTTP/1.1 408")
        assert answer(silent) == b""
        assert answer(dripping).startswith(b"HTTP/1.1 408") or answer(dripping) == b""


@pytest.mark.usefixtures("short_deadlines")
def test_request_that_is_being_answered_has_no_deadline() -> None:
    with serving(most=20) as connect:
        stream, upload = connect(request("/stream")), connect(HALF_A_BODY)
        assert answer(stream).startswith(b"HTTP/1.1 200")
        idle = connect(request("/"))
        answer(idle)
        time.sleep(1)
        idle.sendall(request("/"))
        assert answer(idle).startswith(b"HTTP/1.1 200")
        stays_open(stream)
        stays_open(upload)


@pytest.mark.usefixtures("short_deadlines")
def test_body_that_nobody_reads_has_a_deadline() -> None:
    with serving(most=20) as connect:
        unread = connect(HALF_A_BODY.replace(b"/body", b"/"))
        assert answer(unread).startswith(b"HTTP/1.1 200")
        assert answer(unread) == b""


def test_new_connection_takes_the_place_of_the_one_that_waits_longest() -> None:
    with serving(most=4) as connect:
        stream = connect(request("/stream"))
        assert answer(stream).startswith(b"HTTP/1.1 200")
        slow = [connect(HALF_A_HEAD) for _ in range(3)]
        time.sleep(0.2)
        healthy = connect(request("/"))
        assert answer(healthy).startswith(b"HTTP/1.1 200")
        assert answer(slow[0]) == b""
        again = connect(request("/"))
        assert answer(again).startswith(b"HTTP/1.1 200")
        assert answer(slow[1]) == b""


def test_connection_beyond_the_limit_is_refused_when_all_others_are_being_answered() -> None:
    with serving(most=3) as connect:
        streams = [connect(request("/stream")) for _ in range(3)]
        assert all(answer(stream).startswith(b"HTTP/1.1 200") for stream in streams)
        assert answer(connect(b"")).startswith(b"HTTP/1.1 503")
        streams[0].close()
        time.sleep(0.2)
        assert answer(connect(request("/"))).startswith(b"HTTP/1.1 200")


def test_slow_body_loses_its_place_and_a_steady_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SLOW_BODY_SECONDS", 0.1)
    with serving(most=2) as connect:
        slow, steady = connect(HALF_A_BODY), connect(HALF_A_BODY)
        for _ in range(20):
            steady.sendall(b"x" * 1000)
            time.sleep(0.02)
        assert answer(connect(request("/"))).startswith(b"HTTP/1.1 200")
        assert answer(slow) == b""
        stays_open(steady)


def test_line_of_one_kind_passes_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    quiet = Quiet()
    record = lambda message: logging.LogRecord("x", logging.ERROR, "", 0, message, (), None)  # noqa: E731
    assert [quiet.filter(record(message)) for message in ("a", "a", "b", "a")] == [True, False, True, False]
    clock[0] += 61
    assert quiet.filter(record("a"))
