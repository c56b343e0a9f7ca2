"""No body, address or header makes a 500: hostile JSON on every route, and the shape of what is answered."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.web_client import Direct, assert_error, every_call

JSON_TYPE = {"Content-Type": "application/json"}
HOSTILE_BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"5",
    "string": b'"x"',
    "true": b"true",
    "unclosed": b"{",
    "garbage behind": b"{} x",
    "comment": b"{/**/}",
    "single quotes": b"{'name': 'x'}",
    "NaN": b"NaN",
    "NaN inside": b'{"seed": NaN, "temperature": NaN, "learning_rate": NaN}',
    "infinite": b'{"seed": Infinity, "temperature": -Infinity, "dropout": 1e999, "top_p": -1e999}',
    "huge integer": b'{"seed": ' + b"9" * 100_000 + b', "name": 1}',
    "large integer": b'{"seed": '
    + b"9" * 4200
    + b', "batch_size": -'
    + b"9" * 4200
    + b', "temperature": '
    + b"9" * 4200
    + b"}",
    "deep arrays": b"[" * 100_000,
    "deep arrays closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"name":' * 50_000 + b"1" + b"}" * 50_000,
    "deep value": b'{"name":' + b"[" * 900 + b"]" * 900 + b"}",
    "deep unknown": b'{"x":' + b'{"x":' * 400 + b"1" + b"}" * 401,
    "half a pair": b'{"name": "\\ud800", "model": "\\ud800", "prompt": "\\udc00", "encoding": "\\ud800", "books": ["\\ud800"]}',
    "half a pair as key": b'{"\\udfff": 1}',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "UTF-8 surrogate": b'{"name": "\xed\xa0\x80"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": 5}'.encode("utf-16"),
    "UTF-32": '{"name": 5}'.encode("utf-32"),
    "zero bytes": b"\x00" * 50,
    "NUL inside": b'{"name": "a\\u0000b", "model": "a\\u0000b", "prompt": 5, "encoding": "\\u0000"}',
    "twice the same key": b'{"name": 1, "name": 2, "model": 3, "model": 4, "encoding": 5}',
    "long key": b'{"' + b"k" * 500_000 + b'": 1}',
    "many keys": json.dumps({f"k{i}": i for i in range(20_000)}).encode(),
    "long string": b'{"name": "' + b"x" * 900_000 + b'", "preset": "' + b"y" * 50_000 + b'"}',
    "markup": b'{"preset": "<script>alert(1)</script>", "device": "{7*7}", "architecture": "%s{0.__class__}"}',
}
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**40,
    1e308,
    0.1,
    "",
    "x",
    "\ud800",
    "\x00",
    [],
    [[]],
    {},
    {"a": 1},
    ["x", None],
    [5],
]
CONTENT_TYPES = [
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/jsonp",
    "application/vnd.api+json",
    "text/plain; application/json",
    "\xff\xfe",
]


def assert_no_mistake(answer: Any) -> None:
    if answer.status_code >= 400:
        assert_error(answer)
    assert answer.status_code < 500, answer.text


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_no_body_is_a_mistake_of_ours(direct: Direct, name: str) -> None:
    for call in every_call(direct.app):
        if not call.safe:
            answer = direct.request(call.method, call.path, HOSTILE_BODIES[name], JSON_TYPE)
            assert_no_mistake(answer)
            assert len(answer.content) < 20_000


def test_no_depth_is_a_mistake_of_ours(direct: Direct) -> None:
    """Somewhere below the interpreter's limit a body can still be read but no longer be walked through."""
    for depth in range(800, 1010):
        body = b'{"name":' + b"[" * depth + b"]" * depth + b"}"
        assert_error(direct.request("POST", "/create_model", body, JSON_TYPE), 422, "invalid_input")


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_other_content_types_are_refused_where_json_is_read(client: TestClient, content_type: str | None) -> None:
    for path in ("/create_model", "/estimate", "/train", "/generate", "/books/x/encoding"):
        headers = {} if content_type is None else {"Content-Type": content_type.encode("latin-1")}
        answer = client.post(path, content=b'{"name": "x", "model": "x", "encoding": "x"}', headers=headers)  # type: ignore[arg-type]
        assert_error(answer, 415, "unsupported_format", "Content-Type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;charset=x"],
)
def test_json_is_read_whatever_stands_behind_its_type(client: TestClient, content_type: str) -> None:
    assert client.post("/estimate", content=b"{}", headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.slow
def test_no_value_of_any_field_is_a_mistake_of_ours(direct: Direct) -> None:
    document = direct.request("GET", "/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        name = content["schema"]["$ref"].split("/")[-1]
        for field in document["components"]["schemas"][name]["properties"]:
            for value in VALUES:
                body = json.dumps({field: value}).encode()
                assert_no_mistake(direct.request("POST", path.replace("{name}", "x"), body, JSON_TYPE))
                asked += 1
    assert asked > 700


STRANGE_QUERIES = [
    "model=%ff",
    "model=%00",
    "model=",
    "model=x&model=y",
    "points=1e999",
    "points=" + "9" * 5000,
    "before=NaN&model=x",
    "limit=-1&model=x",
    "format=%f0%9f%98%80&model=x",
    "model=" + "x" * 10_000,
    "model=../../etc/passwd",
    "%",
    "=&=&",
    "last_event_id=x",
]


@pytest.mark.parametrize("query", STRANGE_QUERIES)
def test_no_address_is_a_mistake_of_ours(direct: Direct, query: str) -> None:
    for call in every_call(direct.app):
        if call.safe and call.path != "/training_events":
            assert_no_mistake(direct.request(call.method, f"{call.path}?{query}"))
    assert_error(direct.request("GET", "/training_events?last_event_id=x"), 422, "invalid_input", "last_event_id")


@pytest.mark.parametrize("language", ["\xff", "ru;q=x", ",,,,", "ru" * 5000, "*", "ru;q=1e999, en;q=nan"])
def test_no_header_is_a_mistake_of_ours(client: TestClient, language: str) -> None:
    headers = {"Accept-Language": language.encode("latin-1"), "Cookie": b"azr_language=\xff; =; ;;a", "Accept": b"\xff"}
    assert_error(client.get("/models/nobody", headers=headers), 404, "model_not_found")  # type: ignore[arg-type]


def test_wrong_methods_and_addresses_have_the_shape_too(client: TestClient) -> None:
    for path in ("/create_model", "/models", "/healthz", "/training_status", "/upload_book"):
        answer = client.request("PATCH", path)
        assert_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]
    assert_error(client.get("/no/such/address"), 404, "not_found")


def test_message_names_field_value_and_remedy(client: TestClient) -> None:
    error = assert_error(
        client.post("/generate", json={"model": "x", "prompt": "y", "top_p": 7.5}), 422, "invalid_input", "top_p"
    )
    assert "(top_p)" in error["message"]
    assert "7.5" in error["message"]
    assert error["message"].rstrip(".").endswith("1")


def test_what_was_sent_comes_back_only_as_a_short_text(client: TestClient) -> None:
    answer = client.post(
        "/create_model", json={"name": "x", "preset": "secret" * 1000, "d_ff": {"password": "hunter2"}}
    )
    assert_error(answer, 422)
    assert "hunter2" not in answer.text
    assert answer.text.count("secret") < 40


def test_browsers_get_a_page_and_programs_json(client: TestClient) -> None:
    page = client.get("/nope", headers={"Accept": "text/html,application/xhtml+xml", "Accept-Language": "ru"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert_error(client.post("/nope", headers={"Accept": "text/html"}), 404)
    assert_error(client.get("/nope", headers={"Accept": "application/json"}), 404)


def test_mistake_of_ours_is_logged_under_the_reference_that_is_shown(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workflows.list_models", lambda _: {}["secret detail"])
    with caplog.at_level(logging.ERROR):
        answer = client.get("/models")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal_error"
    reference = caplog.records[-1].getMessage().split()[-1]
    assert reference in error["message"]
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


def test_full_disk_while_a_form_arrives_is_told_as_that(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    assert_error(client.post("/upload_book", files={"file": ("x.txt", b"text")}), 507, "disk_full")


def test_document_describes_the_errors_and_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert path == "/healthz" or operation["responses"]["422"]["content"]["application/json"]
