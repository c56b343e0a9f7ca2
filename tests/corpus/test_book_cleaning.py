"""Cleaning: what changes, what stays, and the three properties (chunks = whole, idempotent, always well-formed)."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus.cleaning import Cleaner, clean

# What cleaning treats in some way, so that random texts are full of it.
AWKWARD = [
    *" \t\n\r\v\f\xa0\xad\u200b\u200d\ufeff\u2028\u2029\x85\x00\x1b\u3000\u2000\u202e",
    *"аеиo.",  # bases
    *"\u0301\u0306\u0308\u0327\u0344",  # marks: acute, breve, diaeresis, cedilla, and one that splits in two
    "й",
    "\u0438\u0306",
    "\u1100\u1161\u11a8",  # Hangul letters that become one syllable
    "\u0958",  # a letter whose NFC form is two characters
    "\r\n",
    "\ud83d",
    "🙂",
    "\U0001d15f",
    "\u2126",
]
awkward_text = st.lists(st.one_of(st.sampled_from(AWKWARD), st.characters()), max_size=40).map("".join)


def in_chunks(text: str, cuts: list[int]) -> str:
    places = sorted(cut % (len(text) + 1) for cut in cuts)
    cleaner = Cleaner()
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    return "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.finish()])


GOLDEN = [
    ("", ""),
    (" \r\n\t\ufeff\xa0 \n", ""),
    ("слово", "слово\n"),
    ("слово\n\n\n", "слово\n"),
    ("\n\n  слово", "  слово\n"),
    (" \n\t\n\tслово", "\tслово\n"),
    ("\ufeffпервая", "первая\n"),
    ("а\r\nб\rв\nг\u2028д\u2029е\x85ж\fз\vи", "а\nб\nв\nг\nд\nе\nж\nз\nи\n"),
    ("а\n\nб\n\n\nв\n \n\t\n\nг", "а\n\nб\n\nв\n\nг\n"),
    ("а\r\n\r\nб", "а\n\nб\n"),
    ("а  б\tв\xa0г \t\xa0 д\u3000е\u2009ж", "а б\tв г\tд е ж\n"),
    ("а   \n   б", "а\n   б\n"),
    ("а\n \t б\n\xa0\xa0в", "а\n \t б\n  в\n"),
    ("а\t\tб \t \n\t \nв\t", "а\t\tб\t\n\nв\t\n"),
    ("а\n" + "\t" * 900 + "б", "а\n" + "\t" * 200 + "б\n"),
    ("а" + "\t" * 900 + "б", "а" + "\t" * 200 + "б\n"),
    ("сло\xadво и\u200bкра \u202eдом", "слово икра дом\n"),
    ("а\x00б\x07в\x1bг\x7fд", "абвгд\n"),
    ("а\ud83dб\udc00", "аб\n"),
    ("и\u0306 е\u0308", "й ё\n"),
    ("и\u200b\u0306", "й\n"),  # together once the zero-width space is gone
    ("\u1100\u1161\u11a8", "각\n"),
    ("«Да», — сказал он… №5 ½ ﬁ x²", "«Да», — сказал он… №5 ½ ﬁ x²\n"),
    ("می‌خواهم 👩‍🚀", "می‌خواهم 👩‍🚀\n"),  # joiners stay
    ("е" + "\u0301" * 500, "е" + "\u0301" * 30 + "\n"),
]


@pytest.mark.parametrize(("text", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_clean_golden(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(("text", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_a_cut_at_any_place_changes_nothing(text: str, expected: str) -> None:
    for cut in range(len(text) + 1):
        assert in_chunks(text, [cut]) == expected, f"cut at {cut}"
        assert in_chunks(text, [cut, cut + 1]) == expected, f"cut at {cut} and behind it"
    assert in_chunks(text, list(range(len(text)))) == expected, "cut everywhere"


@given(awkward_text, st.lists(st.integers(0, 1000), max_size=8))
@example("а\r\nб", [3])
@example("а\r\nб", [2])
@example("и\u0306", [1])
@example("а\n \nб", [2, 3])
@example("а\u200b\u0301", [1, 2])
@example("\u1100\u1161\u11a8", [1, 2])
@example("е" + "\u0301" * 80, [40, 66])
def test_chunks_give_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    assert in_chunks(text, cuts) == clean(text)


@given(awkward_text)
@example("е" + "\u0344" * 80)
@example("\u0958" * 3 + "\u0344" * 29)
def test_cleaning_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(awkward_text)
def test_clean_text_is_well_formed(text: str) -> None:
    result = clean(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u2028\u2029\ufeff\ud800-\udfff]| \n|(?<=[^\n\t ])  |\n[\t ]*\n[\t ]*\n|\A\n",
        result,
    )
    assert result == "" or re.search(r"\S\t*\n\Z", result)


@given(st.text(st.sampled_from("абвёйéß.,!?—«»… \n"), max_size=60))
def test_only_white_space_changes_in_ordinary_text(text: str) -> None:
    assert clean(text).split() == text.split()


@pytest.mark.slow
def test_every_character_of_unicode_between_letters_is_cleaned_once_and_for_all() -> None:
    result = clean("".join(f"a{chr(code)}b\n" for code in range(0x110000)))
    assert clean(result) == result
    assert unicodedata.is_normalized("NFC", result)


def test_every_character_that_composes_with_the_one_before_is_held_back() -> None:
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts)
            assert in_chunks(first + second, [1]) == clean(first + second), hex(code)


@pytest.mark.timeout(5)
def test_endless_marks_take_no_quadratic_time_or_memory() -> None:
    cleaner = Cleaner()
    assert cleaner.feed("а" + "\u0301\u0316" * 500_000) == ""
    assert len(cleaner._held) < 100
    assert len(cleaner.finish()) == 32


@pytest.mark.timeout(5)
def test_endless_white_space_is_not_collected() -> None:
    cleaner = Cleaner()
    assert cleaner.feed("а" + " \n" * 500_000) == "а"
    assert len(cleaner._held + cleaner._space) < 10
    assert cleaner.feed("б") + cleaner.finish() == "\n\nб\n"


@pytest.mark.timeout(5)
@pytest.mark.parametrize("blank", [" ", "\t", " \t", "\n \t"])
@pytest.mark.parametrize("before", ["", "а", "а\n"])
def test_endless_blanks_take_no_quadratic_time_or_memory(before: str, blank: str) -> None:
    cleaner = Cleaner()
    for _ in range(4):
        cleaner.feed(before + blank * 250_000)
    assert len(cleaner._held + cleaner._space) < 500
    assert len(cleaner.feed("б") + cleaner.finish()) < 500


KEPT = {
    "python_code": "def area(w, h):\n    if w < 0:\n        return None\n    x = w * h\n    return x\n\n" * 3,
    "ladder_poem": "Он шёл\n      один\n            по мостовой,\nи ветер\n      бил\n            в лицо ему.\n\n" * 3,
    "table_tabs": "имя\tвозраст\tгород\nАня\t31\tПермь\nБоря\t\tКазань\nВера\t27\t\n" * 3,
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_code_verse_and_tables_keep_their_blanks(text: str) -> None:
    assert clean(text) == text.rstrip("\n") + "\n"
