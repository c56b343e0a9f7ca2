"""Models on disk: what goes in comes out, damage is named, readers and writers do not disturb one another."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from config import ModelConfig
from errors import AZRError, InvalidName, ModelDamaged, ModelNotFound, NameTaken
from model import Transformer
from store import model_list, model_store, tensor_file
from tests.store.store_kit import (
    CONFIG,
    NAME,
    a_model,
    a_summary,
    a_tokenizer,
    create_trained,
    equal_tensors,
)
from tokenizer import Tokenizer
from workspace import Workspace

# ---- in and out ------------------------------------------------------------------------------------------------------


def test_a_created_model_is_listed_as_untrained(ws: Workspace) -> None:
    info = model_store.create(ws, NAME, CONFIG, a_model(), seed=5)
    assert model_list.list_models(ws) == [info] == [model_list.get_model(ws, NAME)]
    assert (info.name, info.config, info.trained, info.tokenizer_size, info.iteration) == (NAME, CONFIG, False, None, 0)
    assert info.parameters == sum(parameter.numel() for parameter in a_model().parameters())
    assert info.bytes == sum(file.stat().st_size for file in ws.model_folder(NAME).iterdir())
    assert json.loads((ws.model_folder(NAME) / "azr.json").read_text(encoding="utf-8"))["seed"] == 5


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_loaded_weights_are_the_stored_ones(ws: Workspace, architecture: str) -> None:
    config = CONFIG.model_copy(update={"architecture": architecture})
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5)
    model_store.create(ws, NAME, config, model, seed=0)
    loaded = model_store.load(ws, NAME)
    assert equal_tensors(dict(loaded.model.state_dict()), dict(model.state_dict()))
    assert loaded.config == config and not loaded.model.training
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.model(tokens), model(tokens)), "what is computed and not stored counts, too"


def test_a_loaded_model_can_be_trained(trained: Workspace) -> None:
    model = model_store.load(trained, NAME).model
    tokens = torch.tensor([[1, 2, 3, 4]])
    model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_published_model_carries_its_summary_and_tokenizer(trained: Workspace) -> None:
    loaded, info = model_store.load(trained, NAME), model_list.get_model(trained, NAME)
    assert loaded.lineage == info.lineage == (a_summary(),)
    assert loaded.tokenizer is not None and loaded.tokenizer.to_json() == a_tokenizer().to_json()
    assert (info.trained, info.iteration, info.val_loss, info.bits_per_byte) == (True, 100, 3.5, 1.25)
    assert info.books == ("Война и мир",) and info.tokenizer_size == a_tokenizer().size
    assert "Война и мир" in (trained.model_folder(NAME) / "README.md").read_text(encoding="utf-8")


def test_published_weights_are_float32(trained: Workspace) -> None:
    half = {name: tensor.bfloat16() for name, tensor in a_model(4).state_dict().items()}
    model_store.publish(trained, NAME, CONFIG, half, a_summary(200))
    loaded = model_store.load(trained, NAME).model.state_dict()
    assert equal_tensors(dict(loaded), {name: tensor.float() for name, tensor in half.items()})
    tensors, _ = tensor_file.read((trained.model_folder(NAME) / "model.safetensors").read_bytes())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_models_are_listed_by_age_and_a_name_is_found_in_any_case(ws: Workspace) -> None:
    for name in ("Zebra", "Anna"):
        create_trained(ws, name)
        record = ws.model_folder(name) / "azr.json"
        created_at = {"Zebra": "2020-01-01T00:00:00+00:00", "Anna": "2021-01-01T00:00:00+00:00"}[name]
        content = json.loads(record.read_text(encoding="utf-8")) | {"created_at": created_at}
        record.write_text(json.dumps(content), encoding="utf-8")
    assert [info.name for info in model_list.list_models(ws)] == ["Zebra", "Anna"]
    assert model_list.get_model(ws, "ZEBRA").name == "Zebra"


def test_foreign_folders_are_no_models(trained: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    (trained.models / "somebody's").mkdir()
    (trained.models / ".gitkeep").write_bytes(b"")
    shutil.copytree(trained.model_folder(NAME), trained.models / ".tmp-abc")
    assert [info.name for info in model_list.list_models(trained)] == [NAME] and caplog.text == ""
    with pytest.raises(ModelNotFound):
        model_store.load(trained, "somebody's")


def test_a_workspace_without_folders_has_no_models(tmp_path: Path) -> None:
    assert model_list.list_models(Workspace(tmp_path / "nowhere")) == []


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [NAME, "ПОЭТ", "Поэт"])
def test_a_taken_name_is_refused_in_any_case(ws: Workspace, twin: str) -> None:
    model_store.create(ws, NAME, CONFIG, a_model(), seed=0)
    with pytest.raises(NameTaken) as caught:
        model_store.create(ws, twin, CONFIG, a_model(), seed=0)
    assert caught.value.field == "name" and caught.value.parameters["name"] == NAME


def test_of_many_who_create_twins_at_once_one_wins(ws: Workspace) -> None:
    def create(name: str) -> str:
        try:
            return model_store.create(ws, name, CONFIG, a_model(), seed=0).name
        except NameTaken:
            return ""

    names = [NAME, "ПОЭТ", "Поэт", "поЭт"] * 4
    with ThreadPoolExecutor(len(names)) as pool:
        winners = [name for name in pool.map(create, names) if name]
    assert len(winners) == 1 == len(model_list.list_models(ws))


@pytest.mark.parametrize("name", ["../out", "con", "", "a/b", ".hidden"])
def test_an_unsafe_name_is_refused(ws: Workspace, name: str) -> None:
    for call in (model_list.get_model, model_store.load, model_store.delete, model_store.version):
        with pytest.raises(InvalidName):
            call(ws, name)
    with pytest.raises(InvalidName):
        model_store.create(ws, name, CONFIG, a_model(), seed=0)


def test_what_is_not_there_is_not_found(ws: Workspace) -> None:
    for call in (model_list.get_model, model_store.load, model_store.delete, model_store.version):
        with pytest.raises(ModelNotFound):
            call(ws, "никто")


def test_a_deleted_model_leaves_nothing(trained: Workspace) -> None:
    model_store.delete(trained, NAME)
    assert list(trained.models.iterdir()) == [] and model_list.list_models(trained) == []


# ---- damage ----------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00{" * 30)


def huge_head(path: Path) -> None:
    path.write_bytes(b"\xff" * 7 + b"\x00" + path.read_bytes()[8:])


WRECKS = [
    (file, wreck) for file in ("model.safetensors", "azr.json", "tokenizer.json") for wreck in (half, emptied, noise)
]
WRECKS += [("model.safetensors", cut), ("model.safetensors", huge_head), ("model.safetensors", Path.unlink)]
WRECKS += [("azr.json", Path.unlink)]


@pytest.mark.parametrize(("file", "wreck"), WRECKS)
def test_a_broken_file_is_named_and_its_model_stays_in_the_list(trained: Workspace, file: str, wreck) -> None:
    create_trained(trained, "цел")
    reason = {} if file == "model.safetensors" else {"reason": "beyond_checkpoints"}  # checkpoints hold weights alone
    wreck(trained.model_folder(NAME) / file)
    for call in (model_store.load, model_store.exportable):
        with pytest.raises(ModelDamaged) as caught:
            call(trained, NAME)
        assert caught.value.parameters == {"name": NAME, "file": file, **reason}
    assert {info.name: info.damaged for info in model_list.list_models(trained)} == {"цел": None, NAME: file}
    assert model_list.get_model(trained, NAME).damaged == file
    model_store.delete(trained, NAME)
    assert [info.name for info in model_list.list_models(trained)] == ["цел"]


def test_weights_of_another_shape_are_damage(trained: Workspace) -> None:
    other = ModelConfig(**CONFIG.model_dump() | {"d_ff": 24})
    create_path = trained.model_folder(NAME) / "model.safetensors"
    model_store.create(trained, "другой", other, Transformer(other), seed=0)
    shutil.copy(trained.model_folder("другой") / "model.safetensors", create_path)
    with pytest.raises(ModelDamaged) as caught:
        model_store.load(trained, NAME)
    assert caught.value.parameters["file"] == "model.safetensors"


@pytest.mark.parametrize(
    "change",
    [{"format_version": 2}, {"config": None}, {"config": CONFIG.model_dump() | {"num_heads": 3}}, {"created_at": None}],
)
def test_a_record_that_makes_no_sense_is_damage(trained: Workspace, change: dict[str, object]) -> None:
    path = trained.model_folder(NAME) / "azr.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ModelDamaged):
        model_list.read_config(trained, NAME)
    info = model_list.get_model(trained, NAME)
    assert (info.damaged, info.config, info.parameters, info.created_at != "") == ("azr.json", None, None, True)


def test_a_tokenizer_too_large_for_the_model_is_damage(trained: Workspace) -> None:
    large = Tokenizer.fit(["абвгд еёжзий клмно прсту фхцчш " * 9], 2000)
    assert large.size > CONFIG.vocab_size
    (trained.model_folder(NAME) / "tokenizer.json").write_text(large.to_json(), encoding="utf-8")
    with pytest.raises(ModelDamaged) as caught:
        model_store.load(trained, NAME)
    assert caught.value.parameters["file"] == "tokenizer.json"


# ---- side by side ----------------------------------------------------------------------------------------------------


def test_loading_draws_nothing_from_the_global_generator(trained: Workspace) -> None:
    """A training thread seeds and uses it between our lines."""
    before = torch.get_rng_state()
    model_store.load(trained, NAME)
    model_list.get_model(trained, NAME)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc/self/maps")
def test_a_loaded_model_keeps_no_file_mapped_or_open(trained: Workspace) -> None:
    """On Windows such a file could not be replaced; the control maps it."""
    from safetensors import safe_open

    def held() -> bool:
        path = str(trained.model_folder(NAME) / "model.safetensors")
        opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return path in Path("/proc/self/maps").read_text(encoding="utf-8") or Path(path) in opened

    loaded = model_store.load(trained, NAME)
    assert not held() and loaded
    with safe_open(trained.model_folder(NAME) / "model.safetensors", "pt") as file:
        assert file.keys() and held()


@pytest.mark.slow
def test_readers_during_publishing_see_weights_with_their_own_summary(trained: Workspace) -> None:
    """Publish i has every norm weight equal to i; whoever reads meanwhile must find the same i in the summary."""
    stop, mixed = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            loaded = model_store.load(trained, NAME)
            info = model_list.get_model(trained, NAME)
            said, there = loaded.lineage, float(loaded.model.norm.weight[0].detach())
            if said and there != said[-1].iteration:
                mixed.append((there, said[-1].iteration))
            assert info.trained

    def publish(iteration: int) -> None:
        weights = dict(a_model().state_dict()) | {"norm.weight": torch.full((CONFIG.d_model,), float(iteration))}
        model_store.publish(trained, NAME, CONFIG, weights, a_summary(iteration))

    publish(1)
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for iteration in range(2, 40):
            publish(iteration)
        stop.set()
        for reader in readers:
            reader.result()
    assert mixed == []


@pytest.mark.slow
def test_lists_and_loads_during_deletes_raise_nothing_unexpected(ws: Workspace) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            model_list.list_models(ws)
            for call in (model_store.load, model_list.get_model, model_store.version):
                try:
                    call(ws, NAME)
                except ModelNotFound:
                    pass
                except AZRError as error:
                    raise AssertionError(str(error)) from error

    with ThreadPoolExecutor(2) as pool:
        lookers = [pool.submit(look) for _ in range(2)]
        for _ in range(20):
            create_trained(ws, NAME)
            model_store.delete(ws, NAME)
        stop.set()
        for looker in lookers:
            looker.result()
