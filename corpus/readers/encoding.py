"""Bytes -> text: which encoding a book is in, found from a sample, and decoding in chunks with the place of the first wrong byte.

The order: a byte order mark, strict UTF-8, UTF-16 without a mark, and last the single-byte encodings. These accept almost any
bytes, so each reading gets a score by its pairs of neighbouring letters: frequent Russian pairs and single accented letters
among Latin ones speak for it; a capital behind a small letter, two alphabets, a digit or a drawing sign inside a word speak against it.

Measured against charset-normalizer 3.5.2 with cp_isolation, on 200 pieces of a Russian novel in each of five encodings
(python -m benchmarks.encodings): right on 999 of 1,000 pieces of 300 characters against 994, of 100 characters on 992
against 933, of 40 characters on 984 against 766. So that library is not needed here.

Not covered: other alphabets outside UTF-8 and UTF-16 (Greek, Polish, Chinese code pages), UTF-16 without a mark in anything
but Latin and Cyrillic letters, and telling apart readings that give the same text.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from encodings.aliases import aliases
from typing import BinaryIO

from errors import BookUnreadable, InvalidInput, NotText

# What "read it as ..." offers. Among equal scores the first of _SINGLE_BYTE wins.
ENCODINGS = ("utf_8", "cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5", "utf_16_le", "utf_16_be", "cp1252")
_SINGLE_BYTE = ("cp1252", "cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5")
_MARKS = ((codecs.BOM_UTF8, "utf_8"), (codecs.BOM_UTF16_LE, "utf_16_le"), (codecs.BOM_UTF16_BE, "utf_16_be"))

_CHUNK_BYTES = 1 << 18  # decoding and cleaning hold some twenty times that much for a moment
_SAMPLE_BYTES = 1 << 16  # of each of the pieces at the head, in the middle and at the end

_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\v\f\r\x1a\x1b"})  # DOS ends a text with 0x1a
_MAX_CONTROL_SHARE = 0.01
_OTHER_FORMATS = (b"%PDF-", b"{\\rtf", b"PK\x03\x04")  # their head may look like text
_MIN_UTF16_SHARE = 0.7
_UTF16_LETTERS = re.compile("[\t\n\r -~\xa0-\u024f\u0400-\u052f\u2010-\u2026\u2116\u2190-\u25ff]")
_MAX_BROKEN_SHARE = 0.05  # UTF-8 with that much wrong is damaged UTF-8; its reader is told the place
_MIN_SCORE = 0.1  # for a pair of letters, one beyond ASCII; languages that we read have 0.4 to 0.7
_DOUBT = 10  # what a text may score below it: a few words prove nothing

_PAIRS = (  # the 100 most frequent pairs of letters in Russian prose, two thirds of all pairs
    "тонастненоалгоонпококаланиовенворарооттьпрослоелолваорзалилеерресктетаомоганвидеетилчтрисеведаод"
    "азатакбыинжеемитестидоегльасвсобчемоавсяоймекиныэтннсьиммуивтвмиылслевейоематреднуамаявыиесоаррушечахоее"
)
_FREQUENT = frozenset(_PAIRS[i : i + 2] for i in range(0, len(_PAIRS), 2))
_FOREIGN = re.compile("[^а-яё]")
_USUAL_SIGNS = frozenset("\xa0«»„“”‘’…–—№§£€¥¢°©®™±×÷½¼¾•·†‡")


# ---- which encoding --------------------------------------------------------------------------------------------------


def canonical(encoding: str) -> str:
    """The name in ENCODINGS that a person may have written otherwise. Raises InvalidInput.

    >>> canonical("Windows-1251"), canonical("KOI8-R")
    ('cp1251', 'koi8_r')
    """
    plain = re.sub(r"[-\s.]+", "_", encoding.strip().lower())
    known = aliases.get(plain, plain)
    if known not in ENCODINGS:
        shown = "".join(c for c in encoding[:40] if c.isprintable())
        raise InvalidInput(field="encoding", value=shown, reason="literal_error", expected=", ".join(ENCODINGS))
    return known


def sample_of(file: BinaryIO, around: int | None = None) -> bytes:
    """Up to 192 KiB from head, middle and end, or 64 KiB around a place, cut between characters (all but seldom)."""
    size = file.seek(0, 2)
    if size <= 3 * _SAMPLE_BYTES and around is None:
        return _piece(file, 0, size, size)
    places = [0, size // 2, size - _SAMPLE_BYTES] if around is None else [max(0, around - _SAMPLE_BYTES // 2)]
    return b"".join(_piece(file, place & ~1, _SAMPLE_BYTES, size) for place in places)


def detect(sample: bytes) -> str:
    """The name in ENCODINGS that makes text of the sample. Raises NotText."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    looks_plain = controls <= _MAX_CONTROL_SHARE * len(sample) and not sample.startswith(_OTHER_FORMATS)
    if looks_plain and _is_utf8(sample):
        return "utf_8"
    for encoding in ("utf_16_le", "utf_16_be"):
        if _utf16_share(sample, encoding) >= _MIN_UTF16_SHARE:
            return encoding
    if not looks_plain:
        raise NotText(field="file")
    return _best_single_byte(sample)


def _piece(file: BinaryIO, start: int, length: int, size: int) -> bytes:
    file.seek(start)
    piece = file.read(length)
    first = 0 if start == 0 else _character_border(piece, range(0, len(piece), 2))
    end = len(piece) if start + length >= size else _character_border(piece, range(len(piece) - 2, 0, -2))
    return piece[first:end]


def _character_border(piece: bytes, places: range) -> int:
    """The first of the even places where a character may begin, in UTF-8 as in UTF-16."""
    return next((place for place in places if not 0x80 <= piece[place] < 0xC0), places.start)


def _is_utf8(sample: bytes) -> bool:
    """Strictly, or with a few wrong bytes among many right characters."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd") - sample.count(b"\xef\xbf\xbd")
    return not broken or broken <= _MAX_BROKEN_SHARE * sum(character > "\x7f" for character in text)


def _utf16_share(sample: bytes, encoding: str) -> float:
    """How many of the characters are ordinary ones."""
    text = sample[: len(sample) & ~1].decode(encoding, "replace")
    return len(_UTF16_LETTERS.findall(text)) / max(1, len(text))


def _best_single_byte(sample: bytes) -> str:
    counts = Counter(itertools.pairwise(sample))
    pairs = {pair: counts[pair] for pair in counts if max(pair) >= 0x80 and pair[0] != pair[1]}  # no rules of "═"
    scores = {encoding: _score(pairs, encoding) for encoding in _SINGLE_BYTE}
    best = max(_SINGLE_BYTE, key=lambda encoding: scores[encoding])
    words = {pair: counts[pair] for pair in pairs if _inside_word(*(_table(best)[byte] for byte in pair))}
    if _score(words, best) < _MIN_SCORE * sum(words.values()) - _DOUBT:
        raise NotText(field="file")
    return best


def _inside_word(first: str, second: str) -> bool:
    """Whether a pair tells anything of the language: quotes, dashes and other usual signs around a word do not."""
    telling = all(character.isalpha() or not _usual(character) for character in (first, second))
    return telling and (first.isalpha() or second.isalpha())


def _score(pairs: dict[tuple[int, int], int], encoding: str) -> float:
    table = _table(encoding)
    return sum(count * _pair_score(table[first], table[second]) for (first, second), count in pairs.items())


@functools.cache
def _table(encoding: str) -> str:
    return bytes(range(256)).decode(encoding, "replace")


def _pair_score(first: str, second: str) -> float:
    """How well two neighbours fit, one of them beyond ASCII.

    >>> _pair_score("с", "т"), _pair_score("т", "С"), _pair_score("т", "s"), _pair_score("n", "é")
    (1.0, -1.0, -1.0, 0.5)
    """
    if first.isalpha() and second.isalpha():
        return _letters_score(first, second)
    if first.isalpha() or second.isalpha():
        letter, other = (first, second) if first.isalpha() else (second, first)
        if other.isdigit():
            return 0.0 if letter.isascii() else -0.5
        return 0.0 if _usual(other) else -1.0
    return _signs_score(first, second)


def _letters_score(first: str, second: str) -> float:
    cyrillic = ("\u0400" <= first <= "\u052f") + ("\u0400" <= second <= "\u052f")
    if cyrillic == 1 or (first.islower() and second.isupper()):
        return -1.0
    if cyrillic == 2:
        pair = (first + second).lower()
        return 1.0 if pair in _FREQUENT else -0.2 if _FOREIGN.search(pair) else 0.0
    return 0.5 if first.isascii() or second.isascii() else -0.5  # accented letters seldom stand side by side


def _signs_score(first: str, second: str) -> float:
    if (first in "–—" and second.isspace()) or (first.isspace() and second in "–—"):
        return 0.3  # the byte is a capital letter in other encodings
    return 0.0 if _usual(first) and _usual(second) else -0.3


def _usual(character: str) -> bool:
    """Whether a sign (no letter) may stand anywhere in a text."""
    return character.isascii() or character in _USUAL_SIGNS


# ---- decoding --------------------------------------------------------------------------------------------------------


def decoded(file: BinaryIO, encoding: str, *, field: str) -> Iterator[str]:
    """The text in chunks, from the file's beginning. Raises BookUnreadable with the place of the first wrong byte."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    file.seek(0)
    end = 0
    try:
        while chunk := file.read(_CHUNK_BYTES):
            end += len(chunk)
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        position = end - len(error.object) + error.start  # the decoder kept a few bytes of the chunk before
        raise BookUnreadable(field=field, encoding=encoding, position=position) from None
