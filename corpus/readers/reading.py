"""Write the pieces of text that a reader yields as clean UTF-8, count them on the way, and describe what was read.

`Found` is what a reader fills in while it yields: title and author where the format has them, what it left out, what it could not
read. `Reading` is the finished description. Memory is constant for any length.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from corpus.cleaning import Cleaner
from corpus.languages import language_of, stated_title
from corpus.likeness import Fingerprinter
from corpus.readers.encoding import Damage
from errors import EmptyBook
from tokenizer import END_OF_TEXT
from workspace import disk_errors

PREVIEW_CHARACTERS = 600
_SAMPLE_CHARACTERS = 5_000  # from which language and title are found
_LONGEST_TITLE = 200

# What readers leave out; its words stand in the catalogues under `book.left_out.<code>`.
LEFT_OUT = (
    "scripts", "navigation", "contents", "licence", "headers", "page_numbers", "running_titles", "hyphens", "empty_pages",
    "notes", "note_marks", "comments", "deleted", "pictures", "links", "about", "times", "service", "media", "columns", "fields",
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """What stands in a file and is not text of the book: one of LEFT_OUT, and how often."""

    code: str
    count: int


@dataclass
class Found:
    """What a reader learns beside the text; it is complete when the last piece has been yielded."""

    encoding: str = ""  # "" where a format has none
    title: str = ""
    author: str = ""
    language: str = ""  # as the file states it
    damage: Damage = field(default_factory=Damage)
    left_out: Counter[str] = field(default_factory=Counter)
    lost_parts: int = 0  # chapters or pages that are damaged
    lost_part: str = ""  # the first of them
    letters_apart: int = 0  # percent of one-letter words, where so many show that words fell apart
    is_cut_off: bool = False  # the file ends before its text does

    def leave_out(self, code: str, count: int = 1) -> None:
        assert code in LEFT_OUT
        self.left_out[code] += count

    def lose(self, part: str) -> None:
        """Count a part that cannot be read and keep the name of the first."""
        self.lost_parts += 1
        self.lost_part = self.lost_part or _one_line(part)


@dataclass(frozen=True)
class Reading:
    """The properties of a text that was read; all counts are of the clean text."""

    encoding: str
    characters: int
    words: int  # as `wc -w` counts them
    bytes: int
    sha256: str
    preview: str
    wrong_characters: int = 0  # undecodable places in the source, which became U+FFFD
    wrong_line: int = 0  # of the source, where the first of them is
    marks: int = 0  # how often the text spells the special token <|endoftext|>
    language: str = ""  # as the file states it, else as `languages.language_of` names it
    title: str = ""  # as the file states it; the text itself is believed only together with its author
    author: str = ""
    left_out: tuple[LeftOut, ...] = ()
    lost_parts: int = 0
    lost_part: str = ""
    letters_apart: int = 0
    is_cut_off: bool = False
    fingerprint: str = ""  # for finding books that are much like this one (corpus/likeness.py)
    repeated: int = 0  # percent of the text that stands in it twice


def write_clean(pieces: Iterable[str], found: Found, target: Path, *, field: str) -> Reading:
    """Clean the pieces into `target`. Raises EmptyBook about `field`, DiskFull, and what the reader raises."""
    cleaner = Cleaner()
    tally = _Tally()
    with disk_errors(target), target.open("wb") as out:
        for text in pieces:
            out.write(tally.add(cleaner.feed(text)))
        out.write(tally.add(cleaner.finish()))
    if not tally.characters:
        raise EmptyBook(field=field)
    return tally.reading(found)


class _Tally:
    """Counts characters, words and bytes of clean text that arrives in chunks."""

    def __init__(self) -> None:
        self.characters = 0
        self._words = 0
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._sample = ""
        self._inside_word = False
        self._marks = 0
        self._fingerprinter = Fingerprinter()
        self._end = ""  # of the text so far, where a special token may have begun

    def add(self, text: str) -> bytes:
        """Count a chunk and return it in UTF-8."""
        if not text:
            return b""
        data = text.encode("utf-8")
        self.characters += len(text)
        self._words += len(text.split()) - (self._inside_word and not text[0].isspace())
        self._inside_word = not text[-1].isspace()
        self._bytes += len(data)
        self._digest.update(data)
        together = self._end + text
        self._marks += together.count(END_OF_TEXT)
        self._end = together[-(len(END_OF_TEXT) - 1) :]
        self._fingerprinter.feed(text)
        self._sample += text[: _SAMPLE_CHARACTERS - len(self._sample)]
        return data

    def reading(self, found: Found) -> Reading:
        likeness = self._fingerprinter.finish()
        stated = (found.title, found.author) if found.title else stated_title(self._sample)
        return Reading(
            encoding=found.encoding,
            characters=self.characters,
            words=self._words,
            bytes=self._bytes,
            sha256=self._digest.hexdigest(),
            preview=self._sample[:PREVIEW_CHARACTERS].rstrip("\n"),
            wrong_characters=found.damage.characters,
            wrong_line=found.damage.line,
            marks=self._marks,
            language=_language(found.language) or language_of(self._sample),
            title=_one_line(stated[0]),
            author=_one_line(stated[1]),
            left_out=tuple(LeftOut(code, found.left_out[code]) for code in LEFT_OUT if found.left_out[code]),
            lost_parts=found.lost_parts,
            lost_part=found.lost_part,
            letters_apart=found.letters_apart,
            is_cut_off=found.is_cut_off,
            fingerprint=likeness.fingerprint,
            repeated=likeness.repeated,
        )


def _one_line(text: str) -> str:
    """Return a text from a file as one short printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())[:_LONGEST_TITLE].strip()


def _language(stated: str) -> str:
    """Return the language of a tag such as "ru-RU", "" for anything else.

    >>> _language("ru-RU"), _language("Russian")
    ('ru', '')
    """
    code = stated.strip().replace("_", "-").split("-")[0].lower()
    return code if 2 <= len(code) <= 3 and code.isascii() and code.isalpha() else ""
