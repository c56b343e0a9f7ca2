"""Clean decoded text for training, in one pass over chunks of any size.

    >>> clean("\\ufeffГлава I\\r\\n\\r\\n\\r\\n\\r\\nВсе\\u00a0 счастливые  семьи \\r\\n    if x:\\t\\t1")
    'Глава I\\n\\nВсе счастливые семьи\\n    if x:\\t\\t1\\n'

Kept: the spaces and tabs at the start of a line (code, verse), and tabs inside and at the end of a line (empty columns of a table).
Other runs of spaces become one, spaces at the end of a line are removed, and there is at most one empty line in a row.

Particular: feeding chunks gives the same result as feeding the whole text (tested as a property), although NFC, "\\r\\n" and
runs of white space cross chunk borders. So each `feed` holds back the last character with the marks after it, and
keeps a run of white space in its shortest form: memory is constant for any text.
Cleaning is idempotent: clean text is returned unchanged.

Not covered: words hyphenated at line ends, page headers and page numbers, which a program could only guess at.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

_MARKS_READ = 64  # in a row, before normalising, which takes quadratic time in a run of marks
_MARKS_KEPT = 30  # in a row, as in Unicode's stream-safe text (UAX 15, section 13)

# Anything but Latin and Cyrillic letters and the punctuation of books. Text without it is in NFC already and skips the other
# steps, which take ten times as long as this search.
_UNUSUAL = re.compile("[^\t\n\r -~\xa0-\xac\xae-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u2116]")

# Control characters except tab and line ends, soft hyphen, zero-width space, direction marks, invisible operators, BOM,
# non-characters, lone surrogates. The joiners U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    "\ufeff\ufffe\uffff\ud800-\udfff]+"
)
_NEWLINE = re.compile("[\x0b\x0c\x85\u2028\u2029]")  # vertical tab and form feed end a line as well
_SPACE = re.compile("[\u1680\u2000-\u200a\u202f\u205f\u3000]")

_MOST_BLANKS = 200  # in a row; nothing is indented deeper
_TABS = re.compile(r"(?<=[^\n\t ]) *\t[\t ]*")  # inside or at the end of a line
_SPACES = re.compile(r"(?<=[^\n\t ])  +")
_LINE_END = re.compile(r"(?<! ) +\n")
_EMPTY_LINE = re.compile(r"\n[\t ]+(?=\n)")
_INDENT = re.compile(rf"\n([\t ]{{{_MOST_BLANKS}}})[\t ]+")


class Cleaner:
    """Cleans one text in chunks: call `feed` for each, then `finish` once, and join what they return."""

    def __init__(self) -> None:
        self._held = ""  # the last character (or "\r\n") with its marks, which the next chunk may change
        self._space = ""  # white space that was not returned yet, in its shortest form
        self._started = False

    def feed(self, text: str) -> str:
        """Add a chunk; return the clean text that no later chunk can change."""
        text = self._held + text
        if _UNUSUAL.search(text):
            text = _SPACE.sub(" ", _NEWLINE.sub("\n", _REMOVED.sub("", text)))
            text = _limit_marks(text, _MARKS_READ)
        end = _settled_length(text)
        self._held = text[end:]
        return self._settle(text[:end])

    def finish(self) -> str:
        """Return the rest of the clean text, which ends with exactly one newline unless it is empty."""
        rest = self._settle(self._held)
        tabs = self._space.partition("\n")[0].strip(" ")  # empty columns at the end of the last line
        return f"{rest}{tabs}\n" if self._started else ""

    def _settle(self, text: str) -> str:
        before = "." if self._started else "\n"  # the text starts at the start of a line
        text = _collapse(before + self._space + text)[1:]
        if not self._started:
            text = text.lstrip("\n")
        kept = text.rstrip("\t\n ")
        self._space = text[len(kept) :]
        self._started = self._started or bool(kept)
        if _UNUSUAL.search(kept):
            kept = _limit_marks(unicodedata.normalize("NFC", kept), _MARKS_KEPT)
        return kept


def clean(text: str) -> str:
    """Return the clean form of a whole text."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.finish()


def _collapse(text: str) -> str:
    r"""Shorten each run of white space as far as the rules above allow.

    >>> _collapse("a  b \r\n  c\t \td\t\n \t\n\n d")
    'a b\n  c\t\td\t\n\n d'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    if "\t" in text:
        text = _TABS.sub(lambda run: run[0].replace(" ", "")[:_MOST_BLANKS], text)
        text = _EMPTY_LINE.sub("\n", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " \n" in text:
        text = _LINE_END.sub("\n", text)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return _INDENT.sub(r"\n\1", text)


def _settled_length(text: str) -> int:
    r"""Return the length of the text that no later character can change: all before the last character that is not a mark.

    "\r\n" counts as one character; if it were split, it would become two line ends.

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
    """Return two patterns: a fast one that takes every character beyond U+FFFF for a mark, and an exact one, ten times as slow."""
    spans = _spans(sorted(map(ord, _marks())))
    basic = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans if last <= 0xFFFF)
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)
    suspects = re.compile(f"[{basic}\U00010000-\U0010ffff]{{{limit + 1}}}")
    return suspects, re.compile(f"([{marks}]{{{limit}}})[{marks}]+")


@functools.cache
def _marks() -> frozenset[str]:
    """Return the characters that NFC may join to the one before: marks, Hangul vowels and finals, Kirat Rai vowels."""
    planes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = {chr(code) for code in planes if unicodedata.category(chr(code)).startswith("M")}
    return frozenset(marks | {chr(code) for code in (*range(0x1160, 0x1200), *range(0x16D63, 0x16D6B))})


def _spans(codes: Iterable[int]) -> list[tuple[int, int]]:
    """Join neighbouring numbers to spans: [1, 2, 3, 7] -> [(1, 3), (7, 7)]."""
    spans: list[tuple[int, int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1] = (spans[-1][0], code)
        else:
            spans.append((code, code))
    return spans
