"""How well two neighbouring characters fit in a text, and whether a reading as Western letters is plausible.

Single-byte encodings accept almost any bytes, so a reading is judged by its pairs of neighbours: frequent Russian pairs and single
accented letters among Latin ones raise the score; a capital after a small letter, two alphabets, a digit or a drawing sign inside a
word lower it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter

_PAIRS = (  # the 100 most frequent pairs of letters in Russian prose, two thirds of all pairs
    "тонастненоалгоонпококаланиовенворарооттьпрослоелолваорзалилеерресктетаомоганвидеетилчтрисеведаод"
    "азатакбыинжеемитестидоегльасвсобчемоавсяоймекиныэтннсьиммуивтвмиылслевейоематреднуамаявыиесоаррушечахоее"
)
_FREQUENT = frozenset(_PAIRS[i : i + 2] for i in range(0, len(_PAIRS), 2))
_FOREIGN = re.compile("[^а-яё]")
_USUAL_SIGNS = frozenset("\xa0«»„“”‘’…–—№§£€¥¢°©®™±×÷½¼¾•·†‡")

# Letters beyond ASCII of some languages: first those written in cp1252, then others with their own code pages. If a text, read in
# such a code page, uses the letters of just one of these languages, it is not cp1252.
_WESTERN = (
    "àâæçèéêëîïôœùûü",
    "äöüßé",
    "áéíñóúüªº",
    "àáâãçéêíóôõúü",
    "àèéìíîòóùú",
    "åäöé",
    "æøåéòô",
    "áéèëïóöüê",
    "àçèéíïòóúü",
)
_OTHERS = (
    ("áčďéěíňóřšťúůýž", "cp1250 iso8859_2"),
    ("ąćęłńóśźż", "cp1250 iso8859_2"),
    ("áäčďéíĺľňóôŕšťúýž", "cp1250 iso8859_2"),
    ("áéíóöőúüű", "cp1250 iso8859_2"),
    ("čćđšž", "cp1250 iso8859_2"),
    ("ăâîşţ", "cp1250 iso8859_2"),
    ("çğıöşüâîûi̇", "cp1254"),
    ("āčēģīķļņšūž", "cp1257"),
    ("ąčęėįšųūž", "cp1257"),
)
_FEWEST_LETTERS = 12  # beyond ASCII in the text; fewer prove nothing
_FEWEST_DIFFERENT = 2  # different letters in cp1252; a single one may be a pound sign
_MIN_COVERED = 0.98  # share of these letters that belong to the language
_MIN_AHEAD = 0.05  # by which that share exceeds the best one of a Western language
_MIN_TELLING = 0.1  # share of them that are other letters in cp1252


def inside_word(first: str, second: str) -> bool:
    """Return whether a pair is evidence for a language: quotes, dashes and other usual signs around a word are not."""
    telling = all(character.isalpha() or not _usual(character) for character in (first, second))
    return telling and (first.isalpha() or second.isalpha())


def score(pairs: dict[tuple[int, int], int], encoding: str) -> float:
    """Return the summed score of pairs of bytes (with their counts), read in an encoding."""
    characters = table(encoding)
    return sum(count * pair_score(characters[first], characters[second]) for (first, second), count in pairs.items())


@functools.cache
def table(encoding: str) -> str:
    """Return the 256 characters of a single-byte encoding."""
    return bytes(range(256)).decode(encoding, "replace")


def pair_score(first: str, second: str) -> float:
    """Return how well two neighbours fit, of which one is beyond ASCII: from -1 to 1.

    >>> pair_score("с", "т"), pair_score("т", "С"), pair_score("т", "s"), pair_score("n", "é")
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
    return 0.5 if first.isascii() or second.isascii() else -0.5  # two accented letters are rarely neighbours


def _signs_score(first: str, second: str) -> float:
    if (first in "–—" and second.isspace()) or (first.isspace() and second in "–—"):
        return 0.3  # the byte is a capital letter in other encodings
    return 0.0 if _usual(first) and _usual(second) else -0.3


def _usual(character: str) -> bool:
    """Return whether a sign (not a letter) is usual anywhere in a text."""
    return character.isascii() or character in _USUAL_SIGNS


def is_western(sample: bytes) -> bool:
    """Return whether bytes that read well as cp1252 are Western letters, not those of another language in its own code page.

    >>> is_western("Už dlouho čekal starý hodinář na dopis".encode("iso8859_2") * 3)
    False
    """
    counts = Counter(byte for byte in sample if byte >= 0x80)
    western = max(_covered(counts, alphabet, "cp1252")[0] for alphabet in _WESTERN)
    for alphabet, encodings in _OTHERS:
        for encoding in encodings.split():
            covered, telling, letters = _covered(counts, alphabet, encoding)
            enough = letters >= _FEWEST_LETTERS and telling >= _MIN_TELLING
            if enough and covered >= _MIN_COVERED and covered > western + _MIN_AHEAD:
                return False
    return True


def is_telling(sample: bytes, alphabet: str, encoding: str) -> bool:
    """Return whether enough letters of a sample differ from those that cp1252 would show."""
    return _covered(Counter(byte for byte in sample if byte >= 0x80), alphabet, encoding)[1] >= _MIN_TELLING


def _covered(counts: Counter[int], alphabet: str, encoding: str) -> tuple[float, float, int]:
    """Return, of the letters beyond ASCII, the share in the alphabet, the share that differs from cp1252, and their number."""
    read, western = table(encoding), table("cp1252")
    letters = {byte: count for byte, count in counts.items() if read[byte].isalpha() or western[byte].isalpha()}
    total = sum(letters.values())
    inside = {byte: count for byte, count in letters.items() if read[byte].lower() in alphabet}
    telling = [count for byte, count in inside.items() if read[byte] != western[byte]]
    share = sum(telling) / max(1, total) if len(telling) >= _FEWEST_DIFFERENT else 0.0
    return sum(inside.values()) / max(1, total), share, total
