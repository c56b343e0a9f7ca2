"""A full disk, a broken disk or a kill at every single operation: afterwards the old state stands or the new one, never another.

Each test also says how many operations it broke, so that a fault kit that no longer reaches the code is noticed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from errors import DiskFull
from events import CheckpointSaved, Rollout, SelfPlayDone
from runs import run_log, run_record
from store import checkpoint_store, model_list, model_store, tensor_file
from tests.store.faults import Faults, survive
from tests.store.store_kit import (
    CONFIG,
    NAME,
    a_checkpoint,
    a_model,
    a_summary,
    a_tokenizer,
    checkpoint_state,
    create_trained,
    model_state,
)
from workspace import Workspace, new_folder, write_atomic

PLENTY = 10**12


def create(ws: Workspace) -> None:
    model_store.create(ws, NAME, CONFIG, a_model(), seed=0)


def save(iteration: int, keep: int = 3):  # type: ignore[no-untyped-def]
    return lambda ws: checkpoint_store.save(ws, NAME, a_checkpoint(iteration), keep=keep, budget_bytes=PLENTY)


def save_1000_and_2000(ws: Workspace) -> None:
    save(1000)(ws)
    save(2000)(ws)


# ---- every operation -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_create_stands_or_falls_as_a_whole(memory_folder: Path) -> None:
    assert survive(memory_folder, lambda ws: create_trained(ws, "другой"), create, model_state) > 50


@pytest.mark.slow
def test_publish_is_old_or_new(memory_folder: Path) -> None:
    def publish(ws: Workspace) -> None:
        model_store.publish(ws, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))

    assert survive(memory_folder, lambda ws: create_trained(ws, NAME), publish, model_state) >= 24


@pytest.mark.slow
def test_set_tokenizer_is_old_or_new(memory_folder: Path) -> None:
    assert (
        survive(memory_folder, create, lambda ws: model_store.set_tokenizer(ws, NAME, a_tokenizer()), model_state) >= 60
    )


def test_delete_is_old_or_new(memory_folder: Path) -> None:
    def delete(ws: Workspace) -> None:
        model_store.delete(ws, NAME)

    assert survive(memory_folder, lambda ws: create_trained(ws, NAME), delete, model_state) >= 24


def test_the_first_checkpoint_is_there_or_not(memory_folder: Path) -> None:
    assert survive(memory_folder, lambda ws: None, save(1000), checkpoint_state) > 40


@pytest.mark.slow
def test_a_checkpoint_that_pushes_others_out_is_old_or_new(memory_folder: Path) -> None:
    assert survive(memory_folder, save_1000_and_2000, save(3000, keep=1), checkpoint_state) > 60


@pytest.mark.slow
def test_a_checkpoint_saved_again_is_old_or_new(memory_folder: Path) -> None:
    def save_again(ws: Workspace) -> None:
        other = a_checkpoint(3000)
        again = checkpoint_store.Checkpoint(2000, other.weights, other.optimizer, other.state)
        checkpoint_store.save(ws, NAME, again, keep=3, budget_bytes=PLENTY)

    assert survive(memory_folder, save_1000_and_2000, save_again, checkpoint_state) > 40


def test_deleting_checkpoints_leaves_all_or_none(memory_folder: Path) -> None:
    def delete(ws: Workspace) -> None:
        checkpoint_store.delete_all(ws, NAME)

    assert survive(memory_folder, save_1000_and_2000, delete, checkpoint_state) >= 24


def test_run_json_is_old_or_new(memory_folder: Path) -> None:
    def write(iteration: int):  # type: ignore[no-untyped-def]
        return lambda ws: run_record.write_run(ws, NAME, {"state": "running", "iteration": iteration})

    assert survive(memory_folder, write(1), write(2), lambda ws: run_record.read_run(ws, NAME)) >= 18


def test_a_log_that_drops_old_rounds_is_old_or_new(memory_folder: Path) -> None:
    """Old: rounds up to 39. New: up to 40, with or without the oldest ones."""

    def play(rounds: range):  # type: ignore[no-untyped-def]
        def append(ws: Workspace) -> None:
            with run_log.RunLog(ws, NAME, rollouts_limit_bytes=12_000) as log:
                for number in rounds:
                    log.append(self_play(number))

        return append

    def newest(ws: Workspace) -> int:
        found = [round_["round"] for round_ in run_log.rollouts(ws, NAME, limit=100)]
        assert found == list(range(found[0], found[-1] - 1, -1)) and len(found) > 10
        return int(found[0])

    per_round = len(json.dumps(run_log.to_json(self_play(30)))) + 1
    rounds = 12_000 // per_round
    assert (
        survive(memory_folder, play(range(1, rounds + 1)), play(range(rounds + 1, rounds + 2)), newest, one_step=False)
        > 12
    )


def self_play(number: int) -> SelfPlayDone:
    rollout = Rollout("a" * 50, "b" * 200, 0.5, {"diversity": 0.5, "length": 0.5}, 0.0)
    return SelfPlayDone(number * 10, number, 0.5, {"diversity": 0.5, "length": 0.5}, 0.0, (rollout,))


def test_truncating_logs_is_old_or_new(memory_folder: Path) -> None:
    def told(ws: Workspace) -> list[str]:
        return (ws.checkpoint_folder(NAME) / run_log.METRICS).read_text(encoding="utf-8").splitlines()

    def tell(ws: Workspace) -> None:
        with run_log.RunLog(ws, NAME) as log:
            for iteration in (1, 2, 3):
                log.append(CheckpointSaved(iteration, 1))

    assert survive(memory_folder, tell, lambda ws: run_log.truncate_after(ws, NAME, 1), told) >= 9


# ---- the kit itself can see a fault ------------------------------------------------------------------------------------


def test_the_kit_sees_a_direct_write(memory_folder: Path) -> None:
    """The control: weights written straight over the live file."""

    def publish(ws: Workspace) -> None:
        tensors = model_store._foreign(CONFIG, a_model(2).state_dict())
        tensor_file.write(ws.model_folder(NAME) / model_store.WEIGHTS, tensors)

    with pytest.raises((AssertionError, ValueError, OSError)):
        survive(memory_folder, lambda ws: create_trained(ws, NAME), publish, model_state)


def test_the_kit_sees_a_file_replaced_before_another(memory_folder: Path) -> None:
    """The control: two files that belong together, committed one after the other."""

    def write(text: str):  # type: ignore[no-untyped-def]
        return lambda ws: [write_atomic(ws.models / file, text) for file in ("first", "second")]

    def state(ws: Workspace) -> list[str]:
        return [(ws.models / file).read_text(encoding="utf-8") for file in ("first", "second")]

    with pytest.raises(AssertionError, match="operation"):
        survive(memory_folder, write("old"), write("new"), state)


# ---- order on the way to the disk ------------------------------------------------------------------------------------


def test_publish_flushes_file_and_folder_around_the_rename(trained: Workspace) -> None:
    with Faults().installed() as seen:
        model_store.publish(trained, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))
    replaced = seen.done.index(("replace", "model.safetensors"))
    assert [operation for operation, _ in seen.done[: replaced + 2]] == [
        "write",
        "open",
        "write",
        "fsync",
        "replace",
        "fsync",
    ]
    assert seen.done[replaced + 1] == ("fsync", NAME), "the folder"


def test_a_checkpoint_flushes_every_file_before_its_rename(ws: Workspace) -> None:
    with Faults().installed() as seen:
        save(1000)(ws)
    renamed = seen.done.index(("rename", "step-00001000"))
    flushed_before = {name for operation, name in seen.done[:renamed] if operation == "fsync"}
    assert {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "manifest.json",
        "checkpoints",
    } <= flushed_before
    assert any(name.startswith(".tmp-") for name in flushed_before), "the folder itself"
    assert ("fsync", NAME) in seen.done[renamed:]


# ---- a limit of the real system --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_limit_of_the_system_becomes_disk_full(trained: Workspace, share: float) -> None:
    """RLIMIT_FSIZE makes the safetensors library fail where only it writes, and it reports no errno."""
    resource = pytest.importorskip("resource")
    before = model_state(trained)
    size = (trained.model_folder(NAME) / "model.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), limits[1]))
    try:
        with pytest.raises(DiskFull) as caught:
            model_store.publish(trained, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))
        with pytest.raises(DiskFull):
            save(1000)(trained)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "model.safetensors" in str(caught.value.parameters["path"])
    assert model_state(trained) == before and checkpoint_store.iterations(trained, NAME) == ()
    assert not list(trained.root.rglob(".tmp-*"))


def test_a_card_that_cannot_be_written_does_not_undo_a_publish(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path, data: object) -> None:
        raise DiskFull(path=str(path), reason="")

    monkeypatch.setattr(model_store, "write_atomic", fail)
    model_store.publish(trained, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))
    assert model_list.get_model(trained, NAME).iteration == 200
    assert "card" in caplog.text


def test_old_checkpoints_that_cannot_be_removed_do_not_undo_a_save(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On Windows a reader that has a file open keeps its folder from being removed."""
    save_1000_and_2000(ws)

    def busy(path: Path) -> None:
        raise PermissionError(13, "in use", os.fspath(path))

    with monkeypatch.context() as context:
        context.setattr(checkpoint_store, "remove", busy)
        save(3000, keep=1)(ws)
    assert checkpoint_store.iterations(ws, NAME) == (1000, 2000, 3000) and "could not be removed" in caplog.text
    save(4000, keep=1)(ws)
    assert checkpoint_store.iterations(ws, NAME) == (4000,)


def test_a_folder_that_exists_already_is_not_overwritten(ws: Workspace) -> None:
    create(ws)
    with pytest.raises(OSError), new_folder(ws.model_folder(NAME)) as folder:
        (folder / "x").write_bytes(b"")
    assert len(model_state(ws)) == 1
