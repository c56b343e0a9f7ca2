"""Near-duplicates are found and told with about the right share, repeated passages as well; other books are not."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from corpus.library import add_book, book_notices, delete_book, edit_book, get_book, list_books
from corpus.likeness import Fingerprinter, Likeness, likeness
from workspace import Workspace

BOOKS = Path(__file__).parents[2] / "books"
RUSSIAN = (BOOKS / "example_book.txt").read_text(encoding="utf-8")[:200_000]


def made(text: str, piece: int = 1 << 20) -> Likeness:
    fingerprinter = Fingerprinter()
    for start in range(0, len(text), piece):
        fingerprinter.feed(text[start : start + piece])
    return fingerprinter.finish()


def share(one: str, other: str) -> float:
    return likeness(made(one).fingerprint, made(other).fingerprint)


def random_words(seed: int, count: int) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices("абвгдежзиклмнопрст", k=5)) for _ in range(count))


def test_another_edition_is_known_and_another_book_is_not() -> None:
    assert share(RUSSIAN, RUSSIAN.upper().replace("—", "-").replace("\n", " ")) > 0.95
    assert share(RUSSIAN, (BOOKS / "example_book_en.txt").read_text(encoding="utf-8")) < 0.05
    assert share(random_words(1, 20_000), random_words(2, 20_000)) == 0


@pytest.mark.parametrize("common", [0.5, 0.8])
def test_the_share_of_common_text_is_about_right(common: float) -> None:
    words = 20_000
    both = random_words(1, round(common * words))
    found = share(
        f"{both} {random_words(2, words - round(common * words))}",
        f"{random_words(3, words - round(common * words))} {both}",
    )
    assert found == pytest.approx(common, abs=0.12)


def test_a_volume_is_found_in_collected_works() -> None:
    volume = random_words(1, 10_000)
    assert share(volume, f"{random_words(2, 20_000)} {volume} {random_words(3, 10_000)}") > 0.8


def test_pieces_of_any_size_give_the_same_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    text = random_words(1, 3000)
    whole = made(text)
    monkeypatch.setattr("corpus.likeness._CHUNK_CHARACTERS", 500)
    assert made(text, 17) == made(text, 4001) == whole


def test_passages_that_stand_twice_are_measured() -> None:
    once, twice = random_words(1, 6000), random_words(2, 2000)
    assert made(f"{once} {twice}").repeated == 0
    assert made(f"{twice} {once} {twice}").repeated == pytest.approx(20, abs=1)


def test_a_long_text_is_measured_by_a_sample_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.likeness._MOST_KEPT", 2000)
    assert made(f"{random_words(1, 10_000)} " * 2).repeated == pytest.approx(50, abs=3)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    return workspace


def test_a_book_says_which_other_it_is_like_as_long_as_that_is_there(ws: Workspace) -> None:
    add_book(ws, "first.txt", io.BytesIO(random_words(1, 3000).encode()))
    edit_book(ws, "first", title="Первая")
    add_book(ws, "other.txt", io.BytesIO(random_words(2, 3000).encode()))
    book = add_book(ws, "second.txt", io.BytesIO((random_words(1, 3000) + " конец").encode()))
    (notice,) = book_notices(book)
    assert (notice.code, notice.parameters["name"]) == ("similar", "Первая")
    assert int(notice.parameters["share"]) > 95
    assert get_book(ws, "second") == book
    delete_book(ws, "first")
    assert [book_notices(each) for each in list_books(ws)] == [[], []] == [[], book_notices(get_book(ws, "second"))]


def test_a_book_that_repeats_itself_says_so(ws: Workspace) -> None:
    book = add_book(ws, "a.txt", io.BytesIO(f"{random_words(1, 2000)} ".encode() * 2))
    assert [(notice.code, notice.parameters) for notice in book_notices(book)] == [("repeated", {"share": 50})]
