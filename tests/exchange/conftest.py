"""A workspace with the book "река" and a trained model that uses a part of its vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from config import Architecture, ModelConfig
from formats.lineage import TrainingSummary
from model import Transformer
from store import model_store
from tests.training_kit import BOOK, TEXT
from tokenizer import Tokenizer
from workspace import Workspace

SUMMARY = TrainingSummary(120, 3.25, 1.75, (BOOK,), "2030-01-02T03:04:05+00:00", 61.5)
UNUSED = 5


@pytest.fixture(scope="session")
def wide_tokenizer() -> Tokenizer:
    return Tokenizer.fit([TEXT], 400)


@pytest.fixture
def make_trained(workspace: Workspace, wide_tokenizer: Tokenizer) -> Callable[..., Transformer]:
    def make(name: str = "проза", architecture: Architecture = "llama", **sizes: int) -> Transformer:
        shape = {"d_model": 64, "num_layers": 2, "num_heads": 4, "d_ff": 96, "max_seq_len": 64} | sizes
        config = ModelConfig(architecture=architecture, vocab_size=wide_tokenizer.size + UNUSED, **shape)
        model, generator = Transformer(config), torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                parameter.normal_(1.0 if parameter_name.endswith("norm.weight") else 0.0, 0.2, generator=generator)
        model_store.add(workspace, name, config, model.state_dict(), wide_tokenizer, (SUMMARY,))
        return model.eval()

    return make
