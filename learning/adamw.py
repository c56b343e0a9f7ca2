"""AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) by torch's own fused kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from learning.optimizer import Optimizer, with_gradients


class AdamW(Optimizer):
    """Groups have "lr" and "weight_decay", which may be tensors () on the card."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], *, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups)
        self._betas, self._eps = betas, eps

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            if found := list(with_gradients(group)):
                self._step(found, group["lr"], group["weight_decay"])

    def _step(self, found: list[tuple[Tensor, Tensor]], lr: float | Tensor, weight_decay: float | Tensor) -> None:
        if isinstance(
            weight_decay, Tensor
        ):  # the fused kernel takes a number only, which a CUDA graph would never read again
            torch._foreach_mul_([parameter for parameter, _ in found], 1 - lr * weight_decay)
            weight_decay = 0.0
        states = [self._state(parameter) for parameter, _ in found]
        adamw(
            [parameter for parameter, _ in found],
            [gradient for _, gradient in found],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            capturable=isinstance(lr, Tensor),
            amsgrad=False,
            maximize=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=self._eps,
        )

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Return a parameter's state: its step count () in float32, and the running means of its gradient and of its square."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state
