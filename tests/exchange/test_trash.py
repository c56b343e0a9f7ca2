"""Deleted models: brought back whole, under another name where theirs is taken, gone for good after their time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import workflows
from errors import DiskFull, ModelNotFound
from exchange.trash import Trash
from store import checkpoint_store, model_store
from tests.training_kit import MODEL, SHAPE, fill, plan
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
    before, trash = files(trained), Trash()
    assert trash.put(trained, MODEL.upper()).name == MODEL
    assert workflows.list_models(trained) == []
    assert workflows.newest_iteration(trained, MODEL) == 0
    assert trash.restore(trained, MODEL).iteration == 2
    assert files(trained) == before
    assert trash.models() == []


def test_deleted_model_whose_name_was_given_away_comes_back_with_a_number(trained: Workspace) -> None:
    trash = Trash()
    trash.put(trained, MODEL)
    workflows.create_model(trained, MODEL, SHAPE)
    assert trash.restore(trained, MODEL).name == f"{MODEL} (2)"
    assert workflows.newest_iteration(trained, f"{MODEL} (2)") == 2
    assert not workflows.get_model(trained, MODEL).trained
    card = trained.model_folder(f"{MODEL} (2)") / "README.md"
    assert f"# {MODEL} (2)" in card.read_text(encoding="utf-8")


def test_deleted_model_is_gone_when_its_time_is_over(trained: Workspace) -> None:
    trash = Trash(kept_seconds=0.05)
    trash.put(trained, MODEL)
    places, until = (trained.models, trained.checkpoints), time.monotonic() + 10
    while any(list(place.iterdir()) for place in places) and time.monotonic() < until:
        time.sleep(0.01)
    assert (files(trained), trash.models()) == ({}, [])
    with pytest.raises(ModelNotFound):
        trash.restore(trained, MODEL)


def test_newest_of_two_deleted_models_of_one_name_comes_back_first(trained: Workspace) -> None:
    trash = Trash()
    trash.put(trained, MODEL)
    workflows.create_model(trained, MODEL, SHAPE)
    trash.put(trained, MODEL)
    assert [trash.restore(trained, MODEL).trained for _ in range(2)] == [False, True]


def test_emptied_trash_and_the_next_start_leave_nothing(trained: Workspace) -> None:
    trash = Trash()
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
        Trash().put(trained, MODEL)
    assert files(trained) == before
    assert checkpoint_store.iterations(trained, MODEL)
