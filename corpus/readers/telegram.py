"""Read chats that Telegram exported (result.json): "Name: message" lines; dates, service messages and files are left out.

Particular: the messages are taken out of the file one by one, so a chat of any length needs little memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.readers.declared import markup_text
from corpus.readers.reading import Found
from errors import BookRefused

_LIST = re.compile(r'"messages"\s*:\s*\[')
_NAME = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.){0,200}")')
_LONGEST_MESSAGE = 1 << 24


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, BookUnreadable, and BookRefused for JSON that is no exported chat."""
    lists = 0
    with source.open("rb") as file:
        for message in _messages(markup_text(file, encoding, found, field=field), found, field):
            if message is None:
                lists += 1
                yield "\n"
                continue
            yield from _said(message, found)
    if not lists:
        raise BookRefused(field=field, reason="not_a_chat")


def _said(message: dict[str, Any], found: Found) -> Iterator[str]:
    if message.get("type") != "message":
        found.leave_out("service")
        return
    found.leave_out("times")
    if any(key in message for key in ("file", "photo", "media_type")):
        found.leave_out("media")
    text, author = _text(message.get("text")).strip(), message.get("from")
    if text:
        yield f"{author}: {text}\n" if isinstance(author, str) and author else f"{text}\n"


def _text(text: object) -> str:
    """Return the text of a message, which is a list where some of it is bold or a link.

    >>> _text(["See ", {"type": "bold", "text": "this"}])
    'See this'
    """
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in text]
        return "".join(part for part in parts if isinstance(part, str))
    return text if isinstance(text, str) else ""


def _messages(text: Iterator[str], found: Found, field: str) -> Iterator[dict[str, Any] | None]:
    """Yield None at the beginning of each list of messages, and then its messages."""
    decoder = json.JSONDecoder()
    rest, inside, is_first = "", False, True
    awaited = 0  # characters: a message that is not whole is tried again when there is twice as much of it
    ended = False
    while not ended:
        piece = next(text, None)
        ended, rest = piece is None, rest + (piece or "")
        if len(rest) < awaited and not ended:
            continue
        if is_first and (named := _NAME.match(rest.lstrip("\ufeff"))):
            found.title = str(json.loads(named[1]))
        is_first = False
        while True:
            if not inside:
                begun = _LIST.search(rest)
                if begun is None:
                    rest = rest[-40:]  # where the next list may begin
                    break
                rest, inside = rest[begun.end() :], True
                yield None
            rest = rest.lstrip(" \t\r\n,")
            if rest.startswith("]"):
                inside = False
                continue
            try:
                message, end = decoder.raw_decode(rest)
            except (ValueError, RecursionError):
                if len(rest) > _LONGEST_MESSAGE:
                    raise BookRefused(field=field, reason="damaged", format="JSON") from None
                awaited = 2 * len(rest)
                break  # the message is not whole yet
            rest, awaited = rest[end:], 0
            if isinstance(message, dict):
                yield message
    found.is_cut_off = inside
