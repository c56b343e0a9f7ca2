"""Leave out what a library or a shop wrote around the text of a book: licence pages, advertisements, thanks for downloading.

Particular: only sentences that nothing but such pages has. Not covered: the copyright pages of publishers, which differ too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from corpus.readers.reading import Found

_NEAR_THE_HEAD = 400  # lines: a licence at the beginning ends within as many

_START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK", re.IGNORECASE)
_END = re.compile(
    r"^(?:\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK|End of (?:the )?Project Gutenberg)", re.IGNORECASE
)
_SENTENCES = re.compile(
    r"^(?:Спасибо, что скачали книгу в|Все книги автора: |Эта же книга в других форматах|Приятного чтения!$|"
    r"Данный текст является ознакомительным фрагментом|Конец ознакомительного фрагмента|Текст предоставлен (?:ООО|правообладателем)|"
    r"Прочитайте эту книгу целиком|Безопасно оплатить книгу можно|Купить полную версию книги|Оставить отзыв о книге$|"
    r"This eBook is for the use of anyone anywhere)"
)


def begins_with_licence(text: str) -> bool:
    """Return whether the first lines of a text have the mark of a licence's end."""
    return any(map(_START.match, text.splitlines()[:_NEAR_THE_HEAD]))


def without_licences(lines: Iterator[str], found: Found) -> Iterator[str]:
    """Yield the lines of a book without those of licence pages, which are counted as "licence"."""
    head: list[str] = []
    for line in lines:  # what stands before the mark of a beginning is a licence, if the mark comes soon
        head.append(line)
        if _START.match(line) or len(head) >= _NEAR_THE_HEAD:
            break
    if head and _START.match(head[-1]):
        found.leave_out("licence", len(head))
        head = []
    yield from _body(iter(head), lines, found)


def _body(head: Iterator[str], rest: Iterator[str], found: Found) -> Iterator[str]:
    ended = False
    for source in (head, rest):
        for line in source:
            ended = ended or bool(_END.match(line))
            if ended or _SENTENCES.match(line):
                found.leave_out("licence")
            else:
                yield line
