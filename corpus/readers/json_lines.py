"""Read a data set of texts (.jsonl): one JSON object a line, whose text stands in a field of a usual name.

Question and answer pairs become two paragraphs, a conversation one for each message. Lines that are no JSON are told and left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found
from errors import BookRefused

_LONGEST_LINE = 1 << 25
_FIELDS = (  # the first group of which a line has all; then the longest of its texts
    ("text",), ("content",), ("body",), ("story",), ("instruction", "input", "output"), ("instruction", "output"), ("prompt", "completion"),
    ("prompt", "response"), ("question", "answer"), ("article",), ("текст",),
)  # fmt: skip


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings, BookUnreadable, and BookRefused if no line is an object with a text."""
    others: set[str] = set()
    texts = 0
    with source.open("rb") as file:
        for number, line in enumerate(lines(decoded_text(file, encoding, found, field=field), _LONGEST_LINE), start=1):
            if not line.strip("\ufeff\n "):
                continue
            text, unused = _text_of(line)
            if not text:
                found.lose(f"{number}")
                continue
            others |= unused
            texts += 1
            yield f"{text}\n\n"
    if not texts:
        raise BookRefused(field=field, reason="mislabelled", format="JSONL")
    found.left_out["fields"] = len(others)


def _text_of(line: str) -> tuple[str, set[str]]:
    """Return the text of a line and the names of the fields that are left out; ("", ...) if it has none."""
    try:
        value = json.loads(line.strip("\ufeff\n "))
    except (ValueError, RecursionError):
        return "", set()
    if isinstance(value, str):
        return value.strip(), set()
    if not isinstance(value, dict):
        return "", set()
    names = _names(value)
    if names == ("messages",):
        texts = [_said(message) for message in value["messages"] if isinstance(message, dict)]
    else:
        texts = [value[name] for name in names]
    return "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip()), set(value) - set(names)


def _said(message: dict[str, Any]) -> object:
    """Return the content of a message, which may be a list of parts with texts."""
    content = message.get("content")
    if not isinstance(content, list):
        return content
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _names(value: dict[str, Any]) -> tuple[str, ...]:
    if isinstance(value.get("messages"), list):
        return ("messages",)
    for names in _FIELDS:
        if all(isinstance(value.get(name), str) for name in names):
            return names
    texts = {name: text for name, text in value.items() if isinstance(text, str)}
    return (max(texts, key=lambda name: len(texts[name])),) if texts else ()
