"""Test a model's exports over HTTP, told stage by stage, and say in a sentence what a test found."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from pydantic import StringConstraints
from starlette.responses import StreamingResponse

import workflows
from config import Config
from errors import AZRError
from i18n import Translator
from web.answers import JSONAnswer, error_json, to_json
from web.bodies import ERROR_ANSWERS, EVENT_STREAM, EVENT_STREAM_TYPE, JSON_BODY
from web.errors import unexpected
from web.export_sentences import verdict_sentence
from web.schemas import Name
from web.services import ServicesDep, TranslatorDep

router = APIRouter(tags=["models"], responses=ERROR_ANSWERS)
Short = Annotated[str, StringConstraints(max_length=40)]


class CheckExport(Config):
    model: Name
    format: Short
    type: Short = workflows.DEFAULT_TYPE


@router.get("/models/{name}/exports", summary="What a model can be downloaded as")
def list_exports(name: str, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Every format with its files: number type, about how many bytes, and what its test found (null: not tested yet)."""
    offers = workflows.offers(services.workspace, workflows.get_model(services.workspace, name))
    return JSONAnswer({"exports": [_described(offer, translator) for offer in offers]})


@router.post(
    "/check_export", dependencies=[JSON_BODY], responses=EVENT_STREAM, summary="Test an export before downloading it"
)
async def check_export(body: CheckExport, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Answer with server-sent events: `stage` {stage} as the test goes on, then `done` {passed, sentence, bytes}."""
    test = workflows.check_export(services.workspace, body.model, body.format, body.type)
    return StreamingResponse(_events(test, translator), media_type=EVENT_STREAM_TYPE)


def _described(offer: workflows.Offer, translator: Translator) -> dict[str, Any]:
    files = [
        {"type": file.kind, "bytes": file.bytes, "tested": _answer(file.verdict, translator) if file.verdict else None}
        for file in offer.files
    ]
    return {"format": offer.format, "files": files}


def _answer(verdict: workflows.Verdict | None, translator: Translator) -> dict[str, Any]:
    if verdict is None:
        return {"passed": True, "sentence": "", "bytes": None}
    return {"passed": verdict.passed, "sentence": verdict_sentence(verdict, translator), "bytes": verdict.bytes}


async def _events(
    test: Generator[workflows.ExportStage, None, workflows.Verdict | None], translator: Translator
) -> AsyncGenerator[bytes, None]:
    """Take a step of the test in a thread at a time; a client that goes away ends it."""
    try:
        while True:
            stage, verdict = await run_in_threadpool(_step, test)
            if stage is None:
                yield _event("done", _answer(verdict, translator))
                return
            yield _event("stage", {"stage": stage})
    except AZRError as error:
        yield _event("error", error_json(translator, error))
    except Exception as error:
        yield _event("error", error_json(translator, unexpected(error, "POST /check_export")))
    finally:
        test.close()


def _step(
    test: Generator[workflows.ExportStage, None, workflows.Verdict | None],
) -> tuple[workflows.ExportStage | None, workflows.Verdict | None]:
    try:
        return next(test), None
    except StopIteration as end:
        return None, end.value


def _event(name: str, data: object) -> bytes:
    return format_sse_event(event=name, data_str=to_json(data))
