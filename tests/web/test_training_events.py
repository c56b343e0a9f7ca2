"""The live stream: what comes first, what is put together, what is replayed, and when it ends."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from events import (
    Evaluated,
    Event,
    IterationDone,
    Notice,
    Rollout,
    SelfPlayCompared,
    SelfPlayDone,
    State,
    Writing,
)
from i18n import translator
from runs.jobs import JobRunner
from tests.web.web_client import ServerSent, events_of, expect, status_when, train
from web import event_stream as live

pytestmark = pytest.mark.slow  # seconds of processor time

EVALUATED = Evaluated(2, 4.0, 2.0, 5.0, True, 1.0)
ROLLOUT = Rollout("Однажды", "весной", 0.5, {"diversity": 0.5, "length": 0.5}, 0.0, True, 0.5, ((0, 6),))
BOOKS = {"reward": (0.9, 0.95, 1.0), "looped": (0.0, 0.004, 0.01)}
ROUND = SelfPlayDone(2, 1, 0.6, {"diversity": 0.7, "length": 0.5}, 0.0, (ROLLOUT,), 0.25, BOOKS)
WRITING = Writing(0.3, {"diversity": 0.4, "length": 0.2}, 0.7, "весной весной", ((7, 13),))
COMPARED = SelfPlayCompared(3, 2, "Однажды", {"greedy": WRITING}, {"greedy": WRITING}, BOOKS)


def iteration(number: int, loss: float = 2.0) -> IterationDone:
    return IterationDone(number, loss, 1e-3, 1.0, 100.0, float(number))


def runner_after(events: list[Event], **options: Any) -> JobRunner:
    def run() -> Generator[Event, None, None]:
        yield from events

    runner = JobRunner(**options)
    runner.submit("поэт", ("книга",), run)
    assert runner.wait(10)
    runner.close(10)
    return runner


def wait_for(wanted: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(runner: JobRunner, last_id: int | None, language: str = "en", looks: int = 1) -> list[ServerSent]:
    """What one reader gets in its first looks at the runner."""

    async def collect() -> list[bytes]:
        stream: AsyncGenerator[bytes, None] = live._Stream(runner, translator(language), last_id).run(asyncio.Event())
        chunks = [await anext(stream) for _ in range(looks + 1)]  # the first one is `retry`
        await stream.aclose()
        return chunks

    return list(events_of(iter(b"".join(asyncio.run(collect())).decode("utf-8").split("\n"))))


def test_stream_begins_with_the_status() -> None:
    runner = runner_after([iteration(1)])
    (first,) = read(runner, None)
    assert (first.event, first.data["state"], first.data["iteration"], first.id) == ("status", "done", 1, 1)
    assert first.data["iterations_left"] is None


def test_missed_events_are_replayed_in_order_with_iterations_put_together() -> None:
    runner = runner_after([iteration(1), iteration(2), EVALUATED, ROUND, iteration(3, math.nan)], first_id=101)
    status, *news = read(runner, 100)
    assert status.event == "status"
    assert [(event.event, event.id) for event in news] == [
        ("iterations", 102),
        ("Evaluated", 103),
        ("SelfPlayDone", 104),
        ("iterations", 105),
    ]
    assert news[0].data["iteration"] == [1, 2]
    assert news[0].data["loss"] == [2.0, 2.0]
    assert news[3].data["loss"] == [None]
    assert (news[1].data["val_loss"], news[1].data["is_best"]) == (4.0, True)
    assert news[2].data["reward"] == 0.6
    assert (news[2].data["looped"], news[2].data["book"]["looped"]) == (0.25, [0.0, 0.004, 0.01])
    assert "rollouts" not in news[2].data


def test_comparison_is_sent_as_an_event_and_stays_in_the_status() -> None:
    runner = runner_after([iteration(1), COMPARED])
    status, _, compared = read(runner, 0)
    assert (compared.event, compared.data["since"], compared.data["prompt"]) == ("SelfPlayCompared", 2, "Однажды")
    assert compared.data["now"]["greedy"]["loops"] == [[7, 13]]
    assert status.data["compared"]["now"] == compared.data["now"]


def test_reader_that_has_seen_a_part_gets_the_rest() -> None:
    runner = runner_after([iteration(1), iteration(2), iteration(3)])
    assert read(runner, 2)[1].data["iteration"] == [3]
    assert [event.event for event in read(runner, 3)] == ["status"]


@pytest.mark.parametrize("last_id", [0, 7, 5_000_000])
def test_id_that_this_server_does_not_remember_resets(last_id: int) -> None:
    runner = runner_after([iteration(n) for n in range(1, 6)], log_size=2, first_id=101)
    status, reset = read(runner, last_id)
    assert (status.event, reset.event, reset.data, reset.id) == ("status", "reset", {"last_event_id": 105}, 105)


def test_notice_comes_in_the_readers_language() -> None:
    code = next(
        key for key, text in translator("ru").sentences.items() if key.startswith("notice.") and "{" not in str(text)
    )
    runner = runner_after([Notice(1, code.removeprefix("notice."))])
    for language in ("en", "ru"):
        notice = read(runner, 0, language)[1]
        assert notice.data["message"] == translator(language).gettext(code)


def test_heartbeat_and_changes_come_while_nothing_and_something_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.3)
    runner, go_on = JobRunner(), threading.Event()

    def run() -> Generator[Event, None, None]:
        assert go_on.wait(10)
        yield iteration(1)

    runner.submit("поэт", (), run)
    wait_for(lambda: runner.status().state == State.RUNNING)

    async def collect() -> list[str]:
        stream = live._Stream(runner, translator("en"), None).run(asyncio.Event())
        chunks = [(await anext(stream)).decode() for _ in range(3)]
        go_on.set()
        chunks.append((await anext(stream)).decode())
        await stream.aclose()
        return chunks

    _, status, heartbeat, news = asyncio.run(collect())
    assert '"state":"running"' in status
    assert heartbeat == ": ping\n\n"
    assert "event: iterations" in news or "event: status" in news
    runner.close(10)


@pytest.mark.slow
def test_status_is_sent_at_most_twice_a_second() -> None:
    runner, over = JobRunner(), threading.Event()

    def run() -> Generator[Event, None, None]:
        number = 0
        while not over.is_set():
            number += 1
            time.sleep(0.01)
            yield iteration(number)

    runner.submit("поэт", (), run)

    async def collect() -> list[bytes]:
        stream = live._Stream(runner, translator("en"), None).run(asyncio.Event())
        until = time.monotonic() + 1.6
        chunks = []
        async for chunk in stream:
            chunks.append(chunk)
            if time.monotonic() > until:
                break
        await stream.aclose()
        return chunks

    names = [event.event for event in events_of(iter(b"".join(asyncio.run(collect())).decode().split("\n")))]
    over.set()
    runner.close(10)
    assert 2 <= names.count("status") <= 5
    assert 4 <= names.count("iterations") <= 8


# ---- over HTTP -------------------------------------------------------------------------------------------------------


def follow(client: TestClient, until: Callable[[ServerSent], bool], **request: Any) -> list[ServerSent]:
    seen = []
    with client.stream("GET", "/training_events", **request) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        for event in events_of(response.iter_lines()):
            seen.append(event)
            if until(event):
                return seen
    return seen


def iterations_in(events: Iterator[ServerSent] | list[ServerSent]) -> list[int]:
    return [number for event in events if event.event == "iterations" for number in event.data["iteration"]]


def test_stream_and_reconnection_show_every_iteration_once(client: TestClient, trained: str) -> None:
    history = expect(client.get("/training_history", params={"model": trained}), 200)
    train(client, iterations=20)
    start = {"params": {"last_event_id": history["last_event_id"]}}
    first = follow(client, lambda event: event.event == "iterations", **start)
    assert first[0].event == "status"
    status = status_when(client, lambda status: status["state"] == "done")
    again = {**start, "headers": {"Last-Event-ID": str(first[-1].id)}}  # as a browser reconnects: the header is newer
    second = follow(client, lambda event: event.id == client.app.state.services.runner.last_event_id, **again)  # type: ignore[attr-defined]
    seen = iterations_in(first + second)
    assert seen == list(range(11, status["iteration"] + 1))  # the ten before were another run's
    assert len(seen) >= 10
    assert {"RunStarted", "Evaluated", "SampleWritten", "CheckpointSaved"} <= {event.event for event in first + second}


@pytest.mark.parametrize("header", ["", "abc", "-1", "1e9", "9" * 400, "12\u0663"])
def test_strange_last_event_ids_are_no_mistakes(client: TestClient, header: str) -> None:
    headers = {"Last-Event-ID": header.encode("utf-8")}
    (status,) = follow(client, lambda event: event.event == "status", headers=headers)
    assert status.data["state"] == "idle"


@pytest.mark.parametrize("last_id", [2**53 + 1, 2**63 - 1, 2**63, 10**19, 10**20 - 1])
def test_id_beyond_all_ids_resets(client: TestClient, last_id: int) -> None:
    for options in ({"params": {"last_event_id": last_id}}, {"headers": {"Last-Event-ID": str(last_id)[:19]}}):
        seen = follow(client, lambda event: event.event == "reset", **options)
        assert seen[-1].event == "reset"


def test_streams_end_when_the_server_closes(client: TestClient) -> None:
    ended: list[float] = []

    def listen() -> None:
        follow(client, lambda event: False)
        ended.append(time.monotonic())

    threads = [threading.Thread(target=listen) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert not ended
    closing_at = time.monotonic()
    client.portal.call(client.app.state.services.closing.set)  # type: ignore[union-attr, attr-defined]
    for thread in threads:
        thread.join(5)
    assert len(ended) == 5
    assert max(ended) - closing_at < 1
