"""Measure a book for its page: sentences, paragraphs, dialogue, frequent words. A long book is measured in three places.

Only what can be counted is told: a paragraph counts as dialogue if it begins with a dash or a quotation mark, a word as frequent
if it stands there often and has at least four letters, because shorter ones are the same in every book.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from tokenizer import Characters

MEASURED_CHARACTERS = 4_000_000
MOST_FREQUENT = 24
_PLACES = 3
_WORD = re.compile(r"[^\W\d_]+(?:[-’'][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+(?=[\s»”\")]|$)")
_DIALOGUE = re.compile(r"[ \t]*(?:[—–―-]\s|[«“\"„])")
_SHORTEST = 4


@dataclass(frozen=True)
class Statistics:
    measured: int  # characters of the book that were looked at
    is_whole: bool
    paragraphs: int
    sentence_words: float | None  # in a sentence, on average; None where there is no end of a sentence
    dialogue: float  # share of the characters that stand in paragraphs of dialogue
    different_words: int
    frequent: tuple[tuple[str, int], ...]  # the most frequent words with how often they stand there


def statistics_of(text: Characters) -> Statistics:
    """Return the statistics of a clean text."""
    piece = _measured(text)
    paragraphs = [line for line in piece.split("\n") if line.strip()]
    words = _WORD.findall(piece)
    counts = Counter(word.lower() for word in words)
    ends = len(_SENTENCE_END.findall(piece))
    spoken = sum(len(paragraph) for paragraph in paragraphs if _DIALOGUE.match(paragraph))
    frequent = [(word, count) for word, count in counts.most_common(500) if len(word) >= _SHORTEST and count > 1]
    return Statistics(
        measured=len(piece),
        is_whole=len(piece) == len(text),
        paragraphs=len(paragraphs),
        sentence_words=len(words) / ends if ends else None,
        dialogue=spoken / max(1, sum(map(len, paragraphs))),
        different_words=len(counts),
        frequent=tuple(frequent[:MOST_FREQUENT]),
    )


def _measured(text: Characters) -> str:
    """Return the text, of a long one its beginning, its middle and its end."""
    size = len(text)
    if size <= MEASURED_CHARACTERS:
        return text[0:size]
    length = MEASURED_CHARACTERS // _PLACES
    starts = [place * (size - length) // (_PLACES - 1) for place in range(_PLACES)]
    return "\n".join(text[start : start + length] for start in starts)
