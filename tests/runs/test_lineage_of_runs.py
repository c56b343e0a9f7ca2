"""What a model tells of its trainings after several of them, and how a training mends a damaged model."""

from __future__ import annotations

import itertools

import pytest

import workflows
from errors import ModelDamaged
from events import IterationDone, Notice, RunStarted
from formats.lineage import Lineage
from store import checkpoint_store
from tests.training_kit import BOOK, MODEL, OTHER_BOOK, plan
from workspace import Workspace


def lineage_of(ws: Workspace) -> Lineage:
    return workflows.get_model(ws, MODEL).lineage


def damage(ws: Workspace) -> None:
    path = ws.model_folder(MODEL) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 64
    path.write_bytes(data)


def test_every_training_is_told_in_order_on_card_list_and_file(workspace: Workspace) -> None:
    list(workflows.train(workspace, plan(workspace, (BOOK,))))
    first = lineage_of(workspace)
    list(workflows.train(workspace, plan(workspace, (OTHER_BOOK,))))
    found, info = lineage_of(workspace), workflows.get_model(workspace, MODEL)
    assert found[:1] == first and [training.books for training in found] == [(BOOK,), (OTHER_BOOK,)]
    assert [training.from_iteration for training in found] == [0, 6]
    assert found[0].iteration <= 6 <= found[1].iteration and found[0].trained_at <= found[1].trained_at
    assert (info.books, info.val_loss) == ((BOOK, OTHER_BOOK), found[1].val_loss)
    card = (workspace.model_folder(MODEL) / "README.md").read_text(encoding="utf-8")
    assert f"- {BOOK}\n- {OTHER_BOOK}\n" in card and f"| 1 | {BOOK} |" in card and f"| 2 | {OTHER_BOOK} |" in card


def test_publishing_again_and_resuming_add_no_entry(workspace: Workspace) -> None:
    run = workflows.train(workspace, plan(workspace, iterations=None, eval_every=1))
    list(itertools.takewhile(lambda event: not (isinstance(event, IterationDone) and event.iteration == 4), run))
    run.close()  # type: ignore[attr-defined]
    list(workflows.train(workspace, plan(workspace, iterations=6, eval_every=1)))
    (only,) = lineage_of(workspace)
    assert (only.books, only.from_iteration) == ((BOOK,), 0) and only.iteration > 4


def test_training_again_mends_a_damaged_model_from_its_checkpoint(workspace: Workspace) -> None:
    list(workflows.train(workspace, plan(workspace)))
    damage(workspace)
    assert workflows.get_model(workspace, MODEL).damaged == "model.safetensors"
    wanted = plan(workspace)
    assert workflows.forecast(workspace, wanted, workflows.pace(workspace, wanted)).total_seconds
    events = list(workflows.train(workspace, wanted))
    assert ("weights_restored", 6) in [(event.code, event.iteration) for event in events if isinstance(event, Notice)]
    (started,) = (event for event in events if isinstance(event, RunStarted))
    assert (started.iteration, started.resumed, started.exact) == (6, True, True)
    assert workflows.get_model(workspace, MODEL).damaged is None
    (only,) = lineage_of(workspace)
    assert only.books == (BOOK,)


def test_a_damaged_model_without_a_checkpoint_is_not_trained_on(workspace: Workspace) -> None:
    list(workflows.train(workspace, plan(workspace)))
    checkpoint_store.delete_all(workspace, MODEL)
    damage(workspace)
    with pytest.raises(ModelDamaged):
        list(workflows.train(workspace, plan(workspace)))
