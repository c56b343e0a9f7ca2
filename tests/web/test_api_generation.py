"""Generation over HTTP with a real tiny model: whole and streamed, while training runs, errors, clients that go away."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient

import workflows
from config import TrainConfig
from corpus import library
from corpus.dataset import split
from engine import generations
from engine.batch import Batch
from engine.generations import ROOM, Generations
from engine.score import score
from engine.text import FinishReason, Piece
from errors import AZRError, DiskFull, Overloaded, ReaderStalled
from i18n import translator
from store import model_store
from tests.web.web_client import (
    BOOK,
    BOOK_NAME,
    HERE,
    MODEL,
    assert_error,
    events_of,
    expect,
    running,
    status_when,
    train,
    wait_until_over,
)
from web.app import create_app
from web.pieces import all_of
from workspace import Workspace

PROMPT = "Все счастливые"
SHORT = {"model": MODEL, "prompt": PROMPT, "max_new_tokens": 12, "seed": 7}


@pytest.mark.usefixtures("trained")
def test_text_is_the_prompt_and_what_follows(client: TestClient) -> None:
    body = expect(client.post("/generate", json=SHORT), 200)
    assert set(body) == {
        "text", "completion", "tokens", "finish_reason", "tokens_per_second", "seed", "engine", "weights", "prompt_tokens", "prompt_tokens_read",
    }  # fmt: skip
    assert body["text"] == PROMPT + body["completion"]
    assert body["completion"]
    assert (body["tokens"], body["finish_reason"]) == (12, "length")
    assert body["tokens_per_second"] > 0


@pytest.mark.usefixtures("trained")
def test_seed_makes_the_text_repeat(client: TestClient) -> None:
    first, again = (expect(client.post("/generate", json=SHORT), 200)["text"] for _ in range(2))
    other = expect(client.post("/generate", json={**SHORT, "seed": 8}), 200)["text"]
    assert first == again
    assert first != other


@pytest.mark.usefixtures("trained")
def test_seed_that_was_drawn_is_told_and_repeats_the_text(client: TestClient) -> None:
    first, other = (expect(client.post("/generate", json={**SHORT, "seed": None}), 200) for _ in range(2))
    assert first["seed"] != other["seed"]
    assert expect(client.post("/generate", json={**SHORT, "seed": first["seed"]}), 200)["text"] == first["text"]


@pytest.mark.usefixtures("trained")
def test_stream_is_the_same_text_in_pieces(client: TestClient) -> None:
    whole = expect(client.post("/generate", json=SHORT), 200)
    with client.stream("POST", "/generate", json={**SHORT, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        *tokens, done = events_of(response.iter_lines())
    assert {event.event for event in tokens} == {"token"}
    assert "".join(event.data["text"] for event in tokens) == whole["completion"]
    assert [event.data["tokens"] for event in tokens] == sorted(event.data["tokens"] for event in tokens)
    assert done.event == "done"
    assert {key: value for key, value in done.data.items() if key != "tokens_per_second"} == {
        key: value for key, value in whole.items() if key != "tokens_per_second"
    }


@pytest.mark.usefixtures("trained")
def test_last_version_is_the_newest_checkpoint(client: TestClient) -> None:
    assert expect(client.post("/generate", json={**SHORT, "version": "last"}), 200)["tokens"] == 12


def test_each_checkpoint_that_is_kept_is_a_version(client: TestClient, trained: str) -> None:
    kept = expect(client.get(f"/models/{trained}"), 200)["checkpoints"]
    assert kept == [10]
    for version in (10, "10"):
        assert expect(client.post("/generate", json={**SHORT, "version": version}), 200)["tokens"] == 12
    error = assert_error(client.post("/generate", json={**SHORT, "version": 9}), 404, "checkpoint_not_kept", "version")
    assert "Kept: 10." in error["message"]


@pytest.mark.usefixtures("trained")
def test_model_writes_while_it_is_trained(client: TestClient) -> None:
    train(client, iterations=None)
    status_when(client, lambda status: status["iteration"] > 10)
    assert expect(client.post("/generate", json=SHORT), 200)["tokens"] == 12
    assert client.get("/training_status").json()["state"] == "running"
    client.post("/stop_training")
    assert wait_until_over(client)["state"] == "stopped"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "новая"}, 409, "no_tokenizer", "model"),
        ({"temperature": -1}, 422, "invalid_input", "temperature"),
        ({"top_p": 0}, 422, "invalid_input", "top_p"),
        ({"max_new_tokens": 0}, 422, "invalid_input", "max_new_tokens"),
        ({"stop": [""]}, 422, "invalid_input", "stop"),
        ({"stop": "a"}, 422, "invalid_input", "stop"),
        ({"prompt": None}, 422, "invalid_input", "prompt"),
        ({"version": "worst"}, 422, "invalid_input", "version"),
        ({"version": True}, 422, "invalid_input", "version"),
        ({"version": 9}, 404, "checkpoint_not_kept", "version"),
        ({"colour": 1}, 422, "invalid_input", "colour"),
    ],
)
def test_what_is_wrong_before_the_first_token_is_an_ordinary_answer(
    client: TestClient,
    trained: str,
    make_model: Callable[[str], Any],
    stream: bool,
    change: dict[str, Any],
    status: int,
    code: str,
    field: str,
) -> None:
    make_model("новая")
    assert trained == MODEL
    assert_error(client.post("/generate", json={**SHORT, "stream": stream, **change}), status, code, field)


@pytest.mark.parametrize("version", ["best", "last"])
def test_damaged_weights_are_named_with_the_way_out_and_marked_in_the_list(
    client: TestClient, trained: str, workspace: Workspace, version: str
) -> None:
    path = workspace.model_folder(trained) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    answer = client.post("/generate", json={**SHORT, "version": version})
    if version == "last":
        assert expect(answer, 200)["tokens"] == 12, "the checkpoint is whole"
        return
    error = assert_error(answer, 409, "model_damaged")
    assert "model.safetensors" in error["message"] and "Train it again" in error["message"]
    (listed,) = expect(client.get("/models"), 200)["models"]
    assert (listed["name"], listed["damaged"]) == (trained, "model.safetensors")
    assert_error(client.get("/download_model", params={"model": trained}), 409, "model_damaged")
    assert "Damaged: model.safetensors" in client.get("/library", headers={"Accept-Language": "en"}).text


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("prompt", ["", "\x00", "\U0001f600" * 50, "<|endoftext|>", "\r\n\t" * 100, "é\u0301" * 40])
def test_any_text_can_be_a_prompt(client: TestClient, prompt: str) -> None:
    assert expect(client.post("/generate", json={**SHORT, "prompt": prompt}), 200)["text"].startswith(prompt)


@pytest.mark.usefixtures("trained")
def test_half_a_character_is_refused_before_it_reaches_the_tokenizer(client: TestClient) -> None:
    for change in ({"prompt": "\ud800"}, {"stop": ["a", "\udfff"]}):
        body = json.dumps({**SHORT, **change})
        answer = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
        assert_error(answer, 422, "invalid_input", *change)  # its name is told


@pytest.mark.usefixtures("trained")
def test_logprobs_are_the_same_whole_and_streamed_and_those_of_the_score(client: TestClient) -> None:
    wish = {**SHORT, "logprobs": True, "max_new_tokens": 30, "stop": ["х друг"]}
    whole = expect(client.post("/generate", json=wish), 200)
    with client.stream("POST", "/generate", json={**wish, "stream": True}) as response:
        *tokens, done = events_of(response.iter_lines())
    assert [each for event in tokens for each in event.data["logprobs"]] == whole["logprobs"] == done.data["logprobs"]
    assert len(whole["logprobs"]) > 3
    assert {len(token["alternatives"]) for token in whole["logprobs"]} == {5}
    scored = expect(client.post("/score", json={"model": MODEL, "text": whole["text"]}), 200)["tokens"]
    again = scored[whole["prompt_tokens"] - 1 :]  # without the end-of-text that is read before every text
    assert again[0]["id"] == whole["logprobs"][0]["id"]
    assert again[0]["logprob"] == pytest.approx(whole["logprobs"][0]["logprob"], abs=1e-3)
    assert again[0]["logprob"] != pytest.approx(scored[0]["logprob"], abs=1e-3)


@pytest.mark.usefixtures("trained")
def test_prompt_longer_than_the_context_is_told(client: TestClient) -> None:
    body = expect(client.post("/generate", json={**SHORT, "prompt": PROMPT * 100}), 200)
    assert body["prompt_tokens_read"] == 32 < body["prompt_tokens"]
    body = expect(client.post("/generate", json=SHORT), 200)
    assert body["prompt_tokens_read"] == body["prompt_tokens"] > 1


@pytest.mark.usefixtures("trained")
def test_score_shows_where_one_head_looks(client: TestClient) -> None:
    body = expect(client.post("/score", json={"model": MODEL, "text": "мама", "layer": 1, "head": 0}), 200)
    square = body["attention"]
    assert [len(row) for row in square] == [len(body["tokens"]) + 1] * (len(body["tokens"]) + 1)
    assert [sum(row) for row in square] == pytest.approx([1.0] * len(square), abs=1e-3)
    assert body["attention_skips"] == 0
    assert all(row[number + 1 :] == [0.0] * (len(square) - number - 1) for number, row in enumerate(square))


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"layer": 2, "head": 0}, 422, "layer"),
        ({"layer": 0}, 422, "head"),
        ({"text": "а" * 20_000}, 422, "text"),
        ({"model": "nobody"}, 404, "model"),
    ],
)
def test_score_refuses_what_cannot_be_read(client: TestClient, change: dict[str, Any], status: int, field: str) -> None:
    assert_error(client.post("/score", json={"model": MODEL, "text": "мама", **change}), status, field=field)


@pytest.mark.usefixtures("trained")
def test_attention_over_a_long_text_is_that_of_its_end(client: TestClient) -> None:
    wish = {"model": MODEL, "text": "мама мыла раму " * 20, "layer": 0, "head": 0}
    body = expect(client.post("/score", json=wish), 200)
    assert len(body["attention"]) == 32
    assert body["attention_skips"] == len(body["tokens"]) + 1 - 32 > 0


@pytest.mark.usefixtures("trained")
def test_copied_phrases_name_their_place_in_the_book(client: TestClient) -> None:
    told = BOOK.split()
    phrase = " ".join(told[20:32])
    text = f"Сначала своё. {phrase.upper()}! И снова своё"
    (found,) = expect(client.post("/copied", json={"model": MODEL, "text": text}), 200)["phrases"]
    assert text[found["start"] : found["end"]].lower() in phrase.lower()
    assert found["words"].split()[:8] == told[20:28]
    assert (found["book"], found["characters"] > found["place"] > 0) == (BOOK_NAME, True)
    assert expect(client.post("/copied", json={"model": MODEL, "text": "семь слов мало " * 2}), 200) == {"phrases": []}
    assert_error(client.post("/copied", json={"model": "nobody", "text": text}), 404, "model_not_found", "model")


@pytest.mark.usefixtures("trained")
def test_cost_of_q8_0_is_measured_once_on_held_out_text(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="the optional runtime is not installed")
    monkeypatch.setenv("AZR_LLAMA_CPP", "1")
    address = f"/models/{MODEL}/precision"
    found = expect(client.get(address), 200)
    f16, q8_0 = (found["bits_per_byte"][kind] for kind in ("f16", "q8_0"))
    assert found["places"] == 256
    assert found["cost"] == pytest.approx(q8_0 - f16)
    assert 0 < abs(found["cost"]) < 0.01
    assert f16 == pytest.approx(_bits_per_byte(client.app.state.services.workspace), abs=2e-3)  # type: ignore[attr-defined]
    monkeypatch.setattr("exchange.precision.measure", None)
    assert expect(client.get(address), 200) == found
    page = client.get("/generation").text
    assert 'id="f-weights"' in page and str(found["cost"]) in page
    text = expect(client.post("/generate", json={**SHORT, "weights": "q8_0"}), 200)
    assert (text["engine"], text["weights"]) == ("llama.cpp", "q8_0")
    assert expect(client.post("/generate", json=SHORT), 200)["weights"] == "f16"


def _bits_per_byte(workspace: Workspace) -> float:
    """What our own loop reaches in float32 on the same tokens."""
    loaded = model_store.load(workspace, MODEL)
    assert loaded.tokenizer is not None
    text = split(library.open_text(workspace, BOOK_NAME), TrainConfig().val_fraction).val[:20_000]
    ids = [loaded.tokenizer.end_of_text, *loaded.tokenizer.encode(text)][:257]
    tokens = score(loaded.model, loaded.tokenizer, ids, 0).tokens
    return -sum(token.logprob or 0 for token in tokens) / math.log(2) / sum(len(token.bytes) for token in tokens)


@pytest.mark.usefixtures("trained")
def test_q8_0_is_refused_where_nothing_writes_with_it(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZR_LLAMA_CPP", "0")
    for answer in (
        client.post("/generate", json={**SHORT, "weights": "q8_0"}),
        client.get(f"/models/{MODEL}/precision"),
    ):
        assert "xllamacpp" in assert_error(answer, 422, "invalid_input", "weights")["message"]
    assert expect(client.post("/generate", json=SHORT), 200)["weights"] == "f32"
    assert 'id="f-weights"' not in client.get("/generation").text


# ---- too many, and gone ----------------------------------------------------------------------------------------------


class Writer:
    """Stands where `workflows.generate` stands: writes for as long as it is read, and knows how it ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.pieces = 0
        self.running = 0
        self.most_running = 0
        self.ended = threading.Event()

    def __call__(self, *_: object, **__: object) -> Iterator[Piece]:
        return self.write()

    def write(self) -> Generator[Piece, None, None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            while True:
                time.sleep(0.005)
                self.pieces += 1
                yield Piece("слово ", self.pieces)
                if self.error:
                    raise self.error
        finally:
            self.running -= 1
            self.ended.set()


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    writer = Writer()
    monkeypatch.setattr(workflows, "generate", writer)
    return writer


def test_more_than_can_wait_are_told_to_come_back(
    workspace: Workspace, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "Generations", partial(Generations, running=2, waiting=16))
    with running(workspace) as client:
        admitted = client.app.state.services.generations  # type: ignore[attr-defined]
        threads = [threading.Thread(target=client.post, args=("/generate",), kwargs={"json": SHORT}) for _ in range(18)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while admitted.admitted < 18:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = client.post("/generate", json=SHORT)
        assert_error(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/training_status").status_code == 200
        admitted.close()
        for thread in threads:
            thread.join(10)
        assert writer.most_running == 2
        assert admitted.admitted == 0


@pytest.mark.usefixtures("writer")
def test_error_after_the_first_token_is_an_event(client: TestClient, writer: Writer) -> None:
    for error, code in ((DiskFull(path="models"), "disk_full"), (ZeroDivisionError("ours"), "internal_error")):
        writer.error = error
        with client.stream("POST", "/generate", json={**SHORT, "stream": True}) as response:
            *_, last = events_of(response.iter_lines())
        assert (last.event, last.data["error"]["code"]) == ("error", code)
        assert "ours" not in last.data["error"]["message"]


def test_client_that_leaves_the_stream_ends_its_generation(client: TestClient, writer: Writer) -> None:
    with client.stream("POST", "/generate", json={**SHORT, "stream": True}) as response:
        assert next(events_of(response.iter_lines())).event == "token"
    assert writer.ended.wait(5)
    assert writer.pieces < ROOM + 200


@pytest.mark.slow
def test_slow_reader_holds_its_writer_back_and_leaving_frees_it() -> None:
    writer, pool = Writer(), Generations()

    async def read_one_and_wait() -> int:
        pieces = pool.run(writer.write)
        await anext(pieces)
        await asyncio.sleep(1.0)
        written = writer.pieces
        await pieces.aclose()
        return written

    assert asyncio.run(read_one_and_wait()) <= ROOM + 2
    assert writer.ended.wait(5)
    pool.close()


def test_stalled_readers_lose_their_places_to_others_and_keep_what_is_buffered() -> None:
    """Two who stop reading fill both threads; the third is served after the patience is over, not after minutes."""
    stalled, pool = [Writer(), Writer()], Generations(running=2, patience_seconds=0.3)

    def short() -> Generator[Piece, None, None]:
        yield Piece("x", 1, finish_reason=FinishReason.LENGTH)

    async def stall_twice_and_ask() -> None:
        held = [pool.run(writer.write) for writer in stalled]
        for pieces in held:
            await anext(pieces)
        began_at = time.monotonic()
        third = await asyncio.wait_for(anext(pool.run(short)), 10)
        assert third.text == "x" and time.monotonic() - began_at > 0.3, "the control: they did hold both threads"
        for writer in stalled:
            assert await asyncio.to_thread(writer.ended.wait, 5)
        for pieces in held:
            texts = []
            with pytest.raises(ReaderStalled) as caught:
                async for piece in pieces:
                    texts.append(piece.text)
            assert texts == ["слово "] * ROOM, "what was buffered is not lost"
            assert caught.value.parameters == {"seconds": 0.3}

    asyncio.run(stall_twice_and_ask())
    pool.close()
    assert pool.admitted == 0


def test_reader_that_takes_a_piece_now_and_then_loses_its_place_as_well() -> None:
    """The patience is for the whole text: a piece taken just in time does not renew it."""
    writer, pool = Writer(), Generations(patience_seconds=0.5)

    async def trickle() -> float:
        pieces = pool.run(writer.write)
        await anext(pieces)
        began_at = time.monotonic()
        while not writer.ended.is_set():
            await asyncio.sleep(0.1)
            await anext(pieces)
        await pieces.aclose()
        return time.monotonic() - began_at

    assert asyncio.run(trickle()) < 5
    pool.close()


def test_a_text_never_read_holds_no_place() -> None:
    writer, pool = Writer(), Generations()

    async def ask_and_forget() -> None:
        pool.run(writer.write)
        await asyncio.sleep(0.1)

    asyncio.run(ask_and_forget())
    assert (pool.admitted, writer.pieces) == (0, 0)
    pool.close()


def test_reader_that_is_cancelled_while_it_waits_frees_its_place() -> None:
    pool = Generations(running=1, waiting=1)
    release = threading.Event()

    def silent() -> Generator[Piece, None, None]:
        release.wait(10)
        yield Piece("x", 1, finish_reason=FinishReason.LENGTH)

    async def wait_and_leave() -> None:
        waiting = [asyncio.ensure_future(anext(pool.run(silent))) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded):
            await anext(pool.run(silent))
        for reader in waiting:
            reader.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(wait_and_leave())
    release.set()
    deadline = time.monotonic() + 5
    while pool.admitted:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pool.close()


def test_a_generation_for_which_there_is_no_thread_is_refused_and_holds_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Generations()

    async def ask() -> None:
        async for _ in pool.run(Writer().write):
            pass

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Overloaded):
        asyncio.run(ask())
    assert pool.admitted == 0


def test_a_lack_of_memory_is_named(client: TestClient, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1024 bytes.")

    monkeypatch.setattr(Batch, "_grow", refuse)
    error = assert_error(client.post("/generate", json={"model": trained, "prompt": "x"}), 507, "out_of_memory")
    assert "shorter beginning" in error["message"] and "batch" not in error["message"]


def test_stalled_reader_is_told_so_at_the_end_of_its_stream(client: TestClient, writer: Writer) -> None:
    writer.error = ReaderStalled(seconds=10.0)
    with client.stream("POST", "/generate", json={**SHORT, "stream": True}) as response:
        first, last = events_of(response.iter_lines())
    assert (first.event, last.event, last.data["error"]["code"]) == ("token", "error", "reader_stalled")
    assert "10 s" in last.data["error"]["message"]


def test_closed_pool_ends_what_runs_and_refuses_the_rest() -> None:
    writer, pool = Writer(), Generations()

    async def read_until_closed() -> int:
        count = 0
        async for _ in pool.run(writer.write):
            count += 1
            if count == 3:
                pool.close()
        with pytest.raises(Overloaded) as refused:
            await anext(pool.run(writer.write))
        assert translator("en").error(refused.value).startswith("The program is being closed")
        return count

    assert asyncio.run(read_until_closed()) >= 3
    assert writer.ended.wait(5)


def test_text_that_ends_with_the_server_says_so() -> None:
    async def ended() -> AsyncGenerator[Piece, None]:
        for piece in ():
            yield piece

    with pytest.raises(Overloaded) as cut:
        asyncio.run(all_of(ended()))
    assert cut.value.parameters["reason"] == "closing"


def test_errors_reach_the_reader_as_they_are() -> None:
    pool = Generations()

    def fails() -> Generator[Piece, None, None]:
        raise DiskFull(path="x")
        yield

    async def read() -> None:
        await anext(pool.run(fails))

    with pytest.raises(AZRError) as caught:
        asyncio.run(read())
    assert caught.value.code == "disk_full"
    pool.close()
    assert generations.RETRY_AFTER_SECONDS > 0


def test_client_that_leaves_before_the_first_byte_of_a_stream_ends_its_generation(
    workspace: Workspace, writer: Writer
) -> None:
    async def ask_and_break() -> int:
        app = create_app(workspace)
        body = [{"type": "http.request", "body": b'{"model": "a", "prompt": "b", "stream": true}', "more_body": False}]

        async def receive() -> Any:
            if not body:
                await asyncio.Event().wait()
            return body.pop()

        async def send(message: Any) -> None:
            raise OSError("the connection is gone")

        headers = [(b"host", b"localhost:8000"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/generate", "raw_path": b"/generate", "query_string": b""}
        scope["client"] = HERE
        kept = []
        try:
            await app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
        except BaseException as error:  # kept alive, as a log or a debugger may do: no collector closes the generator
            kept.append(error)
        assert await asyncio.to_thread(writer.ended.wait, 5)
        return len(kept)

    assert asyncio.run(ask_and_break()) <= 1


def test_client_that_leaves_before_the_answer_ends_its_generation(workspace: Workspace, writer: Writer) -> None:
    async def ask_and_leave() -> None:
        app = create_app(workspace)
        sent: list[Any] = []
        gone = asyncio.Event()
        body = [{"type": "http.request", "body": b'{"model": "a", "prompt": "b"}', "more_body": False}]

        async def receive() -> Any:
            if body:
                return body.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost:8000"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/generate", "raw_path": b"/generate", "query_string": b""}
        scope["client"] = HERE
        call = asyncio.create_task(
            app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
        )
        await asyncio.sleep(0.3)
        assert not call.done()
        gone.set()
        await asyncio.wait_for(call, 5)
        assert [message.get("status") for message in sent[:1]] == [499]

    asyncio.run(ask_and_leave())
    assert writer.ended.wait(5)
