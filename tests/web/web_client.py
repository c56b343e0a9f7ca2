"""Talking to a running application in tests: what is asked for again and again, every route, and the shape of answers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from web.access import Access
from web.app import create_app
from web.network import Network
from workspace import Workspace

PORT = 8000
ADDRESS = f"http://127.0.0.1:{PORT}"
HERE = ("127.0.0.1", 50_000)  # a caller on this machine
UPLOAD_LIMIT_BYTES = 300_000
MODEL, BOOK_NAME = "поэт", "Анна Каренина"
TINY_MODEL = {
    "vocab_size": 300,
    "d_model": 32,
    "num_layers": 2,
    "num_heads": 2,
    "d_ff": 64,
    "max_seq_len": 32,
}
TINY_TRAINING = {
    "batch_size": 4,
    "eval_every": 5,
    "warmup_iterations": 2,
    "checkpoint_every": 1000,
    "device": "cpu",
    "num_threads": 1,
    "self_play": {"every": 5, "num_prompts": 2, "max_new_tokens": 8},
}
BOOK = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 120


# ---- a server to talk to ---------------------------------------------------------------------------------------------


@functools.cache
def routes() -> list[BaseRoute]:
    """The routes of an application. FastAPI builds them at its first request, in a tenth of a second: once for all tests."""
    return create_app(Workspace("nowhere")).router.routes


@contextlib.contextmanager
def running(workspace: Workspace, **options: Any) -> Iterator[TestClient]:
    app = create_app(workspace, network=Network(Access(PORT)), **({"upload_limit_bytes": UPLOAD_LIMIT_BYTES} | options))
    if "docs" not in options:
        app.router.routes = routes()
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, client=HERE) as client:
        yield client


def create(client: TestClient, name: str) -> dict[str, Any]:
    return expect(client.post("/create_model", json={"name": name, **TINY_MODEL}), 201)


def upload(client: TestClient, name: str, text: str = BOOK) -> dict[str, Any]:
    return expect(client.post("/upload_book", files={"file": (f"{name}.txt", text.encode("utf-8"))}), 201)


def train(client: TestClient, **changes: Any) -> dict[str, Any]:
    return expect(client.post("/train", json={"model": MODEL, "books": [BOOK_NAME], **TINY_TRAINING, **changes}), 202)


def expect(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def status_when(client: TestClient, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while not wanted(status := client.get("/training_status").json()):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return dict(status)


def wait_until_over(client: TestClient) -> dict[str, Any]:
    return status_when(client, lambda status: status["state"] not in ("queued", "running", "stopping"))


# ---- without a client in between: thousands of calls -----------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status_code: int
    headers: Headers
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.content)


class Direct:
    """Calls an application as uvicorn does, in one event loop of its own."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app, self.runner = app, runner

    def request(
        self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        given = {"Host": f"localhost:{PORT}", "Content-Length": str(len(content)), **(headers or {})}
        raw = [
            (name.lower().encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in given.items()
        ]
        return self.runner.run(self._call(method, path, content, raw))

    async def _call(self, method: str, path: str, content: bytes, headers: list[tuple[bytes, bytes]]) -> Answer:
        address, _, query = path.partition("?")
        scope = {"type": "http", "http_version": "1.1", "scheme": "http", "method": method, "headers": headers}
        scope |= {"path": unquote(address), "raw_path": address.encode(), "query_string": query.encode()}
        scope["client"] = HERE
        start: dict[str, Any] = {}
        body = bytearray()

        waiting = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.sleep(3600)  # a client that stays
            return waiting.pop()

        async def send(message: Any) -> None:
            start.update(message if message["type"] == "http.response.start" else {})
            body.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        return Answer(start["status"], Headers(raw=start["headers"]), bytes(body))


# ---- all routes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One method of one route, its path filled with a name that does not exist."""

    method: str
    path: str

    @property
    def safe(self) -> bool:
        return self.method in ("GET", "HEAD", "OPTIONS")


def every_call(app: Any) -> list[Call]:
    assert isinstance(app, FastAPI)
    calls = set()
    for route in iter_route_contexts(app.routes):
        path = str(getattr(route, "path", "")).replace("{language}", "ru").replace("{name}", "nobody")
        calls |= {Call(method, path) for method in getattr(route, "methods", None) or ()}
    assert {Call("POST", "/train"), Call("GET", "/"), Call("DELETE", "/models/nobody")} <= calls
    return sorted(calls, key=str)


# ---- answers ---------------------------------------------------------------------------------------------------------


def assert_error(
    answer: Any, status: int | None = None, code: str | None = None, field: str | None = None
) -> dict[str, Any]:
    """The answer is an error of the one shape, in readable words, and no mistake of ours."""
    assert answer.status_code >= 400, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8", answer.text
    body = json.loads(answer.content.decode("utf-8"), parse_constant=_no_such_number)
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    if "type" in error:  # OpenAI's shape
        assert set(error) == {"message", "type", "param", "code"}
        field, error["field"], status = (field, error["param"], {409: 400, 422: 400}.get(status or 0, status))
    else:
        assert {"code", "message"} <= set(error) <= {"code", "message", "field", "details"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert not error["message"].startswith("error."), error  # a sentence, not its key
    assert error["code"] != "internal_error", error
    assert answer.status_code < 500 or code is not None, error
    for name, wanted in (("code", code), ("field", field)):
        assert wanted is None or error.get(name) == wanted, error
    assert status is None or answer.status_code == status, error
    return error


def _no_such_number(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@dataclass(frozen=True)
class ServerSent:
    event: str
    data: Any
    id: int | None


def events_of(lines: Iterator[str]) -> Iterator[ServerSent]:
    """Server-sent events as a browser takes them apart; comments and bare `retry` are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif not line:
            if "data" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield ServerSent(fields["event"], json.loads(fields["data"], parse_constant=_no_such_number), number)
            fields = {}
