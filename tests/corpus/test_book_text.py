"""A long book reads like a string: the same characters, split, tokens and measures, whatever its letters."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import book_text
from corpus.book_text import BookText, joined
from corpus.dataset import split, tokenized
from selfplay.book import BookGrams, excerpts, measure_bands
from tests.training_kit import TEXT
from tokenizer import Tokenizer

MIXED = "Ё𝄞 a\n" * 7 + TEXT * 3


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_text, "BLOCK_BYTES", 64)
    monkeypatch.setattr(book_text, "AHEAD_CHARACTERS", 300)
    monkeypatch.setattr(book_text, "SHORT_BYTES", 100)


def _long(folder: Path, text: str) -> BookText:
    path = folder / "book.txt"
    path.write_text(text, encoding="utf-8", newline="")
    opened = book_text.book_text(path)
    assert isinstance(opened, BookText)
    return opened


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed") / "book.txt"
    path.write_text(MIXED, encoding="utf-8", newline="")
    return path


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 900)), min_size=1, max_size=8))
def test_slices_are_those_of_the_string(mixed: Path, places: list[tuple[int, int]]) -> None:
    text = BookText(mixed)
    assert len(text) == len(MIXED)
    for start, count in places:
        assert text[start : start + count] == MIXED[start : start + count]


def test_slices_that_follow_one_another_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, reads = _long(tmp_path, MIXED), 0
    read = text._read

    def counted(start: int, stop: int) -> str:
        nonlocal reads
        reads += 1
        return read(start, stop)

    monkeypatch.setattr(text, "_read", counted)
    assert "".join(text[start : start + 10] for start in range(0, 600, 10)) == MIXED[:600]
    assert reads <= 4


def test_joined_spans_read_like_the_joined_string(tmp_path: Path) -> None:
    spans = [(3, 40), (40, 40), (700, 900)]
    together = joined(_long(tmp_path, MIXED), spans)
    expected = MIXED[3:40] + MIXED[700:900]
    assert len(together) == len(expected)
    assert [together[a : a + 50] for a in range(0, 250, 30)] == [expected[a : a + 50] for a in range(0, 250, 30)]


def test_long_book_is_split_and_tokenized_like_a_short_one(tmp_path: Path) -> None:
    short, long = split(MIXED, 0.1), split(_long(tmp_path, MIXED), 0.1)
    assert (long.train[:], long.val[:]) == (short.train, short.val)
    tokenizer = Tokenizer.fit([long.train], 300)
    assert tokenizer.to_json() == Tokenizer.fit([short.train], 300).to_json()
    assert tokenized([long], tokenizer).fingerprint == tokenized([short], tokenizer).fingerprint


def test_long_book_is_measured_like_a_short_one(tmp_path: Path) -> None:
    texts = (MIXED + "слово" * 2000, _long(tmp_path, MIXED + "слово" * 2000))  # one word is longer than a stretch
    bands = [measure_bands([text], 200, random.Random(1)) for text in texts]
    pieces = [excerpts([text], 60, 40, random.Random(2)) for text in texts]
    grams = [BookGrams([text], random.Random(3)) for text in texts]
    assert (bands[0], pieces[0], grams[0]._bits) == (bands[1], pieces[1], grams[1]._bits)


def test_short_book_is_a_string(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Коротко.\n", encoding="utf-8")
    assert book_text.book_text(tmp_path / "short.txt") == "Коротко.\n"
