"""Names of uploaded files as they were meant: `filename*` (RFC 5987), and names in another encoding than UTF-8.

Starlette's parser takes a part with `filename*` alone for a plain field, and reads every name that is not UTF-8 as Latin-1. Here
the header of a part is written anew, with its name in UTF-8, before that parser looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request, Response
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

import workflows
from web.bodies import FORM_TYPE

_EXTENDED = re.compile(rb"""filename\*\s*=\s*"?([\w.-]*)'[^']*'([^";\s]*)""", re.IGNORECASE)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UploadRoute(APIRoute):
    """A route whose form is parsed by `_Parser`."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_upload(request: Request) -> Response:
            return await handle(_UploadRequest(request.scope, request.receive))

        return handle_upload


class _UploadRequest(Request):
    async def _get_form(self, **limits: Any) -> FormData:
        if not self.headers.get("content-type", "").lower().startswith(FORM_TYPE):
            return await super()._get_form(**limits)
        if self._form is None:
            try:
                async with aclosing(self.stream()) as stream:
                    self._form = await _Parser(self.headers, stream, **limits).parse()
            except MultiPartException as error:
                raise HTTPException(status_code=400, detail=error.message) from None
        return self._form


class _Parser(MultiPartParser):
    def on_headers_finished(self) -> None:
        part = self._current_part
        if part.content_disposition is not None:
            part.content_disposition = with_plain_name(bytes(part.content_disposition))
        super().on_headers_finished()


def with_plain_name(disposition: bytes) -> bytes:
    """Return a Content-Disposition whose file name, if it has one, is UTF-8 in `filename`.

    >>> with_plain_name(b"form-data; name=file; filename*=UTF-8''%D0%BA.txt").decode()
    'form-data; name="file"; filename="к.txt"'
    """
    _, options = parse_options_header(disposition)
    extended = _EXTENDED.search(disposition)
    name = _decoded(unquote_to_bytes(extended[2]), extended[1].decode("ascii", "replace")) if extended else ""
    if not name and b"filename" in options:
        name = _decoded(options[b"filename"], "utf-8")
    elif not name:
        return disposition
    field = options.get(b"name")
    values = [(b"name", field)] if field is not None else []
    values.append((b"filename", name.encode("utf-8", "replace")))
    return b"form-data" + b"".join(b'; %s="%s"' % (key, _escaped(value)) for key, value in values)


def _decoded(name: bytes, charset: str) -> str:
    try:
        return name.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return workflows.decode_name(name)


def _escaped(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
