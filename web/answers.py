"""Write values as JSON that every client can read: UTF-8, non-finite numbers as null, broken characters replaced.

Half of a surrogate pair can arrive in a request (`"\\\\ud800"` is legal JSON) and cannot leave as UTF-8; it becomes "?".
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel
from starlette.responses import JSONResponse

from errors import AZRError
from i18n import Translator
from workflows import Precision

LONGEST_SHOWN = 80  # characters of a value from outside


def plain(value: Any) -> Any:
    """Convert dataclasses, pydantic models, tuples and enums to dictionaries, lists, numbers and strings.

    >>> plain({"loss": float("nan"), "books": ("a",)})
    {'loss': None, 'books': ['a']}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def to_json(value: Any) -> str:
    """Return one line of JSON; non-ASCII characters are not escaped."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(value: object) -> str:
    """Return a value from a request as a short printable text; containers may be deep and are not opened."""
    match value:
        case str():
            text = value
        case None | bool():
            text = {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            text = str(value)
        case _:
            text = "[…]" if isinstance(value, list | tuple) else "{…}"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def error_json(translator: Translator, error: AZRError, *others: AZRError) -> dict[str, Any]:
    """Return the JSON of an error."""
    body: dict[str, Any] = {"code": error.code, "message": translator.error(error)}
    if error.field is not None:
        body["field"] = error.field
    if others:
        body["details"] = [{"field": each.field, "message": translator.error(each)} for each in (error, *others)]
    return {"error": body}


def precision_json(found: Precision | None) -> dict[str, Any]:
    return {
        "bits_per_byte": found and found.bits_per_byte,
        "cost": found and found.cost,
        "places": found and found.places,
    }


def attached(filename: str) -> dict[str, str]:
    """Return the header that names a download; some programs (curl -OJ) read the plain form only.

    >>> [attached(name)["Content-Disposition"] for name in ("poet.zip", "я.zip")]
    ['attachment; filename="poet.zip"', "attachment; filename*=UTF-8''%D1%8F.zip"]
    """
    quoted = quote(filename, safe="")
    name = f'filename="{filename}"' if quoted == filename else f"filename*=UTF-8''{quoted}"
    return {"Content-Disposition": f"attachment; {name}"}


class JSONAnswer(JSONResponse):
    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        return to_json(content).encode("utf-8")
