"""Compute the gate of a feed-forward layer in one pass, keeping only its inputs for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import native

WORTH_A_CALL = 2**14  # numbers; for fewer, as in generation, calling the C code costs more than it saves


def silu_gate(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up, for any shape (Shazeer 2020, arXiv 2002.05202)."""
    if gate.numel() >= WORTH_A_CALL and gate.numel() % native.LANES == 0 and native.serves(gate.device, gate.dtype):
        return _Gate.apply(gate.contiguous(), up.contiguous())  # type: ignore[no-untyped-call, no-any-return]
    return F.silu(gate) * up


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        y = torch.empty_like(gate)
        native.call("gate_forward", (gate, up, y), gate.numel())
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
        native.call("gate_backward", (gate, up, gradients[0].contiguous(), grad_gate, grad_up), gate.numel())
        return grad_gate, grad_up
