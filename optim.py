"""Parameter groups, optimizers and the learning-rate schedule.

"muon": the matrices inside the blocks are moved by Muon, which makes each update an orthogonal matrix; embeddings, head, norms and biases by AdamW. "adamw": everything by AdamW. One `learning_rate` is meant as
AdamW's; the factors below, found by measurement (docs/benchmarks.md), turn it into each group's own.

The schedule is a pure function of the iteration, so that a resumed training needs no schedule state.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from config import TrainConfig
from devices import choose_precision
from muon import Muon

MUON_FACTOR = 10.0
EMBEDDING_FACTOR = 5.0
HEAD_FACTOR = 1.5
DECAY_SHARE = 0.6  # of a finite training: the last 60 % of its iterations the rate falls in a straight line


class Optimizers:
    """The optimizers of one model, stepped together. Their state is a flat mapping of tensors by parameter name."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self._names: dict[object, str] = {parameter: name for name, parameter in model.named_parameters()}
        groups = _group(model)
        muon = config.optimizer == "muon"
        matrices = groups["matrices"]
        adamw_groups = [
            {"params": groups["embeddings"], "weight_decay": 0.0, "factor": EMBEDDING_FACTOR if muon else 1.0},
            {"params": groups["head"], "weight_decay": config.weight_decay, "factor": HEAD_FACTOR if muon else 1.0},
            {"params": groups["vectors"], "weight_decay": 0.0, "factor": 1.0},
        ]
        self._optimizers: list[torch.optim.Optimizer] = []
        if muon:
            dtype = choose_precision(config.precision, matrices[0].device)
            group = {"params": matrices, "factor": MUON_FACTOR}
            self._optimizers.append(Muon([group], weight_decay=config.weight_decay, dtype=dtype))
        else:
            adamw_groups.append({"params": matrices, "weight_decay": config.weight_decay, "factor": 1.0})
        betas = (0.8, 0.95) if muon else (0.9, 0.99)
        self._optimizers.append(torch.optim.AdamW(adamw_groups, betas=betas, eps=1e-10 if muon else 1e-8, fused=True))

    def step(self, learning_rate: float) -> None:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["factor"]
            optimizer.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every state tensor under "<parameter name>/<key>"."""
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
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "embeddings": [], "head": [], "vectors": []}
    for name, parameter in model.named_parameters():
        if name.startswith("embed_"):
            groups["embeddings"].append(parameter)
        elif name.startswith("lm_head"):
            groups["head"].append(parameter)
        else:
            groups["matrices" if parameter.dim() == 2 else "vectors"].append(parameter)
    return groups


def learning_rate_at(config: TrainConfig, iteration: int, iterations: int | None) -> float:
    """The rate for the iteration after `iteration` finished ones of a run of `iterations` (None: endless).

    Warm-up in a straight line, then constant, then (finite runs) falling in a straight line to `min_learning_rate`
    ("trapezoidal", Zhai et al. 2022, arXiv 2106.04560).
    """
    peak, floor = config.learning_rate, min(config.min_learning_rate, config.learning_rate)
    warmup = config.warmup_iterations if iterations is None else min(config.warmup_iterations, iterations // 5)
    if iteration < warmup:
        return peak * (iteration + 1) / warmup
    if iterations is None:
        return peak
    decay_iterations = max(1, round(DECAY_SHARE * iterations))
    left = (iterations - iteration) / decay_iterations
    return floor + (peak - floor) * min(1.0, max(0.0, left))
