"""A tokenizer is fitted on the training parts alone, tells how far it has read, and can be stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from corpus import dataset
from corpus.dataset import fit_tokenizer, split
from tokenizer import Tokenizer


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a library that reads slowly has been given so far."""
    pieces: list[str] = []

    def fit(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        for text in texts:
            pieces.append(text)
            time.sleep(0.01)
        time.sleep(0.05)
        return Tokenizer.fit(pieces, vocab_size)

    monkeypatch.setattr(dataset, "TELLING_SECONDS", 0.01)
    monkeypatch.setattr(dataset, "Tokenizer", SimpleNamespace(fit=fit))
    return pieces


def test_the_training_parts_are_read_whole_and_it_is_told_how_far(given: list[str]) -> None:
    books = [split("Мама мыла раму.\n" * 3000, 0.1), split("Рама.\n" * 3000, 0.1)]
    told = [(event.done, event.total) for event in fit_tokenizer(books, 300)]
    characters = sum(map(len, given))
    assert "".join(given) == books[0].train + books[1].train
    reading = [done for done, total in told if total == characters]
    assert reading == sorted(reading)
    assert len(set(reading)) > 3
    assert told[len(reading) :] and set(told[len(reading) :]) == {(0, 0)}  # how long the merging takes nobody knows


def test_of_long_books_pieces_from_everywhere_are_read(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MOST_FITTED", 20_000)
    monkeypatch.setattr(dataset, "FITTED_PIECE", 400)
    book = split("".join(f"строка {number}\n" for number in range(10_000)), 0.1)
    told = list(fit_tokenizer([book], 300))
    numbers = [int(line.split()[1]) for line in "".join(given).splitlines()]
    assert 19_000 < sum(map(len, given)) <= 20_000
    assert {number // 1000 for number in numbers} >= set(range(9))
    assert told[0].total == 20_000


def test_closed_it_reads_no_further(given: list[str]) -> None:
    fitting = fit_tokenizer([split("Мама мыла раму.\n" * 250_000, 0.1)], 300)
    next(fitting)
    fitting.close()
    assert 0 < len(given) < 100


def test_an_error_of_the_library_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        raise MemoryError

    monkeypatch.setattr(dataset, "Tokenizer", SimpleNamespace(fit=fit))
    with pytest.raises(MemoryError):
        list(fit_tokenizer([split("Мама мыла раму.\n", 0.1)], 300))
