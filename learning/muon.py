"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum whose update is made an orthogonal matrix.

The arithmetic equals torch.optim.Muon except for the orthogonalisation, which is most of the work:
- four steps with a polynomial each (Amsel et al. 2025, arXiv 2505.16932) instead of five with the same one;
- matrices of one shape are stacked, because a small model has dozens of small ones and each operation has an overhead;
- for a wide matrix two steps are combined on its small Gram matrix;
- the number format can be chosen, because a processor without bfloat16 multiplies it many times slower.
A matrix that consists of several, one below the other, such as the queries of all heads, can be split into them: they learn better
separately, and orthogonalising such wide matrices costs almost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from learning.optimizer import Optimizer, with_gradients

Polynomial = tuple[float, float, float]  # a x + b x^3 + c x^5

# Each is the minimax polynomial for the range that the steps before it leave of [0.003, 1]; together they map it into [0.8, 1.2].
MINIMAX: tuple[Polynomial, ...] = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
ROOM = 1.01  # for the rounding of bfloat16, which would push singular values out of the polynomials' range
STEPS: tuple[Polynomial, ...] = tuple((a / ROOM, b / ROOM**3, c / ROOM**5) for a, b, c in MINIMAX)
WIDE = 1.5  # columns per row from which two combined steps cost less than two single ones
EPS = 1e-7


class Muon(Optimizer):
    """Muon for 2-D parameters (rows, columns), with Nesterov momentum and decoupled decay; orthogonalises in `dtype`.

    A group's "lr" and "weight_decay" may be tensors () on the card. "pieces" (1 by default) is the number of matrices that each parameter holds, one below
    the other; it divides the rows.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], *, dtype: torch.dtype) -> None:
        super().__init__(groups, momentum=0.95, weight_decay=0.0, pieces=1)
        self._dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter, _ in with_gradients(group):
                by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in by_shape.items():
                momenta = self._momenta(parameters, group["momentum"])  # (n, rows, columns)
                pieces = momenta.reshape(-1, shape[0] // group["pieces"], shape[1])
                updates = orthogonalised(pieces, self._dtype).reshape(momenta.shape)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * math.sqrt(max(1.0, pieces.shape[1] / shape[1]))
                updates = updates.to(parameters[0].dtype)
                if isinstance(rate, Tensor):  # in a CUDA graph
                    torch._foreach_add_(parameters, list(updates * -rate))
                else:
                    torch._foreach_add_(parameters, list(updates), alpha=-rate)

    def _momenta(self, parameters: list[Tensor], momentum: float) -> Tensor:
        """Update the running means of the gradients; return them with Nesterov's look-ahead, (n, rows, columns)."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return torch.stack(torch._foreach_lerp(gradients, buffers, momentum))


def orthogonalised(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return about U V' for each matrix U S V' of `x` (n, rows, columns); singular values that are not tiny become 0.8 to 1.2."""
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for first, second in zip(STEPS[::2], STEPS[1::2], strict=True):
        x = _joined(x, first, second) if x.shape[2] > WIDE * x.shape[1] else _step(_step(x, first), second)
    return x.mT if tall else x


def _step(x: Tensor, polynomial: Polynomial) -> Tensor:
    a, b, c = polynomial
    gram = x @ x.mT  # (n, r, r), r the shorter side
    return torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)


def _joined(x: Tensor, first: Polynomial, second: Polynomial) -> Tensor:
    """Take two steps at once, so that only the first and the last product involve the long side."""
    gram = x @ x.mT
    factor = _factor(gram, first)
    return (_factor(factor @ gram @ factor, second) @ factor) @ x


def _factor(gram: Tensor, polynomial: Polynomial) -> Tensor:
    """Return the factor of a step, a + b G + c G^2, (n, r, r)."""
    a, b, c = polynomial
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor
