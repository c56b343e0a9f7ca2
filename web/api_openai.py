"""OpenAI's API for one's own models, for programs that speak it: models, completions, chat completions.

It is the same writing as `/generate`, in OpenAI's words and error shape. Chat is no dialogue here: a model continues the
messages as paragraphs of one text. The requests' `Authorization` is not read, because the server answers this machine only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

import workflows
from errors import AZRError, ModelNotFound
from i18n import Translator
from web.answers import JSONAnswer, to_json
from web.bodies import EVENT_STREAM, JSON_BODY, OPENAI_ERROR_ANSWERS
from web.errors import openai_json, unexpected
from web.openai_answers import Answers, ChatAnswers, CompletionAnswers, Text
from web.openai_bodies import ChatCompletions, Completions, OpenAIBody
from web.pieces import CLIENT_GONE, Pieces, PieceStream, all_of, following, unless_gone
from web.services import Services, ServicesDep, TranslatorDep, is_training
from workflows import ModelInfo, Piece

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=OPENAI_ERROR_ANSWERS)


@router.get("/models", summary="Models that can write")
def list_models(services: ServicesDep) -> Response:
    usable = [info for info in workflows.list_models(services.workspace) if _can_write(info)]
    return JSONAnswer({"object": "list", "data": [_model_json(info) for info in usable]})


@router.get("/models/{name}", summary="One model that can write")
def get_model(name: str, services: ServicesDep) -> Response:
    info = workflows.get_model(services.workspace, name)
    if not _can_write(info):
        raise ModelNotFound(name=name, field="model")
    return JSONAnswer(_model_json(info))


@router.post("/completions", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Continue texts")
async def completions(
    body: Completions, request: Request, services: ServicesDep, translator: TranslatorDep
) -> Response:
    """`suffix`, `logit_bias` and a `best_of` beyond `n` are refused. `system_fingerprint` names the engine that wrote."""
    writers = [
        (prompt, lambda prompt=prompt, number=number: _completion(services, body, prompt, number))
        for prompt in body.prompt
        for number in range(body.n)
    ]
    answers = CompletionAnswers(body.model, body.logprobs is not None, body.stream_options.include_usage)
    return await _answer(body, writers, answers, request, services, translator)


@router.post("/chat/completions", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Continue messages")
async def chat_completions(
    body: ChatCompletions, request: Request, services: ServicesDep, translator: TranslatorDep
) -> Response:
    """The model continues the messages as paragraphs of one text; it has learned no dialogue, follows no instructions and calls no tools."""
    writers = [
        (body.prompt, lambda number=number: _continuation(services, body, body.prompt, number))
        for number in range(body.n)
    ]
    answers = ChatAnswers(body.model, body.logprobs, body.stream_options.include_usage)
    return await _answer(body, writers, answers, request, services, translator)


def _can_write(info: ModelInfo) -> bool:
    return info.trained and info.tokenizer_size is not None and info.damaged is None and info.denied is None


def _model_json(info: ModelInfo) -> dict[str, Any]:
    created = int(datetime.fromisoformat(info.created_at).timestamp())
    return {"id": info.name, "object": "model", "created": created, "owned_by": "you"}


# ---- writing; these run in a thread ----------------------------------------------------------------------------------

Prompt = str | tuple[int, ...]
Writer = Callable[[], Generator[Piece, None, None]]


def _completion(services: Services, body: Completions, prompt: Prompt, number: int) -> Generator[Piece, None, None]:
    """Write one text, after its prompt where that is wanted. No tokens to write means reading only."""
    if body.echo or not body.max_new_tokens:
        cache, alternatives = services.cache, body.alternatives() if body.echo else None
        for read in workflows.echo(services.workspace, body.model, prompt, cache=cache, alternatives=alternatives):
            shown = read if body.echo else dataclasses.replace(read, text="")
            yield shown if not body.max_new_tokens else dataclasses.replace(shown, finish_reason=None)
    if body.max_new_tokens:
        yield from _continuation(services, body, prompt, number)


def _continuation(services: Services, body: OpenAIBody, prompt: Prompt, number: int) -> Generator[Piece, None, None]:
    return workflows.generate(
        services.workspace,
        body.model,
        prompt,
        body.sampling(number),
        cache=services.cache,
        engines=services.engines,
        extras=body.extras(),
        texts=body.texts,
        beside_training=is_training(services),
    )


# ---- answering -------------------------------------------------------------------------------------------------------


async def _answer(
    body: OpenAIBody,
    writers: Sequence[tuple[Prompt, Writer]],
    answers: Answers,
    request: Request,
    services: Services,
    translator: Translator,
) -> Response:
    texts = [Text(index, index % body.n == 0, isinstance(prompt, str)) for index, (prompt, _) in enumerate(writers)]
    all_pieces = [services.generations.run(writer) for _, writer in writers]
    if not body.stream:
        found = await unless_gone(request, _all_texts(all_pieces))
        return JSONAnswer(answers.whole(texts, found)) if found else Response(status_code=CLIENT_GONE)
    pieces = _merged(all_pieces)
    first = await unless_gone(request, following(pieces))
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return PieceStream(all_pieces, _events(first, pieces, texts, answers, translator))


async def _all_texts(all_pieces: list[Pieces]) -> list[list[Piece]]:
    tasks = [asyncio.ensure_future(all_of(pieces)) for pieces in all_pieces]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _merged(all_pieces: list[Pieces]) -> AsyncGenerator[tuple[int, Piece], None]:
    """Yield (index, piece) of several texts as they come. Raises what the first of them raises that fails."""
    ready: asyncio.Queue[tuple[int, Piece] | Exception] = asyncio.Queue(1)

    async def pass_on(index: int, pieces: Pieces) -> None:
        try:
            piece = await following(pieces)
            while piece.finish_reason is None:
                await ready.put((index, piece))
                piece = await following(pieces)
            await ready.put((index, piece))
        except Exception as error:
            await ready.put(error)

    tasks = [asyncio.ensure_future(pass_on(index, pieces)) for index, pieces in enumerate(all_pieces)]
    try:
        left = len(tasks)
        while left:
            found = await ready.get()
            if isinstance(found, Exception):
                raise found
            yield found
            left -= found[1].finish_reason is not None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # before their texts are closed


async def _events(
    first: tuple[int, Piece],
    pieces: AsyncGenerator[tuple[int, Piece], None],
    texts: list[Text],
    answers: Answers,
    translator: Translator,
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        try:
            index, piece = first
            left = len(texts)
            while True:
                for chunk in answers.chunks(texts[index], piece):
                    yield _event(chunk)
                left -= piece.finish_reason is not None
                if not left:
                    break
                index, piece = await following(pieces)
            if answers.include_usage:
                yield _event(answers.usage_chunk(texts, piece))
            yield b"data: [DONE]\n\n"
        except AZRError as error:
            yield _event(openai_json(translator, error))
        except Exception as error:
            yield _event(openai_json(translator, unexpected(error, "POST /v1")))


def _event(data: object) -> bytes:
    return f"data: {to_json(data)}\n\n".encode()
