"""Phrases that a text copied from a book: found word for word, whole, and with their place."""

from __future__ import annotations

import pytest

from corpus import copied
from corpus.copied import Phrase, copied_phrases

STORY = "Утром Лиза взяла лодку и вышла в тихое море, а Марк остался на берегу ждать её до самого вечера. " * 2
BOOK = "Слово дело. " * 50 + STORY


def test_copied_phrase_is_found_whole_whatever_its_case_and_punctuation() -> None:
    text = "И вот ЛИЗА ВЗЯЛА ЛОДКУ — и вышла в тихое море; а Марк уснул."
    (phrase,) = copied_phrases(text, BOOK)
    assert text[phrase.start : phrase.end] == "ЛИЗА ВЗЯЛА ЛОДКУ — и вышла в тихое море; а Марк"
    assert BOOK[phrase.place : phrase.place_end] == "Лиза взяла лодку и вышла в тихое море, а Марк"
    assert phrase.place == BOOK.index("Лиза"), "the first of two places"


def test_seven_words_are_not_copied() -> None:
    assert copied_phrases("Лиза взяла лодку и вышла в тихое", BOOK) == []
    assert len(copied_phrases("Лиза взяла лодку и вышла в тихое море", BOOK)) == 1
    assert copied_phrases("", BOOK) == copied_phrases(BOOK, "") == []


def test_phrase_across_two_pieces_of_a_long_book_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = "а б в г д е ж з " * 2
    phrase = "один два три четыре пять шесть семь восемь девять"
    book = "ъ " * 400 + before + phrase + " ъ" * 400
    for cut in (800 + len(before) + 3, 800 + len(before) + 20, 5000):
        monkeypatch.setattr(copied, "PIECE_CHARACTERS", cut)
        assert copied_phrases(phrase, book) == [Phrase(0, len(phrase), 800 + len(before), 800 + len(before + phrase))]


def test_repeated_words_are_one_phrase() -> None:
    (phrase,) = copied_phrases("ха " * 60, "ха " * 200)
    assert (phrase.start, phrase.end, phrase.place) == (0, 179, 0)
