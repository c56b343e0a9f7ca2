"""Read a chat that WhatsApp exported (_chat.txt): "Name: message" lines; dates, service messages and files are left out.

It is a plain text file, so it is known by its first lines (`is_chat`). Dates are written as the telephone's language has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found

_MESSAGE = re.compile(
    r"[\u200e\ufeff]*\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?[ \u202f]\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[ \u202f\xa0]?[AaPp]\.?[ \u202f\xa0]?[Mm]\.?)?(?:\]| -) (.*)"
)
_AUTHOR = re.compile(r"\u200e?([^:]{1,80}): (.*)", re.DOTALL)
_MEDIA = re.compile(r"<[^<>]{1,60}>$|.{1,200} \((?:file attached|файл добавлен)\)$", re.DOTALL)
_FEWEST, _AMONG = 3, 30  # messages among the first lines


def is_chat(head: bytes) -> bool:
    """Return whether a file begins as an exported chat."""
    first = head.decode("utf-8", "replace").split("\n")[:_AMONG]
    return bool(_MESSAGE.match(first[0])) and sum(map(bool, map(_MESSAGE.match, first))) >= _FEWEST


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings and BookUnreadable."""
    with source.open("rb") as file:
        for message in _messages(lines(decoded_text(file, encoding, found, field=field)), found):
            author = _AUTHOR.match(message)
            if author is None or author[2].startswith("\u200e"):
                found.leave_out("service")
            elif _MEDIA.match(author[2]):
                found.leave_out("media")
            else:
                yield f"{author[1]}: {author[2]}\n"


def _messages(text: Iterator[str], found: Found) -> Iterator[str]:
    """Yield the messages, of one or several lines, without their dates."""
    message: str | None = None
    for line in text:
        begun = _MESSAGE.match(line)
        if begun is None:
            message = None if message is None else message + line
            continue
        if message is not None:
            yield message.rstrip("\n")
        message = begun[1] + "\n"
        found.leave_out("times")
    if message is not None:
        yield message.rstrip("\n")
