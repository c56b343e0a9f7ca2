"""Hold a training near its best: pull the weights back towards those of the best evaluation while the books are read again and again.

Without it the held-out loss creeps up once the books are known by heart, whatever the weight decay. Starting points as anchors against
forgetting are from Li et al. 2018 (arXiv 1802.01483); here the anchor is the training's own best average, and moves with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model import Transformer


class Anchor:
    """The averaged weights of the best evaluation, from half the readings on after which the books are known; none before it."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}

    def set(self, average: Transformer) -> None:
        """Keep a copy of the average's weights."""
        self._weights = {name: weight.detach().clone() for name, weight in average.named_parameters()}

    @torch.no_grad()
    def pull(self, model: Transformer, share: float) -> None:
        """Move the weights of `model` by this share of their distance."""
        if self._weights and share:
            own: dict[str, Tensor] = dict(model.named_parameters())
            torch._foreach_lerp_(list(own.values()), [self._weights[name] for name in own], share)

    def state(self) -> dict[str, Tensor]:
        return self._weights

    def load_state(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = dict(weights)
