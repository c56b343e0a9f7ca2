"""A long book is tokenized once for each tokenizer, and a disk that fails or lies costs no training."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch

from corpus import library, token_files
from corpus.dataset import SplitBook, TokenDataset, split, tokenized
from corpus.token_files import TokenFiles
from tests.training_kit import TEXT, finish
from tokenizer import Tokenizer
from workspace import Workspace

BOOKS = [split(TEXT, 0.1), split(TEXT[::-1], 0.1)]


@pytest.fixture(autouse=True)
def _every_book_is_worth_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_files, "LEAST_CHARACTERS", 100)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.fit([TEXT], 300)


def _tokenized(folder: Path, tokenizer: Tokenizer, books: list[SplitBook] = BOOKS) -> TokenDataset:
    names = [f"book {number}" for number in range(len(books))]
    dataset = finish(TokenFiles(folder, tokenizer).tokenize(books, names))
    assert isinstance(dataset, TokenDataset)
    return dataset


def _same(one: TokenDataset, other: TokenDataset) -> bool:
    tensors = torch.equal(one.train.int(), other.train.int()) and torch.equal(one.val.int(), other.val.int())
    return tensors and (one.fingerprint, one.val_bytes) == (other.fingerprint, other.val_bytes)


@pytest.mark.parametrize("books", [BOOKS[:1], BOOKS], ids=["one", "two"])
def test_tokens_from_files_are_those_in_memory(tmp_path: Path, tokenizer: Tokenizer, books: list[SplitBook]) -> None:
    expected = tokenized(books, tokenizer)
    assert _same(_tokenized(tmp_path, tokenizer, books), expected)  # written
    assert _same(_tokenized(tmp_path, tokenizer, books), expected)  # mapped
    assert len(list(tmp_path.iterdir())) == len(books)


def test_second_training_tokenizes_nothing(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _tokenized(tmp_path, tokenizer)
    monkeypatch.setattr(Tokenizer, "encode_in_pieces", None)
    assert _same(_tokenized(tmp_path, tokenizer), first)


def test_other_tokenizer_gets_files_of_its_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    other = Tokenizer.fit([TEXT], 270)
    _tokenized(tmp_path, tokenizer)
    assert _same(_tokenized(tmp_path, other), tokenized(BOOKS, other))


@pytest.mark.parametrize("damage", ["cut", "header", "empty"])
def test_damaged_file_is_written_anew(tmp_path: Path, tokenizer: Tokenizer, damage: str) -> None:
    expected = tokenized(BOOKS[:1], tokenizer)
    _tokenized(tmp_path, tokenizer, BOOKS[:1])
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-2], "header": b"\xff" * 32 + data[32:], "empty": b""}[damage])
    assert _same(_tokenized(tmp_path, tokenizer, BOOKS[:1]), expected)
    assert file.read_bytes() == data


def test_full_disk_keeps_the_tokens_in_memory(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, part: str, ids: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_files._File, "add", full)
    assert _same(_tokenized(tmp_path, tokenizer), tokenized(BOOKS, tokenizer))
    assert list(tmp_path.iterdir()) == []


def test_stopping_in_the_middle_leaves_no_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    steps = TokenFiles(tmp_path, tokenizer).tokenize(BOOKS, ["a", "b"])
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_files_used_least_recently_go_first(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tokenized(tmp_path, tokenizer, BOOKS[:1])
    (old,) = tmp_path.iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr(token_files, "BUDGET_BYTES", old.stat().st_size * 3 // 2)
    other = Tokenizer.fit([TEXT], 290)
    _tokenized(tmp_path, other, BOOKS[:1])
    assert not old.exists() and len(list(tmp_path.iterdir())) == 1


def test_ids_beyond_two_bytes_are_kept_whole(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "MOST_OF_TWO_BYTES", 100)
    assert _same(_tokenized(tmp_path, tokenizer), tokenized(BOOKS, tokenizer))


def test_book_that_was_edited_by_hand_is_tokenized_anew(tmp_path: Path, tokenizer: Tokenizer) -> None:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    library.add_book(workspace, "река.txt", io.BytesIO(TEXT.encode()))

    def read() -> TokenDataset:
        book, identity = split(library.open_text(workspace, "река"), 0.1), library.text_identity(workspace, "река")
        found = finish(TokenFiles(workspace.cache, tokenizer).tokenize([book], [identity]))
        assert isinstance(found, TokenDataset)
        return found

    before = read()
    library.edit_book(workspace, "река", title="Река")
    assert _same(read(), before)
    assert len(list(workspace.cache.iterdir())) == 1
    edited = TEXT.replace("рыбак", "кабыр")  # of the same size
    workspace.book_text("река").write_text(edited, encoding="utf-8", newline="\n")
    assert _same(read(), tokenized([split(edited, 0.1)], tokenizer))
