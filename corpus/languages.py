"""Find the language of a text from its beginning, and its title and author where it states both.

Not covered: languages other than Russian, Ukrainian and English; their code is "".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SAMPLE_PROMPTS = {
    "ru": "Однажды",
    "uk": "Одного разу",
    "en": "Once upon a time",
}  # beginnings that any book can continue

ON_INTELLIGENCE = "Искусственный интеллект"  # for books on it: the example, with which the first experiment begins
_NAMES_INTELLIGENCE = re.compile(r"искусственн\w+ интеллект", re.IGNORECASE)

_MIN_SHARE = 0.6  # of the letters
_ENGLISH = re.compile(r"\b(?:the|and|of|to|in|that|was|he|it|you|is|my)\b", re.IGNORECASE)
_MIN_ENGLISH = 0.08  # of the words; English prose and verse have 0.15 to 0.3
_UKRAINIAN = re.compile("[іїєґІЇЄҐ]")
_MIN_UKRAINIAN = 0.02  # of the letters; Russian from before 1918 has і, too, and ѣ and ъ beside it
_OLD_RUSSIAN = re.compile("[ѣѲѳъы]")

# "Title: ..." and "Author: ..." on lines of their own, or a title line followed by "by ...": nothing vaguer is believed.
_LABELLED = (
    re.compile(r"^(?:title|название|заглавие)\s*:\s*(\S.{0,118})$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"^(?:author|автор)\s*:\s*(\S.{0,118})$", re.IGNORECASE | re.MULTILINE),
)
_BY = re.compile(r"\A\s*([^\n]{1,120})\n\s*[Bb][Yy] ([A-Z]\S*(?: (?:[A-Z]\S*|de|van|von))+)\n")


def language_of(text: str) -> str:
    """Return "ru", "uk", "en", or "" for a text in another language or without letters.

    >>> language_of("Мама мыла раму."), language_of("The cat sat in the hat."), language_of("ACGT")
    ('ru', 'en', '')
    """
    letters = max(1, sum(map(str.isalpha, text)))
    if len(re.findall("[а-яёіїєґѣА-ЯЁІЇЄҐ]", text)) >= _MIN_SHARE * letters:
        is_ukrainian = len(_UKRAINIAN.findall(text)) >= _MIN_UKRAINIAN * letters and not _OLD_RUSSIAN.search(text)
        return "uk" if is_ukrainian else "ru"
    words = re.findall(r"\b[a-zA-Z]+\b", text)
    return "en" if words and len(_ENGLISH.findall(text)) >= _MIN_ENGLISH * len(words) else ""


def stated_title(text: str) -> tuple[str, str]:
    """Return title and author if a text clearly states both at its beginning, else two empty texts.

    >>> stated_title("Title: War and Peace\\nAuthor: Leo Tolstoy\\n"), stated_title("Chapter I\\nIt rained.\\n")
    (('War and Peace', 'Leo Tolstoy'), ('', ''))
    """
    title, author = (pattern.search(text[:2000]) for pattern in _LABELLED)
    if title and author:
        return title[1].strip(), author[1].strip()
    found = _BY.match(text)
    return (found[1].strip(), found[2].strip()) if found else ("", "")


def sample_prompt(languages: Sequence[str], beginnings: Sequence[str]) -> str | None:
    """Return a sample prompt that books in these languages, which begin so, can continue, or None if there is none.

    >>> sample_prompt(["ru", "en", "ru"], []), sample_prompt(["ru"], ["Книга об искусственном интеллекте"]), sample_prompt([""], [])
    ('Однажды', 'Искусственный интеллект', None)
    """
    known = [language for language in languages if language in SAMPLE_PROMPTS]
    most = max(known, key=known.count, default="")
    if most == "ru" and any(map(_NAMES_INTELLIGENCE.search, beginnings)):
        return ON_INTELLIGENCE
    return SAMPLE_PROMPTS.get(most)
