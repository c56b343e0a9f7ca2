"""A training over a workspace on disk: what is kept, what a stop, a full disk, a broken file and a kill leave behind."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import azr_trainer
import workflows
from azr_trainer import AZRTrainer
from corpus.dataset import split, tokenize
from corpus.repetition import most_times_within
from errors import BookTooSmall, DiskFull, Diverged
from events import (
    CheckpointSaved,
    Evaluated,
    IterationDone,
    ModelPublished,
    Notice,
    RunStarted,
    Stage,
    StageBegun,
)
from learning.learner import Learner
from machine.processes import Ranks
from runs import preparation, training_run
from runs.run_record import read_run
from selfplay.factory import make_environment, repetition_window
from store import checkpoint_store, model_list, model_store
from store.checkpoint_store import Checkpoint
from tests.training_kit import BOOK, MODEL, OTHER_BOOK, SELF_PLAY, SHAPE, TEXT, TRAINING, fill, finish, plan, same
from tokenizer import Tokenizer
from workspace import Workspace

pytestmark = pytest.mark.slow  # seconds of processor time


def _train(ws: Workspace, books: tuple[str, ...] = (BOOK,), **changes: Any) -> list[Any]:
    return list(workflows.train(ws, plan(ws, books, **changes)))


def _train_until(ws: Workspace, wanted: Any, **changes: Any) -> list[Any]:
    """Stop at the first event for which `wanted(event)` holds."""
    run, told = workflows.train(ws, plan(ws, **changes)), []
    for event in run:
        told.append(event)
        if wanted(event):
            break
    run.close()
    return told


def _at(iteration: int) -> Any:
    return lambda event: isinstance(event, IterationDone) and event.iteration == iteration


def _checkpoint(ws: Workspace) -> Checkpoint:
    checkpoint, damaged = checkpoint_store.latest(ws, MODEL)
    assert checkpoint is not None
    assert not damaged
    return checkpoint


def _codes(told: list[Any]) -> list[str]:
    return [event.code for event in told if isinstance(event, Notice)]


def _state(ws: Workspace) -> str:
    record = read_run(ws, MODEL)
    assert record is not None
    return str(record["state"])


def _started(told: list[Any]) -> RunStarted:
    return next(event for event in told if isinstance(event, RunStarted))


# ---- a first training ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_first_training_fits_the_tokenizer_on_the_training_part_alone(workspace: Workspace) -> None:
    told = _train(workspace)
    assert told[0].stage is Stage.FITTING_TOKENIZER
    found = model_store.load(workspace, MODEL).tokenizer
    assert found is not None
    assert found.to_json() == Tokenizer.fit([split(TEXT, 0.1).train], 300).to_json()
    assert found.to_json() != Tokenizer.fit([TEXT], 300).to_json()
    again = [event.stage for event in _train(workspace) if isinstance(event, StageBegun)]
    assert again and Stage.FITTING_TOKENIZER not in again  # the second keeps it


@pytest.mark.slow
def test_training_publishes_the_best_and_saves_at_the_end(workspace: Workspace) -> None:
    told = _train(workspace)
    assert [(e.iteration) for e in told if isinstance(e, ModelPublished)] == [
        e.iteration for e in told if isinstance(e, Evaluated) and e.is_best
    ]
    assert [e.iteration for e in told if isinstance(e, CheckpointSaved)] == [6]
    assert _checkpoint(workspace).iteration == 6
    info = model_list.get_model(workspace, MODEL)
    last = [event for event in told if isinstance(event, ModelPublished)][-1]
    assert (info.trained, info.iteration, info.val_loss, info.books) == (True, last.iteration, last.val_loss, (BOOK,))


def test_new_model_is_published_after_its_first_steps_even_where_it_was_better_before(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([4.0, 5.0, 5.5])
    monkeypatch.setattr(azr_trainer.AZRTrainer, "validate", lambda self: next(values))
    told = _train(workspace)
    assert [event.iteration for event in told if isinstance(event, ModelPublished)] == [3]
    assert [event.is_best for event in told if isinstance(event, Evaluated)] == [False, True, False]


@pytest.mark.usefixtures("quick_average")
def test_published_weights_are_those_of_the_best_evaluation(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([5.0, 4.0, 4.5])
    monkeypatch.setattr(azr_trainer.AZRTrainer, "validate", lambda self: next(values))
    _train_until(workspace, _at(3))
    best = _checkpoint(workspace).weights
    _train(workspace)
    published = model_store.load(workspace, MODEL).model.state_dict()
    assert same(dict(published), best)
    assert not same(dict(published), _checkpoint(workspace).weights)


def test_training_tells_on_disk_where_it_stands(workspace: Workspace) -> None:
    run, states = workflows.train(workspace, plan(workspace)), []
    for event in run:
        if isinstance(event, IterationDone):
            states.append(_state(workspace))
    assert set(states) == {"running"}
    assert _state(workspace) == "done"
    record = read_run(workspace, MODEL)
    assert record is not None
    assert (record["iteration"], record["books"], record["config"]["batch_size"]) == (6, [BOOK], 4)


def test_training_on_a_book_that_is_too_small_changes_nothing(workspace: Workspace) -> None:
    workspace.book_text("мало").write_text("мама мыла раму\n", encoding="utf-8")
    with pytest.raises(BookTooSmall):  # asked of the training itself: a long book is only measured there
        list(workflows.train(workspace, workflows.TrainingPlan(MODEL, ("мало",), TRAINING)))
    assert model_store.load(workspace, MODEL).tokenizer is None
    assert checkpoint_store.latest(workspace, MODEL) == (None, [])
    assert _state(workspace) == "failed"
    _train(workspace)  # and the model can still be trained


# ---- stop and go on --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("quick_average")
def test_stopping_saves_and_the_next_training_goes_on_bit_for_bit(workspace: Workspace, tmp_path: Path) -> None:
    options = {"iterations": 6, "self_play": SELF_PLAY}
    straight = Workspace(tmp_path / "ununterbrochen")
    fill(straight)
    expected = {e.iteration: e.loss for e in _train(straight, **options) if isinstance(e, IterationDone)}

    stops = [_at(2), lambda event: isinstance(event, Evaluated) and event.iteration == 3, _at(5)]
    found: dict[int, float] = {}
    for number, stop in enumerate(stops):
        told = _train_until(workspace, stop, **options)
        assert _started(told).resumed == (number > 0)
        assert _state(workspace) == "stopped"
        record = read_run(workspace, MODEL)
        assert (
            record is not None
            and record["checkpoint_iteration"] == record["iteration"] == _checkpoint(workspace).iteration
        )
        found |= {e.iteration: e.loss for e in told if isinstance(e, IterationDone)}
    told = _train(workspace, **options)
    assert (_started(told).resumed, _started(told).exact, _started(told).iteration) == (True, True, 5)
    assert "resumed" in _codes(told)
    assert found | {e.iteration: e.loss for e in told if isinstance(e, IterationDone)} == expected
    one, other = _checkpoint(workspace), _checkpoint(straight)
    assert same(one.weights, other.weights)
    assert same(one.optimizer, other.optimizer)
    assert same(
        dict(model_store.load(workspace, MODEL).model.state_dict()),
        dict(model_store.load(straight, MODEL).model.state_dict()),
    )


def test_stopping_at_the_best_evaluation_publishes_it(workspace: Workspace) -> None:
    """The saved state counts this evaluation already, so no later one would publish these weights."""
    told = _train_until(workspace, lambda event: isinstance(event, Evaluated) and event.iteration == 3)
    assert told[-1].is_best
    assert model_list.get_model(workspace, MODEL).iteration == 3
    assert _checkpoint(workspace).state["trainer"]["best_iteration"] == 3


def test_stopping_after_a_save_keeps_the_evaluation_of_the_same_iteration(workspace: Workspace) -> None:
    _train_until(workspace, lambda e: isinstance(e, Evaluated) and e.iteration == 3, checkpoint_every=3)
    assert _checkpoint(workspace).state["trainer"]["evaluated_iteration"] == 3


def test_stopping_before_the_first_iteration_leaves_nothing_to_resume_wrongly(workspace: Workspace) -> None:
    _train_until(workspace, lambda event: True)
    assert _state(workspace) == "stopped"
    assert checkpoint_store.iterations(workspace, MODEL) == ()
    assert _started(_train(workspace)).iteration == 0


def test_going_on_with_other_settings_says_that_it_is_not_exact(workspace: Workspace) -> None:
    _train_until(workspace, _at(2))
    assert plan(workspace).resumed
    told = _train(workspace, dropout=0.3)
    assert _started(told).resumed
    assert not _started(told).exact
    assert "resumed_not_exact" in _codes(told)


@pytest.mark.slow
def test_self_play_switched_off_and_on_again_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfplay.gate.MIN_ITERATIONS", 0)
    monkeypatch.setattr("selfplay.gate.MIN_FALL", 0.0)
    options = {"iterations": 12, "eval_every": 3}
    _train_until(workspace, _at(4), self_play=SELF_PLAY, **options)
    assert _checkpoint(workspace).state["trainer"]["self_play"]["beginning"] is not None
    _train_until(workspace, _at(7), **options)  # without
    told = _train(workspace, self_play=SELF_PLAY, **options)
    assert [type(e).__name__ for e in told].count("SelfPlayDone") >= 1


def test_self_play_is_told_what_the_books_repeat(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        preparation, "make_environment", lambda *given: told.append(given[3]) or make_environment(*given)
    )
    _train(workspace, iterations=1, self_play=SELF_PLAY)
    tokenizer = model_store.load(workspace, MODEL).tokenizer
    assert tokenizer is not None
    train = finish(tokenize([split(TEXT, 0.1)], tokenizer)).train
    assert told == [most_times_within(train, repetition_window(SELF_PLAY, SHAPE))] != [{}]


# ---- again -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("quick_average")
def test_training_again_after_the_end_is_the_longer_training_bit_for_bit(workspace: Workspace, tmp_path: Path) -> None:
    _train(workspace)
    weights = _checkpoint(workspace).weights
    assert not plan(workspace).resumed
    again = _train(workspace)
    started = _started(again)
    assert (started.iteration, started.iterations, started.resumed, started.exact) == (6, 12, True, True)
    assert [e.iteration for e in again if isinstance(e, IterationDone)] == [7, 8, 9, 10, 11, 12]
    other = Workspace(tmp_path / "at once")
    fill(other)
    _train(other, iterations=12)
    for part in ("weights", "optimizer"):
        assert same(getattr(_checkpoint(workspace), part), getattr(_checkpoint(other), part)), part
    assert not same(_checkpoint(workspace).weights, weights)


def test_checkpoint_of_the_version_before_the_average_goes_on(workspace: Workspace) -> None:
    """It held the trained weights themselves, and a setting that is gone."""
    _train_until(workspace, _at(3))
    old = _checkpoint(workspace)
    moments = {
        name: tensor for name, tensor in old.optimizer.items() if not name.startswith(azr_trainer.WEIGHTS_PREFIX)
    }
    state = old.state | {"config": old.state["config"] | {"min_learning_rate": 1e-4}}
    state["trainer"] = {name: value for name, value in state["trainer"].items() if name != "schedule_start"}
    older = Checkpoint(old.iteration, old.weights, moments, state)
    checkpoint_store.save(workspace, MODEL, older, keep=1, budget_bytes=10**9)
    told = _train(workspace)
    assert (_started(told).iteration, _started(told).resumed) == (3, True)
    assert [e.iteration for e in told if isinstance(e, IterationDone)] == [4, 5, 6]


@pytest.mark.slow
def test_training_again_for_more_iterations_counts_from_the_end(workspace: Workspace) -> None:
    _train(workspace)
    started = _started(_train(workspace, iterations=8))
    assert (started.iteration, started.iterations, started.resumed) == (6, 14, True)


def test_training_again_after_early_stopping_trains(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azr_trainer.AZRTrainer, "validate", lambda self: 5.0)
    options = {"eval_every": 1, "early_stopping_patience": 2, "checkpoint_every": 1}
    first, again = _train(workspace, **options), _train(workspace, **options)
    assert [_codes(told)[-1] for told in (first, again)] == ["early_stopped"] * 2
    done = [sum(isinstance(event, IterationDone) for event in told) for told in (first, again)]
    assert done == [3, 2]  # patience begins anew; an untrained model is no best that could be missed


def test_rounds_go_on_counting_in_a_new_run() -> None:
    state = azr_trainer.TrainerState(self_play=azr_trainer.SelfPlayState(round=41))
    assert state.next_run().self_play == azr_trainer.SelfPlayState(round=41)


def test_other_books_start_from_the_published_model(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([5.0, 4.0, 4.5, 6.0, 6.0, 6.0])
    monkeypatch.setattr(azr_trainer.AZRTrainer, "validate", lambda self: next(values))
    _train(workspace)  # published at 3, saved at 6
    published = dict(model_store.load(workspace, MODEL).model.state_dict())
    started = []
    first = azr_trainer.AZRTrainer.iterate

    def watched(self: Any) -> Any:
        if not started:
            started.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        return first(self)

    monkeypatch.setattr(azr_trainer.AZRTrainer, "iterate", watched)
    told = _train(workspace, (OTHER_BOOK,))
    assert same(started[0], published)
    assert _started(told).iteration == 6
    assert not _started(told).resumed


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_damaged_newest_checkpoint_is_told_and_the_one_before_used(workspace: Workspace, file: str) -> None:
    _train_until(workspace, _at(5), checkpoint_every=3)
    assert checkpoint_store.iterations(workspace, MODEL) == (3, 5)
    _damage(workspace.checkpoint_folder(MODEL) / "step-00000005" / file)
    told = _train(workspace)
    notices = [event for event in told if isinstance(event, Notice)]
    assert ("checkpoint_corrupt", 5) in [(event.code, event.parameters.get("iteration")) for event in notices]
    assert _started(told).iteration == 3


@pytest.mark.slow
def test_all_checkpoints_damaged_starts_from_the_published_model(workspace: Workspace) -> None:
    _train_until(workspace, _at(5), checkpoint_every=3)
    for folder in workspace.checkpoint_folder(MODEL).glob("step-*"):
        _damage(folder / "model.safetensors")
    told = _train(workspace)
    assert _codes(told).count("checkpoint_corrupt") == 2
    assert _started(told).iteration == 0
    assert _state(workspace) == "done"


def _full_disk(*arguments: Any, **options: Any) -> int:
    raise DiskFull(path="/here", reason="No space left on device")


@pytest.mark.parametrize("when", ["stop", "count", "end"])
def test_disk_full_while_saving_fails_the_run_and_keeps_the_old_checkpoint(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    _train_until(workspace, _at(2))
    before = _checkpoint(workspace)
    monkeypatch.setattr(checkpoint_store.tensor_file, "write", _full_disk)
    monkeypatch.setattr(azr_trainer.AZRTrainer, "validate", lambda self: 9.0)  # nothing to publish
    run = workflows.train(workspace, plan(workspace, checkpoint_every=4 if when == "count" else 1000))
    with pytest.raises(DiskFull):
        for event in run:
            if when == "stop" and isinstance(event, IterationDone):
                run.close()
    assert _state(workspace) == "failed"
    assert workflows.last_run(workspace).error == {
        "code": "disk_full", "parameters": {"path": "/here", "reason": "No space left on device"}, "field": None,
    }  # fmt: skip
    after = _checkpoint(workspace)
    assert after.iteration == before.iteration == 2
    assert same(after.weights, before.weights)
    assert not list(workspace.root.rglob(".tmp-*"))


@pytest.mark.slow
def test_error_in_training_saves_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _train_until(workspace, _at(2))
    gradient = Learner.compute_gradient
    monkeypatch.setattr(Learner, "compute_gradient", lambda *given: gradient(*given) * float("nan"))
    with pytest.raises(Diverged):
        _train(workspace, iterations=50)
    assert _checkpoint(workspace).iteration == 2
    assert _state(workspace) == "failed"
    monkeypatch.setattr(Learner, "compute_gradient", gradient)
    assert _started(_train(workspace)).iteration == 2


@pytest.mark.slow
def test_run_that_diverges_goes_back_to_its_checkpoint_with_half_the_rate(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient, bad = azr_trainer.AZRTrainer._book_gradient, []

    def sometimes(self: Any) -> tuple[torch.Tensor, list[Any]]:
        loss, notices = gradient(self)
        if len(bad) < 10 and self.state.iteration >= 12:
            bad.append(1)
            return loss * math.nan, notices
        return loss, notices

    monkeypatch.setattr(azr_trainer.AZRTrainer, "_book_gradient", sometimes)
    events = _train(workspace, iterations=20, checkpoint_every=10)
    told = [event for event in events if isinstance(event, Notice) and event.code == "went_back"]
    assert [event.iteration for event in told] == [10, 10]
    assert [event.parameters["learning_rate"] for event in told] == [
        TRAINING.learning_rate / 2,
        TRAINING.learning_rate / 4,
    ]
    rates = {event.iteration: event.learning_rate for event in events if isinstance(event, IterationDone)}
    assert (rates[10], rates[20]) == (TRAINING.learning_rate, TRAINING.learning_rate / 4)
    assert _state(workspace) == "done"
    assert _checkpoint(workspace).state["trainer"]["rate_factor"] == 0.25
    again = _train(workspace, iterations=20, learning_rate=1e-4)  # chosen anew: taken as it is
    assert next(event.learning_rate for event in again if isinstance(event, IterationDone)) == 1e-4


@pytest.mark.slow
def test_run_that_diverges_before_any_checkpoint_begins_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient, bad = azr_trainer.AZRTrainer._book_gradient, []

    def at_first(self: Any) -> tuple[torch.Tensor, list[Any]]:
        loss, notices = gradient(self)
        if len(bad) < 5 and self.state.iteration >= 2:
            bad.append(1)
            return loss * math.nan, notices
        return loss, notices

    monkeypatch.setattr(azr_trainer.AZRTrainer, "_book_gradient", at_first)
    events = _train(workspace, iterations=12)
    assert _state(workspace) == "done"
    assert [event.iteration for event in events if isinstance(event, Notice) and event.code == "went_back"] == [0]
    done = [event.iteration for event in events if isinstance(event, IterationDone)]
    assert done == [1, 2, 3, 4, 5, 6, *range(1, 13)]
    assert workflows.history(workspace, MODEL)["iterations"] == [*range(1, 13)]  # what was undone is told no more


@pytest.mark.slow
def test_rate_that_is_hundreds_of_times_too_high_leaves_nothing_on_disk_that_is_not_finite(
    workspace: Workspace,
) -> None:
    """A real divergence, nothing injected: it goes back, halves the rate, and either gets through or ends with a clear error."""
    told = _train(workspace, iterations=20)
    with contextlib.suppress(Diverged):
        for event in workflows.train(
            workspace, plan(workspace, learning_rate=1.0, iterations=120, checkpoint_every=10)
        ):
            told.append(event)
    assert {"non_finite_skipped", "spike_skipped"} & set(_codes(told))
    assert "went_back" in _codes(told)
    files = list(workspace.root.rglob("*.safetensors"))
    assert len(files) >= 3  # the published model, and a checkpoint's two
    assert all(tensor.isfinite().all() for file in files for tensor in load_file(file).values())
    assert min(event.val_loss for event in told if isinstance(event, Evaluated)) <= math.log(SHAPE.vocab_size) + 0.01


def test_mistake_of_ours_saves_nothing_and_says_failed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(azr_trainer.AZRTrainer, "_book_gradient", broken)
    with pytest.raises(ZeroDivisionError):
        _train(workspace)
    assert checkpoint_store.iterations(workspace, MODEL) == ()
    assert _state(workspace) == "failed"


# ---- what is saved -----------------------------------------------------------------------------------------------------


def test_state_that_is_saved_already_is_neither_copied_nor_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    whole = AZRTrainer.snapshot
    monkeypatch.setattr(AZRTrainer, "snapshot", lambda self: copied.append(self.state.iteration) or whole(self))
    _train_until(workspace, lambda event: isinstance(event, CheckpointSaved), checkpoint_every=2)  # and stopped there
    assert copied == [2]


def test_rank_that_only_helps_copies_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AZRTrainer, "snapshot", lambda self: pytest.fail("copied"))
    monkeypatch.setattr(Ranks, "go_on", lambda self, wish=True: wish)
    monkeypatch.setattr(Ranks, "total", lambda self, *values: list(values))
    helper = training_run.work(workspace, plan(workspace), Ranks(rank=1, world_size=1))
    assert not [event for event in helper if isinstance(event, CheckpointSaved)]
