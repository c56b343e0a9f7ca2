"""Read subtitles (.srt, .vtt): what is said, one line for each; numbers, times, notes and formatting are left out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found
from errors import BookRefused

_TIME = r"(?:\d{1,4}:)?\d{1,2}:\d{2}[,.]\d{1,3}"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_FORMATTING = re.compile(rf"</?[a-zA-Z][^<>]{{0,200}}>|<{_TIME}>|\{{\\[^{{}}]{{0,200}}\}}")
_UNSAID = re.compile(r"(WEBVTT|NOTE|STYLE|REGION)(\s|$)")


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings, BookUnreadable, and BookRefused for a file without times."""
    with source.open("rb") as file:
        yield from _spoken(lines(decoded_text(file, encoding, found, field=field)), found)
    _require_times(found, "SRT", field)


def web_pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text of WebVTT, which has blocks that nobody says and signs like &amp;. Raises as `pieces` does."""
    with source.open("rb") as file:
        for piece in _spoken(_cues(lines(decoded_text(file, encoding, found, field=field))), found):
            yield html.unescape(piece)
    _require_times(found, "VTT", field)


def _cues(text: Iterator[str]) -> Iterator[str]:
    """Yield the lines without the blocks of WEBVTT, NOTE, STYLE and REGION, and those once that captions roll up with."""
    is_first, is_unsaid, last = True, False, ""
    for line in text:
        plain = _FORMATTING.sub("", line.strip("\ufeff\n ")).strip()
        is_unsaid = bool(plain) and (is_unsaid or (is_first and _UNSAID.match(plain) is not None))
        is_first = not plain
        if is_unsaid or (plain and plain == last):
            continue
        if plain and not _TIMES.match(plain):
            last = plain
        yield plain


def _spoken(text: Iterator[str], found: Found) -> Iterator[str]:
    before = ""  # the line before, which is a number if times follow
    spoken: list[str] = []
    for line in text:
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


def _require_times(found: Found, format: str, field: str) -> None:
    if not found.left_out["times"]:
        raise BookRefused(field=field, reason="mislabelled", format=format)


def _said(spoken: list[str]) -> str:
    return " ".join(spoken) + "\n" if spoken and any(spoken) else ""
