"""A workspace as the first version wrote it: its models, books and checkpoints still open, and its training goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import workflows
from config import SamplingConfig
from events import CheckpointSaved, Evaluated, IterationDone, Notice, RunStarted, State
from tests.training_kit import SELF_PLAY, TRAINING, changed
from workspace import Workspace

WRITTEN = Path(__file__).resolve().parent / "data" / "workspace-0"


@pytest.fixture
def old(tmp_path: Path) -> Workspace:
    shutil.copytree(WRITTEN, tmp_path / "old")
    workspace = Workspace(tmp_path / "old")
    workspace.prepare()
    return workspace


def test_its_models_and_books_are_listed_as_they_were(old: Workspace) -> None:
    trained, new = (workflows.get_model(old, name) for name in ("poet", "bard"))
    assert (trained.iteration, trained.trained, trained.tokenizer_size, trained.books) == (12, True, 300, ("river",))
    assert (new.config.architecture, new.trained) == ("gpt2", False)
    (book,) = workflows.list_books(old)
    assert (book.name, book.encoding, book.characters) == ("river", "cp1251", 4233)
    assert workflows.history(old, "poet", 100)["iterations"] == list(range(1, 13))
    assert [round_["iteration"] for round_ in workflows.rollouts(old, "poet", before=None, limit=2)] == [12, 10]
    parts = workflows.history(old, "poet", 100)["self_play"]["reward_breakdown"]
    assert {name: len(column) for name, column in parts.items()} == {"diversity": 6, "length": 6}
    (newest,) = workflows.rollouts(old, "poet", before=None, limit=1)
    assert {*newest["reward_breakdown"], *newest["rollouts"][0]["reward_breakdown"]} == {"diversity", "length"}
    assert workflows.last_run(old).state == State.DONE


def test_its_model_writes(old: Workspace) -> None:
    sampling = SamplingConfig(max_new_tokens=5, seed=0)
    pieces = list(workflows.generate(old, "poet", "Старик", sampling, cache=workflows.ModelCache(), version="last"))
    assert pieces[-1].tokens == 5


def test_its_training_goes_on_from_the_checkpoint(old: Workspace) -> None:
    config = changed(TRAINING, iterations=3, self_play=SELF_PLAY)
    events = list(workflows.train(old, workflows.prepare_training(old, "poet", ("river",), config)))
    (started,) = (event for event in events if isinstance(event, RunStarted))
    assert (started.iteration, started.resumed) == (12, True)
    (resumed,) = (event for event in events if isinstance(event, Notice) and event.code.startswith("resumed"))
    assert resumed.code == "resumed_not_exact"  # other code computes now
    assert [event.iteration for event in events if isinstance(event, IterationDone)] == [13, 14, 15]
    first = next(event for event in events if isinstance(event, Evaluated))
    assert first.val_loss < 2.2  # the same held-out text: it was 2.165 at iteration 12
    assert any(isinstance(event, CheckpointSaved) and event.iteration == 15 for event in events)
