"""llama.cpp kept with a model's newest weights, its files within a budget, and our own loop wherever anything goes wrong."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

import workflows
from config import SamplingConfig
from engine import llama_cpp
from engine.decoder import fast_decoder
from engine.stream import Extras
from engine.text import Engine, Piece
from errors import ModelDamaged
from formats.gguf import NumberType
from kernels import native
from store import engines as store
from store import model_store
from store.engines import Engines
from store.model_cache import ModelCache
from tests.store.store_kit import CONFIG, NAME, a_model, a_summary, create_trained
from tests.training_kit import changed
from workspace import Workspace

pytest.importorskip("xllamacpp", reason="the optional runtime is not installed")

GREEDY = SamplingConfig(temperature=0, max_new_tokens=40)
Write = Callable[..., Piece]


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp is on, and computes as exactly as our own loop."""
    monkeypatch.setenv("AZR_LLAMA_CPP", "1")
    original = store._write
    monkeypatch.setattr(store, "_write", lambda path, loaded, kind: original(path, loaded, NumberType.F32))


@pytest.fixture
def write(trained: Workspace) -> Write:
    """Writes with a model and returns the last piece."""
    cache = ModelCache()

    def write(engines: Engines | None, name: str = NAME, **options: Any) -> Piece:
        *_, last = workflows.generate(trained, name, "мама", GREEDY, cache=cache, engines=engines, **options)
        return last

    return write


def _written_by(piece: Piece) -> Engine | None:
    return piece.origin.engine if piece.origin else None


def test_text_is_the_same_and_the_answer_says_what_wrote_it(write: Write) -> None:
    ours, theirs = write(None), write(Engines())
    assert (_written_by(ours), _written_by(theirs)) == (Engine.TORCH, Engine.LLAMA_CPP)
    assert (ours.completion, ours.tokens, ours.finish_reason) == (
        theirs.completion,
        theirs.tokens,
        theirs.finish_reason,
    )
    assert ours.completion and ours.origin and theirs.origin
    assert ours.origin.prompt_tokens == theirs.origin.prompt_tokens


@pytest.mark.parametrize("extras", [Extras(alternatives=5), Extras(presence_penalty=1.0)])
def test_what_llama_cpp_cannot_do_is_written_by_our_own_loop(write: Write, extras: Extras) -> None:
    assert _written_by(write(Engines(), extras=extras)) is Engine.TORCH


def test_many_texts_are_written_together_by_our_own_loop(trained: Workspace, write: Write) -> None:
    engines = Engines()
    assert _written_by(write(engines, texts=store.FEW_TEXTS)) is Engine.LLAMA_CPP
    together = write(engines, texts=store.FEW_TEXTS + 1)
    assert (_written_by(together), together.completion) == (Engine.TORCH, write(None).completion)
    fast = engines.get(trained, NAME, "best", ModelCache()).llama_cpp
    assert fast is not None
    busy = [fast.stream([5], GREEDY, -1) for _ in range(store.FEW_TEXTS)]
    for text in busy:
        next(text)
    assert _written_by(write(engines)) is Engine.TORCH, "llama.cpp has as many as it writes fast"
    busy[0].close()  # type: ignore[attr-defined]
    assert _written_by(write(engines)) is Engine.LLAMA_CPP


@pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")
def test_c_code_writes_where_it_serves(trained: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "fast_decoder", fast_decoder)
    assert _written_by(write(Engines())) is Engine.LLAMA_CPP, "the C code does not know heads of four dimensions"
    create_trained(trained, "широкая", config=changed(CONFIG, d_model=64, d_ff=64))
    engines = Engines(3)
    origin = write(engines, "широкая").origin
    assert origin and (origin.engine, origin.weights) == (Engine.NATIVE, "f16")
    assert _written_by(write(engines, "широкая", texts=30)) is Engine.NATIVE
    assert _written_by(write(engines, "широкая", weights="q8_0")) is Engine.LLAMA_CPP
    assert _written_by(write(engines, "широкая", weights="f32")) is Engine.TORCH
    assert _written_by(write(engines, "широкая", extras=Extras(alternatives=5))) is Engine.TORCH


@pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")
def test_weights_beyond_float16_are_not_left_to_it(
    trained: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "fast_decoder", fast_decoder)
    config = changed(CONFIG, d_model=64, d_ff=64)
    create_trained(trained, "широкая", config=config)
    model = a_model(1, config)
    with torch.no_grad():
        model.lm_head.weight[7, 0] = 70_000
    model_store.publish(trained, "широкая", config, model.state_dict(), a_summary())
    assert _written_by(write(Engines(), "широкая")) is not Engine.NATIVE


def test_newest_weights_write(trained: Workspace, write: Write) -> None:
    engines, texts = Engines(), []
    for seed in (1, 2):
        model_store.publish(trained, NAME, CONFIG, a_model(seed).state_dict(), a_summary())
        texts.append(write(engines).completion)
        assert texts[-1] == write(None).completion
    assert texts[0] != texts[1]


def test_file_is_written_once_for_a_version_and_engine_loaded_once(
    trained: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = _counted(monkeypatch, store, "_write")
    engines = Engines()
    for kept in (engines, engines, Engines()):
        write(kept)
    assert len(written) == 1
    cache = ModelCache()
    assert engines.get(trained, NAME, "best", cache) is engines.get(trained, NAME, "best", cache)
    assert engines.get(trained, NAME, "best", cache, True) is not engines.get(trained, NAME, "best", cache)


def _counted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[Any]:
    calls, original = [], getattr(place, name)
    monkeypatch.setattr(place, name, lambda *given: calls.append(given) or original(*given))
    return calls


def test_files_beyond_the_budget_are_deleted_the_least_recently_used_first(
    trained: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("второй", "третий"), 2):
        create_trained(trained, name, seed=number)
    engines = Engines()
    for age, name in enumerate((NAME, "второй"), -9):
        write(engines, name)
        (newest,) = (file for file in trained.cache.iterdir() if file.stat().st_mtime > 1e9)
        os.utime(newest, (age + 10, age + 10))
    size = newest.stat().st_size
    monkeypatch.setattr(store, "BUDGET_BYTES", 2 * size)
    write(engines, "третий")
    left = sorted(trained.cache.iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(left) == 2
    assert left[0] == newest, "the older of the two others is gone"
    monkeypatch.setattr(store, "BUDGET_BYTES", 1)
    assert _written_by(write(Engines(), "третий")) is Engine.LLAMA_CPP, "the file in use stays whatever the budget"
    assert list(trained.cache.iterdir()) == [left[1]]


@pytest.mark.parametrize("failing", ["load", "disk", "missing", "off"])
def test_whatever_goes_wrong_costs_speed_only(
    write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device") if failing == "disk" else RuntimeError("not this file")

    if failing == "missing":
        monkeypatch.setattr(llama_cpp.importlib.util, "find_spec", lambda _: None)
    elif failing == "off":
        monkeypatch.setenv("AZR_LLAMA_CPP", "0")
    else:
        monkeypatch.setattr(store, "LlamaCpp" if failing == "load" else "_write", refuse)
    engines = Engines()
    with caplog.at_level(logging.WARNING):
        texts = [write(engines) for _ in range(2)]
    assert {_written_by(text) for text in texts} == {Engine.TORCH}
    assert {text.completion for text in texts} == {write(None).completion}
    assert len(caplog.records) == (1 if failing in ("load", "disk") else 0), "told once, not for every text"


def test_model_whose_numbers_are_none_is_named_as_damaged(trained: Workspace, write: Write) -> None:
    """llama.cpp would draw from them without a word."""
    model = a_model(1)
    with torch.no_grad():
        model.norm.weight.fill_(1e38)  # finite, and yet its logits are not
    model_store.publish(trained, NAME, CONFIG, model.state_dict(), a_summary())
    with pytest.raises(ModelDamaged):
        write(Engines())


@pytest.mark.slow
def test_runtime_is_not_imported_before_a_text_is_written() -> None:
    code = "import sys, cli, web.app, workflows; sys.exit('xllamacpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
