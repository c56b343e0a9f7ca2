"""Models from elsewhere: stock tiny models give equal logits, our own exports come back whole, everything else is refused."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

import workflows
from config import SamplingConfig
from corpus import library
from errors import DoesNotFit, ModelRefused, NameTaken
from model import Transformer
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from tests.training_kit import BOOK, MODEL, QUIET, TEXT, TRAINING, changed, plan, same
from tokenizer import Tokenizer
from workspace import Workspace

Make = Callable[..., Transformer]
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48}


def stock(kind: str, vocab_size: int, **settings: Any) -> PreTrainedModel:
    """A tiny stock model whose every weight matters."""
    if kind == "llama":
        config = LlamaConfig(vocab_size=vocab_size, **LLAMA | {"rms_norm_eps": 1e-5} | settings)
        model: PreTrainedModel = LlamaForCausalLM(config)
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, **GPT2 | settings))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model.eval()


def saved(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer, **how: Any) -> Path:
    model.save_pretrained(folder, **how)
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    return folder


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))


def entries(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (*workspace.models.iterdir(), *workspace.checkpoints.iterdir()))


# ---- stock models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "how"),
    [
        ("llama", {}, {}),
        ("llama", {"num_key_value_heads": 2}, {}),
        ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}, {}),
        ("llama", {"rope_theta": 500_000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}}, {}),
        ("llama", {}, {"max_shard_size": "20KB"}),
        ("gpt2", {}, {}),
        ("gpt2", {"tie_word_embeddings": False, "n_inner": 40}, {}),
    ],
    ids=["llama", "grouped", "one-head-tied", "rope-theta", "shards", "gpt2-tied", "gpt2-untied"],
)
@torch.no_grad()
def test_a_stock_model_gives_equal_logits(
    workspace: Workspace, tokenizer: Tokenizer, tmp_path: Path, kind: str, settings: Any, how: Any
) -> None:
    theirs = stock(kind, tokenizer.size + 3, **settings)
    info = workflows.import_model(workspace, zipped(saved(theirs, tmp_path / "чужая", tokenizer, **how)), "чужая.zip")
    loaded = model_store.load(workspace, info.name)
    tokens = torch.randint(tokenizer.size, (8, 12), generator=torch.Generator().manual_seed(2))
    ours, stocks = (
        loaded.model.double()(tokens).float(),
        theirs.double()(tokens).logits.float(),
    )  # without rounding's chance
    torch.testing.assert_close(ours, stocks)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, stocks * 1.0001)
    assert (info.name, info.trained, info.books) == ("чужая", True, ())
    assert loaded.tokenizer is not None and loaded.tokenizer.to_json() == tokenizer.to_json()


def test_an_imported_model_trains_writes_and_leaves_again(
    workspace: Workspace, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = saved(stock("llama", tokenizer.size + 3, num_key_value_heads=2), tmp_path / "чужая", tokenizer)
    info = workflows.import_model(workspace, folder, folder.name)
    before = model_store.load(workspace, info.name).model.state_dict()
    training = workflows.prepare_training(workspace, info.name, (BOOK,), changed(TRAINING, iterations=2, eval_every=1))
    list(workflows.train(workspace, training))
    after = model_store.load(workspace, info.name)
    assert not same(before, after.model.state_dict())
    assert [entry.is_arrival for entry in after.lineage] == [True, False]
    sampling = SamplingConfig(max_new_tokens=5, temperature=0)
    pieces = list(workflows.generate(workspace, info.name, "Старик", sampling, cache=workflows.ModelCache()))
    assert pieces[-1].tokens == 5
    assert b"".join(workflows.export_model(workspace, info.name, "gguf", "q8_0").chunks)[:4] == b"GGUF"
    card = b"".join(workflows.export_model(workspace, info.name, "card").chunks).decode("utf-8")
    assert "made elsewhere" in card and "from scratch" not in card and "| not known: imported | – |" in card


# ---- our own exports -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "ending"), [("hf", "zip"), ("gguf", "gguf")])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_our_own_export_comes_back_bit_for_bit(
    workspace: Workspace, make_trained: Make, tmp_path: Path, architecture: str, format: str, ending: str
) -> None:
    make_trained("проза", architecture=architecture)
    export = workflows.export_model(workspace, "проза", format, "f32")
    file = io.BytesIO(b"".join(export.chunks))
    info = workflows.import_model(workspace, file, f"проза.{ending}")
    assert info.name == "проза (2)"
    first, second = (model_store.load(workspace, name) for name in ("проза", "проза (2)"))
    assert same(first.model.state_dict(), second.model.state_dict())
    assert (first.config, first.lineage) == (second.config, second.lineage)
    assert first.tokenizer and second.tokenizer and first.tokenizer.to_json() == second.tokenizer.to_json()


def test_a_training_goes_on_elsewhere_as_if_never_moved(workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = Workspace(tmp_path / "другая машина")
    elsewhere.prepare()
    library.add_book(elsewhere, f"{BOOK}.txt", io.BytesIO(TEXT.encode("utf-8")))
    list(workflows.train(workspace, plan(workspace, iterations=3, self_play=QUIET)))
    archive = b"".join(workflows.export_model(workspace, MODEL, "checkpoint").chunks)
    info = workflows.import_model(elsewhere, io.BytesIO(archive), "из дома.zip", MODEL)
    assert checkpoint_store.iterations(elsewhere, info.name) == (3,)
    ends = []
    for there in (workspace, elsewhere):
        list(workflows.train(there, workflows.prepare_training(there, MODEL, (BOOK,), changed(TRAINING, iterations=3))))
        end, _ = checkpoint_store.latest(there, MODEL)
        assert end is not None and end.iteration == 6
        ends.append(end)
    assert same(ends[0].weights, ends[1].weights) and same(ends[0].optimizer, ends[1].optimizer)


Q = "model.layers.0.self_attn.q_proj.weight"
SPOILT: list[tuple[str, Callable[[Checkpoint], Any]]] = [
    ("an iteration that is a text", lambda kept: kept.state["trainer"].update(iteration="3")),
    ("no self-play", lambda kept: kept.state["trainer"].pop("self_play")),
    ("a gate that is a number", lambda kept: kept.state["trainer"]["self_play"]["gate"].update(closed=3)),
    ("an unknown entry", lambda kept: kept.state["trainer"].update(strange=1)),
    ("no key of the books", lambda kept: kept.state.pop("books_key")),
    ("no learning rate", lambda kept: kept.state["config"].pop("learning_rate")),
    ("circumstances that are none", lambda kept: kept.state.update(circumstances=None)),
    ("a moment of another shape", lambda kept: kept.optimizer.update({f"{Q}/momentum_buffer": torch.zeros(3)})),
    ("a moment of nothing", lambda kept: kept.optimizer.update({"evil/momentum_buffer": torch.zeros(32, 32)})),
]


def test_a_checkpoint_that_no_training_could_go_on_from_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    list(workflows.train(workspace, plan(workspace, iterations=1, self_play=QUIET)))
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.prepare()
    for number, (name, spoil) in enumerate(SPOILT):
        kept, _ = checkpoint_store.latest(workspace, MODEL)
        assert kept is not None
        spoil(kept)
        checkpoint_store.save(elsewhere, "spoilt", kept, keep=1, budget_bytes=2**30)
        folder = tmp_path / str(number)
        shutil.copytree(workspace.model_folder(MODEL), folder)
        shutil.copytree(elsewhere.checkpoint_folder("spoilt"), folder, dirs_exist_ok=True)
        checkpoint_store.delete_all(elsewhere, "spoilt")
        with pytest.raises(ModelRefused) as caught:
            workflows.import_model(elsewhere, folder, folder.name)
        assert caught.value.parameters["reason"] == "damaged", name
        assert entries(elsewhere) == [], name


@pytest.mark.parametrize("lost", ["state.json", "optimizer.safetensors", "manifest.json"])
def test_a_checkpoint_that_lacks_a_file_is_refused_by_its_name(workspace: Workspace, tmp_path: Path, lost: str) -> None:
    names = ["m/config.json", "m/model.safetensors"]
    names += [
        f"c/step-00000005/{file}"
        for file in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
    ]
    archive = hostile_zip(tmp_path / "c.zip", *(name for name in names if not name.endswith(lost)))
    with pytest.raises(ModelRefused) as caught:
        workflows.import_model(workspace, archive, "c.zip")
    assert caught.value.parameters == {"reason": "damaged", "found": f"step-00000005/{lost}"}


def test_a_checkpoint_of_endless_brackets_is_damaged(tmp_path: Path) -> None:
    step = tmp_path / "step-00000001"
    step.mkdir()
    (step / "manifest.json").write_text("[" * 100_000, encoding="utf-8")
    assert checkpoint_store.latest_in(tmp_path) == (None, [1])


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_taken_name_is_refused_before_the_file_is_read(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NameTaken):
        workflows.import_model(workspace, tmp_path / "there is no such file", "x.zip", MODEL.upper())


def test_models_stored_at_once_get_names_of_their_own_and_keep_their_checkpoints(
    workspace: Workspace, tmp_path: Path
) -> None:
    list(workflows.train(workspace, plan(workspace, iterations=2)))
    source = tmp_path / "копия.zip"
    source.write_bytes(b"".join(workflows.export_model(workspace, MODEL, "checkpoint").chunks))
    with ThreadPoolExecutor(6) as executor:
        copies = [executor.submit(workflows.duplicate_model, workspace, MODEL) for _ in range(3)]
        imported = [executor.submit(workflows.import_model, workspace, source, "копия.zip") for _ in range(3)]
    names = [task.result().name for task in copies + imported]
    assert sorted(names) == sorted([f"{MODEL} ({n})" for n in (2, 3, 4)] + ["копия", "копия (2)", "копия (3)"])
    assert all(checkpoint_store.latest(workspace, name)[0] for name in names)


# ---- refused ---------------------------------------------------------------------------------------------------------


def rewritten(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A change to a JSON file of the folder."""

    def apply(folder: Path) -> None:
        path = folder / file
        values = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(change(values) or values), encoding="utf-8")

    return apply


def reweighed(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        change(tensors)
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return apply


def with_config(**settings: Any) -> Callable[[Path], None]:
    return rewritten("config.json", lambda values: values | settings)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("no tokenizer", lambda folder: (folder / "tokenizer.json").unlink(), "not_a_model"),
    ("no weights", lambda folder: (folder / "model.safetensors").unlink(), "not_a_model"),
    ("pickle", pickled, "pickle"),
    ("cut off", cut_off, "damaged"),
    ("no JSON", lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "damaged"),
    ("deep JSON", lambda folder: (folder / "config.json").write_text("[" * 100_000, encoding="utf-8"), "damaged"),
    ("list", lambda folder: (folder / "config.json").write_text("[]", encoding="utf-8"), "damaged"),
    ("own code", with_config(auto_map={"AutoModel": "m.Model"}), "code"),
    ("other kind", with_config(model_type="bert"), "architecture"),
    ("rope scaling", with_config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), "setting"),
    ("eps", with_config(rms_norm_eps=1e-6), "setting"),
    ("bias", with_config(attention_bias=True), "setting"),
    ("activation", with_config(hidden_act="relu"), "setting"),
    ("head size", with_config(head_dim=16), "setting"),
    ("kv heads", with_config(num_key_value_heads=3), "setting"),
    ("huge", with_config(hidden_size=10**9), "size"),
    ("text", with_config(num_hidden_layers="2"), "size"),
    ("list of kinds", with_config(model_type=["llama"]), "damaged"),
    ("endless digits", with_config(rms_norm_eps=10**400), "damaged"),
    ("a number for a matrix", reweighed(lambda tensors: tensors.update({Q: torch.zeros(())})), "shape"),
    ("heads that do not divide", with_config(num_attention_heads=3, num_key_value_heads=3), "size"),
    ("layers", with_config(num_hidden_layers=3), "names"),
    ("width", with_config(intermediate_size=64), "shape"),
    ("other shape", reweighed(lambda tensors: tensors.update({Q: torch.zeros(32, 16)})), "shape"),
    ("extra", reweighed(lambda tensors: tensors.update({"evil": torch.zeros(1)})), "names"),
    ("whole numbers", reweighed(lambda tensors: tensors.update({Q: torch.zeros(32, 32, dtype=torch.int32)})), "numbers"),
    ("not a number", reweighed(lambda tensors: tensors[Q].fill_(float("nan"))), "numbers"),
    ("normalizer", rewritten("tokenizer.json", lambda values: values | {"normalizer": {"type": "NFC"}}), "tokenizer"),
    ("splitter", rewritten("tokenizer.json", lambda values: values | {"pre_tokenizer": {"type": "ByteLevel"}}), "tokenizer"),
    ("no bytes", rewritten("tokenizer.json", lambda values: values["model"]["vocab"].pop("a") and None), "tokenizer"),
    ("added", rewritten("tokenizer.json", lambda values: values["added_tokens"].append({"id": 9, "content": "<x>"})), "tokenizer"),
    ("merges", rewritten("tokenizer.json", lambda values: values["model"]["merges"].append(["я", "ю"])), "tokenizer"),
    ("empty", lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"), "tokenizer"),
    ("small", with_config(vocab_size=290), "shape"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    workspace: Workspace, tokenizer: Tokenizer, tmp_path: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    folder = saved(stock("llama", tokenizer.size), tmp_path / "чужая", tokenizer)
    spoil(folder)
    before = entries(workspace)
    with pytest.raises(ModelRefused) as caught:
        workflows.import_model(workspace, zipped(folder), "чужая.zip")
    assert (caught.value.field, caught.value.parameters["reason"]) == ("file", reason)
    assert entries(workspace) == before


def hostile_zip(path: Path, *names: str, data: bytes = b"x", **flags: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for flag, value in flags.items():
                setattr(entry, flag, value)
            archive.writestr(entry, data)
    return path


def bomb(path: Path, config: dict[str, Any]) -> Path:
    """A zip of 70 kB that would unpack to 70 MB, which is much for a small model and too regular for weights of any."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/config.json", json.dumps(config))
        archive.writestr("m/model.safetensors", bytes(70_000_000))
    return path


CONFIG = {"model_type": "llama", "vocab_size": 300, "rms_norm_eps": 1e-5} | LLAMA
FILES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("text", lambda path: path.write_text("Жил-был кот.", encoding="utf-8"), "other_file"),
    ("nothing", lambda path: path.write_bytes(b""), "other_file"),
    ("no zip", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "damaged"),
    ("slip", lambda path: hostile_zip(path, "../config.json", "../model.safetensors"), "unsafe"),
    ("absolute", lambda path: hostile_zip(path, "/etc/config.json"), "unsafe"),
    ("drive", lambda path: hostile_zip(path, "C:/config.json"), "unsafe"),
    ("link", lambda path: hostile_zip(path, "m/config.json", external_attr=0o120777 << 16), "unsafe"),
    ("books", lambda path: hostile_zip(path, "a.txt"), "not_a_model"),
    ("GGUF bomb", lambda path: hostile_zip(path, "m.gguf", data=bytes(5_000_000)), "too_large"),
    ("no GGUF in it", lambda path: hostile_zip(path, "m/m.gguf"), "damaged"),
    ("checkpoint of torch", lambda path: hostile_zip(path, "archive/data.pkl"), "pickle"),
    ("bomb", lambda path: bomb(path, CONFIG), "too_large"),
    ("bomb for a large model", lambda path: bomb(path, CONFIG | {"vocab_size": 100_000, "hidden_size": 1024}), "too_large"),
    ("long JSON", lambda path: hostile_zip(path, "config.json", "model.safetensors", data=b" " * 50_000_001), "too_large"),
    ("GGUF head", lambda path: path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1)), "damaged"),
    ("GGUF cut", lambda path: path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1)), "damaged"),
    ("GGUF text", lambda path: path.write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**60)), "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "reason"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_hostile_file_is_refused_and_leaves_nothing(
    workspace: Workspace, tmp_path: Path, write: Callable[[Path], Any], reason: str
) -> None:
    write(tmp_path / "m.zip")
    before = entries(workspace)
    with pytest.raises(ModelRefused) as caught:
        workflows.import_model(workspace, tmp_path / "m.zip", "m.zip")
    assert caught.value.parameters["reason"] == reason
    assert entries(workspace) == before
    assert not list(tmp_path.parent.glob("config.json"))


@pytest.mark.slow
def test_every_byte_of_a_gguf_head_may_be_wrong_without_a_crash(
    workspace: Workspace, make_trained: Make, tmp_path: Path
) -> None:
    """Each flipped bit gives a refusal or a model: never another error."""
    make_trained("проза", num_layers=1, d_model=32, d_ff=32)
    whole = b"".join(workflows.export_model(workspace, "проза", "gguf", "f16").chunks)
    path = tmp_path / "m.gguf"
    refused = 0
    for place in range(0, 1500, 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        try:
            workflows.import_model(workspace, path, "m.gguf", "м")
            workflows.delete_model(workspace, "м")
        except ModelRefused:
            refused += 1
    assert refused > 10


def test_a_gguf_head_full_of_lists_takes_little_memory(workspace: Workspace, tmp_path: Path) -> None:
    """Each byte of such a list takes eight in memory: 20 MB of them would take 160."""
    count, lists = 1_000_000, 20
    full = (struct.pack("<Q2sIIQ", 2, f"{each:02}".encode(), 9, 0, count) + bytes(count) for each in range(lists))
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, lists) + b"".join(full))
    tracemalloc.start()
    try:
        with pytest.raises(ModelRefused):
            workflows.import_model(workspace, tmp_path / "m.gguf", "m.gguf")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_sizes_are_judged_before_weights_are_read(
    workspace: Workspace, make_trained: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained("проза")
    for format, kind in (("hf", "f32"), ("gguf", "f16")):
        path = tmp_path / format
        path.write_bytes(b"".join(workflows.export_model(workspace, "проза", format, kind).chunks))
        with monkeypatch.context() as context:
            context.setattr("runs.forecast.available_bytes", lambda device: 0)
            context.setattr("formats.gguf_reader._numbers", None)
            context.setattr("store.tensor_file.read", None)
            with pytest.raises(DoesNotFit):
                workflows.import_model(workspace, path, "m", "м")


def test_a_gguf_file_of_another_program_is_refused(
    workspace: Workspace, make_trained: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained("проза")
    loaded = model_store.load(workspace, "проза")
    path = tmp_path / "m.gguf"
    from formats.gguf import NumberType, write_gguf

    monkeypatch.setattr(
        "gguf.GGUFWriter.add_tokenizer_pre", lambda self, pre: self.add_string("tokenizer.ggml.pre", "qwen2")
    )
    assert loaded.tokenizer is not None
    write_gguf(path, "m", loaded.config, loaded.model.state_dict(), loaded.tokenizer, NumberType.F16)
    with pytest.raises(ModelRefused) as caught:
        workflows.import_model(workspace, path, "m.gguf")
    assert caught.value.parameters["found"] == "tokenizer.ggml.pre = qwen2"
