"""Who may call: every route under wrong names, every unsafe route from other origins, bodies over the limit, the headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.web_client import HERE, TINY_MODEL, UPLOAD_LIMIT_BYTES, Direct, assert_error, every_call, expect
from web.access import Access
from web.app import create_app
from web.guards import BODY_LIMIT_BYTES, SECURITY_HEADERS
from workspace import Workspace

OWN_HOSTS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "localhost",
    "127.0.0.1",
    "localhost:8001",
    "localhost:80",
    "localhost:08000",
    "localhost:",
    "localhost.:8000",
    "localhost:8000.evil.example",
    "evil.example@localhost:8000",
    "localhost:8000, evil.example",
    "127.1:8000",
    "2130706433:8000",
    "0.0.0.0:8000",
    "[::]:8000",
    "[::ffff:127.0.0.1]:8000",
    "[",
    "::1:8000",
    "",
]
FOREIGN_ORIGINS = [
    "http://evil.example",
    "null",
    "http://localhost:8001",
    "http://localhost",
    "https://localhost:8000",
    "http://localhost:8000.evil.example",
    "http://localhost:8000/",
    "HTTP://LOCALHOST:8000",
    "file://",
    "",
]
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
    + b"Once upon a time " * 50
    + b"\r\n--b--\r\n"
)
BODIES = {
    "application/json": json.dumps({"name": "injected", **TINY_MODEL}).encode(),
    "text/plain": b'{"name": "injected"}',
    "application/x-www-form-urlencoded": b"name=injected",
    "multipart/form-data; boundary=b": FORM,
}


def contents(direct: Direct) -> list[Any]:
    return [direct.request("GET", path).json() for path in ("/models", "/books", "/training_status")]


@pytest.fixture(scope="module")
def furnished(direct: Direct) -> Direct:
    """With a model of the very name that the calls delete."""
    body = json.dumps({"name": "nobody", **TINY_MODEL}).encode()
    assert direct.request("POST", "/create_model", body, {"Content-Type": "application/json"}).status_code == 201
    return direct


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_no_route_answers_under_another_name(furnished: Direct, host: str) -> None:
    before = contents(furnished)
    for call in every_call(furnished.app):
        assert_error(furnished.request(call.method, call.path, headers={"Host": host}), 421, "host_refused")
    page = furnished.request("GET", "/", headers={"Host": host, "Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (421, "text/html; charset=utf-8")
    assert contents(furnished) == before


def test_two_host_headers_are_refused(client: TestClient) -> None:
    answer = client.get("/healthz", headers=[("Host", "localhost:8000"), ("Host", "evil.example")])
    assert_error(answer, 421, "host_refused")


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_server_answers_under_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_port_may_be_left_out_only_where_browsers_leave_it_out() -> None:
    assert Access(80).hosts == {"127.0.0.1", "localhost", "[::1]", "127.0.0.1:80", "localhost:80", "[::1]:80"}
    assert Access(8123).hosts == {"127.0.0.1:8123", "localhost:8123", "[::1]:8123"}


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_no_unsafe_route_is_called_from_another_origin(furnished: Direct, origin: str) -> None:
    before = contents(furnished)
    unsafe = [call for call in every_call(furnished.app) if not call.safe]
    assert len(unsafe) >= 9
    for call in unsafe:
        for content_type, body in BODIES.items():
            answer = furnished.request(call.method, call.path, body, {"Content-Type": content_type, "Origin": origin})
            assert_error(answer, 403, "origin_refused")
    assert contents(furnished) == before


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "none, cross-site"])
def test_browsers_that_say_where_a_call_comes_from_are_believed(furnished: Direct, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    for call in every_call(furnished.app):
        if not call.safe:
            assert_error(furnished.request(call.method, call.path, headers=headers), 403, "origin_refused")
    assert furnished.request("GET", "/healthz", headers=headers).status_code == 200


def test_own_pages_and_programs_without_an_origin_may_call(client: TestClient) -> None:
    for number, host in enumerate(OWN_HOSTS):
        headers = {"Origin": f"http://{host}", "Host": host, "Sec-Fetch-Site": "same-origin"}
        expect(client.post("/create_model", json={"name": f"a{number}", **TINY_MODEL}, headers=headers), 201)
    expect(client.post("/create_model", json={"name": "curl", **TINY_MODEL}), 201)


def test_answers_are_never_shared_with_other_origins(client: TestClient) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.get("/models", headers=headers), client.options("/create_model", headers=headers)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_carries_the_security_headers(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        200: [client.get("/"), client.get("/healthz"), client.get("/openapi.json"), client.get("/docs")],
        404: [client.get("/nope"), client.get("/static/nope.js")],
        421: [client.get("/", headers={"Host": "evil.example"})],
        403: [client.post("/train", headers={"Origin": "null"})],
        413: [client.post("/train", content=b"x" * (BODY_LIMIT_BYTES + 1))],
    }
    monkeypatch.setattr("workflows.list_models", lambda _: 1 / 0)
    answers[500] = [client.get("/models")]
    for status, each in answers.items():
        for answer in each:
            assert answer.status_code == status
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers[name] == value, (answer.url, name)


def test_static_files_are_kept_for_ever_only_under_a_version(client: TestClient) -> None:
    versioned, plain = client.get("/static/js/api.js?v=0123456789ab"), client.get("/static/js/api.js")
    assert versioned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%5cserver.py", "/static//etc/passwd", "/static/"],
)
def test_static_files_end_at_their_folder(client: TestClient, path: str) -> None:
    assert_error(client.get(path), 404)


# ---- body size -------------------------------------------------------------------------------------------------------


def test_bodies_have_a_limit_on_every_route(direct: Direct) -> None:
    for call in every_call(direct.app):
        if not call.safe and call.path not in ("/upload_book", "/books", "/import_model"):
            answer = direct.request(call.method, call.path, b"x" * (BODY_LIMIT_BYTES + 1))
            assert_error(answer, 413, "body_too_large")
            assert answer.headers["connection"] == "close"


def chunked(
    app: Any, path: str, content_type: str, chunk: bytes, chunks: int, declared: int | None = None,
    taken_in_all: list[int] | None = None,
) -> tuple[int, int, bytes]:  # fmt: skip
    """Send a body piece by piece: the answer's status, the pieces taken before it, and its body."""
    taken_before_answer = -1
    taken, sent = 0, bytearray()
    status = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": chunk, "more_body": taken < chunks}

    async def send(message: Any) -> None:
        nonlocal status, taken_before_answer
        if message["type"] == "http.response.start":
            status, taken_before_answer = message["status"], taken
        sent.extend(message.get("body", b""))

    headers = [(b"host", b"localhost:8000"), (b"content-type", content_type.encode())]
    headers += (
        [(b"transfer-encoding", b"chunked")] if declared is None else [(b"content-length", str(declared).encode())]
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": HERE,
    }
    asyncio.run(app({**scope, "http_version": "1.1", "scheme": "http"}, receive, send))
    if taken_in_all is not None:
        taken_in_all.append(taken)
    return status, taken_before_answer, bytes(sent)


@pytest.mark.parametrize("path", ["/create_model", "/train", "/stop_training", "/no_such_route"])
def test_body_that_says_its_length_is_refused_unread(workspace: Workspace, path: str) -> None:
    status, taken, body = chunked(
        create_app(workspace), path, "application/json", b" " * 10_000, 10**6, declared=10**10
    )
    assert (status, taken) == (413, 0)
    assert b'"code":"body_too_large"' in body


@pytest.mark.parametrize("declared", [None, 5])
def test_body_is_cut_as_soon_as_it_passes_the_limit(workspace: Workspace, declared: int | None) -> None:
    status, taken, body = chunked(
        create_app(workspace), "/create_model", "application/json", b" " * 10_000, 10**6, declared
    )
    assert (status, taken) == (413, BODY_LIMIT_BYTES // 10_000 + 1)
    assert b'"code":"body_too_large"' in body


def silent_after(app: Any, pieces: int, pause_seconds: float) -> tuple[int, bytes]:
    """Send `pieces` pieces of a body with a pause before each, and then nothing: the answer's status and body."""
    sent = 0
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal sent
        await asyncio.sleep(pause_seconds if sent < pieces else 1000)
        sent += 1
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(b"host", b"localhost:8000"), (b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/create_model", "raw_path": b"/create_model"}
    scope |= {"client": HERE, "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http"}
    asyncio.run(app(scope, receive, send))
    assert sent == pieces
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages)


@pytest.mark.parametrize("pieces", [0, 8])
def test_body_that_stops_arriving_is_answered_and_one_that_goes_on_is_waited_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr("web.guards.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("web.guards.DRAIN_SECONDS", 0.1)
    status, body = silent_after(create_app(workspace), pieces, 0.05)  # eight of them take twice the deadline
    assert status == 408
    assert b'"code":"body_too_slow"' in body


def test_client_that_is_answered_early_may_send_to_the_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    workspace.prepare()
    piece = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n' + b"a" * 10_000
    taken: list[int] = []
    status, before, body = chunked(
        create_app(workspace), "/upload_book", "multipart/form-data; boundary=b", piece, 50, taken_in_all=taken
    )
    assert (status, before, taken) == (507, 1, [50])
    assert b'"code":"disk_full"' in body


def test_upload_is_cut_as_soon_as_it_passes_its_own_limit(workspace: Workspace) -> None:
    workspace.prepare()
    app = create_app(workspace, upload_limit_bytes=UPLOAD_LIMIT_BYTES)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
    content_type = "multipart/form-data; boundary=b"
    status, taken, body = chunked(app, "/upload_book", content_type, head + b"a" * 10_000, 10**6)
    assert status == 413
    assert UPLOAD_LIMIT_BYTES // 10_000 <= taken <= (UPLOAD_LIMIT_BYTES + 100_000) // 10_000 + 1
    assert b'"code":"book_too_large"' in body
    assert list(workspace.books.iterdir()) == []
