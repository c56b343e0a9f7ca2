"""The base of the optimizers: groups of parameters with their settings, and a state for each parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor


class Optimizer(ABC):
    """`param_groups` and `state` as in torch.optim.Optimizer: a group is {"params": [...], setting: value, ...}."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], **defaults: Any) -> None:
        self.param_groups: list[dict[str, Any]] = [defaults | dict(group) for group in groups]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @abstractmethod
    def step(self) -> None:
        """Update every parameter that has a gradient."""

    def zero_grad(self) -> None:
        """Free the memory of the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def with_gradients(group: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (parameter, gradient) for each parameter that has a gradient."""
    return ((parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None)
