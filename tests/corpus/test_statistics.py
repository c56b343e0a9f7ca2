"""The figures of a book: counted rightly, and of a long one in three places."""

from __future__ import annotations

import pytest

from corpus import statistics
from corpus.statistics import statistics_of

TEXT = """Глава первая

— Кто там? — спросила она.
«Это я», — ответил он.
Старик вышел на берег. Берег был пуст… Старик ждал.
"""


def test_figures_of_a_text_are_those_counted_by_hand() -> None:
    found = statistics_of(TEXT)
    assert (found.paragraphs, found.is_whole, found.measured) == (4, True, len(TEXT))
    assert found.sentence_words == pytest.approx(19 / 6)  # "?" and "…" end a sentence; a heading does not
    assert found.dialogue == pytest.approx((26 + 22) / (12 + 26 + 22 + 51))
    assert found.frequent == (("старик", 2), ("берег", 2))
    assert found.different_words == 17


def test_a_text_without_sentences_has_no_length_of_a_sentence() -> None:
    assert statistics_of("раз\nдва\n").sentence_words is None


def test_a_long_book_is_measured_at_its_beginning_middle_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MEASURED_CHARACTERS", 30)
    found = statistics_of("альфа " * 2000 + "бета " * 2400 + "гамма " * 2000)
    assert (found.is_whole, found.measured) == (False, 32)
    assert found.different_words >= 3
