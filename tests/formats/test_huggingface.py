"""A model's folder as stock `transformers` sees it: equal logits, equal ids, safe generation, and a card whose code runs."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from config import Architecture, ModelConfig, SamplingConfig
from formats import huggingface
from formats.card import card
from formats.lineage import TrainingSummary
from model import Transformer
from store import model_store, tensor_file
from tokenizer import Tokenizer
from workspace import Workspace

TEXT = "Море шумело за окном. Она читала вслух, а машина слушала: «Что такое море?» 1234, don't!\n\n"
UNUSED = 40  # rows of the model beyond the tokenizer's ids
SUMMARY = TrainingSummary(120, 3.25, 1.75, ("Война и мир", "a_b*c"), "2030-01-02T03:04:05+00:00", 61.5)

both = pytest.mark.parametrize("architecture", ["llama", "gpt2"])


def tokenizer() -> Tokenizer:
    return Tokenizer.fit([TEXT * 5], 320)


def wild_model(architecture: Architecture) -> Transformer:
    config = ModelConfig(
        architecture=architecture,
        vocab_size=tokenizer().size + UNUSED,
        d_model=32,
        num_layers=2,
        num_heads=4,
        d_ff=80,
        max_seq_len=48,
    )
    model, generator = Transformer(config).eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


def stored(ws: Workspace, model: Transformer) -> Path:
    """The folder of a model that was created, given a tokenizer and published."""
    ws.prepare()
    model_store.create(ws, "поэт", model.config, Transformer(model.config), seed=0)
    model_store.set_tokenizer(ws, "поэт", tokenizer())
    model_store.publish(ws, "поэт", model.config, model.state_dict(), SUMMARY)
    return ws.model_folder("поэт")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads and wait long for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What transformers logs as a warning or worse."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    yield told
    logging.getLogger("transformers").removeHandler(handler)


@both
@torch.no_grad()
def test_auto_model_gives_equal_logits(tmp_path: Path, architecture: Architecture, complaints: list[str]) -> None:
    model = wild_model(architecture)
    stock = AutoModelForCausalLM.from_pretrained(stored(Workspace(tmp_path), model))
    tokens = torch.randint(model.config.vocab_size, (3, 48), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(tokens), stock(tokens).logits)
    assert stock.dtype == torch.float32
    assert complaints == []


def test_complaints_are_heard(tmp_path: Path, complaints: list[str]) -> None:
    """The control of the test above: one weight fewer, and transformers says that it made one up."""
    folder = stored(Workspace(tmp_path), wild_model("llama"))
    tensors, _ = tensor_file.read((folder / "model.safetensors").read_bytes())
    tensor_file.write(
        folder / "model.safetensors", {name: t for name, t in tensors.items() if name != "lm_head.weight"}
    )
    AutoModelForCausalLM.from_pretrained(folder)
    assert any("lm_head" in complaint for complaint in complaints)


@both
def test_auto_tokenizer_gives_equal_ids(tmp_path: Path, architecture: Architecture) -> None:
    stock = AutoTokenizer.from_pretrained(stored(Workspace(tmp_path), wild_model(architecture)))
    assert stock(TEXT)["input_ids"] == tokenizer().encode(TEXT)
    assert stock.decode(tokenizer().encode(TEXT)) == TEXT


def test_auto_tokenizer_reads_a_mark_inside_a_text_as_we_do(tmp_path: Path) -> None:
    """Books may hold the mark as plain characters; read as the special token it would be another text."""
    text = "<|startoftext|>Жил-был кот.<|endoftext|>\n<|startoftext|>Жил-был пёс.<|endoftext|>"
    stock = AutoTokenizer.from_pretrained(stored(Workspace(tmp_path), wild_model("llama")))
    assert stock(text)["input_ids"] == tokenizer().encode(text)
    assert tokenizer().end_of_text not in stock(text)["input_ids"]
    marked = stock(text, split_special_tokens=False)["input_ids"]  # as the card's prompt asks for
    assert marked.count(tokenizer().end_of_text) == 2
    assert stock(text)["input_ids"] == tokenizer().encode(text), "asking once changes nothing"


@both
def test_weights_come_back_bit_for_bit(architecture: Architecture) -> None:
    model = wild_model(architecture)
    there = huggingface.to_huggingface(model.config, model.state_dict())
    back = huggingface.from_huggingface(model.config, there)
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in model.state_dict().items())
    assert not set(there) & set(back) - {"lm_head.weight"}, "a name of ours left the house"


@both
def test_a_missing_tensor_is_a_key_error(architecture: Architecture) -> None:
    model = wild_model(architecture)
    tensors = huggingface.to_huggingface(model.config, model.state_dict())
    del tensors["lm_head.weight"]
    with pytest.raises(KeyError):
        huggingface.from_huggingface(model.config, tensors)


# ---- generation ------------------------------------------------------------------------------------------------------


def greedy_for_unused_ids(architecture: Architecture) -> Transformer:
    """A model that would choose ids beyond the tokenizer almost always."""
    model = wild_model(architecture)
    with torch.no_grad():
        model.lm_head.weight[tokenizer().size :] *= 30
    return model


@pytest.mark.slow
@both
@pytest.mark.parametrize("how", ["sampled", "greedy", "beams"])
def test_generate_never_picks_an_unused_id(tmp_path: Path, architecture: Architecture, how: str) -> None:
    folder, size = stored(Workspace(tmp_path), greedy_for_unused_ids(architecture)), tokenizer().size
    stock, prompt = AutoModelForCausalLM.from_pretrained(folder), torch.tensor([[0, 5, 9]] * 16)
    options = {"sampled": {}, "greedy": {"do_sample": False}, "beams": {"do_sample": False, "num_beams": 2}}[how]
    torch.manual_seed(0)
    assert int(stock.generate(prompt, **options).max()) < size
    stock.generation_config = GenerationConfig(do_sample=True, max_length=48, pad_token_id=0, eos_token_id=0)
    assert int(stock.generate(prompt).max()) >= size, "the control: without suppress_tokens it does"


@both
def test_generate_ends_where_the_context_ends(tmp_path: Path, architecture: Architecture) -> None:
    folder = stored(Workspace(tmp_path), wild_model(architecture))
    stock = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    assert stock.generate(torch.tensor([[0, 5, 9]] * 8)).shape[1] <= 48
    assert stock.generation_config.max_length == 48


def test_generation_defaults_are_those_of_sampling_config(tmp_path: Path) -> None:
    generation = GenerationConfig.from_pretrained(stored(Workspace(tmp_path), wild_model("llama")))
    sampling = SamplingConfig()
    for field in ("temperature", "top_k", "top_p", "repetition_penalty"):
        assert getattr(generation, field) == getattr(sampling, field)
    assert generation.do_sample and generation.eos_token_id == 0


# ---- card and files --------------------------------------------------------------------------------------------------


@both
def test_the_lines_of_the_card_run(
    tmp_path: Path, architecture: Architecture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(Workspace(tmp_path), wild_model(architecture))
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 1
    torch.manual_seed(0)
    exec(code[0].replace('folder = "."', f"folder = {str(folder)!r}"), {})
    assert capsys.readouterr().out.startswith("Your text")


def test_the_card_tells_what_it_is() -> None:
    lineage = (dataclasses.replace(SUMMARY, books=("Война и мир", "x\n# |y")),)
    text = card("a_b", wild_model("llama").config, 310, lineage)
    assert "iterations | 120 |" in text and "| val_loss | 3.2500 nats per token |" in text
    assert "- Война и мир\n- x \\# \\|y\n" in text and "# a\\_b\n" in text


def test_the_card_of_an_untrained_model_says_so() -> None:
    text = card("new", wild_model("llama").config, None, ())
    assert "| trained | not yet |" in text and "no tokenizer yet" in text and "weights are random" in text


def test_every_json_file_is_read_by_any_parser(tmp_path: Path) -> None:
    folder = stored(Workspace(tmp_path), wild_model("gpt2"))
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "azr.json", "config.json", "generation_config.json", "model.safetensors", "README.md", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    for name in names - {"README.md", "model.safetensors"}:
        assert json.loads((folder / name).read_text(encoding="utf-8"))
    assert tensor_file.read_metadata(folder / "model.safetensors")["format"] == "pt"
