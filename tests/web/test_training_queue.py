"""The queue of trainings: order, removal, what cannot begin, and a restart of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from config import TrainConfig
from runs.queue import Waiting, read_queue, write_queue
from runs.run_record import read_run
from tests.web.web_client import (
    BOOK_NAME,
    MODEL,
    TINY_TRAINING,
    assert_error,
    create,
    expect,
    running,
    status_when,
    train,
    upload,
)
from web import training_queue
from workspace import Workspace

OTHER, LOST = "прозаик", "призрак"


@pytest.fixture
def ready(make_model: Callable[[str], Any], make_book: Callable[[str], Any]) -> None:
    make_model(MODEL)
    make_model(OTHER)
    make_book(BOOK_NAME)


def enqueue(client: TestClient, model: str, iterations: int = 5) -> str:
    wish = TINY_TRAINING | {"model": model, "books": [BOOK_NAME], "iterations": iterations, "queue": True}
    return str(expect(client.post("/train", json=wish), 202)["job_id"])


def waiting(client: TestClient) -> list[str]:
    return [each["model"] for each in expect(client.get("/queue"), 200)["waiting"]]


def done(model: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status["state"] == "done" and status["model"] == model


@pytest.mark.usefixtures("ready")
def test_training_waits_for_the_one_that_runs_and_then_begins(client: TestClient, workspace: Workspace) -> None:
    train(client, iterations=None)
    status_when(client, lambda status: status["iteration"] > 0)
    enqueue(client, OTHER)
    assert waiting(client) == [OTHER]
    expect(client.post("/stop_training"), 202)
    status_when(client, done(OTHER))
    assert waiting(client) == []
    status_when(client, lambda _: read_queue(workspace) == [])


@pytest.mark.usefixtures("ready")
def test_training_begins_at_once_where_nothing_runs(client: TestClient) -> None:
    enqueue(client, OTHER)
    assert waiting(client) == []
    status_when(client, done(OTHER))


@pytest.mark.usefixtures("ready")
def test_waiting_training_follows_the_new_name_of_its_model(client: TestClient) -> None:
    train(client, iterations=None)
    enqueue(client, OTHER)
    expect(client.patch(f"/models/{OTHER}", json={"name": "романист"}), 200)
    assert waiting(client) == ["романист"]
    expect(client.post("/stop_training"), 202)
    status_when(client, done("романист"))


@pytest.mark.usefixtures("ready")
def test_waiting_training_can_be_removed(client: TestClient) -> None:
    train(client, iterations=None)
    job_id = enqueue(client, OTHER)
    assert client.delete(f"/queue/{job_id}").status_code == 204
    assert waiting(client) == []
    assert_error(client.delete(f"/queue/{job_id}"), 404, "queue_entry_not_found")
    expect(client.post("/stop_training"), 202)


def test_queue_survives_a_restart_and_goes_on(workspace: Workspace) -> None:
    with running(workspace) as client:
        for model in (MODEL, OTHER):
            create(client, model)
        upload(client, BOOK_NAME)
        enqueue(client, MODEL, iterations=1000)
        enqueue(client, OTHER)
        status_when(client, lambda status: status["iteration"] > 0)
    stopped_at = (read_run(workspace, MODEL) or {})["iteration"]
    begun, waiting_still = read_queue(workspace)
    assert (begun.model, begun.begun, waiting_still.model, waiting_still.begun) == (MODEL, True, OTHER, False)
    with running(workspace) as client:
        status = status_when(client, lambda status: status["iteration"] > stopped_at)
        assert (status["model"], status["resumed"], status["iterations"]) == (MODEL, True, 1000)
        expect(client.post("/stop_training"), 202)
        status_when(client, done(OTHER))


def test_training_that_cannot_begin_says_why_and_lets_the_next_one_pass(workspace: Workspace) -> None:
    with running(workspace) as client:
        create(client, MODEL)
        upload(client, BOOK_NAME)
        enqueue(client, MODEL)
        status_when(client, done(MODEL))
        config = client.app.state.services.runner.status().config  # type: ignore[attr-defined]
    waiting_trainings = [Waiting(model, model, (BOOK_NAME,), config) for model in (LOST, MODEL)]
    write_queue(workspace, waiting_trainings)
    with running(workspace) as client:
        status = status_when(client, done(MODEL))
        assert status["iteration"] == 10
        (refused,) = expect(client.get("/queue"), 200)["waiting"]
        assert (refused["model"], refused["error"]["code"]) == (LOST, "model_not_found")
        assert LOST in refused["error"]["message"]


def test_fault_in_the_queue_stops_neither_the_server_nor_its_worker(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    config = TrainConfig.model_validate(TINY_TRAINING | {"iterations": 5})
    workspace.root.mkdir(parents=True)
    write_queue(workspace, [Waiting("1", LOST, (BOOK_NAME,), config)])
    monkeypatch.setattr(training_queue, "begin_next", fail)
    with running(workspace) as client:
        create(client, MODEL)
        upload(client, BOOK_NAME)
        for iteration in (5, 10):
            train(client, iterations=5)
            assert status_when(client, done(MODEL))["iteration"] == iteration


def test_unreadable_queue_counts_as_empty(workspace: Workspace) -> None:
    workspace.root.mkdir(parents=True)
    for damage in ("{", '[1, {"id": 3}]', '{"a": 1}'):
        workspace.queue.write_text(damage, encoding="utf-8")
        assert read_queue(workspace) == []
