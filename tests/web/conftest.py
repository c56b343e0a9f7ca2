"""A running application over a workspace in a temporary folder, and the one check that every error answer must pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from web.app import create_app
from workspace import Workspace

PORT = 8000
ADDRESS = f"http://127.0.0.1:{PORT}"
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
    "self_play": {"every": 5, "num_prompts": 1, "group_size": 2, "max_new_tokens": 8},
}
BOOK = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 120


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "рабочая папка")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    app = create_app(workspace, port=PORT, upload_limit_bytes=300_000)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def make_model(client: TestClient) -> Callable[[str], dict[str, Any]]:
    def make(name: str) -> dict[str, Any]:
        answer = client.post("/create_model", json={"name": name, **TINY_MODEL})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    return make


@pytest.fixture
def make_book(client: TestClient) -> Callable[[str], dict[str, Any]]:
    def make(name: str, text: str = BOOK) -> dict[str, Any]:
        answer = client.post("/upload_book", files={"file": (f"{name}.txt", text.encode("utf-8"))})
        assert answer.status_code == 201, answer.text
        uploaded: dict[str, Any] = answer.json()
        return uploaded

    return make


@pytest.fixture
def trained(client: TestClient, make_model: Callable[[str], Any], make_book: Callable[[str], Any]) -> str:
    """The name of a model that was trained for ten iterations."""
    make_model("поэт")
    make_book("Анна Каренина")
    train(client, iterations=10)
    assert wait_until_over(client)["state"] == "done"
    return "поэт"


def train(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/train", json={"model": "поэт", "books": ["Анна Каренина"], **TINY_TRAINING, **changes})
    assert answer.status_code == 202, answer.text
    started: dict[str, Any] = answer.json()
    return started


def status_when(client: TestClient, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while not wanted(status := client.get("/training_status").json()):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return dict(status)


def wait_until_over(client: TestClient) -> dict[str, Any]:
    return status_when(client, lambda status: status["state"] not in ("queued", "running", "stopping"))


def assert_error(answer: Any, status: int | None = None, code: str | None = None, field: str | None = None) -> dict[str, Any]:
    """The answer is an error of the one shape, in readable words, and no mistake of ours."""
    assert answer.status_code >= 400, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8", answer.text
    body = answer.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "field", "details"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert not error["message"].startswith("error."), error  # a sentence, not its key
    assert error.get("code") != "internal_error", error
    assert answer.status_code < 500 or code is not None, error
    for name, wanted in (("code", code), ("field", field)):
        assert wanted is None or error.get(name) == wanted, error
    assert status is None or answer.status_code == status, error
    return error
