"""Read subtitles (.srt): what is said, one line for each; numbers, times and formatting are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found
from errors import BookRefused

_TIMES = re.compile(r"\s*\d{1,2}:\d{2}:\d{2}[,.]\d{1,3}\s*-->\s*\d{1,2}:\d{2}:\d{2}[,.]\d{1,3}")
_FORMATTING = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|\{\\[^{}]{0,200}\}")


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings, BookUnreadable, and BookRefused for a file without times."""
    before = ""  # the line before, which is a number if times follow
    spoken: list[str] = []
    with source.open("rb") as file:
        for line in lines(decoded_text(file, encoding, found, field=field)):
            line = line.strip("\ufeff\n ")
            if _TIMES.match(line):
                yield _said(spoken)
                spoken, before = [], ""
                found.leave_out("times")
                continue
            spoken += [before] if before else []
            before = _FORMATTING.sub("", line).strip()
            if not line:
                yield _said(spoken)
                spoken = []
    yield _said([*spoken, before])
    if not found.left_out["times"]:
        raise BookRefused(field=field, reason="mislabelled", format="SRT")


def _said(spoken: list[str]) -> str:
    return " ".join(spoken) + "\n" if spoken and any(spoken) else ""
