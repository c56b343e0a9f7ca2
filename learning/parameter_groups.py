"""Parameter groups and their optimizers.

"muon": Muon updates the matrices inside the blocks by orthogonal matrices (queries, keys and values by one for each head); AdamW
updates embeddings, head, norms and biases. "adamw": AdamW updates everything. `learning_rate` is AdamW's; the factors below turn it
into the rate of each group, which depends on how often the books have been read: embeddings and head learn words quickly from a
new text, but soon memorise a known one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from config import TrainConfig
from learning.adamw import AdamW
from learning.muon import Muon
from learning.optimizer import Optimizer
from learning.schedules import WeightDecay, how_known
from machine.devices import choose_precision
from model import Transformer

EMBEDDINGS, HEAD = "embed_", "lm_head"  # how the names of these parameters begin
Factor = tuple[float, float]  # for new books, and for books that have been read once

MUON_FACTOR: Factor = (7.0, 10.0)
EMBEDDING_FACTOR: Factor = (40.0, 5.0)
HEAD_FACTOR: Factor = (4.5, 1.5)
ADAMW_FACTOR: Factor = (1.0, 1.0)
RATES = ("lr", "weight_decay")  # what changes from step to step
OF_HEADS = (
    "q_proj.weight",
    "k_proj.weight",
    "v_proj.weight",
)  # each holds one matrix for each head, one below the other


class Optimizers:
    """The optimizers of one model, stepped together. Their state is a flat mapping of tensors by parameter name."""

    def __init__(self, model: Transformer, config: TrainConfig) -> None:
        self._names: dict[object, str] = {parameter: name for name, parameter in model.named_parameters()}
        groups = _group(model)
        muon = config.optimizer == "muon"
        heads, matrices = groups["heads"], groups["matrices"]
        adamw_groups: list[dict[str, Any]] = [
            {
                "params": groups["embeddings"],
                "decays": "embeddings",
                "factor": EMBEDDING_FACTOR if muon else ADAMW_FACTOR,
            },
            {"params": groups["head"], "decays": "matrices", "factor": HEAD_FACTOR if muon else ADAMW_FACTOR},
            {"params": groups["vectors"], "decays": None, "factor": ADAMW_FACTOR},
        ]
        self._optimizers: list[Optimizer] = []
        device = matrices[0].device
        if muon:
            muon_groups: list[dict[str, Any]] = [
                {"params": heads, "decays": "matrices", "factor": MUON_FACTOR, "pieces": model.config.num_heads},
                {"params": matrices, "decays": "matrices", "factor": MUON_FACTOR},
            ]
            dtype = choose_precision(config.precision, device)
            self._optimizers.append(Muon(muon_groups, dtype=dtype))
        else:
            adamw_groups.append({"params": heads + matrices, "decays": "matrices", "factor": ADAMW_FACTOR})
        betas = (0.8, 0.95) if muon else (0.9, 0.99)
        graphs = device.type == "cuda"  # a CUDA graph reads its rates from the card's memory
        self._optimizers.append(AdamW(adamw_groups, betas=betas, eps=1e-10 if muon else 1e-8))
        for settings in self._groups():
            for name in RATES:
                settings[name] = torch.zeros((), device=device) if graphs else 0.0

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self._optimizers:
            yield from optimizer.param_groups

    def set_rates(self, learning_rate: float, readings: float, weight_decay: WeightDecay) -> None:
        """Set the learning rates and the decay for a step after `readings` passes over the books."""
        known = how_known(readings)
        for group in self._groups():
            fresh, settled = group["factor"]
            decay = getattr(weight_decay, group["decays"]) if group["decays"] else 0.0
            rates = (learning_rate * (fresh + (settled - fresh) * known), decay)
            for name, rate in zip(RATES, rates, strict=True):
                if isinstance(group[name], Tensor):
                    group[name].fill_(rate)
                else:
                    group[name] = rate

    def step(self) -> None:
        """Update the weights; the gradients stay."""
        for optimizer in self._optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """Return every state tensor under "<parameter name>/<key>"."""
        flat = {}
        for optimizer in self._optimizers:
            for parameter, entries in optimizer.state.items():
                for key, value in entries.items():
                    flat[f"{self._names[parameter]}/{key}"] = value if torch.is_tensor(value) else torch.tensor(value)
        return flat

    def load_state(self, flat: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, bit for bit."""
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for key, value in flat.items():
            name, _, entry = key.rpartition("/")
            by_parameter.setdefault(name, {})[entry] = value
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if entries := by_parameter.get(self._names[parameter]):
                        optimizer.state[parameter] = {key: value.clone() for key, value in entries.items()}


def _group(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    groups: dict[str, list[nn.Parameter]] = {"heads": [], "matrices": [], "embeddings": [], "head": [], "vectors": []}
    for name, parameter in model.named_parameters():
        if name.startswith(EMBEDDINGS):
            groups["embeddings"].append(parameter)
        elif name.startswith(HEAD):
            groups["head"].append(parameter)
        elif parameter.dim() == 1:
            groups["vectors"].append(parameter)
        else:
            groups["heads" if name.endswith(OF_HEADS) else "matrices"].append(parameter)
    return groups
