"""How much of a machine a training uses: the operations of a token, and the most of them that this machine does in a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.peer import CPU
from config import ModelConfig
from machine.devices import choose_precision


def operations_per_token(shape: ModelConfig, *, gated: bool) -> int:
    """Return the operations of one token: 6 for each weight that is multiplied, and those of attention."""
    block = 4 * shape.d_model**2 + (3 if gated else 2) * shape.d_model * shape.d_ff
    weights = shape.num_layers * block + shape.vocab_size * shape.d_model
    return 6 * weights + 12 * shape.num_layers * shape.d_model * shape.max_seq_len


def peak_gflops(size: int = 2048, times: int = 10, device: torch.device = CPU) -> float:
    """Return the best rate of some matrix products, in the number format in which this device is fastest."""
    dtype = choose_precision("auto", device)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(_seconds(lambda: a @ b, device) for _ in range(times)) / 1e9


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started_at = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started_at
