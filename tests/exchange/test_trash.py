"""Deleted models and books: brought back whole, under another name where theirs is taken, gone for good after their time."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

import workflows
from corpus import library, shelf
from errors import BookNotFound, DiskFull, ModelNotFound
from exchange.trash import BookTrash, ModelTrash
from store import checkpoint_store, model_store
from tests.training_kit import BOOK, MODEL, SHAPE, fill, plan
from workspace import Workspace


@pytest.fixture
def trained(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    fill(workspace)
    list(workflows.train(workspace, plan(workspace, iterations=2)))
    return workspace


def files(workspace: Workspace) -> dict[str, bytes]:
    places = (workspace.models, workspace.checkpoints)
    found = (file for place in places for file in place.rglob("*") if file.is_file())
    return {str(file.relative_to(workspace.root)): file.read_bytes() for file in found}


def test_deleted_model_comes_back_as_it_was(trained: Workspace) -> None:
    before, trash = files(trained), ModelTrash()
    assert trash.put(trained, MODEL.upper()).name == MODEL
    assert workflows.list_models(trained) == []
    assert workflows.newest_iteration(trained, MODEL) == 0
    assert trash.restore(trained, MODEL).iteration == 2
    assert files(trained) == before
    assert trash.all() == []


def test_deleted_model_whose_name_was_given_away_comes_back_with_a_number(trained: Workspace) -> None:
    trash = ModelTrash()
    trash.put(trained, MODEL)
    workflows.create_model(trained, MODEL, SHAPE)
    assert trash.restore(trained, MODEL).name == f"{MODEL} (2)"
    assert workflows.newest_iteration(trained, f"{MODEL} (2)") == 2
    assert not workflows.get_model(trained, MODEL).trained
    card = trained.model_folder(f"{MODEL} (2)") / "README.md"
    assert f"# {MODEL} (2)" in card.read_text(encoding="utf-8")


def test_deleted_model_is_gone_when_its_time_is_over(trained: Workspace) -> None:
    trash = ModelTrash(kept_seconds=0.05)
    trash.put(trained, MODEL)
    places, until = (trained.models, trained.checkpoints), time.monotonic() + 10
    while any(list(place.iterdir()) for place in places) and time.monotonic() < until:
        time.sleep(0.01)
    assert (files(trained), trash.all()) == ({}, [])
    with pytest.raises(ModelNotFound):
        trash.restore(trained, MODEL)


def test_newest_of_two_deleted_models_of_one_name_comes_back_first(trained: Workspace) -> None:
    trash = ModelTrash()
    trash.put(trained, MODEL)
    workflows.create_model(trained, MODEL, SHAPE)
    trash.put(trained, MODEL)
    assert [trash.restore(trained, MODEL).trained for _ in range(2)] == [False, True]


def test_emptied_trash_and_the_next_start_leave_nothing(trained: Workspace) -> None:
    trash = ModelTrash()
    trash.put(trained, MODEL)
    trash.empty(MODEL)
    assert files(trained) == {}
    workflows.create_model(trained, MODEL, SHAPE)
    trash.put(trained, MODEL)
    trained.prepare()  # after a crash
    assert files(trained) == {}


def test_model_that_cannot_be_hidden_keeps_its_checkpoints(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DiskFull(path="x", reason="full")

    before = files(trained)
    monkeypatch.setattr(model_store, "set_aside", fail)
    with pytest.raises(DiskFull):
        ModelTrash().put(trained, MODEL)
    assert files(trained) == before
    assert checkpoint_store.iterations(trained, MODEL)


# ---- books -----------------------------------------------------------------------------------------------------------


def book_files(workspace: Workspace) -> dict[str, bytes]:
    found = (file for file in workspace.books.rglob("*") if file.is_file())
    return {str(file.relative_to(workspace.books)): file.read_bytes() for file in found}


def test_deleted_book_comes_back_as_it_was(workspace: Workspace) -> None:
    library.edit_book(workspace, BOOK, title="Большая река")
    library.reread_book(workspace, BOOK, "utf_8")
    shelf.put_aside_original(workspace, BOOK)  # a second original, of a text that was edited by hand
    before, trash = book_files(workspace), BookTrash()
    deleted = trash.put(workspace, BOOK.upper())
    assert (deleted.name, deleted.title) == (BOOK, "Большая река")
    assert BOOK not in [book.name for book in workflows.list_books(workspace)]
    assert trash.restore(workspace, BOOK).title == "Большая река"
    assert book_files(workspace) == before
    assert trash.all() == []
    with pytest.raises(BookNotFound):
        trash.restore(workspace, BOOK)


def test_deleted_book_whose_name_was_given_away_comes_back_with_a_number(workspace: Workspace) -> None:
    text, trash = library.read_text(workspace, BOOK), BookTrash()
    trash.put(workspace, BOOK)
    library.add_book(workspace, f"{BOOK}.txt", io.BytesIO("другая\n".encode()))
    assert trash.restore(workspace, BOOK).name == f"{BOOK} (2)"
    assert library.read_text(workspace, f"{BOOK} (2)") == text
    assert library.read_text(workspace, BOOK) == "другая\n"


@pytest.mark.parametrize("failing", range(3))
def test_book_that_cannot_be_moved_stays_where_it_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Text, original and record are moved one after another; the one that fails takes the others back."""
    left = [failing]

    def move(path: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise DiskFull(path="x", reason="full")
        path.rename(target)

    before, trash = book_files(workspace), BookTrash()
    monkeypatch.setattr(shelf, "move", move)
    with pytest.raises(DiskFull):
        trash.put(workspace, BOOK)
    assert book_files(workspace) == before
    left[0] = 99
    trash.put(workspace, BOOK)
    hidden = book_files(workspace)
    left[0] = failing
    with pytest.raises(DiskFull):
        trash.restore(workspace, BOOK)
    assert book_files(workspace) == hidden
    left[0] = 99
    trash.restore(workspace, BOOK)
    assert book_files(workspace) == before
