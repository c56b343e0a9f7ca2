"""Each export is made, read back and used by another program before it is offered; a wrong one does not pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from config import Architecture
from errors import ModelNotFound
from exchange import self_test, verdicts
from exchange.self_test import ExportStage
from exchange.verdicts import Verdict
from formats import exports, gguf, llama_cpp
from formats.exports import Format
from formats.gguf import NumberType
from store import model_store
from tests.training_kit import finish
from workspace import Workspace

NAME = "проза"
Make = Callable[..., Any]


def verdict_of(workspace: Workspace, format: Format, kind: NumberType | None = None) -> Verdict:
    found = finish(self_test.verdict_on(workspace, NAME, format, kind))
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", list(NumberType))
def test_a_gguf_file_passes_with_everything_compared(
    workspace: Workspace, make_trained: Make, architecture: Architecture, kind: NumberType
) -> None:
    pytest.importorskip("xllamacpp")
    model = make_trained(architecture=architecture)
    found = verdict_of(workspace, Format.GGUF, kind)
    assert found.passed and found.text
    assert found.numbers == sum(tensor.numel() for tensor in model.state_dict().values())
    assert found.tokens == found.tokens_equal > 1000
    assert found.text_tokens == self_test.WRITTEN_TOKENS
    assert found.difference == 0 if kind is NumberType.F32 else 0 < found.difference < 0.02


def test_weights_too_small_for_a_scale_of_16_bits_may_become_zero(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a head that starts at zero are after the first iterations."""
    model = make_trained()
    weights = model.state_dict() | {"lm_head.weight": model.lm_head.weight.detach() * 1e-6}
    model_store.publish(workspace, NAME, model.config, weights, model_store.load(workspace, NAME).lineage[0])
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    assert verdict_of(workspace, Format.GGUF, NumberType.Q8_0).weights


def test_a_folder_passes_with_weights_and_tokens_compared(workspace: Workspace, make_trained: Make) -> None:
    make_trained()
    found = verdict_of(workspace, Format.HF)
    assert found.passed and found.difference == 0
    assert found.tokens == found.tokens_equal > 1000
    assert found.text is None


def test_rows_that_are_not_permuted_do_not_pass(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides of our own reader would agree on them: only another program sees it."""
    pytest.importorskip("xllamacpp")
    make_trained()
    monkeypatch.setattr(gguf, "is_permuted", lambda name: False)
    monkeypatch.setattr("formats.gguf_reader.is_permuted", lambda name: False)
    found = verdict_of(workspace, Format.GGUF, NumberType.F32)
    assert found.weights and found.text is False
    assert not found.passed


def test_a_wrong_weight_does_not_pass(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained()

    def lossy(*arguments: Any) -> Any:
        name, config, weights, *others = arguments
        wrong = dict(weights) | {"norm.weight": weights["norm.weight"] * 1.001}
        return gguf.gguf_file(name, config, wrong, *others)

    monkeypatch.setattr(exports, "gguf_file", lossy)
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    found = verdict_of(workspace, Format.GGUF, NumberType.F16)
    assert (found.weights, found.passed) == (False, False)


def test_another_pattern_in_the_file_does_not_pass(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    make_trained()
    monkeypatch.setattr(
        "gguf.GGUFWriter.add_tokenizer_pre", lambda self, pre: self.add_string("tokenizer.ggml.pre", "gpt-2")
    )
    monkeypatch.setattr(self_test, "_compare_weights", lambda *_: self_test._Weights(True, 1, 0.0))
    found = verdict_of(workspace, Format.GGUF, NumberType.F32)
    assert found.tokens is not None and found.tokens_equal < found.tokens * 0.999
    assert not found.passed


def test_a_runtime_that_refuses_the_file_fails_it_and_a_missing_one_does_not(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained()
    monkeypatch.setattr(llama_cpp, "ask", lambda *_: llama_cpp.Answer([], []))
    assert not verdict_of(workspace, Format.GGUF, NumberType.F16).passed
    monkeypatch.setattr(llama_cpp, "ask", lambda *_: None)
    found = verdict_of(workspace, Format.GGUF, NumberType.BF16)
    assert found.passed
    assert (found.tokens, found.text) == (None, None)


def test_a_runtime_that_crashes_takes_nobody_with_it(tmp_path: Any) -> None:
    pytest.importorskip("xllamacpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    assert llama_cpp.ask(broken, 64, ["a"], "a", 4) == llama_cpp.Answer([], [])


def test_a_verdict_costs_once_for_each_version_of_the_model(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_trained()
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    first = verdict_of(workspace, Format.GGUF, NumberType.F16)
    made = []
    monkeypatch.setattr(exports, "gguf_file", lambda *arguments: made.append(1) or gguf.gguf_file(*arguments))
    assert verdict_of(workspace, Format.GGUF, NumberType.F16) == first
    assert verdict_of(workspace, Format.OLLAMA, NumberType.F16) == first, "Ollama's zip holds the same file"
    assert made == []
    weights = {name: tensor * 2 for name, tensor in model.state_dict().items()}
    model_store.publish(workspace, NAME, model.config, weights, model_store.load(workspace, NAME).lineage[0])
    again = verdict_of(workspace, Format.GGUF, NumberType.F16)
    assert (made, again.of != first.of) == ([1], True)


def test_weights_that_are_published_during_a_test_are_tested_again(
    workspace: Workspace, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, export = make_trained(), exports.export
    weights = {name: tensor * 2 for name, tensor in model.state_dict().items()}

    def published_meanwhile(*arguments: Any) -> exports.Export:
        monkeypatch.setattr(exports, "export", export)
        chunks = list((made := export(*arguments)).chunks)
        model_store.publish(workspace, NAME, model.config, weights, model_store.load(workspace, NAME).lineage[0])
        return dataclasses.replace(made, chunks=iter(chunks))

    monkeypatch.setattr(exports, "export", published_meanwhile)
    found = verdict_of(workspace, Format.HF)
    assert found.passed and found.of == verdicts.version(workspace, NAME, Format.HF)


def test_a_model_that_is_deleted_during_a_test_is_named(workspace: Workspace, make_trained: Make) -> None:
    make_trained()
    stages = self_test.verdict_on(workspace, NAME, Format.HF, None)
    assert [next(stages) for _ in range(3)][-1] is ExportStage.TOKENS
    model_store.delete(workspace, NAME)
    with pytest.raises(ModelNotFound):
        finish(stages)


def test_a_damaged_list_of_verdicts_only_costs_the_test_again(workspace: Workspace, make_trained: Make) -> None:
    make_trained()
    first = verdict_of(workspace, Format.HF)
    (workspace.model_folder(NAME) / "exports.json").write_text('[{"format": 1}]', encoding="utf-8")
    assert verdict_of(workspace, Format.HF) == first


def test_the_test_tells_its_stages_and_leaves_no_file(workspace: Workspace, make_trained: Make) -> None:
    make_trained()
    before = sorted(path.name for path in workspace.models.iterdir())
    stages: Iterator[Any] = self_test.verdict_on(workspace, NAME, Format.GGUF, NumberType.F32)
    assert list(stages) == ["writing", "weights", "tokens", "text"]
    assert sorted(path.name for path in workspace.models.iterdir()) == before


def test_the_card_says_what_was_verdict_of(workspace: Workspace, make_trained: Make) -> None:
    make_trained()
    found = verdict_of(workspace, Format.HF)
    (line,) = verdicts.checked([dataclasses.replace(found, text=True)])
    assert (line.export, line.passed, line.text) == ("hf", True, True)


@torch.no_grad()
def test_the_comparison_of_texts_sees_another_model(workspace: Workspace, make_trained: Make) -> None:
    model, other = make_trained(), make_trained("другая", d_ff=64)
    ids = [0, 1, 2, 3]
    written = [llama_cpp.Written(int(model(torch.tensor([ids]))[0, -1].argmax()), None)]
    assert self_test._compare_text(model, ids, written, NumberType.F32).passed
    assert not self_test._compare_text(other, ids, written, NumberType.F32).passed
