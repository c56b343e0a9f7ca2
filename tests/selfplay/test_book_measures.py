"""Variety, 8-grams and beginnings as measured on texts whose figures are known."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfplay import book
from selfplay.book import Bands, BookGrams, excerpts, measure_bands
from selfplay.rewards import variety, words


def numbered(start: int, stop: int) -> str:
    """numbered(0, 3) -> 'w0 w1 w2'"""
    return " ".join(f"w{number}" for number in range(start, stop))


# ---- variety ---------------------------------------------------------------------------------------------------------


def test_bands_are_linear_between_sizes_and_constant_beyond() -> None:
    bands = Bands((10, 20), (1.0, 0.8), (0.0, 0.1))
    assert bands.at(15) == pytest.approx((0.9, 0.05))
    assert bands.at(20) == pytest.approx((0.8, 0.1))
    assert bands.at(10) == bands.at(1) == pytest.approx((1.0, 0.0))
    assert bands.at(99) == pytest.approx((0.8, 0.1))
    assert Bands((10, 20, 40), (1.0, 0.8, 0.2), (0.0, 0.0, 0.0)).at(15) == pytest.approx((0.9, 0.0))


def test_bands_of_a_book_that_never_repeats_a_word_are_one() -> None:
    bands = measure_bands([numbered(0, 2000)], 96, random.Random(0))
    assert bands.at(1) == bands.at(50) == bands.at(96) == (1.0, 0.0)


def test_bands_of_a_looping_book_are_its_own_variety() -> None:
    phrase = "a b c d "
    mu, sd = measure_bands([phrase * 500], 64, random.Random(0)).at(64)
    assert mu == pytest.approx(variety(words(phrase * 16)))
    assert sd == pytest.approx(0)


def test_bands_fall_with_the_number_of_words(prose: str) -> None:
    bands = measure_bands([prose], 96, random.Random(0))
    assert 1 > bands.at(24)[0] > bands.at(96)[0] > 0.7
    assert 0 < bands.at(96)[1] < 0.1


def test_bands_of_a_book_shorter_than_the_window_come_from_what_there_is() -> None:
    bands = measure_bands(["кот и пёс и кот"], 96, random.Random(0))
    assert bands.at(5) == bands.at(96) == pytest.approx((0.8, 0.0))


def test_bands_reach_the_length_of_a_short_book() -> None:
    assert measure_bands(["я", numbered(0, 1500)], 2000, random.Random(0)).sizes[-1] == 1500


def test_bands_do_not_see_case() -> None:
    assert measure_bands(["Кот кот КОТ кот"], 96, random.Random(0)).at(4)[0] == pytest.approx((1 / 4 + 1 / 3) / 2)


def test_bands_of_a_book_without_words_are_one() -> None:
    assert measure_bands(["... !!! ..."], 96, random.Random(0)).at(50) == (1.0, 0.0)


# ---- 8-grams ---------------------------------------------------------------------------------------------------------


def test_copied_is_the_share_of_8_grams_that_the_book_holds() -> None:
    grams = BookGrams([numbered(0, 100)], random.Random(0))
    assert grams.copied(numbered(40, 60)) == 1.0
    assert grams.copied(numbered(40, 48) + " " + numbered(200, 208)) == pytest.approx(1 / 9)
    assert grams.copied(numbered(200, 260)) == 0.0


def test_copied_phrases_are_found_where_they_stand() -> None:
    grams = BookGrams([numbered(0, 100)], random.Random(0))
    own, copied = numbered(200, 203), numbered(40, 50)
    text = f"{own} {copied}, {own} {numbered(7, 15)}"
    assert [text[start:end] for start, end in grams.copies(text)] == [copied, numbered(7, 15)]
    assert grams.copies(numbered(0, 7)) == ()


def test_copied_does_not_see_case_and_punctuation() -> None:
    grams = BookGrams(["Раз, два, три, четыре, пять, вышел зайчик погулять"], random.Random(0))
    assert grams.copied("раз два ТРИ четыре — пять вышел: зайчик. ПОГУЛЯТЬ!") == 1.0


def test_copied_of_fewer_than_8_words_is_zero() -> None:
    grams = BookGrams([numbered(0, 100)], random.Random(0))
    assert grams.copied(numbered(0, 7)) == grams.copied("") == 0.0


def test_copied_finds_every_passage_of_the_book(prose: str) -> None:
    grams, found = BookGrams([prose], random.Random(0)), words(prose)
    assert all(grams.copied(" ".join(found[start : start + 8])) == 1.0 for start in range(len(found) - 7))


def test_foreign_8_grams_are_seldom_taken_for_copied() -> None:
    grams = BookGrams([numbered(0, 100_000)], random.Random(0))
    assert grams.copied(numbered(200_000, 250_000)) < 0.002


def test_many_short_books_are_indexed_whole() -> None:
    texts = [numbered(start, start + 20) for start in range(0, 4000, 20)]
    grams = BookGrams(texts, random.Random(0))
    assert all(grams.copied(text) == 1.0 for text in texts)


def test_a_book_above_the_limit_is_indexed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(book, "MOST_CHARACTERS", 5000)
    text = numbered(0, 2000)  # about 11,000 characters
    assert 0.2 < BookGrams([text], random.Random(0)).copied(text) < 0.6


def test_chunks_cut_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "CHUNK_CHARACTERS", 5)
    text = "один, двенадцать — три"
    spans = list(book._chunks(text))
    assert "".join(text[start:end] for start, end in spans) == text
    assert [words(text[start:end]) for start, end in spans] == [["один"], ["двенадцать"], ["три"]]


def test_8_grams_do_not_depend_on_the_salt_of_hashes() -> None:
    """Where the filter errs, it must err again in a resumed run."""
    code = (
        "import random, zlib; from selfplay.book import BookGrams;"
        "grams = BookGrams([' '.join(f'слово{n}' for n in range(500))], random.Random(0));"
        "print(zlib.crc32(grams._bits.tobytes()))"
    )
    root = Path(__file__).parents[2]
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={"PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(answers) == 1


# ---- beginnings ------------------------------------------------------------------------------------------------------


def test_excerpts_begin_with_sentences_of_the_book(prose: str) -> None:
    unwrapped = re.sub(r"(?<!\n)\n(?!\n)", " ", prose)
    found = excerpts([unwrapped], 40, 300, random.Random(0))
    last_sentence = unwrapped.rindex("Рыбы")
    assert len(found) == 300 and len(set(found)) > 20
    assert all(piece[0].isupper() for piece in found if unwrapped.index(piece) < last_sentence)


def test_excerpts_of_a_book_without_sentences_begin_with_words() -> None:
    text = numbered(1000, 2000)
    assert all(text[: text.index(piece)][-1:] in ("", " ") for piece in excerpts([text], 40, 100, random.Random(0)))


def test_excerpts_of_any_book_are_never_empty() -> None:
    for text in ("я", "!", "да. ", "... ...", "слово" * 100):
        assert all(excerpts([text], 40, 50, random.Random(0)))
