"""Generate text over HTTP: whole, or streamed as server-sent events while it is written; and read a text that already stands.

Until the first piece is there, everything that goes wrong is an ordinary error answer; after it, an `error` event. A client
that goes away ends its generation, and so does one that stops reading.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event

import workflows
from config import SEED_LIMIT, SamplingConfig
from errors import AZRError
from i18n import Translator
from web.answers import JSONAnswer, error_json, precision_json, to_json
from web.bodies import ERROR_ANSWERS, EVENT_STREAM, JSON_BODY
from web.errors import unexpected
from web.pieces import CLIENT_GONE, Pieces, PieceStream, all_of, following, unless_gone
from web.schemas import FindCopied, Generate, Measure, ScoreText, narrowed
from web.services import Services, ServicesDep, TranslatorDep, is_training
from workflows import Extras, Head, Piece, Score, TokenDetails

ALTERNATIVES = 5

router = APIRouter(tags=["generation"], responses=ERROR_ANSWERS)


@router.post("/generate", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Continue a prompt")
async def generate(body: Generate, request: Request, services: ServicesDep, translator: TranslatorDep) -> Response:
    """With `stream`, server-sent events: `token` {text, tokens}, and at the end `done` with what is answered otherwise.

    With `logprobs`, each token's id, text, logprob and five likeliest alternatives. `prompt_tokens_read` is smaller than
    `prompt_tokens` when the prompt was longer than the model's context: then only its end was read. `engine` names
    what wrote (`native` is our C code, `torch` our loop, `llama.cpp` the library), `weights` the number type that it computed with, and
    `seed` what was drawn from, chosen here unless it was given: a seed repeats a text with the same engine.
    """
    if body.seed is None:
        body = body.model_copy(update={"seed": secrets.randbits(SEED_LIMIT.bit_length())})
    pieces = services.generations.run(lambda: _pieces(services, body))
    if not body.stream:
        found = await unless_gone(request, all_of(pieces))
        return JSONAnswer(_answer(body, found)) if found else Response(status_code=CLIENT_GONE)
    first = await unless_gone(request, following(pieces))
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return PieceStream([pieces], _events(first, pieces, body, translator))


@router.post("/score", dependencies=[JSON_BODY], summary="How likely a model finds each token of a text")
async def score(body: ScoreText, request: Request, services: ServicesDep) -> Response:
    """For each token of `text`: id, text, logprob and the five likeliest tokens at its place.

    With `layer` and `head`, counted from 0, also how much each token looked at each earlier one: `attention`, a square that begins
    with the end-of-text before every text. Of a text longer than the context it covers the end, without `attention_skips` tokens.
    """
    scores = services.generations.run(lambda: _scores(services, body))
    found = await unless_gone(request, following(scores))
    if found is None:
        return Response(status_code=CLIENT_GONE)
    answer = {"tokens": tokens_json(found.tokens), "attention": found.attention, "attention_skips": found.unseen}
    return JSONAnswer(answer)


@router.post("/copied", dependencies=[JSON_BODY], summary="Which phrases of a text the model's books have, and where")
async def copied(body: FindCopied, request: Request, services: ServicesDep) -> Response:
    """At least eight words in a row, whatever their case and punctuation, in any book that the model was trained on.

    `start` and `end` count characters of the text, `place` those of the book, which has `characters`.
    """
    found = services.generations.run(lambda: workflows.copied(services.workspace, body.model, body.text))
    phrases = await unless_gone(request, following(found))
    return Response(status_code=CLIENT_GONE) if phrases is None else JSONAnswer({"phrases": phrases})


@router.get("/models/{name}/precision", summary="What weights of fewer bits cost a model")
async def precision(name: str, request: Request, services: ServicesDep) -> Response:
    """Bits per byte of text held out of the model's last training, with F32, F16 and Q8_0 weights, and what Q8_0 costs beyond F16.

    Measured once for each version of the model, which takes seconds. All is null where the model's books are gone.
    """
    found = services.generations.run(
        lambda: workflows.measured_precision(services.workspace, name, cache=services.cache, engines=services.engines)
    )
    measured = await unless_gone(request, following(found))
    return JSONAnswer(precision_json(measured))


@router.post("/measure", dependencies=[JSON_BODY], summary="How well a model predicts a book")
async def measure(body: Measure, request: Request, services: ServicesDep) -> Response:
    """Read the beginning of what trainings hold out of the book. Bits per byte compare models of any vocabulary: fewer are better."""
    measured = services.generations.run(
        lambda: workflows.measure(services.workspace, body.model, body.book, cache=services.cache)
    )
    found = await unless_gone(request, following(measured))
    return JSONAnswer(found) if found else Response(status_code=CLIENT_GONE)


def _pieces(services: Services, body: Generate) -> Generator[Piece, None, None]:
    """Load the model and write; runs in a thread."""
    sampling = narrowed(body, SamplingConfig)
    extras = Extras(alternatives=ALTERNATIVES if body.logprobs else None)
    return workflows.generate(
        services.workspace,
        body.model,
        body.prompt,
        sampling,
        cache=services.cache,
        engines=services.engines,
        version=body.version,
        extras=extras,
        beside_training=is_training(services),
        weights=body.weights,
    )


def _scores(services: Services, body: ScoreText) -> Generator[Score, None, None]:
    look = None if body.layer is None or body.head is None else Head(body.layer, body.head)
    return workflows.score_text(
        services.workspace,
        body.model,
        body.text,
        cache=services.cache,
        version=body.version,
        alternatives=ALTERNATIVES,
        look=look,
    )


async def _events(first: Piece, pieces: Pieces, body: Generate, translator: Translator) -> AsyncGenerator[bytes, None]:
    try:
        piece, found = first, [first]
        while True:
            if piece.text:
                details = {"logprobs": tokens_json(piece.details)} if body.logprobs else {}
                yield _event("token", {"text": piece.text, "tokens": piece.tokens} | details)
            if piece.finish_reason is not None:
                break
            piece = await following(pieces)
            found.append(piece)
        yield _event("done", _answer(body, found))
    except AZRError as error:
        yield _event("error", error_json(translator, error))
    except Exception as error:
        yield _event("error", error_json(translator, unexpected(error, "POST /generate")))


def _answer(body: Generate, pieces: list[Piece]) -> dict[str, Any]:
    """Return what a client is answered once a text is complete."""
    last = pieces[-1]
    answer = {
        "text": body.prompt + last.completion,
        "completion": last.completion,
        "tokens": last.tokens,
        "finish_reason": last.finish_reason,
        "tokens_per_second": last.tokens_per_second,
        "seed": body.seed,
        **(dataclasses.asdict(last.origin) if last.origin else {}),
    }
    details = (each for piece in pieces for each in piece.details)
    return answer | {"logprobs": tokens_json(details)} if body.logprobs else answer


def tokens_json(tokens: Iterable[TokenDetails]) -> list[dict[str, Any]]:
    return [
        {
            "id": token.id,
            "text": token.text,
            "offset": token.offset,
            "logprob": token.logprob,
            "alternatives": [
                {"id": each.id, "text": each.text, "logprob": each.logprob} for each in token.alternatives
            ],
        }
        for token in tokens
    ]


def _event(name: str, data: object) -> bytes:
    return format_sse_event(event=name, data_str=to_json(data))
