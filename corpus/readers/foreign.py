"""Find the code page of a text in an alphabet other than Russian and Western, where it is certain.

A reading is believed only if its letters are those of one language and its frequent words (in Chinese, Japanese and Korean its
frequent characters) are there: a wrong reading has neither. What is not certain is left to the person, who can name the encoding.

Not covered: Arabic, Baltic, Thai and Vietnamese code pages, Big5 and EUC-JP; such texts are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from corpus.readers.letters import is_telling

_LOOKED_AT = 1 << 14  # bytes of lines that are not plain ASCII
_FEWEST_LETTERS = 6  # beyond ASCII; fewer prove nothing
_MIN_COVERED = 0.98  # share of the letters beyond ASCII that belong to the language
_MIN_KNOWN = 0.08  # share of the words that are frequent in it; prose has 0.2 to 0.4
_MAX_SIGNS = 0.02  # signs inside words, of the letters beyond ASCII
_MAX_WRONG = 0.005  # of the characters; a sample may be cut inside one
_WORD = re.compile(r"[^\W\d_]+")
_SIGN_INSIDE = re.compile(r"[^\W\d_][^\w\s\x00-\x7f’‘–—]+(?=[^\W\d_])")
_CAPITAL_INSIDE = re.compile(r"[^\W\d_A-Z](?<=[a-zß-ÿ\u0101-\u024f\u03ac-\u03ce])[A-ZÀ-Þ\u0386-\u03ab]")


@dataclass(frozen=True)
class _Language:
    letters: str  # beyond ASCII, small
    words: frozenset[str]
    encodings: tuple[str, ...]
    is_latin: bool = True


def _language(letters: str, words: str, *encodings: str, is_latin: bool = True) -> _Language:
    return _Language(letters, frozenset(words.split()), encodings, is_latin)


_CENTRAL = ("cp1250", "iso8859_2")
_LANGUAGES = (
    _language("άέήίόύώΐΰϊϋαβγδεζηθικλμνξοπρσςτυφχψω", "ο η το οι τα του της τον την των και να με σε που δεν είναι στο στη στην στον για από θα "
              "μια ένα αν ως τους τις ήταν μου", "cp1253", is_latin=False),
    _language("אבגדהוזחטיכךלמםנןסעפףצץקרשת", "את של על לא הוא אל כי עם זה היא אני מה או גם כל היה היו אשר אבל רק יש אם כמו", "cp1255", is_latin=False),
    _language("çğıöşüâîûi̇", "ve bir bu da de için ile çok ne o daha gibi kadar ama ben sen var yok ki mi her en sonra olarak", "cp1254"),
    _language("áčďéěíňóřšťúůýž", "a se na že je v do od za ale to jsem by když jako si pro po tak už s z i ve byl jeho o k", *_CENTRAL),
    _language("ąćęłńóśźż", "i w się na nie że z do to jest jak o a po ale co za od jego był już jej ze tym przez dla", *_CENTRAL),
    _language("áäčďéíĺľňóôŕšťúýž", "a sa na je že v do to ako si so bol ale pre už od za po keď tak z s i jeho o k", *_CENTRAL),
    _language("áéíóöőúüű", "a az és hogy nem is egy de van volt ez meg csak már azt ki el mint ha még be fel", *_CENTRAL),
    _language("čćđšž", "i u je se da na su za od ne što kao ali bi sam to iz s o", *_CENTRAL),
    _language("ăâîşţșț", "şi de la în pe cu nu ca să o din un a mai ce că se era lui care", *_CENTRAL),
)  # fmt: skip

_CHINESE = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去"
    "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日"
)
_KOREAN = frozenset("이다는을가에의은를하고지도로그니사한나어기아서자시있리그것")
_MIN_CHINESE, _MIN_KOREAN, _MIN_HANGUL, _MIN_KANA = 0.12, 0.15, 0.8, 0.25


def foreign_encoding(sample: bytes) -> str | None:
    """Return the encoding of a sample that is certainly in one of these languages, else None.

    >>> foreign_encoding("Και το πρωί ο γέρος ψαράς βγήκε στη θάλασσα.".encode("cp1253"))
    'cp1253'
    """
    looked_at = b"\n".join(line for line in sample.splitlines() if not line.isascii())[:_LOOKED_AT]
    scored = [
        (_score(looked_at, encoding, language), encoding) for language in _LANGUAGES for encoding in language.encodings
    ]
    best = max(scored, key=lambda each: each[0])  # of equal ones the first
    return best[1] if best[0] else _east_asian(looked_at)


def _score(sample: bytes, encoding: str, language: _Language) -> float:
    """Return how well a reading fits a language, 0.0 where it is not certain."""
    text = sample.decode(encoding, "replace")
    words = _WORD.findall(text.lower())
    beyond = [letter for word in words for letter in word if not letter.isascii()]
    if len(beyond) < _FEWEST_LETTERS or "\ufffd" in text:
        return 0.0
    covered = sum(letter in language.letters for letter in beyond) / len(beyond)
    known = sum(word in language.words for word in words) / len(words)
    signs = len(_SIGN_INSIDE.findall(text)) + len(_CAPITAL_INSIDE.findall(text))
    if covered < _MIN_COVERED or known < _MIN_KNOWN or signs > _MAX_SIGNS * len(beyond):
        return 0.0
    if language.is_latin and not is_telling(sample, language.letters, encoding):
        return 0.0  # it reads the same as Western text
    return covered + known - signs / len(beyond)


def _east_asian(sample: bytes) -> str | None:
    if len(sample) < 2 * _FEWEST_LETTERS:
        return None
    for encoding, fits in (("cp932", _is_japanese), ("cp949", _is_korean), ("gb18030", _is_chinese)):
        text = sample.decode(encoding, "replace")
        beyond = [c for c in text if not c.isascii()]
        wrong = beyond.count("\ufffd") + sum("\ue000" <= c <= "\uf8ff" for c in beyond)
        if wrong <= max(1, _MAX_WRONG * len(text)) and fits([c for c in beyond if c.isalpha()]):
            return encoding
    return None


def _is_japanese(letters: list[str]) -> bool:
    kana = sum("\u3041" <= c <= "\u30ff" for c in letters)
    halves = sum("\uff61" <= c <= "\uff9f" for c in letters)  # as which half of another encoding's bytes are read
    return kana >= _MIN_KANA * max(1, len(letters)) and halves <= 0.05 * len(letters)


def _is_korean(letters: list[str]) -> bool:
    hangul = [c for c in letters if "\uac00" <= c <= "\ud7a3"]
    frequent = sum(c in _KOREAN for c in hangul)
    return len(hangul) >= _MIN_HANGUL * max(1, len(letters)) and frequent >= _MIN_KOREAN * len(letters) > 0


def _is_chinese(letters: list[str]) -> bool:
    kana = sum("\u3041" <= c <= "\u30ff" for c in letters)
    frequent = sum(c in _CHINESE for c in letters)
    return frequent >= _MIN_CHINESE * len(letters) > 0 and kana <= 0.01 * len(letters)
