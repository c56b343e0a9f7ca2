"""What the product can do, one function each: the figures before, the life of a model, writing, and taking it away."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import workflows
from config import PRESETS, ModelConfig, SamplingConfig, TrainConfig
from errors import (
    BookNotFound,
    DiskBudgetTooSmall,
    DoesNotFit,
    InvalidName,
    ModelDamaged,
    ModelNotFound,
    NameTaken,
    NoBooks,
    NoTokenizer,
    UnsupportedFormat,
)
from events import IterationDone, State
from runs.run_record import read_run, write_run
from store import checkpoint_store, model_store
from tests.training_kit import BOOK, MODEL, QUIET, SELF_PLAY, SHAPE, changed, plan
from workspace import Workspace

SAMPLING = SamplingConfig(max_new_tokens=12, seed=1)
GIANT = ModelConfig(vocab_size=200_000, d_model=16_384, num_layers=256, num_heads=256, d_ff=65_536, max_seq_len=32_768)


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    list(workflows.train(workspace, plan(workspace)))
    return workspace


def _written(ws: Workspace, version: Any = "best") -> str:
    pieces = workflows.generate(ws, MODEL, "Старик", SAMPLING, cache=workflows.ModelCache(), version=version)
    return "".join(piece.text for piece in pieces)


# ---- before ----------------------------------------------------------------------------------------------------------


def test_estimate_of_a_small_model_fits() -> None:
    found = workflows.estimate(SHAPE, books_characters=(30_000, 5_000))
    assert found.fits
    # two tables of 300 x 32, two layers of 4 x 32 x 32 + 3 x 32 x 64 + 2 norms of 32, and one norm
    assert found.parameters == 2 * 300 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert found.tokens == 10_000
    assert found.tokens_per_parameter == pytest.approx(10_000 / found.parameters)


def test_estimate_of_an_absurd_size_is_instant_and_does_not_fit() -> None:
    workflows.estimate(SHAPE)  # torch's own first time
    started_at = time.process_time()
    found = workflows.estimate(GIANT)
    assert time.process_time() - started_at < 0.2
    assert not found.fits
    assert found.parameters > 10**12


def test_estimate_grows_with_what_a_training_needs() -> None:
    def needed(**changes: Any) -> int:
        return workflows.estimate(SHAPE, changed(TrainConfig(self_play=QUIET), **changes)).training_bytes

    least = needed(optimizer="muon", batch_size=1)
    assert needed(optimizer="adamw", batch_size=1) > least
    assert needed(optimizer="muon", batch_size=2) > least
    assert needed(optimizer="muon", batch_size=1, self_play=SELF_PLAY) > least
    assert needed(optimizer="muon", batch_size=1, grad_accum_steps=8) == least


# ---- models ----------------------------------------------------------------------------------------------------------


def test_models_are_created_listed_and_deleted(workspace: Workspace) -> None:
    workflows.create_model(workspace, "второй", SHAPE, seed=5)
    assert {info.name for info in workflows.list_models(workspace)} == {MODEL, "второй"}
    workflows.delete_model(workspace, "второй")
    assert [info.name for info in workflows.list_models(workspace)] == [MODEL]
    with pytest.raises(ModelNotFound):
        workflows.delete_model(workspace, "второй")


def test_model_of_the_same_seed_is_the_same(workspace: Workspace) -> None:
    weights = []
    for number, seed in enumerate((5, 5, 6)):
        workflows.create_model(workspace, f"м{number}", SHAPE, seed=seed)
        weights.append(model_store.load(workspace, f"м{number}").model.embed_tokens.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("name", "error"), [("ПОЭТ", NameTaken), ("../x", InvalidName), ("con", InvalidName)])
def test_model_of_a_bad_name_is_refused(workspace: Workspace, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        workflows.create_model(workspace, name, SHAPE)


def test_model_that_does_not_fit_is_refused_with_the_numbers(workspace: Workspace) -> None:
    with pytest.raises(DoesNotFit) as error:
        workflows.create_model(workspace, "гигант", GIANT)
    assert error.value.parameters["needed_bytes"] > error.value.parameters["available_bytes"] > 0
    assert error.value.field == "d_model"


def test_deleting_a_model_takes_its_checkpoints_along(trained: Workspace) -> None:
    assert checkpoint_store.iterations(trained, MODEL) == (6,)
    workflows.delete_model(trained, MODEL)
    assert checkpoint_store.iterations(trained, MODEL) == ()
    assert workflows.last_run(trained).state is State.IDLE
    workflows.create_model(trained, MODEL, changed(SHAPE, d_model=64))  # another one of that name starts anew
    told = list(workflows.train(trained, plan(trained, iterations=1)))
    assert [event.iteration for event in told if isinstance(event, IterationDone)] == [1]


def test_deleting_that_is_cut_off_never_leaves_checkpoints_without_their_model(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, function in ((model_store, "delete"), (checkpoint_store, "delete_all")):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, _killed)
            with pytest.raises(KeyboardInterrupt):
                workflows.delete_model(trained, MODEL)
        assert [info.name for info in workflows.list_models(trained)] == [MODEL]


def _killed(*arguments: Any) -> None:
    raise KeyboardInterrupt


# ---- training --------------------------------------------------------------------------------------------------------


def test_training_request_is_checked_before_it_begins(workspace: Workspace) -> None:
    for books, error in (((), NoBooks), (("нет такой",), BookNotFound)):
        with pytest.raises(error):
            plan(workspace, books)
    with pytest.raises(ModelNotFound):
        workflows.prepare_training(workspace, "нет такого", (BOOK,), TrainConfig())
    with pytest.raises(DoesNotFit) as refused:
        plan(workspace, batch_size=4096, self_play=changed(SELF_PLAY)) and workflows.prepare_training(
            _with_large_model(workspace), "большой", (BOOK,), TrainConfig(batch_size=4096)
        )
    assert refused.value.field == "batch_size"


def _with_large_model(ws: Workspace) -> Workspace:
    config = ModelConfig(vocab_size=5000, d_model=32, num_layers=2, num_heads=2, d_ff=64, max_seq_len=32_768)
    workflows.model_store.create(ws, "большой", config, workflows.Transformer(config), seed=0)
    return ws


def test_disk_budget_below_one_checkpoint_is_refused_with_the_numbers(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learning.self_play.SelfPlay.is_due", lambda *_: False)
    list(workflows.train(workspace, plan(workspace)))
    (step,) = workspace.checkpoint_folder(MODEL).glob("step-*")
    size = sum(file.stat().st_size for file in step.iterdir())
    counted = workflows.checkpoint_bytes(SHAPE, plan(workspace).config)
    assert counted == pytest.approx(size, rel=0.15)  # of a model this small a part are names
    workflows.create_model(workspace, "малая", PRESETS["small"])
    with pytest.raises(DiskBudgetTooSmall) as refused:
        workflows.prepare_training(workspace, "малая", (BOOK,), TrainConfig(disk_budget_bytes=10_000_000))
    assert refused.value.field == "disk_budget_bytes"
    assert refused.value.parameters["needed_bytes"] > 30_000_000 > refused.value.parameters["budget_bytes"]


def test_training_request_names_each_book_once(workspace: Workspace) -> None:
    assert plan(workspace, (BOOK, "РЕКА", BOOK)).books == (BOOK,)


def test_last_run_is_idle_at_first_and_then_what_the_disk_tells(workspace: Workspace) -> None:
    assert workflows.last_run(workspace).state is State.IDLE
    list(workflows.train(workspace, plan(workspace)))
    found = workflows.last_run(workspace)
    assert (found.state, found.model, found.iteration, found.books) == (State.DONE, MODEL, 6, (BOOK,))
    assert found.config == plan(workspace).config


def test_last_run_of_another_version_is_told_without_its_settings(trained: Workspace) -> None:
    record = read_run(trained, MODEL)
    assert record is not None and workflows.last_run(trained).config is not None
    write_run(trained, MODEL, record | {"config": record["config"] | {"gone_since": 1}})
    found = workflows.last_run(trained)
    assert (found.model, found.config) == (MODEL, None)


@pytest.mark.parametrize("state", ["running", "queued", "stopping"])
def test_last_run_that_was_going_on_is_interrupted(trained: Workspace, state: str) -> None:
    record = read_run(trained, MODEL)
    assert record is not None
    write_run(trained, MODEL, record | {"state": state})
    assert workflows.last_run(trained).state is State.INTERRUPTED
    write_run(trained, MODEL, record | {"state": "stopped"})
    assert workflows.last_run(trained).state is State.STOPPED


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_model_that_was_never_trained_cannot_write(workspace: Workspace) -> None:
    with pytest.raises(NoTokenizer):
        _written(workspace)
    with pytest.raises(NoTokenizer):
        workflows.export_model(workspace, MODEL)


def test_trained_model_writes_the_same_for_the_same_seed(trained: Workspace) -> None:
    assert _written(trained) == _written(trained)


def test_last_version_writes_with_the_newest_checkpoint(trained: Workspace) -> None:
    cache = workflows.ModelCache()
    last = cache.get(trained, MODEL, "last").model.state_dict()
    checkpoint, _ = checkpoint_store.latest(trained, MODEL)
    assert checkpoint is not None
    assert all(torch.equal(last[name], checkpoint.weights[name]) for name in last)


# ---- taking it away --------------------------------------------------------------------------------------------------


def _unpacked(ws: Workspace, target: Path) -> Path:
    export = workflows.export_model(ws, MODEL)
    assert (export.filename, export.media_type) == ("поэт.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(export.chunks))) as archive:
        assert archive.testzip() is None
        assert all(name.startswith("поэт/") and ".." not in name for name in archive.namelist())
        archive.extractall(target)
    return target / "поэт"


def test_export_opens_and_stock_transformers_gives_equal_logits(trained: Workspace, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = _unpacked(trained, tmp_path / "heraus")
    loaded = model_store.load(trained, MODEL)
    assert loaded.tokenizer is not None
    tokens = torch.tensor([loaded.tokenizer.encode("Старик чинил лодку у реки.")])
    with torch.no_grad():
        ours, theirs = loaded.model(tokens), AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
        loaded.model.layers[0].attention.o_proj.weight.mul_(1.1)
        assert not torch.allclose(theirs, loaded.model(tokens), rtol=1e-4, atol=1e-4)


def test_export_leaves_out_a_subfolder(trained: Workspace) -> None:
    inner = trained.model_folder(MODEL) / "notes"
    inner.mkdir()
    (inner / "a.txt").write_text("mine", encoding="utf-8")
    with zipfile.ZipFile(io.BytesIO(b"".join(workflows.export_model(trained, MODEL).chunks))) as archive:
        names = {name.removeprefix(f"{MODEL}/") for name in archive.namelist()}
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if "notes" in name]


def test_damaged_model_is_not_exported(trained: Workspace) -> None:
    path = trained.model_folder(MODEL) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    for format in ("hf", "card"):
        with pytest.raises(ModelDamaged):
            workflows.export_model(trained, MODEL, format)


def test_export_in_an_unknown_format_is_refused(trained: Workspace) -> None:
    with pytest.raises(UnsupportedFormat):
        workflows.export_model(trained, MODEL, "onnx")
