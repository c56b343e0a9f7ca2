"""Training over HTTP with a real tiny model: start, refuse, watch, stop, resume, history, rollouts."""

from __future__ import annotations

import dataclasses
import math
import string
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from starlette.testclient import TestClient

from errors import Diverged
from events import Notice, Rollout, SelfPlayCompared, SelfPlayDone, State, TrainingStatus, Writing
from i18n import translator
from runs.run_log import RunLog
from tests.web.web_client import (
    BOOK_NAME,
    MODEL,
    TINY_TRAINING,
    assert_error,
    expect,
    running,
    status_when,
    train,
    wait_until_over,
)
from web.answers import to_json
from web.api_training import status_json
from workspace import Workspace


@pytest.fixture
def ready(make_model: Callable[[str], Any], make_book: Callable[[str], Any]) -> None:
    make_model(MODEL)
    make_book(BOOK_NAME)


def stop(client: TestClient) -> dict[str, Any]:
    expect(client.post("/stop_training"), 202)
    return wait_until_over(client)


def test_status_is_idle_and_null_before_any_training(client: TestClient) -> None:
    status = expect(client.get("/training_status"), 200)
    assert status["state"] == "idle"
    known = {name for name, value in status.items() if value not in (None, [], {}, 0, 0.0)}
    assert known == {"state", "exact"}


@pytest.mark.usefixtures("ready")
def test_training_runs_to_its_end_and_tells_how_it_went(client: TestClient) -> None:
    answer = train(client, iterations=10)
    assert (answer["model"], answer["resumed"], len(answer["job_id"])) == (MODEL, False, 12)
    status = wait_until_over(client)
    assert (status["state"], status["iteration"], status["iterations"], status["iterations_left"]) == (
        "done",
        10,
        10,
        0,
    )
    assert (status["model"], status["books"], status["job_id"]) == (MODEL, [BOOK_NAME], answer["job_id"])
    assert 0 < status["val_loss"] < math.log(300) + 1
    assert status["bits_per_byte"] > 0
    assert status["config"]["batch_size"] == 4
    assert status["config"]["self_play"]["every"] == 5


@pytest.mark.usefixtures("ready")
def test_second_training_gets_the_name_of_the_first(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("другая")
    train(client, iterations=None)
    other = client.post("/train", json={"model": "другая", "books": [BOOK_NAME], **TINY_TRAINING})
    assert MODEL in assert_error(other, 409, "training_runs")["message"]
    assert stop(client)["state"] == "stopped"


@pytest.mark.usefixtures("ready")
def test_stopped_training_resumes_where_it_stood(client: TestClient) -> None:
    assert train(client, iterations=None)["resumed"] is False
    status_when(client, lambda status: status["iteration"] >= 3)
    assert status_when(client, lambda status: True)["iterations_left"] is None
    stopped = stop(client)
    assert stopped["state"] == "stopped"
    assert train(client, iterations=stopped["iteration"] + 3)["resumed"] is True
    status = wait_until_over(client)
    assert (status["state"], status["resumed"]) == ("done", True)
    assert status["started_iteration"] >= stopped["iteration"]
    assert status["iteration"] > stopped["iteration"]


def test_stopping_nothing_is_a_conflict(client: TestClient) -> None:
    assert_error(client.post("/stop_training"), 409, "nothing_to_stop")


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "../x"}, 422, "invalid_name", None),
        ({"books": ["nobody"]}, 404, "book_not_found", None),
        ({"books": []}, 422, "no_books", "books"),
        ({"book_weights": [1, 2]}, 422, "weights_do_not_fit", "book_weights"),
        ({"book_weights": [0]}, 422, "invalid_input", "book_weights"),
        ({"books": "x"}, 422, "invalid_input", "books"),
        ({"books": [5]}, 422, "invalid_input", "books"),
        ({"iterations": 0}, 422, "invalid_input", "iterations"),
        ({"iterations": "10"}, 422, "invalid_input", "iterations"),
        ({"iterations": 1.5}, 422, "invalid_input", "iterations"),
        ({"learning_rate": -1}, 422, "invalid_input", "learning_rate"),
        ({"device": "tpu"}, 422, "invalid_input", "device"),
        ({"self_play": {"temperature": 99}}, 422, "invalid_input", "self_play.temperature"),
        ({"self_play": {"prompts": ["ok", ""]}}, 422, "invalid_input", "self_play.prompts"),
        ({"self_play": {"secret": 1}}, 422, "invalid_input", "self_play.secret"),
        ({"self_play": None}, 422, "invalid_input", "self_play"),
        ({"preset": "small"}, 422, "invalid_input", "preset"),
    ],
)
def test_training_names_the_field_that_is_wrong(
    client: TestClient, change: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    answer = client.post("/train", json={"model": MODEL, "books": [BOOK_NAME], **TINY_TRAINING, **change})
    assert_error(answer, status, code, field)
    assert client.get("/training_status").json()["state"] == "idle"


def test_training_needs_a_model_and_books(client: TestClient) -> None:
    error = assert_error(client.post("/train", json={}), 422, "invalid_input")
    assert {detail["field"] for detail in error["details"]} == {"model", "books"}


def test_history_continues_in_the_event_stream(client: TestClient, trained: str) -> None:
    history = expect(client.get("/training_history", params={"model": trained}), 200)
    assert history["model"] == trained
    assert history["iterations"] == list(range(1, 11))
    assert len(history["loss"]) == len(history["loss_smooth"]) == 10
    assert history["evaluations"]["iteration"][-1] == 10
    assert set(history["self_play"]) >= {"iteration", "reward", "reward_breakdown", "looped", "copied"}
    assert history["samples"][0]["text"]
    assert isinstance(history["last_event_id"], int)
    assert_error(client.get("/training_history?model=nobody"), 404, "model_not_found")
    assert_error(
        client.get("/training_history", params={"model": trained, "points": 1}), 422, "invalid_input", "points"
    )


def test_history_tells_the_newest_comparison_of_a_model_after_a_restart(
    client: TestClient, workspace: Workspace, trained: str
) -> None:
    address = f"/training_history?model={trained}"
    assert expect(client.get(address), 200)["compared"] is None
    writing = Writing(0.3, {"diversity": 0.4, "length": 0.2}, 0.7, "весной весной", ((7, 13),))
    compared = SelfPlayCompared(
        300, 200, "Однажды", {"greedy": writing}, {"greedy": writing}, {"looped": (0.0, 0.1, 0.2)}
    )
    with RunLog(workspace, trained) as log:
        log.append(compared)
        log.append(dataclasses.replace(compared, iteration=400))
        log.append(
            dataclasses.replace(compared, iteration=500, now={"greedy": dataclasses.replace(writing, reward=math.nan)})
        )
    found = expect(client.get(address), 200)["compared"]
    assert (found["iteration"], found["since"], found["prompt"]) == (400, 200, "Однажды")  # the last one is damaged
    assert found["now"]["greedy"]["loops"] == [[7, 13]]


def test_history_forgets_the_comparison_when_a_training_on_other_books_begins(
    client: TestClient, workspace: Workspace, trained: str, make_book: Callable[..., Any]
) -> None:
    writing = Writing(0.3, {"diversity": 0.4, "length": 0.2}, 0.7, "весной весной", ((7, 13),))
    with RunLog(workspace, trained) as log:
        log.append(SelfPlayCompared(10, 5, "Однажды", {"greedy": writing}, {"greedy": writing}, {}))
    compared = lambda: expect(client.get(f"/training_history?model={trained}"), 200)["compared"]  # noqa: E731
    train(client, iterations=2)  # goes on
    assert wait_until_over(client)["state"] == "done"
    assert compared()["iteration"] == 10
    make_book("другая", "Мельник слушал, как шумит вода, и ждал первых подвод. " * 200)
    train(client, books=["другая"], iterations=2)
    assert wait_until_over(client)["state"] == "done"
    assert compared() is None


def test_rollouts_are_read_round_by_round_with_their_texts(
    client: TestClient, workspace: Workspace, trained: str
) -> None:
    assert expect(client.get("/rollouts", params={"model": trained}), 200) == {"rounds": []}
    with RunLog(workspace, trained) as log:
        for number in (1, 2, 3):
            rollout = Rollout(
                "Однажды", "весной", 0.5, {"diversity": 0.6, "length": 0.4}, math.inf, True, 0.5, ((0, 3),)
            )
            log.append(SelfPlayDone(10 * number, number, 0.6, {"diversity": 0.7, "length": 0.5}, 0.0, (rollout,), 0.5))
    rounds = expect(client.get("/rollouts", params={"model": trained}), 200)["rounds"]
    assert [entry["round"] for entry in rounds] == [3, 2, 1]
    (shown,) = rounds[0]["rollouts"]
    assert (shown["prompt"], shown["completion"], shown["reward_breakdown"]["diversity"]) == ("Однажды", "весной", 0.6)
    assert (shown["greedy"], shown["looped"], shown["loops"], shown["copied"]) == (True, 0.5, [[0, 3]], None)
    older = expect(client.get("/rollouts", params={"model": trained, "before": 3, "limit": 1}), 200)
    assert older["rounds"] == rounds[1:2]
    assert_error(client.get("/rollouts?model=nobody"), 404, "model_not_found")


def test_restarted_server_remembers_the_last_run(workspace: Workspace, client: TestClient, trained: str) -> None:
    with running(workspace) as again:
        status = again.get("/training_status").json()
    assert (status["state"], status["model"], status["iteration"]) == ("done", trained, 10)


@pytest.mark.slow
def test_server_that_goes_down_saves_the_training(workspace: Workspace) -> None:
    with running(workspace) as client:
        client.post(
            "/create_model", json={"name": MODEL, "preset": "small", "d_model": 32, "num_heads": 2, "vocab_size": 300}
        )
        client.post("/upload_book", files={"file": (f"{BOOK_NAME}.txt", ("Слово за слово. " * 900).encode())})
        train(client, iterations=None)
        before = status_when(client, lambda status: status["iteration"] >= 2)
    with running(workspace) as again:
        status = again.get("/training_status").json()
        assert status["state"] == "stopped"
        assert status["checkpoint_iteration"] is None or status["checkpoint_iteration"] >= before["iteration"]
        assert train(again, iterations=1000)["resumed"] is True
        assert status_when(again, lambda status: status["iteration"] > before["iteration"])["resumed"] is True


def test_status_in_words() -> None:
    status = TrainingStatus(
        state=State.FAILED,
        iteration=3,
        iterations=10,
        loss=math.nan,
        error={"code": "diverged", "parameters": {"iteration": 3, "times": 2}, "field": None},
    )
    answer = status_json(status, translator("en"))
    assert answer["loss"] is None
    assert answer["iterations_left"] == 7
    assert answer["error"]["message"] == translator("en").error(Diverged(iteration=3, times=2))
    assert '"loss":null' in to_json(answer)


def test_every_notice_of_the_status_has_its_sentence() -> None:
    codes = [key.removeprefix("notice.") for key in translator("en").sentences if key.startswith("notice.")]
    assert codes
    for language in ("en", "ru"):
        for code in codes:
            notice = Notice(1, code, dict.fromkeys(_parameters(language, f"notice.{code}"), 1))
            status = dataclasses.replace(TrainingStatus(), notices=(notice,))
            (shown,) = status_json(status, translator(language))["notices"]
            assert shown["message"] != f"notice.{code}"


def _parameters(language: str, key: str) -> list[str]:
    sentence = translator(language).sentences[key]
    return [name for _, name, _, _ in string.Formatter().parse(str(sentence)) if name]


def _pool_is_full(client: TestClient) -> bool:
    """Forty deletions hold a thread each and the other five stand in line: all have arrived."""
    assert client.portal is not None
    pool = client.portal.call(_pool)
    return pool.borrowed_tokens == pool.total_tokens and pool.tasks_waiting == 5


async def _pool() -> anyio.CapacityLimiterStatistics:
    return anyio.to_thread.current_default_thread_limiter().statistics()


def _seconds_of_both(client: TestClient) -> float:
    begun = time.perf_counter()
    assert client.get("/training_status").status_code == 200
    assert client.get("/healthz").status_code == 200
    return time.perf_counter() - begun


def test_status_is_quick_while_every_other_thread_is_busy(client: TestClient) -> None:
    """Forty blocking calls fill the pool of threads that `def` routes share; the status does not need one."""
    services = client.app.state.services  # type: ignore[attr-defined]
    waiting = [threading.Thread(target=client.delete, args=(f"/models/x{i}",)) for i in range(45)]
    with services.changes:  # every deletion waits for this lock in a thread of the pool
        for thread in waiting:
            thread.start()
        while not _pool_is_full(client):
            time.sleep(0.01)
        seconds = min(_seconds_of_both(client) for _ in range(3))  # the quickest: other work may disturb one of them
    for thread in waiting:
        thread.join()
    assert seconds < 0.5


def test_status_and_answer_carry_the_names_of_the_model_and_not_what_was_typed(
    client: TestClient, trained: str
) -> None:
    told = expect(
        client.post(
            "/train",
            json={"model": trained.upper(), "books": [BOOK_NAME.lower()] * 2, **TINY_TRAINING, "iterations": 1},
        ),
        202,
    )
    status = wait_until_over(client)
    assert (told["model"], status["model"], status["books"]) == (trained, trained, [BOOK_NAME])


@pytest.mark.usefixtures("ready")
def test_stop_is_heard_while_a_tokenizer_is_fitted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def endless(texts: object, vocab_size: int) -> None:
        began.set()
        go_on.wait(60)  # as the merging, which cannot be interrupted

    monkeypatch.setattr("tokenizer.Tokenizer.fit", endless)
    train(client)
    assert began.wait(10)
    started_at = time.monotonic()
    client.post("/stop_training")
    status_when(client, lambda status: status["state"] == "stopped")
    assert time.monotonic() - started_at < 3
    go_on.set()
