"""Make paragraphs of the lines on the pages of a PDF: without page numbers, running titles, contents and hyphens at line ends.

A PDF knows places of letters, not paragraphs, so everything here is a rule of thumb: a line that is as long as the others goes on in
the next one; the same first or last line on several pages, seldom found elsewhere, is a running title.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from corpus.readers.reading import Found

_PAGE_NUMBER = re.compile(  # Roman only in small letters: capitals are those of chapters
    r"[-–—\[(. ]*(?:(?i:page|стр\.?|страница|с\.)\s*)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of|из)\s*\d{1,4})?[-–—\]). ]*"
)
_CONTENTS = re.compile(r".*\S\s*(?:\.\s?|…\s?|·\s?){4,}\s*\d{1,4}$")
_ENDS = re.compile(r"[.!?…:;»\"”)]$")
_DIALOGUE = re.compile(r"[—–−-]\s")
_HYPHEN = re.compile(r"[^\W\d_][-\u2010\xad¬]$")
_KEEP_HYPHEN = re.compile(r"(?:то|либо|нибудь|ка|таки|де)(?!\w)", re.IGNORECASE)  # кто-то, как-нибудь
_FEWEST_PAGES = 3  # on as many pages the same line is a running title
_FULL, _SHORT = 0.85, 0.6  # of the usual length of a line
_NARROWEST = 30  # characters; shorter lines are verse or a list
_LETTERS_APART = 40  # percent; prose has 5 to 20


def paragraphs(pages: Sequence[str], found: Found) -> Iterator[str]:
    """Yield the paragraphs of a book, one a line."""
    split = [[line.strip() for line in page.splitlines() if line.strip()] for page in pages]
    titles = _running_titles(split)
    yield from _joined([line for page in split for line in _body(page, titles, found)], found)


def letters_apart(text: str) -> int:
    """Return the percentage of one-letter words if it is so high that words fell apart into letters, else 0.

    >>> letters_apart("В с ё с м е ш а л о с ь"), letters_apart("Всё смешалось в доме")
    (100, 0)
    """
    words = [word for word in text.split() if word.isalpha()]
    share = round(100 * sum(len(word) == 1 for word in words) / max(1, len(words)))
    return share if share >= _LETTERS_APART else 0


def _running_titles(pages: Sequence[Sequence[str]]) -> frozenset[str]:
    """Return the keys of lines that stand first or last on several pages, and inside of pages less often: a play repeats its speakers."""
    counts = Counter(key for page in pages for key in {_key(line) for line in _edges(page)})
    everywhere = Counter(_key(line) for page in pages for line in page)
    return frozenset(
        key
        for key, count in counts.items()
        if count >= _FEWEST_PAGES and 2 * count > everywhere[key] and any(map(str.isalpha, key))
    )


def _edges(page: Sequence[str]) -> list[str]:
    """Return the first and the last line of a page, and their neighbours where they are page numbers."""
    found = []
    for lines in (page, page[::-1]):
        for line in lines[:2]:
            found.append(line)
            if not _PAGE_NUMBER.fullmatch(line):
                break
    return found


def _key(line: str) -> str:
    return re.sub(r"\d+", "", line).casefold().strip(" .|·•—–-")


def _body(page: Sequence[str], titles: frozenset[str], found: Found) -> list[str]:
    """Return the lines of a page without running titles, page numbers and lines of the contents."""
    lines = list(page)
    for place in (0, -1):
        for _ in range(2):
            if not lines:
                break
            if _PAGE_NUMBER.fullmatch(lines[place]):
                found.leave_out("page_numbers")
            elif _key(lines[place]) in titles:
                found.leave_out("running_titles")
            else:
                break
            del lines[place]
    kept = [line for line in lines if not _CONTENTS.match(line)]
    found.left_out["contents"] += len(lines) - len(kept)
    return kept


def _joined(lines: Sequence[str], found: Found) -> Iterator[str]:
    usual = sorted(map(len, lines))[int(0.8 * len(lines))] if lines else 0
    text = ""
    last = ""  # the last line of the text so far
    for line in lines:
        if text and not _goes_on(last, line, usual):
            yield text
            text = line
        elif _HYPHEN.search(text) and line[:1].islower():
            keeps = _KEEP_HYPHEN.match(line) and text.endswith("-")
            text = text + line if keeps else text[:-1] + line
            found.left_out["hyphens"] += not keeps
        else:
            text = f"{text} {line}" if text else line
        last = line
    if text:
        yield text


def _goes_on(line: str, following: str, usual: int) -> bool:
    """Return whether a paragraph goes on from one line to the next."""
    if _HYPHEN.search(line) and following[:1].islower():
        return True
    if usual < _NARROWEST or _DIALOGUE.match(following):
        return False
    if len(line) < _SHORT * usual:
        return following[:1].islower() and not _ENDS.search(line)
    return len(line) >= _FULL * usual or not _ENDS.search(line)
