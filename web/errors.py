"""Turn exceptions into responses: `{"error": {"code", "message", "field"?}}`, a page for a browser, or under /v1/ OpenAI's shape.

Values that a client sent come back only as short texts inside the message: echoing them as JSON is how a 422 becomes a 500.
When several inputs are wrong, the first one is the error and "details" lists the first twenty.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errors import (
    AZRError,
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    TokenMissing,
    TooManyTokens,
)
from i18n import Translator
from web.answers import LONGEST_SHOWN, JSONAnswer, error_json, shown
from web.network import is_trusted
from web.services import translator_of
from web.templating import BarePage, bare_page, error_page
from workspace import explain

MOST_DETAILS = 20
OPENAI_PATHS = "/v1/"
OPENAI_STATUS = {409: 400, 422: 400}  # its clients send a request again after 409
_PLACES = ("body", "query", "path", "header", "cookie")

logger = logging.getLogger(__name__)


def answer(connection: HTTPConnection, error: AZRError, *others: AZRError, status: int | None = None) -> Response:
    """Return the response to a request that failed with `error`, and with `others` after it."""
    translator = translator_of(connection)
    headers = headers_of(error)
    status = status or error.status
    if connection.scope.get("path", "").startswith(OPENAI_PATHS):
        body = openai_json(translator, error)
        return JSONAnswer(body, status_code=OPENAI_STATUS.get(status, status), headers=headers)
    if wants_page(connection):
        message = _sendable(translator.error(error))
        if not is_trusted(connection.scope):
            return bare_page(connection, BarePage(message), status=status)
        return error_page(connection, status=status, code=error.code, message=message)
    return JSONAnswer(error_json(translator, error, *others), status_code=status, headers=headers)


def headers_of(error: AZRError) -> dict[str, str] | None:
    """Return the headers that an error's status asks for."""
    if isinstance(error, Overloaded | TooManyTokens):
        return {"Retry-After": str(error.parameters["seconds"])}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, TokenMissing) else None


def openai_json(translator: Translator, error: AZRError) -> dict[str, Any]:
    """Return the JSON of an error in the shape of OpenAI's API."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    param = "model" if error.field == "name" else error.field  # the only name that is sent is the model's
    return {"error": {"message": translator.error(error), "type": kind, "param": param, "code": error.code}}


def handlers() -> dict[Any, Any]:
    """Return FastAPI's `exception_handlers`; UnexpectedErrors catches everything else."""
    return {
        AZRError: _azr_error,
        OSError: _system_error,
        RequestValidationError: _validation_error,
        HTTPException: _http_exception,
    }


async def _azr_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AZRError)
    return answer(request, error)


async def _system_error(request: Request, error: Exception) -> Response:
    """Answer a full disk or a missing permission; any other system error is a bug."""
    assert isinstance(error, OSError)
    explained = explain(error, Path(tempfile.gettempdir()))
    if explained is None:
        raise error
    return answer(request, explained)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request, *[from_pydantic(each) for each in error.errors()[:MOST_DETAILS]])


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer(
        request, _from_http(request, error), status=None if error.status_code == 400 else error.status_code
    )
    response.headers.update(error.headers or {})
    return response


class UnexpectedErrors:
    """Catch bugs: log the traceback under a reference, and answer with the reference."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            answered = unexpected(error, f"{scope['method']} {scope['path']}")
            if (
                started
            ):  # too late for words: the server cuts the connection, so that half an answer is not taken for one
                raise
            await answer(HTTPConnection(scope), answered)(scope, receive, send)


def unexpected(error: Exception, doing: str) -> InternalError:
    """Log a bug with its traceback and return the error to answer with."""
    reference = secrets.token_hex(4)
    logger.error("%r failed, reference %s", doing, reference, exc_info=error)
    return InternalError(reference=reference)


# ---- translations into our own errors --------------------------------------------------------------------------------


def from_pydantic(error: Mapping[str, Any]) -> AZRError:
    """Return an entry of a pydantic error list as an AZRError; one raised in a validator is returned as it is.

    >>> from_pydantic({"type": "missing", "loc": ("body", "name"), "input": {}}).parameters["reason"]
    'missing'
    """
    context = error.get("ctx") or {}
    raised = context.get("error")
    if isinstance(raised, AZRError):
        return raised
    limits = {key: value for key, value in context.items() if isinstance(value, str | int | float)}
    reason, value = str(error["type"]), shown(error.get("input"))
    return InvalidInput(field=field_of(error["loc"]), **{**limits, "reason": reason, "value": value})


def field_of(location: Sequence[str | int]) -> str | None:
    """Return the name of the input that an error is about, as in the API.

    >>> field_of(("body", "self_play", "prompts", 3))
    'self_play.prompts'
    """
    inside = location[1:] if location and location[0] in _PLACES else location
    names = [part for part in inside if isinstance(part, str)]
    return ".".join(names)[:LONGEST_SHOWN] or None


def _from_http(request: Request, error: HTTPException) -> AZRError:
    if error.status_code == 404:
        return NotFound()
    if error.status_code == 405:
        return MethodNotAllowed()
    if error.status_code == 400:
        return _unparsed(request, error)
    return AZRError()


def _unparsed(request: Request, error: HTTPException) -> AZRError:
    """Return the cause behind FastAPI's 400, which it gives for every unreadable body, even when the disk is full."""
    if isinstance(error.__cause__, OSError):
        explained = explain(error.__cause__, Path(tempfile.gettempdir()))
        if explained is not None:
            return explained
    is_form = request.headers.get("content-type", "").startswith("multipart/")
    return InvalidInput(reason="form_invalid" if is_form else "json_invalid")


def wants_page(connection: HTTPConnection) -> bool:
    """Tell a browser that follows a link from scripts and curl, which get JSON."""
    return connection.scope.get("method") == "GET" and "text/html" in connection.headers.get("accept", "")


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
