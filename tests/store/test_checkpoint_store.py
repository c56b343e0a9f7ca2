"""Checkpoints: bit for bit there and back, every damage seen, old ones dropped and the newest never."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from store import checkpoint_store
from store.checkpoint_store import Checkpoint
from tests.store.store_kit import NAME, a_checkpoint, equal_tensors
from workspace import Workspace

PLENTY = 10**12
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def save(ws: Workspace, *iterations: int, keep: int = 10, budget_bytes: int = PLENTY) -> int:
    sizes = [
        checkpoint_store.save(ws, NAME, a_checkpoint(iteration), keep=keep, budget_bytes=budget_bytes)
        for iteration in iterations
    ]
    return sizes[-1]


def folder(ws: Workspace, iteration: int) -> Path:
    return ws.checkpoint_folder(NAME) / f"step-{iteration:08d}"


# ---- in and out ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_bit_for_bit(ws: Workspace) -> None:
    saved = a_checkpoint(1000)
    size = save(ws, 1000)
    found, damaged = checkpoint_store.latest(ws, NAME)
    assert found is not None and damaged == []
    assert equal_tensors(found.weights, saved.weights) and equal_tensors(found.optimizer, saved.optimizer)
    assert (found.iteration, found.state) == (1000, saved.state)
    assert found.optimizer["lm_head.weight/step"].shape == ()
    assert size == sum(file.stat().st_size for file in folder(ws, 1000).iterdir())
    assert {file.name for file in folder(ws, 1000).iterdir()} == set(FILES)


def test_every_kind_of_number_survives(ws: Workspace) -> None:
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]
    tensors = {str(kind): torch.tensor([0, 1, 1]).to(kind) for kind in kinds}
    tensors |= {"nan": torch.tensor([float("nan"), -0.0]), "empty": torch.zeros(0, 3), "turned": torch.rand(3, 2).t()}
    checkpoint_store.save(ws, NAME, Checkpoint(1, tensors, {}, {}), keep=1, budget_bytes=PLENTY)
    found, _ = checkpoint_store.latest(ws, NAME)
    assert found is not None and found.optimizer == {} and found.state == {}
    for name, tensor in tensors.items():
        assert found.weights[name].dtype == tensor.dtype and found.weights[name].shape == tensor.shape
        assert torch.equal(found.weights[name].nan_to_num(7), tensor.nan_to_num(7)), name


def test_a_state_that_is_no_json_number_is_refused(ws: Workspace) -> None:
    save(ws, 1000)
    with pytest.raises(ValueError, match="JSON"):
        bad = Checkpoint(2000, {}, {}, {"loss": float("nan")})
        checkpoint_store.save(ws, NAME, bad, keep=1, budget_bytes=PLENTY)
    assert [path.name for path in ws.checkpoint_folder(NAME).iterdir()] == ["step-00001000"]


def test_nothing_saved_is_nothing_found(ws: Workspace) -> None:
    assert checkpoint_store.latest(ws, NAME) == (None, [])
    assert checkpoint_store.iterations(ws, NAME) == () and checkpoint_store.last_weights(ws, NAME) is None
    assert checkpoint_store.version(ws, NAME) is None
    checkpoint_store.delete_all(ws, NAME)


def test_iterations_are_ordered_as_numbers(ws: Workspace) -> None:
    save(ws, 999, 5, 100_000_000, keep=9)
    save(ws, 99_999_999, keep=9)  # a rolled back future goes
    assert checkpoint_store.iterations(ws, NAME) == (5, 99_999_999)


# ---- which ones stay -------------------------------------------------------------------------------------------------


def test_only_the_newest_are_kept(ws: Workspace) -> None:
    save(ws, 1000, 2000, 3000, 4000, keep=2)
    assert checkpoint_store.iterations(ws, NAME) == (3000, 4000)


def test_the_budget_drops_old_ones_but_never_the_newest(ws: Workspace) -> None:
    size = save(ws, 1000)
    save(ws, 2000, 3000, budget_bytes=2 * size + 50)
    assert checkpoint_store.iterations(ws, NAME) == (2000, 3000)
    save(ws, 4000, budget_bytes=1)
    assert checkpoint_store.iterations(ws, NAME) == (4000,)


def test_a_saved_iteration_ends_every_later_one(ws: Workspace) -> None:
    """After a roll-back to 1000, 1500 is the present and 2000 a future that never was."""
    save(ws, 1000, 2000)
    save(ws, 1500, keep=1)
    assert checkpoint_store.iterations(ws, NAME) == (1500,)
    found, _ = checkpoint_store.latest(ws, NAME)
    assert found is not None and found.iteration == 1500


def test_the_same_iteration_saved_again_replaces_the_first(ws: Workspace) -> None:
    save(ws, 1000, 2000)
    for number in (1.0, 2.0, 3.0):
        again = Checkpoint(2000, {"x": torch.tensor([number])}, {}, {})
        checkpoint_store.save(ws, NAME, again, keep=10, budget_bytes=PLENTY)
        found, damaged = checkpoint_store.latest(ws, NAME)
        assert found is not None and float(found.weights["x"]) == number and damaged == []
        assert checkpoint_store.iterations(ws, NAME) == (1000, 2000)
        assert len(list(ws.checkpoint_folder(NAME).iterdir())) == 2


def test_a_half_checkpoint_does_not_push_a_whole_one_out(ws: Workspace) -> None:
    save(ws, 1000, 2000)
    (folder(ws, 2000) / "optimizer.safetensors").write_bytes(b"")
    save(ws, 3000, keep=2)
    assert checkpoint_store.iterations(ws, NAME) == (1000, 3000)


def test_logs_beside_checkpoints_stay_until_all_goes(ws: Workspace) -> None:
    save(ws, 1000)
    (ws.checkpoint_folder(NAME) / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    save(ws, 2000, keep=1)
    assert (ws.checkpoint_folder(NAME) / "metrics.jsonl").exists()
    checkpoint_store.delete_all(ws, NAME)
    assert list(ws.checkpoints.iterdir()) == []


# ---- damage ----------------------------------------------------------------------------------------------------------


def latest_of(ws: Workspace) -> tuple[int | None, list[int]]:
    found, damaged = checkpoint_store.latest(ws, NAME)
    return found and found.iteration, damaged


@pytest.mark.slow
def test_every_one_of_1000_flipped_bits_is_seen_and_the_one_before_is_used(ws: Workspace) -> None:
    save(ws, 1000, 2000)
    draw = random.Random(0)
    for number in range(1000):
        path = folder(ws, 2000) / FILES[number % len(FILES)]
        whole = path.read_bytes()
        bit = draw.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert latest_of(ws) == (1000, [2000]), f"bit {bit} of {path.name}"
        path.write_bytes(whole)
    assert latest_of(ws) == (2000, []), "the control: whole again, it is used"


@pytest.mark.parametrize("file", FILES)
def test_every_cut_is_seen_and_the_one_before_is_used(ws: Workspace, file: str) -> None:
    save(ws, 1000, 2000)
    path, draw = folder(ws, 2000) / file, random.Random(0)
    whole = path.read_bytes()
    for length in [0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))]:
        path.write_bytes(whole[:length])
        assert latest_of(ws) == (1000, [2000]), f"{file} cut to {length}"
    path.write_bytes(whole + b"\n")
    assert latest_of(ws) == (1000, [2000]), "longer"
    path.unlink()
    assert latest_of(ws) == (1000, [2000]) and checkpoint_store.iterations(ws, NAME) == (1000,)
    path.write_bytes(whole)
    assert latest_of(ws) == (2000, [])


def test_files_of_two_checkpoints_do_not_mix(ws: Workspace) -> None:
    save(ws, 1000, 2000, 3000)
    shutil.copy(folder(ws, 2000) / "state.json", folder(ws, 3000) / "state.json")
    shutil.rmtree(folder(ws, 2000))
    shutil.copytree(folder(ws, 1000), folder(ws, 2000))
    assert latest_of(ws) == (1000, [3000, 2000])


def test_when_all_are_damaged_nothing_is_used(ws: Workspace) -> None:
    save(ws, 1000, 2000)
    for iteration in (1000, 2000):
        (folder(ws, iteration) / "manifest.json").unlink()
    assert latest_of(ws) == (None, [2000, 1000]) and checkpoint_store.last_weights(ws, NAME) is None
    save(ws, 500)
    assert latest_of(ws) == (500, [])


# ---- the newest weights ----------------------------------------------------------------------------------------------


def test_last_weights_pass_over_a_damaged_checkpoint(ws: Workspace) -> None:
    save(ws, 1000, 2000)
    weights = checkpoint_store.last_weights(ws, NAME)
    assert weights is not None and equal_tensors(weights, a_checkpoint(2000).weights)
    (folder(ws, 2000) / "model.safetensors").write_bytes(b"x" * 100)
    weights = checkpoint_store.last_weights(ws, NAME)
    assert weights is not None and equal_tensors(weights, a_checkpoint(1000).weights)


def test_last_weights_are_found_while_others_come_and_go(ws: Workspace) -> None:
    """With keep=1 the folder a reader has chosen vanishes under it all the time."""
    save(ws, 1)

    def read() -> int:
        return sum(checkpoint_store.last_weights(ws, NAME) is None for _ in range(60))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for iteration in range(2, 60):
            save(ws, iteration, keep=1)
        assert [reader.result() for reader in readers] == [0, 0]


def test_version_changes_with_every_save(ws: Workspace) -> None:
    versions = []
    for iteration in (1000, 2000, 2000):
        save(ws, iteration)
        versions.append(checkpoint_store.version(ws, NAME))
    assert len(set(versions)) == 3 and checkpoint_store.version(ws, NAME) == versions[-1]
