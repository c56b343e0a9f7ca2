"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum whose update is made an orthogonal matrix.

The arithmetic is that of torch.optim.Muon. Two things differ: matrices of one shape are orthogonalised together, because a
small model has dozens of little ones and each small operation costs its overhead; and the format in which this is done can be
chosen, because a processor without bfloat16 multiplies it many times slower than float32.

Not here: which parameters are matrices, learning rates, schedules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the quintic a x + b x^3 + c x^5, chosen for a steep start
NEWTON_SCHULZ_STEPS = 5
EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """For 2-D parameters (rows, columns); `dtype` is the format of the orthogonalisation. Nesterov momentum, decoupled decay."""

    def __init__(
        self, params: Iterable[Any], *, lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.1, dtype: torch.dtype
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalised(self._momenta(parameters, group["momentum"]), self._dtype)  # (n, rows, columns)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype)), alpha=-rate)

    def _momenta(self, parameters: list[Tensor], momentum: float) -> Tensor:
        """Nesterov's look ahead of the running mean of gradients, as (n, rows, columns)."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return torch.stack(torch._foreach_lerp(gradients, buffers, momentum))


def orthogonalised(x: Tensor, dtype: torch.dtype) -> Tensor:
    """About U V' for each matrix U S V' of `x` (n, rows, columns): singular values end between 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT  # (n, r, r), r the shorter side
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
