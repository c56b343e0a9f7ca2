"""Decoded text -> the clean text that a model learns from, in one pass over chunks of any size.

    >>> clean("\\ufeff  Глава I\\r\\n\\r\\n\\r\\n\\r\\nВсе\\u00a0 счастливые\\t семьи \\r\\n")
    'Глава I\\n\\nВсе счастливые семьи\\n'

What is particular: feeding chunks gives the same as feeding the whole (properties in the tests), although NFC, "\\r\\n" and
runs of white space reach over chunk borders. So each `feed` holds back the last character with the marks behind it and
keeps a run of white space in its shortest form: memory stays constant whatever the text is.
Cleaning is idempotent: clean text comes back as it is.

Not covered: words broken by hyphens at line ends, headers and page numbers. A reader sees those; a program guesses.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

_MARKS_READ = 64  # marks in a row that are looked at; normalising an endless run of them would take quadratic time
_MARKS_KEPT = 30  # marks in a row that are kept, as in Unicode's stream-safe text (UAX 15, section 13)

# Latin and Cyrillic letters and the punctuation of books: in NFC as they are, and one search through them costs a tenth of
# all the other steps. Only text with anything else in it takes those steps.
_UNUSUAL = re.compile("[^\t\n\r -~\xa0-\xac\xae-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u2116]")

# Control characters but tab and line ends, soft hyphen, zero-width space, direction marks, invisible operators, BOM,
# non-characters, lone surrogates. The joiners U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    "\ufeff\ufffe\uffff\ud800-\udfff]+"
)
_NEWLINE = re.compile("[\x0b\x0c\x85\u2028\u2029]")  # vertical tab and form feed end a line, too
_SPACE = re.compile("[\u1680\u2000-\u200a\u202f\u205f\u3000]")


class Cleaner:
    """`feed` texts, then `finish` once; what they return, joined, is the clean text."""

    def __init__(self) -> None:
        self._held = ""  # the last character (or "\r\n") and its marks: the next chunk may combine with it
        self._space = ""  # white space seen but not given out: "", " ", "\n" or "\n\n"
        self._started = False

    def feed(self, text: str) -> str:
        text = self._held + text
        if _UNUSUAL.search(text):
            text = _SPACE.sub(" ", _NEWLINE.sub("\n", _REMOVED.sub("", text)))
            text = _limit_marks(text, _MARKS_READ)
        end = _settled_length(text)
        self._held = text[end:]
        return self._settle(text[:end])

    def finish(self) -> str:
        """The rest; text that is not empty ends with exactly one newline."""
        rest = self._settle(self._held)
        return f"{rest}\n" if self._started else ""

    def _settle(self, text: str) -> str:
        text = _collapse(self._space + text)
        if not self._started:
            text = text.lstrip(" \n")
        kept = text.rstrip(" \n")
        self._space = text[len(kept) :]
        self._started = self._started or bool(kept)
        if _UNUSUAL.search(kept):
            kept = _limit_marks(unicodedata.normalize("NFC", kept), _MARKS_KEPT)
        return kept


def clean(text: str) -> str:
    """The clean form of a whole text."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.finish()


def _collapse(text: str) -> str:
    r"""Each run of white space in its shortest form.

    >>> _collapse("a \t b \r\n c\n \n\n\n d")
    'a b\nc\n\nd'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").replace("\xa0", " ")
    while "  " in text:
        text = text.replace("  ", " ")
    text = text.replace(" \n", "\n").replace("\n ", "\n")
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def _settled_length(text: str) -> int:
    r"""How much of the text no later character can change: all before the last character that is not a mark.

    A line end is one character here. Parted, "\r" and "\n" would become two of them.

    >>> _settled_length("aи\u0306"), _settled_length("a\r"), _settled_length("a\r\n")
    (1, 1, 1)
    """
    marks = _marks()
    end = len(text)
    while end and text[end - 1] in marks:
        end -= 1
    last = max(end - 1, 0)
    return last - 1 if text[max(last - 1, 0) : last + 1] == "\r\n" else last


def _limit_marks(text: str, limit: int) -> str:
    """Cut runs of more than `limit` marks to their beginning."""
    suspects, runs = _mark_runs(limit)
    return runs.sub(r"\1", text) if suspects.search(text) else text


@functools.cache
def _mark_runs(limit: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The runs to cut, and before it a search ten times as fast that takes all characters beyond U+FFFF for marks."""
    spans = _spans(sorted(map(ord, _marks())))
    basic = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans if last <= 0xFFFF)
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)
    suspects = re.compile(f"[{basic}\U00010000-\U0010ffff]{{{limit + 1}}}")
    return suspects, re.compile(f"([{marks}]{{{limit}}})[{marks}]+")


@functools.cache
def _marks() -> frozenset[str]:
    """The characters that normalisation may join to the one before: marks, Hangul vowels and finals, Kirat Rai vowels."""
    planes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = {chr(code) for code in planes if unicodedata.category(chr(code)).startswith("M")}
    return frozenset(marks | {chr(code) for code in (*range(0x1160, 0x1200), *range(0x16D63, 0x16D6B))})


def _spans(codes: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as spans: [1, 2, 3, 7] -> [(1, 3), (7, 7)]."""
    spans: list[tuple[int, int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1] = (spans[-1][0], code)
        else:
            spans.append((code, code))
    return spans
