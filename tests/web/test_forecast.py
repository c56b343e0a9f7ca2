"""The forecast over HTTP: measured once, kept, never beside a training, compared at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

import workflows
from runs import forecast
from runs.forecast_cache import MOST_WAITING
from runs.rehearsal import Pace
from tests.web.web_client import (
    BOOK_NAME,
    MODEL,
    TINY_MODEL,
    TINY_TRAINING,
    assert_error,
    expect,
    train,
    wait_until_over,
)

pytestmark = pytest.mark.slow  # seconds of processor time

WISH = {"model": MODEL, "books": [BOOK_NAME], **TINY_TRAINING}
PACE = Pace(
    iteration_seconds=0.5,
    round_seconds=2.0,
    evaluation_seconds=2.0,
    sample_seconds=1.0,
    tokens_per_iteration=100,
    train_tokens=1000,
    reading_tokens=1000,
)


@pytest.fixture
def ready(make_model: Callable[[str], Any], make_book: Callable[[str], Any]) -> None:
    make_model(MODEL)
    make_book(BOOK_NAME)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[workflows.TrainingPlan]:
    """What was rehearsed; each rehearsal gives PACE at once."""
    plans: list[workflows.TrainingPlan] = []
    monkeypatch.setattr(forecast, "pace", lambda workspace, plan, go_on: plans.append(plan) or PACE)
    return plans


@pytest.mark.slow
@pytest.mark.usefixtures("ready")
def test_forecast_is_measured_for_real(client: TestClient) -> None:
    told = expect(client.post("/forecast", json={**WISH, "iterations": 20}), 200)
    assert told["tokens_per_second"] > 0
    assert 0 < told["total_seconds"] < 100
    assert told["suggested_iterations"] > 0
    assert told["suggested_seconds"] > 0
    assert told["epochs"] == pytest.approx(20 * 4 * 32 / told["train_tokens"])


@pytest.mark.usefixtures("ready")
def test_forecast_rehearses_again_only_for_what_changes_the_times(
    client: TestClient, asked: list[workflows.TrainingPlan]
) -> None:
    totals = [
        expect(client.post("/forecast", json={**WISH, **change}), 200)["total_seconds"]
        for change in (
            {"iterations": 100},
            {"iterations": 200, "eval_every": 100},
            {"iterations": None},
            {"batch_size": 3},
        )
    ]
    assert totals[:3] == [100 * 0.5 + 21 * 3.0, 200 * 0.5 + 3 * 3.0, None]
    assert [plan.config.batch_size for plan in asked] == [4, 3]


@pytest.mark.usefixtures("ready")
def test_forecast_is_refused_beside_a_training_and_ended_by_one(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, answers = threading.Event(), []

    def endless(workspace: object, plan: object, go_on: Callable[[], None]) -> Pace:
        began.set()
        while True:
            go_on()
            time.sleep(0.01)

    monkeypatch.setattr(forecast, "pace", endless)
    asking = threading.Thread(target=lambda: answers.append(client.post("/forecast", json=WISH)))
    asking.start()
    assert began.wait(10)
    train(client, iterations=10)
    asking.join(30)
    assert_error(answers[0], 409, "training_runs")
    assert wait_until_over(client)["state"] == "done"


@pytest.mark.usefixtures("ready")
def test_finished_training_tells_what_was_promised(client: TestClient, asked: list[workflows.TrainingPlan]) -> None:
    expect(client.post("/forecast", json={**WISH, "iterations": 10}), 200)
    train(client, iterations=10)
    measured = wait_until_over(client)["measured"]
    assert measured["expected_seconds"] == 10 * 0.5 + 3 * 3.0
    assert measured["seconds"] > 0
    assert len(asked) == 1


@pytest.mark.usefixtures("ready")
def test_training_that_nobody_asked_about_promises_nothing(client: TestClient) -> None:
    train(client, iterations=5)
    assert wait_until_over(client)["measured"] is None


def test_forecast_names_the_field_that_is_wrong(client: TestClient) -> None:
    assert_error(client.post("/forecast", json={**WISH, "model": "никто"}), 404, "model_not_found", field="model")


@pytest.mark.usefixtures("ready")
def test_many_forecasts_at_once_leave_the_other_pages_quick(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(forecast, "pace", lambda workspace, plan, go_on_: go_on.wait(30) and PACE)
    checked: list[None] = []
    check = workflows.prepare_training
    monkeypatch.setattr(workflows, "prepare_training", lambda *wish: (checked.append(None), check(*wish))[1])
    answers: list[Any] = []

    def ask(number: int) -> None:  # each for another batch size, so that none is known
        answers.append(client.post("/forecast", json={**WISH, "batch_size": 1 + number}))

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    for thread in asking:
        thread.start()
    while len(answers) < 60 - MOST_WAITING:
        time.sleep(0.02)
    started_at = time.perf_counter()
    expect(client.get("/books"), 200)
    assert time.perf_counter() - started_at < 1
    assert len(checked) == MOST_WAITING, "nothing is read for those that are refused"
    error = assert_error(answers[0], 503, "overloaded")
    assert answers[0].headers["Retry-After"] == "15"
    assert "forecasts" in error["message"]
    go_on.set()
    for thread in asking:
        thread.join(30)
    assert sorted(answer.status_code for answer in answers) == [200] * MOST_WAITING + [503] * (60 - MOST_WAITING)
    expect(client.post("/forecast", json={**WISH, "batch_size": 61}), 200)  # every place was given back


# ---- books that are too short ------------------------------------------------------------------------------------------

LINE = "Утром бабушка вышла из дома и пошла к колодцу. Внук ещё спал, и ей было жаль его будить.\n"


@pytest.mark.parametrize("path", ["/forecast", "/train"])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("мама мыла раму", "The chosen books are too short: they have"),
        (LINE, "too short to hold back a part for checking"),
    ],
    ids=["training part", "held-out part"],
)
def test_book_that_is_too_short_is_refused_alike_before_anything_begins(
    client: TestClient, make_model: Callable[[str], Any], make_book: Callable[..., Any], path: str, text: str,
    sentence: str,
) -> None:  # fmt: skip
    make_model(MODEL)
    make_book("мало", text)
    answer = client.post(path, json={**WISH, "books": ["мало"]})
    error = assert_error(answer, 422, "book_too_small", field="books")
    assert sentence in error["message"]
    assert expect(client.get("/training_status"), 200)["state"] == "idle"
    assert expect(client.get(f"/models/{MODEL}"), 200)["tokenizer_size"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("ready")
def test_forecast_and_training_agree_on_a_book_that_is_just_long_enough(
    client: TestClient, make_book: Callable[..., Any]
) -> None:
    words = LINE.split()
    verdicts = []
    for count in range(20, 100, 20):
        name = f"книга {count}"
        make_book(name, " ".join(words[i % len(words)] for i in range(count)))
        expect(client.post("/create_model", json={"name": name, **TINY_MODEL}), 201)
        forecast = client.post("/forecast", json={**WISH, "model": name, "books": [name]}).status_code
        training = client.post("/train", json={**WISH, "model": name, "books": [name], "iterations": 1}).status_code
        if training == 202:
            assert wait_until_over(client)["state"] == "done"
        verdicts.append((forecast, training))
    assert set(verdicts) == {(422, 422), (200, 202)}
