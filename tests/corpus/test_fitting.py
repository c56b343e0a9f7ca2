"""A tokenizer is fitted on the training parts alone, tells how far it has read, and can be stopped."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from random import Random
from types import SimpleNamespace

import pytest

from corpus import dataset
from corpus.dataset import SplitBook, fit_tokenizer, split
from tests.training_kit import finish
from tokenizer import Tokenizer

pytestmark = pytest.mark.slow  # seconds of processor time


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
    numbers = [int(number) for number in re.findall(r"строка (\d+)\n", "".join(given))]
    assert 19_000 < sum(map(len, given)) <= 20_000
    assert {number // 1000 for number in numbers} >= set(range(9))
    assert told[0].total == 20_000


def test_closed_it_returns_at_once_and_reads_no_further(given: list[str]) -> None:
    fitting = fit_tokenizer([split("Мама мыла раму.\n" * 250_000, 0.1)], 300)
    next(fitting)
    fitting.close()
    read = len(given)
    time.sleep(0.1)
    assert 0 < read < 100
    assert len(given) <= read + 1


def test_closed_while_the_library_merges_it_returns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(dataset, "TELLING_SECONDS", 0.01)
    monkeypatch.setattr(dataset, "Tokenizer", SimpleNamespace(fit=lambda texts, size: released.wait(30)))
    fitting = fit_tokenizer([split("Мама мыла раму.\n", 0.1)], 300)
    next(fitting)
    started = time.monotonic()
    fitting.close()
    released.set()
    assert time.monotonic() - started < 1


def test_an_error_of_the_library_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        raise MemoryError

    monkeypatch.setattr(dataset, "Tokenizer", SimpleNamespace(fit=fit))
    with pytest.raises(MemoryError):
        list(fit_tokenizer([split("Мама мыла раму.\n", 0.1)], 300))


# ---- texts of every shape ----------------------------------------------------------------------------------------------

WORDS = [
    "привет",
    "дела",
    "завтра",
    "купить",
    "хлеб",
    "молоко",
    "дача",
    "школа",
    "работа",
    "сегодня",
    "кино",
    "поезд",
    "зонт",
    "дождь",
    "погода",
    "ладно",
]
ENDS = ("", "у", "ом", "и", "а", "е", "ах", "ой")


def words(random: Random, count: int) -> str:
    return " ".join(random.choice(WORDS) + random.choice(ENDS) for _ in range(count)) + random.choice(["", "!", " 😂"])


def chat(characters: int, seed: int = 0) -> str:
    """Lines of which none begins with a letter."""
    random, lines, size = Random(seed), [], 0
    while size < characters:
        lines.append(f"[{random.randint(1, 28):02}.10.2023, 12:{random.randint(0, 59):02}] Аня: {words(random, 8)}\n")
        size += len(lines[-1])
    return "".join(lines)


SHAPES = {
    "chat": chat(120_000),
    "jsonl": "".join('{"text": "' + line[21:-1] + '"}\n' for line in chat(120_000).splitlines()),
    "oneline": chat(120_000).replace("\n", " "),
    "numbers": "0.123, 0.456, " * 9000,
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_any_text_is_sampled_to_the_limit(text: str, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MOST_FITTED", 60_000)
    monkeypatch.setattr(dataset, "FITTED_PIECE", 1000)
    list(fit_tokenizer([split(text, 0.1)], 300))
    assert 57_000 < sum(map(len, given)) <= 60_000
    assert max(map(len, given)) < 2500


def test_each_of_two_books_is_sampled_by_its_share(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MOST_FITTED", 60_000)
    monkeypatch.setattr(dataset, "FITTED_PIECE", 1000)
    first, second = chat(80_000), chat(40_000, 1).translate({ord("а") + n: ord("α") + n % 24 for n in range(32)})
    list(fit_tokenizer([split(first, 0.1), split(second, 0.1)], 300))
    greek = sum("α" in piece for piece in given)
    assert 0.28 < greek / len(given) < 0.38


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["chat", "jsonl", "oneline"])
def test_twelve_million_characters_without_a_line_that_begins_with_a_letter_give_a_vocabulary(shape: str) -> None:
    text = SHAPES[shape] * 100
    found = finish(fit_tokenizer([split(text, 0.1)], 1000))
    assert 500 < found.size <= 1000  # all words and endings of the chat
    assert len(found.encode("Завтра купить хлеб")) < 12


RUNS = {
    "letters": "".join(Random(5).choices("ACGT", k=200_000)),
    "emoji": "".join(Random(5).choices(["😀", "😂", "👍🏽", "❤️", "🇷🇺"], k=100_000)),
    "digits": "".join(Random(5).choices("0123456789", k=200_000)),
    "blanks": "а" + " " * 200_000 + "б",
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_an_endless_run_is_fitted_and_encoded_in_linear_time(run: str) -> None:
    quarter, whole = (_seconds(run[: len(run) // 4]), _seconds(run))
    assert whole < 8 * quarter + 0.5  # with the square it would be 16 times, and minutes
    assert whole < 20


def _seconds(text: str) -> float:
    started = time.monotonic()
    tokenizer = finish(fit_tokenizer([SplitBook(text, "")], 1000))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    return time.monotonic() - started


@pytest.mark.slow
def test_fitting_thirty_million_characters_takes_little_memory() -> None:
    """In a process of its own: the library's memory is seen in the peak of the process alone."""
    code = (
        "import resource; from tests.corpus.test_fitting import chat, finish, split, fit_tokenizer;"
        "text = chat(300_000) * 100; finish(fit_tokenizer([split(text, 0.1)], 1000));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    kilobytes = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(kilobytes) < 1_000_000
