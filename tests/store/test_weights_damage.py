"""Weights that were changed on the disk: every flipped bit is found, once a version, and the newest checkpoint helps."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch

from errors import AccessDenied, ModelDamaged
from store import checkpoint_store, model_list, model_store, restore, tensor_file
from store.model_cache import ModelCache
from store.model_files import WEIGHTS
from tests.store.store_kit import CONFIG, NAME, a_checkpoint, a_model, a_summary, create_trained, equal_tensors
from workspace import Workspace

OLD_WORKSPACE = Path(__file__).resolve().parents[1] / "data" / "workspace-0"


def weights_of(ws: Workspace) -> Path:
    return ws.model_folder(NAME) / WEIGHTS


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def is_damaged(ws: Workspace) -> bool:
    listed = model_list.list_models(ws)[0].damaged
    try:
        model_store.load(ws, NAME)
    except ModelDamaged as error:
        assert error.parameters == {"name": NAME, "file": WEIGHTS} and listed == WEIGHTS
        return True
    assert listed is None
    return False


# ---- flipped bits ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_flipped_bits_all_over_the_head_and_60_of_the_tensors_are_found(trained: Workspace) -> None:
    path = weights_of(trained)
    good = path.read_bytes()
    head_bits = 8 * (8 + int.from_bytes(good[:8], "little"))
    bits = [*range(0, head_bits, 41), *random.Random(0).sample(range(head_bits, 8 * len(good)), 60)]
    missed = []
    for bit in bits:
        path.write_bytes(good)
        flip(path, bit)
        if not is_damaged(trained):
            missed.append(bit)
    assert missed == []
    path.write_bytes(good)
    assert not is_damaged(trained)


@pytest.mark.slow
def test_flipped_bits_of_the_checksum_and_all_of_its_name_are_found(trained: Workspace) -> None:
    """The name and the value of the metadata entry: without the name the file must not pass as one of before."""
    path = weights_of(trained)
    good = path.read_bytes()
    start = good.index(b'"sha256"')
    for bit in [*range(8 * (start - 1), 8 * (start + 10)), *range(8 * (start + 10), 8 * (start + 75), 5)]:
        path.write_bytes(good)
        flip(path, bit)
        assert is_damaged(trained), f"bit {bit}"


def test_a_bit_of_an_untrained_model_is_found(ws: Workspace) -> None:
    model_store.create(ws, NAME, CONFIG, a_model(), seed=0)
    assert not is_damaged(ws)
    flip(weights_of(ws), 8 * weights_of(ws).stat().st_size - 3)
    assert is_damaged(ws)


def test_weights_that_are_not_numbers_are_damage_whatever_their_checksum(trained: Workspace) -> None:
    for value in (math.nan, math.inf):
        weights = dict(a_model().state_dict()) | {"norm.weight": torch.full((CONFIG.d_model,), value)}
        model_store.publish(trained, NAME, CONFIG, weights, a_summary(200))
        with pytest.raises(ModelDamaged):
            model_store.load(trained, NAME)
        assert model_list.get_model(trained, NAME).damaged == WEIGHTS, "known since the load"
        model_store.publish(trained, NAME, CONFIG, a_model(1).state_dict(), a_summary(300))
        assert not is_damaged(trained)


# ---- once a version --------------------------------------------------------------------------------------------------


def test_each_version_is_verified_once(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_trained(ws, NAME)
    shutil.copytree(ws.root, tmp_path / "copy")  # a model that this process has not written
    copy, verified = Workspace(tmp_path / "copy"), []
    real = tensor_file.verify
    monkeypatch.setattr(tensor_file, "verify", lambda path: (verified.append(path), real(path)))
    for _ in range(3):
        model_list.list_models(copy)
        model_list.get_model(copy, NAME)
    assert len(verified) == 1
    model_store.publish(copy, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))
    model_list.list_models(copy)
    assert len(verified) == 1, "what was just written is known"


def test_a_listing_does_not_verify_beyond_its_time(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_trained(ws, NAME)
    shutil.copytree(ws.root, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")
    flip(weights_of(copy), 8 * weights_of(copy).stat().st_size - 3)
    monkeypatch.setattr(model_list, "VERIFYING_SECONDS", -1.0)
    assert model_list.list_models(copy)[0].damaged is None
    assert model_list.get_model(copy, NAME).damaged == WEIGHTS, "one model is verified before it is used"
    assert model_list.list_models(copy)[0].damaged == WEIGHTS, "and the listing knows it then"


# ---- models of before ------------------------------------------------------------------------------------------------


def test_a_model_without_checksum_opens_and_gets_one_when_it_is_published(tmp_path: Path) -> None:
    shutil.copytree(OLD_WORKSPACE, tmp_path / "old")
    ws = Workspace(tmp_path / "old")
    assert "sha256" not in tensor_file.read_metadata(ws.model_folder("poet") / WEIGHTS)
    loaded = model_store.load(ws, "poet")
    assert model_list.get_model(ws, "poet").damaged is None
    summary = dataclasses.replace(a_summary(20), from_iteration=12)
    model_store.publish(ws, "poet", loaded.config, loaded.model.state_dict(), summary)
    assert "sha256" in tensor_file.read_metadata(ws.model_folder("poet") / WEIGHTS)
    info = model_list.get_model(ws, "poet")
    assert [(training.from_iteration, training.iteration) for training in info.lineage] == [(0, 12), (12, 20)]
    assert info.books == ("river", "Война и мир") and info.last_books == ("Война и мир",)
    card = (ws.model_folder("poet") / "README.md").read_text(encoding="utf-8")
    assert "| 1 | river | 1–12 |" in card and "| 2 | Война и мир | 13–20 | 3.5000 | 1.2500 | 2030-01-02 |" in card
    settings = json.loads((ws.model_folder("poet") / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["split_special_tokens"] is True


def test_nan_in_a_model_without_checksum_is_damage(trained: Workspace) -> None:
    tensors, metadata = tensor_file.read(weights_of(trained).read_bytes())
    old = {"azr": json.dumps(json.loads(metadata["azr"])[0])}
    tensor_file.write(weights_of(trained), tensors, old)
    assert not is_damaged(trained)
    tensor_file.write(
        weights_of(trained), tensors | {"model.norm.weight": torch.full((CONFIG.d_model,), math.nan)}, old
    )
    with pytest.raises(ModelDamaged):
        ModelCache().get(trained, NAME)


# ---- the way out -----------------------------------------------------------------------------------------------------


def wreck(ws: Workspace) -> None:
    flip(weights_of(ws), 8 * weights_of(ws).stat().st_size - 3)


def save(ws: Workspace, iteration: int) -> None:
    trainer = {"iteration": iteration, "elapsed_seconds": 99.0, "schedule_start": 1000}
    checkpoint = dataclasses.replace(a_checkpoint(iteration), state={"trainer": trainer, "books": ["Emma"]})
    checkpoint_store.save(ws, NAME, checkpoint, keep=2, budget_bytes=10**12)


def test_damaged_weights_are_replaced_by_the_newest_checkpoint(trained: Workspace) -> None:
    save(trained, 1500)
    wreck(trained)
    loaded, iteration = restore.load_restored(trained, NAME)
    assert iteration == 1500
    assert equal_tensors(dict(loaded.model.state_dict()), a_checkpoint(1500).weights)
    info = model_list.get_model(trained, NAME)
    assert (info.damaged, info.iteration, info.val_loss) == (None, 1500, None)
    assert [training.books for training in info.lineage] == [("Война и мир",), ("Emma",)], "the earlier one is kept"
    assert restore.load_restored(trained, NAME)[1] is None


def test_damaged_weights_without_a_checkpoint_stay_damaged(trained: Workspace) -> None:
    wreck(trained)
    for call in (restore.load_restored, restore.load_or_checkpoint):
        with pytest.raises(ModelDamaged):
            call(trained, NAME)


def test_a_forecast_reads_the_checkpoint_and_writes_nothing(trained: Workspace) -> None:
    save(trained, 1500)
    wreck(trained)
    before = weights_of(trained).read_bytes()
    loaded = restore.load_or_checkpoint(trained, NAME)
    assert equal_tensors(dict(loaded.model.state_dict()), a_checkpoint(1500).weights)
    assert weights_of(trained).read_bytes() == before


def test_last_version_writes_although_the_published_one_is_damaged(trained: Workspace) -> None:
    save(trained, 1500)
    wreck(trained)
    cache = ModelCache()
    assert equal_tensors(dict(cache.get(trained, NAME, "last").model.state_dict()), a_checkpoint(1500).weights)
    with pytest.raises(ModelDamaged):
        cache.get(trained, NAME, "best")


def test_weights_that_may_not_be_read_are_not_remembered_as_damaged(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Granting the right changes neither time nor size of the file."""
    shutil.copytree(trained.root, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as context:
        context.setattr(tensor_file, "verify", refuse)
        (listed,) = model_list.list_models(copy)
        assert (listed.damaged, listed.denied) == (None, str(weights_of(copy)))
    (listed,) = model_list.list_models(copy)
    assert (listed.damaged, listed.denied) == (None, None)


def test_weights_that_may_not_be_read_are_not_replaced_by_a_checkpoint(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(trained, 1500)
    before, read_bytes = weights_of(trained).read_bytes(), Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == weights_of(trained):
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", refuse)
        with pytest.raises(AccessDenied):
            restore.load_restored(trained, NAME)
    assert weights_of(trained).read_bytes() == before


@pytest.mark.parametrize(
    ("module", "function"), [(model_store, "assemble"), (tensor_file.safetensors.torch, "load")], ids=["build", "read"]
)
def test_a_lack_of_memory_is_no_damage(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch, module: object, function: str
) -> None:
    """Else the training would publish the last checkpoint over the best version."""
    save(trained, 1500)
    before = weights_of(trained).read_bytes()

    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1024 bytes.")

    with monkeypatch.context() as context:
        context.setattr(module, function, refuse)
        with pytest.raises(RuntimeError, match="allocate memory"):
            restore.load_restored(trained, NAME)
    assert weights_of(trained).read_bytes() == before
    assert not is_damaged(trained)


def test_a_panic_of_the_library_for_want_of_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(_: bytes) -> None:
        raise PanicException("PyObject pointer is null")

    monkeypatch.setattr(tensor_file.safetensors.torch, "load", panic)
    with pytest.raises(MemoryError):
        tensor_file.read(b"")
