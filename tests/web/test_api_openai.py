"""OpenAI's API through OpenAI's own client: whole and streamed, its errors, and what our models cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
import openai
import pytest
from starlette.testclient import TestClient

import workflows
from engine.text import Piece
from errors import DiskFull, Overloaded
from formats.gguf import CHAT_TEMPLATE
from tests.web.web_client import ADDRESS, MODEL, assert_error, expect
from web.openai_bodies import ChatCompletions, Completions

PROMPT = "Все счастливые"
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 16}
# Among likely tokens only: the unlikely ones have almost the same chance, and rounding decides which of two neighbours is drawn.
SEEDED: dict[str, Any] = {"model": MODEL, "seed": 3, "max_tokens": 24, "top_p": 0.5}


@pytest.fixture
def api(client: TestClient, trained: str) -> openai.OpenAI:
    """OpenAI's client, talking to the application with a trained model."""
    assert trained == MODEL
    return openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none is needed", http_client=client, max_retries=0)  # type: ignore[arg-type]


@pytest.fixture
def cyrillic(client: TestClient, trained: str) -> list[int]:
    """Some ids of the model's tokenizer, most of them half a letter."""
    tokens = expect(client.post("/score", json={"model": trained, "text": PROMPT}), 200)["tokens"]
    return [token["id"] for token in tokens]


# ---- models ----------------------------------------------------------------------------------------------------------


def test_models_are_those_that_can_write(api: openai.OpenAI, make_model: Callable[[str], Any]) -> None:
    make_model("новая")
    (listed,) = api.models.list().data
    assert (listed.id, listed.object) == (MODEL, "model")
    assert api.models.retrieve(MODEL) == listed
    for name in ("новая", "nobody"):
        with pytest.raises(openai.NotFoundError) as caught:
            api.models.retrieve(name)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


# ---- completions -----------------------------------------------------------------------------------------------------


def test_completion_is_what_generate_writes(api: openai.OpenAI, client: TestClient) -> None:
    found = api.completions.create(prompt=PROMPT, **GREEDY)
    ours = expect(
        client.post("/generate", json={"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_new_tokens": 16}), 200
    )
    (choice,) = found.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == (ours["completion"], "length", None)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (ours["prompt_tokens"] - 1, 16)
    assert found.system_fingerprint == ours["engine"]


def test_prompts_of_every_kind_say_the_same(api: openai.OpenAI, cyrillic: list[int]) -> None:
    text = api.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
    ids = [0, *cyrillic]  # a text is read after an end-of-text, ids as they are
    for prompt, texts in ([PROMPT, PROMPT], 2), (ids, 1), ([ids, ids], 2):
        found = api.completions.create(prompt=prompt, **GREEDY)  # type: ignore[arg-type]
        assert [choice.text for choice in found.choices] == [text] * texts
        assert [choice.index for choice in found.choices] == list(range(texts))
    assert api.completions.create(prompt=cyrillic[:3], **GREEDY).choices[0].text != text


def test_several_texts_differ_and_repeat_with_the_seed(api: openai.OpenAI) -> None:
    first, again = (api.completions.create(prompt=PROMPT, n=3, **SEEDED) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in again.choices]
    assert len(set(texts)) == 3
    assert first.usage is not None and again.usage is not None
    assert first.usage.completion_tokens == 3 * 24
    assert first.usage.prompt_tokens == api.completions.create(prompt=PROMPT, **GREEDY).usage.prompt_tokens  # type: ignore[union-attr]


def _close(first: Any, second: Any) -> bool:
    """Whether both are the same, but for the seventh digit of numbers: texts that are written together are rounded otherwise than alone."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_close(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_close, first, second))
    return bool(first == (pytest.approx(second, abs=1e-4) if isinstance(second, float) else second))


def _joined(chunks: list[Any], index: int = 0) -> dict[str, Any]:
    """What the chunks of one text say together."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    told = [choice.logprobs.model_dump() for choice in choices if choice.logprobs]
    return {
        "text": "".join(choice.text for choice in choices),
        "finish_reason": [choice.finish_reason for choice in choices if choice.finish_reason],
        "logprobs": {name: [value for each in told for value in each[name]] for name in told[0]} if told else None,
    }


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"logprobs": 5},
        {"logprobs": 0, "echo": True},
        {"logprobs": 2, "echo": True, "max_tokens": 0},
        {"stop": ["семь", "х"], "logprobs": 1, "n": 2},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5},
    ],
    ids=str,
)
def test_stream_says_what_the_whole_says(api: openai.OpenAI, wish: dict[str, Any]) -> None:
    wish = {**SEEDED, "prompt": PROMPT, **wish}
    whole = api.completions.create(**wish)
    chunks = list(api.completions.create(**wish, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        joined, logprobs = _joined(chunks, choice.index), choice.model_dump()["logprobs"]
        assert (joined["text"], joined["finish_reason"]) == (choice.text, [choice.finish_reason])
        assert _close(joined["logprobs"], logprobs)
        assert "\ufffd" not in choice.text
    assert (chunks[-1].usage, chunks[-1].choices) == (whole.usage, [])
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert len({chunk.id for chunk in chunks}) == 1


def test_stream_ends_with_done_and_carries_no_usage_unasked(client: TestClient, trained: str) -> None:
    body = {"model": trained, "prompt": PROMPT, "max_tokens": 4, "stream": True}
    *data, done, end = client.post("/v1/completions", json=body).text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all("usage" not in json.loads(each.removeprefix("data: ")) for each in data)


def test_logprobs_are_told_for_every_token_even_half_a_letter(api: openai.OpenAI) -> None:
    (choice,) = api.completions.create(prompt=PROMPT, logprobs=3, **GREEDY).choices
    told = choice.logprobs
    assert told is not None and told.tokens and told.token_logprobs and told.top_logprobs and told.text_offset
    assert any(token.startswith("bytes:") for token in told.tokens), "the control: the model knows few whole letters"
    for token, logprob, likeliest in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(likeliest) == 3, "greedy: the chosen one is the likeliest"
        assert likeliest[token] == logprob == max(likeliest.values())
    assert told.text_offset == sorted(told.text_offset)
    assert told.text_offset[0] == 0


def test_echo_scores_a_text_that_already_stands(api: openai.OpenAI, client: TestClient, cyrillic: list[int]) -> None:
    scored = expect(client.post("/score", json={"model": MODEL, "text": PROMPT}), 200)["tokens"]
    for prompt, first in (PROMPT, scored[0]["logprob"]), (cyrillic, None):
        found = api.completions.create(model=MODEL, prompt=prompt, max_tokens=0, echo=True, logprobs=1)  # type: ignore[arg-type]
        told = found.choices[0].logprobs
        assert told is not None and told.token_logprobs is not None
        assert found.choices[0].text == PROMPT
        assert told.token_logprobs[0] == first, "nothing stands before the first of ids"
        assert len(told.token_logprobs) == len(scored)
        assert found.usage is not None and found.usage.completion_tokens == 0
    assert told.token_logprobs[1] != scored[1]["logprob"], "the context begins elsewhere"


def test_echo_is_followed_by_what_is_written(api: openai.OpenAI) -> None:
    plain = api.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
    choice = api.completions.create(prompt=PROMPT, echo=True, logprobs=0, **GREEDY).choices[0]
    assert choice.text == PROMPT + plain
    assert choice.logprobs is not None and choice.logprobs.text_offset is not None and choice.logprobs.tokens
    offsets, tokens = choice.logprobs.text_offset, choice.logprobs.tokens
    whole = [(offset, token) for offset, token in zip(offsets, tokens, strict=True) if not token.startswith("bytes:")]
    assert whole and all(choice.text[offset:].startswith(token) for offset, token in whole)
    assert max(offsets) >= len(PROMPT)


def test_stop_string_ends_the_text_wherever_tokens_split_it(api: openai.OpenAI) -> None:
    text = api.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
    assert len(text) > 8
    for start in range(len(text) - 3):
        stop = [text[start : start + 2] + "?", text[start : start + 3]]
        wish = {**GREEDY, "prompt": PROMPT, "stop": stop, "logprobs": 0}
        whole = api.completions.create(**wish).choices[0]
        assert (whole.text, whole.finish_reason) == (text[: text.find(stop[1])], "stop")
        if start % 4 == 0:
            streamed = _joined(list(api.completions.create(**wish, stream=True)))
            assert (streamed["text"], streamed["finish_reason"]) == (whole.text, ["stop"])
            assert whole.logprobs is not None
            assert (streamed["logprobs"] or {"tokens": []})["tokens"] == whole.logprobs.tokens


# ---- chat ------------------------------------------------------------------------------------------------------------


def test_chat_continues_the_contents_of_the_messages(api: openai.OpenAI) -> None:
    text = api.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
    messages: list[Any] = [
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "Все счаст"}, {"type": "text", "text": "ливые"}]},
    ]
    found = api.chat.completions.create(messages=messages, **GREEDY)
    assert (found.choices[0].message.content, found.choices[0].message.role) == (text, "assistant")
    assert found.choices[0].finish_reason == "length"
    assert (
        api.chat.completions.create(model=MODEL, temperature=0, messages=messages, max_completion_tokens=16).choices
        == found.choices
    )


def test_chat_messages_are_paragraphs_as_in_the_template_of_the_exports() -> None:
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Старик чинил"},
        {"role": "assistant", "content": "лодку."},
        {"role": "user", "content": "Море"},
    ]
    prompt = ChatCompletions.model_validate({"model": "a", "messages": messages}).prompt
    assert prompt == "Старик чинил\n\nлодку.\n\nМоре"
    assert jinja2.Template(CHAT_TEMPLATE).render(messages=messages) == prompt


def test_chat_stream_says_what_the_whole_says(api: openai.OpenAI) -> None:
    wish: dict[str, Any] = {
        **SEEDED,
        "messages": [{"role": "user", "content": PROMPT}],
        "logprobs": True,
        "top_logprobs": 2,
        "n": 2,
    }
    whole = api.chat.completions.create(**wish)
    chunks = list(api.chat.completions.create(**wish, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        deltas = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert [each.delta.role for each in deltas if each.delta.role] == ["assistant"]
        assert "".join(each.delta.content or "" for each in deltas) == choice.message.content
        assert [each.finish_reason for each in deltas if each.finish_reason] == [choice.finish_reason]
        told = [token for each in deltas if each.logprobs and each.logprobs.content for token in each.logprobs.content]
        assert choice.logprobs is not None and choice.logprobs.content is not None
        assert _close(*([[each.token, each.logprob] for each in some] for some in (choice.logprobs.content, told)))
        assert b"".join(bytes(token.bytes or ()) for token in told).decode("utf-8", "ignore") == choice.message.content
        assert {len(token.top_logprobs) for token in told} == {2}
    assert chunks[-1].usage == whole.usage


def test_requests_as_open_webui_sends_them_are_answered(client: TestClient, trained: str) -> None:
    """A message with the tools that it offers every model, and its request for a title, which is longer than the context."""
    parameters = {"properties": {"days_ago": {"default": 0, "type": "integer"}}, "type": "object"}
    tools = [{"type": "function", "function": {"name": "calculate", "description": "Count.", "parameters": parameters}}]
    message = {"stream": True, "model": trained, "messages": [{"role": "user", "content": PROMPT}], "tools": tools}
    streamed = client.post("/v1/chat/completions", json=message)
    assert (streamed.status_code, streamed.text.split("\n\n")[-2]) == (200, "data: [DONE]")
    assert "tool_calls" not in streamed.text
    task = (
        '### Task:\nName this chat in 2-4 words.\n### Output:\nJSON format: { "title": "words" }\n### Chat History:\n'
    )
    history = [{"role": "user", "content": f"{task}<chat_history>\nUSER: {PROMPT}\nASSISTANT: \n</chat_history>"}]
    title = {"model": trained, "messages": history, "stream": False, "max_tokens": 100}
    usage = expect(client.post("/v1/chat/completions", json=title), 200)["usage"]
    assert usage["prompt_tokens_read"] == 32 < usage["prompt_tokens"]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "param", "words"),
    [
        ({"best_of": 3}, "best_of", "Leave best_of out, and ask for several texts with n."),
        ({"suffix": "конец"}, "suffix", "Leave suffix out."),
        ({"logit_bias": {"5": 100}}, "logit_bias", "Leave logit_bias out."),
        ({"stop": ["a"] * 5}, "stop", "At most 4"),
        ({"temperature": -1}, "temperature", "smallest possible value is 0"),
        ({"max_tokens": -1}, "max_tokens", "smallest possible value is 0"),
        ({"n": 17}, "n", "largest possible value is 16"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompt", "18 texts"),
        ({"prompt": []}, "prompt", "list is empty"),
        ({"prompt": [5, 10**6]}, "prompt", "no token 1,000,000"),
        ({"prompt": [5, 10**40]}, "prompt", "no token 1e+40"),
        ({"prompt": [5, "a"]}, "prompt", "must be a text, a list of texts"),
        ({"logprobs": 21}, "logprobs", "largest possible value is 20"),
        ({"extra_body": {"colour": 1}}, "colour", "unknown parameter"),
        ({"model": "a/b"}, "model", "a/b"),
    ],
    ids=str,
)
def test_what_no_model_can_do_is_refused_kindly(
    api: openai.OpenAI, wish: dict[str, Any], param: str, words: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            api.completions.create(**{"prompt": PROMPT, **GREEDY, **wish}, stream=stream)
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
        assert words in caught.value.message


def test_pictures_are_refused(api: openai.OpenAI) -> None:
    picture: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with pytest.raises(openai.BadRequestError, match="reads text only"):
        api.chat.completions.create(messages=picture, **GREEDY)


def test_tools_on_offer_are_not_used_and_a_demanded_one_is_refused(api: openai.OpenAI) -> None:
    message: Any = [{"role": "user", "content": PROMPT}]
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    plain = api.chat.completions.create(messages=message, **GREEDY)
    for choice in {}, {"tool_choice": "auto"}, {"tool_choice": "none"}:
        offered: Any = {"tools": [tool], "parallel_tool_calls": True, **choice}
        found = api.chat.completions.create(messages=message, **offered, **GREEDY)
        assert found.choices == plain.choices
        assert (found.choices[0].message.tool_calls, found.choices[0].finish_reason) == (None, "length")
    for demanded in "required", {"type": "function", "function": {"name": "f"}}:
        with pytest.raises(openai.BadRequestError, match="Leave tool_choice out"):
            api.chat.completions.create(messages=message, tools=[tool], tool_choice=demanded, **GREEDY)  # type: ignore[call-overload]


def test_labels_of_a_request_and_nulls_change_nothing(api: openai.OpenAI) -> None:
    plain = api.completions.create(prompt=PROMPT, **GREEDY).choices
    labelled = {
        "user": "я",
        "extra_body": {"metadata": {"a": "b"}, "suffix": None, "best_of": 1, "stop": None, "n": None},
    }
    assert api.completions.create(prompt=PROMPT, **GREEDY, **labelled).choices == plain  # type: ignore[call-overload]


def test_other_errors_have_openais_shape_and_codes(
    api: openai.OpenAI, client: TestClient, make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("новая")
    with pytest.raises(openai.NotFoundError):
        api.completions.create(**GREEDY | {"model": "nobody"}, prompt=PROMPT)
    with pytest.raises(openai.BadRequestError) as caught:  # a 409 would be sent again
        api.completions.create(**GREEDY | {"model": "новая"}, prompt=PROMPT)
    assert caught.value.code == "no_tokenizer"
    error = assert_error(client.post("/v1/completions", json={"model": MODEL}, headers={"Origin": "http://evil"}), 403)
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert_error(client.post("/v1/completions", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    assert_error(client.get("/v1/nothing"), 404, "not_found")

    def refuse(*_: object, **__: object) -> Iterator[Piece]:
        raise Overloaded(seconds=5)
        yield

    monkeypatch.setattr(workflows, "generate", refuse)
    with pytest.raises(openai.InternalServerError) as overloaded:
        api.completions.create(prompt=PROMPT, **GREEDY)
    assert (overloaded.value.status_code, overloaded.value.response.headers["retry-after"]) == (503, "5")


def test_error_amid_a_stream_is_told_in_the_stream(api: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Iterator[Piece]:
        yield Piece("а", 1)
        raise DiskFull(path="models")

    monkeypatch.setattr(workflows, "generate", fails)
    stream = api.completions.create(prompt=PROMPT, **GREEDY, stream=True)
    assert next(stream).choices[0].text == "а"
    with pytest.raises(openai.APIError) as caught:
        next(stream)
    assert (caught.value.code, caught.value.type) == ("disk_full", "server_error")


def test_reader_who_leaves_ends_all_texts_of_a_request(
    api: openai.OpenAI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def endless(*_: object, **__: object) -> Iterator[Piece]:
        try:
            while True:
                yield Piece("а", 1)
        finally:
            ended.append(True)

    monkeypatch.setattr(workflows, "generate", endless)
    with api.completions.create(prompt=PROMPT, n=2, **GREEDY, stream=True) as stream:
        next(stream)
    generations = client.app.state.services.generations  # type: ignore[attr-defined]
    while generations.admitted:
        pass
    assert ended == [True, True]


# ---- words -----------------------------------------------------------------------------------------------------------


def test_defaults_are_openais() -> None:
    body = Completions.model_validate({"model": "a", "prompt": "б"})
    assert (body.temperature, body.top_p, body.top_k, body.min_p, body.max_new_tokens) == (1, 1, 0, 0, 16)
    chat = ChatCompletions.model_validate({"model": "a", "messages": [{"role": "user", "content": "б"}]})
    assert (chat.temperature, chat.top_p, chat.top_k, chat.n) == (1, 1, 0, 1)
    assert Completions.model_validate({"model": "a", "prompt": "б", "seed": -1}).sampling(1).seed == 0


def test_repetition_penalty_has_the_name_of_llama_cpp_too() -> None:
    body = Completions.model_validate({"model": "a", "prompt": "б", "repeat_penalty": 1.2})
    assert body.sampling(0).repetition_penalty == 1.2
