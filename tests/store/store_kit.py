"""Small real models, tokenizers and checkpoints for the tests of the stores, and what a person can see of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from config import ModelConfig
from formats.lineage import TrainingSummary
from model import Transformer
from store import checkpoint_store, model_list, model_store
from store.checkpoint_store import Checkpoint
from tokenizer import Tokenizer
from workspace import TEMPORARY_PREFIX, Workspace

CONFIG = ModelConfig(vocab_size=300, d_model=8, num_layers=1, num_heads=2, d_ff=16, max_seq_len=16)
NAME = "поэт"


def a_model(seed: int = 0, config: ModelConfig = CONFIG) -> Transformer:
    model = Transformer(config)
    model.initialise(seed)
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(seed))
    return model


def a_tokenizer() -> Tokenizer:
    return Tokenizer.fit(["мама мыла раму, мама мыла раму"], CONFIG.vocab_size)


def a_summary(iteration: int = 100) -> TrainingSummary:
    return TrainingSummary(iteration, 3.5, 1.25, ("Война и мир",), "2030-01-02T03:04:05+00:00", 61.5)


def a_checkpoint(iteration: int) -> Checkpoint:
    weights = dict(a_model(iteration).state_dict())
    optimizer = {f"{name}/exp_avg": tensor * iteration for name, tensor in weights.items()}
    optimizer |= {"lm_head.weight/step": torch.tensor(float(iteration)), "reference/norm.weight": torch.ones(8)}
    return Checkpoint(iteration, weights, optimizer, {"trainer": {"iteration": iteration}, "books": ["Война и мир"]})


def equal_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def create_trained(ws: Workspace, name: str, seed: int = 1, config: ModelConfig = CONFIG) -> None:
    model_store.create(ws, name, config, a_model(config=config), seed=0)
    model_store.set_tokenizer(ws, name, a_tokenizer())
    model_store.publish(ws, name, config, a_model(seed, config).state_dict(), a_summary())


def model_state(ws: Workspace) -> list[Any]:
    """Everything a person can see of each model that stands in the folder, damaged or not."""
    found = []
    for folder in sorted(ws.models.iterdir()):
        if not folder.name.startswith(TEMPORARY_PREFIX):
            info = dataclasses.replace(model_list.get_model(ws, folder.name), bytes=0, created_at="")
            loaded = model_store.load(ws, folder.name)
            digest = sum(float(tensor.double().abs().sum()) for tensor in loaded.model.state_dict().values())
            found.append((info, loaded.lineage, digest, loaded.tokenizer and loaded.tokenizer.to_json()))
    assert len(found) == len(model_list.list_models(ws))
    return found


def checkpoint_state(ws: Workspace) -> tuple[int | None, list[int], float]:
    found, damaged = checkpoint_store.latest(ws, NAME)
    if found is None:
        return None, damaged, 0.0
    tensors = [*found.weights.values(), *found.optimizer.values()]
    return found.iteration, damaged, sum(float(tensor.double().abs().sum()) for tensor in tensors)
