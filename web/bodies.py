"""Check the media type and encoding of a request body before its fields are validated.

A page of another origin can post a form without asking first, but not `application/json`. And JSON can carry texts that no
tokenizer, file or log can: half of a surrogate pair.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Depends, Request
from pydantic import BaseModel

from errors import InvalidInput, UnsupportedFormat
from web.answers import shown
from web.schemas import ErrorAnswer, OpenAIErrorAnswer

JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
EVENT_STREAM_TYPE = "text/event-stream"
EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM_TYPE: {}}, "description": "An open stream"}
}


def _errors(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {
        "4XX": {"model": model, "description": "What was asked for cannot be done"},
        422: {"model": model, "description": "A value does not fit; `field` names it"},
        "5XX": {"model": model, "description": "Something went wrong here"},
    }


ERROR_ANSWERS, OPENAI_ERROR_ANSWERS = _errors(ErrorAnswer), _errors(OpenAIErrorAnswer)


async def _json_body(request: Request) -> None:
    _expect(request, JSON_TYPE)
    if not await request.body():
        return
    try:
        body = await request.json()
        for name, value in body.items() if isinstance(body, dict) else [("", body)]:
            _require_unicode(name, None)
            _require_unicode(value, shown(name) or None)
    except RecursionError:
        raise InvalidInput(reason="json_invalid") from None


def _require_unicode(value: Any, field: str | None) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(field=field, reason="string_unicode") from None


async def _form_body(request: Request) -> None:
    _expect(request, FORM_TYPE)


def _expect(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != media_type:
        raise UnsupportedFormat(field="Content-Type", format=shown(given), supported=media_type)


JSON_BODY = Depends(_json_body)
FORM_BODY = Depends(_form_body)
