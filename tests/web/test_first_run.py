"""From an empty workspace to a running training with one call; what can be trained in the time there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import config
from config import ModelConfig
from runs import forecast
from runs.rehearsal import Pace
from tests.web.web_client import BOOK, BOOK_NAME, TINY_MODEL, assert_error, expect, running, status_when, upload
from workspace import Workspace

PACE = Pace(
    iteration_seconds=0.5,
    round_seconds=1.0,
    evaluation_seconds=0.0,
    sample_seconds=0.0,
    tokens_per_iteration=512,
    train_tokens=5000,
    reading_tokens=5000,
)


@pytest.fixture(autouse=True)
def tiny_preset_and_known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser's test measures the real machine; here an iteration takes half a second, and a round of self-play a second."""
    monkeypatch.setitem(config.PRESETS, "small", ModelConfig(**TINY_MODEL))
    monkeypatch.setattr(forecast, "pace", lambda *_: PACE)
    monkeypatch.setattr(forecast, "pace_of_new", lambda *_: PACE)


@pytest.fixture
def client(workspace: Workspace, tmp_path: Path) -> Iterator[TestClient]:
    """A server whose example book is short and exists in two languages."""
    (tmp_path / "example_book.txt").write_text(BOOK, encoding="utf-8")
    (tmp_path / "example_book_en.txt").write_text("The sea was calm and the lamp was lit. " * 300, encoding="utf-8")
    with running(workspace, example_book=tmp_path / "example_book.txt") as client:
        yield client


def first_run(client: TestClient, language: str = "ru", **wishes: Any) -> dict[str, Any]:
    return expect(client.post("/first_run", json=wishes, headers={"Accept-Language": language}), 202)


def end(client: TestClient) -> None:
    client.post("/stop_training", json={})
    status_when(client, lambda status: status["state"] not in ("queued", "running", "stopping"))


@pytest.mark.parametrize(
    ("language", "book", "model", "prompt"),
    [("ru", "example_book", "Библиотека у моря", "Однажды"), ("en", "example_book_en", "Coriolanus", "")],
)
def test_one_call_trains_a_model_on_the_example_in_the_persons_language(
    client: TestClient, language: str, book: str, model: str, prompt: str
) -> None:
    client.delete(f"/books/{book}")  # someone has tidied up
    started = first_run(client, language)
    assert (started["model"], started["books"]) == (model, [book])
    status = client.get("/training_status").json()
    assert (status["job_id"], status["model"]) == (started["job_id"], model)
    assert status["config"]["sample_prompt"].startswith(prompt)
    end(client)


def test_training_ends_with_its_time_and_is_repeated_as_one_of_as_many_iterations(client: TestClient) -> None:
    started = first_run(client, minutes=0.02)
    assert started["seconds"] == pytest.approx(1.2)
    status = status_when(client, lambda status: status["state"] == "done")
    assert (
        0 < status["elapsed_seconds"] < 30
    )  # after the last iteration; the check that follows may be what uses the time up
    assert status["iterations"] == status["iteration"] > 0
    page = client.get("/training").text
    settings = json.loads(page.partition('id="page-data">')[2].partition("</script>")[0])["models"][0]["settings"]
    assert (settings["iterations"], settings["max_minutes"]) == (status["iteration"], None)


def test_own_book_and_name_are_taken(client: TestClient) -> None:
    upload(client, BOOK_NAME)
    started = first_run(client, books=[BOOK_NAME], name="Лев")
    assert (started["model"], started["books"]) == ("Лев", [BOOK_NAME])
    assert_error(client.post("/first_run", json={}), 409, "training_runs")
    end(client)
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["Лев"]


@pytest.mark.parametrize(
    ("wishes", "status", "code"),
    [
        ({"books": ["нет"]}, 404, "book_not_found"),
        ({"books": ["мала"]}, 422, "book_too_small"),
        ({"name": "a/b"}, 422, "invalid_name"),
        ({"minutes": 0}, 422, "invalid_input"),
    ],
)
def test_nothing_stays_behind_what_was_refused(client: TestClient, wishes: Any, status: int, code: str) -> None:
    upload(client, "мала", "Слово. ")
    assert_error(client.post("/first_run", json=wishes), status, code)
    assert client.get("/models").json() == {"models": []}
    assert client.get("/training_status").json()["state"] == "idle"


def suggest(client: TestClient, **wishes: Any) -> dict[str, Any]:
    return expect(client.post("/suggest_model", json={"books": [BOOK_NAME]} | wishes), 200)


def test_each_preset_tells_its_time_and_how_often_it_reads_the_books(client: TestClient) -> None:
    upload(client, BOOK_NAME)
    found = suggest(client, own=TINY_MODEL)
    assert list(found["outlooks"]) == [*config.PRESETS, "own"]
    small, large = found["outlooks"]["small"], found["outlooks"]["large"]
    assert small["seconds"] < large["seconds"]
    assert (found["best"], found["sample_prompt"]) == ("large", "Однажды")
    assert found["outlooks"]["own"] == small


def test_little_time_makes_a_smaller_model_the_best(client: TestClient) -> None:
    upload(client, BOOK_NAME)
    enough = suggest(client)["outlooks"]["small"]["seconds"]
    assert suggest(client, minutes=enough / 60 + 1)["best"] == "small"
    assert suggest(client, memory_bytes=1)["best"] is None


@pytest.mark.parametrize(
    ("wishes", "status", "code"),
    [
        ({"books": []}, 422, "no_books"),
        ({"books": ["нет"]}, 404, "book_not_found"),
        ({"minutes": -1}, 422, "invalid_input"),
    ],
)
def test_suggestion_is_refused_with_a_reason(client: TestClient, wishes: Any, status: int, code: str) -> None:
    upload(client, BOOK_NAME)
    assert_error(client.post("/suggest_model", json={"books": [BOOK_NAME]} | wishes), status, code)
