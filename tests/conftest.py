"""A tokenizer fitted on the spot, its data, trainers of fresh models, and a workspace with a model and two books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import azr_trainer
from azr_trainer import AZRTrainer, TrainerState
from corpus.dataset import TokenDataset, split, tokenize
from model import Transformer
from runs import forecast
from store import engines
from tests.training_kit import SELF_PLAY, SHAPE, TEXT, TRAINING, changed, fill, finish, make_model, play, ready_to_play
from tokenizer import Tokenizer
from workspace import Workspace


@pytest.fixture
def quick_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average differs from the weights after two steps, not only after ten."""
    monkeypatch.setattr("learning.average.AVERAGE_SHARE", 0.9)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch.set_num_threads of one test must not slow down or change the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are written by our own loop on every machine, except where a test is about llama.cpp or the C code."""
    monkeypatch.setenv("AZR_LLAMA_CPP", "0")
    monkeypatch.setattr(engines, "fast_decoder", lambda model, size: None)


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits must not depend on what else this machine is doing."""
    monkeypatch.setattr(forecast, "available_bytes", lambda device: 8 * 10**9)


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample after each evaluation would take most of the time; here each has one, however soon it comes."""
    monkeypatch.setattr(azr_trainer, "SAMPLE_TOKENS", 6)
    monkeypatch.setattr(azr_trainer, "SAMPLE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.fit([TEXT], SHAPE.vocab_size)


@pytest.fixture(scope="session")
def dataset(tokenizer: Tokenizer) -> TokenDataset:
    return finish(tokenize([split(TEXT, 0.1)], tokenizer))


@pytest.fixture
def make_trainer(tokenizer: Tokenizer, dataset: TokenDataset) -> Callable[..., AZRTrainer]:
    """A trainer of a fresh model; `**changes` are of the configuration."""

    def make(
        model: Transformer | None = None, self_play: bool = False, state: TrainerState | None = None,
        optimizer_state: dict[str, torch.Tensor] | None = None, **changes: Any,
    ) -> AZRTrainer:  # fmt: skip
        config = changed(TRAINING, **({"self_play": SELF_PLAY} if self_play else {}) | changes)
        player = play(tokenizer, config.self_play) if self_play else None
        if state is None and self_play:
            state = ready_to_play(tokenizer)
        return AZRTrainer(
            model or make_model(),
            tokenizer,
            dataset,
            config,
            self_play=player,
            state=state,
            optimizer_state=optimizer_state,
        )

    return make


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the untrained model "поэт" and the books "река" and "лес"."""
    workspace = Workspace(tmp_path / "рабочая папка")
    fill(workspace)
    return workspace
