"""The average of a model's weights over about the last tenth of its steps, which is evaluated, sampled from and published."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from model import Transformer

AVERAGE_SHARE = 0.1  # of the steps so far


class Average:
    """The mean of a model's weights over about the last tenth of its steps, which is better than the weights of any one step.

    The share of a step falls with a power of its age (Karras et al. 2024, arXiv 2312.02696, section 3.1), so the window
    grows with the training, whose length need not be known.
    """

    def __init__(self, model: Transformer) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        device = model.lm_head.weight.device
        on_card = device.type == "cuda"  # a CUDA graph reads the share from the card's memory
        self._newest: float | Tensor = torch.ones((), device=device) if on_card else 1.0

    def set_steps(self, steps: int) -> None:
        """Set the share of the weights after step number `steps` (counted from 1) for the next update."""
        newest = min(1.0, 1 / (AVERAGE_SHARE * steps))
        if isinstance(self._newest, Tensor):
            self._newest.fill_(newest)
        else:
            self._newest = newest

    @torch.no_grad()
    def update(self, model: Transformer) -> None:
        """Move the average towards the weights of `model`."""
        own: list[Tensor] = list(self.model.parameters())
        others: list[Tensor] = list(model.parameters())
        if isinstance(self._newest, Tensor):
            differences = torch._foreach_sub(others, own)
            torch._foreach_mul_(differences, self._newest)
            torch._foreach_add_(own, differences)
        else:
            torch._foreach_lerp_(own, others, self._newest)
