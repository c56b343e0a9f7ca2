"""Milliseconds of each quick operation beside the plain torch operation it stands for, forward and backward.

    python -m benchmarks.kernels [--preset small --preset medium --preset large]

At the shapes of the presets, in bfloat16 where the processor has it; medians of 15, the two taken in turns. AZR_NATIVE=0 in the
environment measures our operations without their C.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from config import PRESETS, ModelConfig
from engine.sampling import draw
from learning.muon import Muon
from machine.devices import autocast, choose_precision
from model import Rotary

TIMES = 15
BATCH_TOKENS, ROLLOUT_ROWS = 2048, 32
PER_BLOCK = 7  # matrices
DTYPE = choose_precision("auto", torch.device("cpu"))
Work = Callable[[], object]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), action="append")
    presets = options.parse_args().preset or list(PRESETS)
    print(f"{DTYPE}, {torch.get_num_threads()} threads\n\n| preset | operation | torch | ours |\n|---|---|---|---|")
    for preset in presets:
        for name, plain, ours in operations(PRESETS[preset]):
            print(f"| {preset} | {name} | {' | '.join(f'{ms:.1f} ms' for ms in medians(plain, ours))} |", flush=True)


def operations(shape: ModelConfig) -> Iterator[tuple[str, Work, Work]]:
    """Yield the name of each operation, torch's version and ours."""
    x, weight = leaf(BATCH_TOKENS, shape.d_model), torch.randn(shape.vocab_size, shape.d_model).requires_grad_()
    targets = torch.randint(shape.vocab_size, (BATCH_TOKENS,))

    def plain_loss() -> None:
        F.cross_entropy(F.linear(x, weight.to(DTYPE)).float(), targets).backward()  # type: ignore[no-untyped-call]

    def quick_loss() -> None:
        kernels.linear_cross_entropy(x, weight, targets).backward()  # type: ignore[no-untyped-call]

    yield "head and loss", plain_loss, quick_loss
    qkv, rotary = (
        leaf(BATCH_TOKENS // shape.max_seq_len, shape.max_seq_len, 3 * shape.d_model),
        Rotary(shape.head_dim, shape.max_seq_len),
    )

    def plain_attention() -> Tensor:
        q, k, v = (x.view(*x.shape[:2], shape.num_heads, -1).transpose(1, 2) for x in qkv.chunk(3, -1))
        q, k = kernels.rotate(q, rotary.cos, rotary.sin), kernels.rotate(k, rotary.cos, rotary.sin)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)

    def quick_attention() -> Tensor:
        return kernels.causal_attention(qkv, shape.num_heads, rotary.cos, rotary.sin)

    yield "attention of a layer, turned", lambda: _back(plain_attention()), lambda: _back(quick_attention())
    gate, up = leaf(BATCH_TOKENS, shape.d_ff), leaf(BATCH_TOKENS, shape.d_ff)
    yield "gate of a layer", lambda: _back(F.silu(gate) * up), lambda: _back(kernels.silu_gate(gate, up))
    numbers = torch.randn(BATCH_TOKENS, shape.d_model).requires_grad_()
    norm, quick_norm = torch.nn.RMSNorm(shape.d_model), kernels.RMSNorm(shape.d_model)

    def normalised(layer: torch.nn.Module) -> None:
        with autocast(torch.device("cpu"), DTYPE):
            y = kernels.compute(layer(numbers))
        _back(y)

    yield "RMSNorm, float32 to what is multiplied", lambda: normalised(norm), lambda: normalised(quick_norm)
    plain, quick = torch.nn.Dropout(0.1), kernels.Dropout(0.1)
    yield "dropout, once", lambda: _back(plain(x)), lambda: _back(quick(x))
    yield (
        "Muon step",
        torch.optim.Muon(matrices(shape)).step,
        Muon(groups(matrices(shape), shape), dtype=DTYPE).step,
    )
    p, generator = torch.rand(ROLLOUT_ROWS, shape.vocab_size).softmax(-1), torch.Generator()
    yield (
        f"drawing {ROLLOUT_ROWS} tokens",
        lambda: torch.multinomial(p, 1, generator=generator),
        lambda: draw(p, torch.rand(ROLLOUT_ROWS, 1, dtype=torch.float64, generator=generator)),
    )


def _back(y: Tensor) -> None:
    y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=DTYPE).requires_grad_()


def matrices(shape: ModelConfig) -> list[torch.nn.Parameter]:
    """Return the matrices of all blocks, with gradients."""
    d, inner = shape.d_model, shape.d_ff
    sizes = ([(d, d)] * 4 + [(inner, d)] * 2 + [(d, inner)]) * shape.num_layers
    found = [torch.nn.Parameter(torch.randn(*size) * 0.05) for size in sizes]
    for parameter in found:
        parameter.grad = torch.randn_like(parameter)
    return found


def groups(parameters: list[torch.nn.Parameter], shape: ModelConfig) -> list[dict[str, Any]]:
    """Group `matrices` as the product does: queries, keys and values are cut into heads."""
    of_heads = [parameter for number, parameter in enumerate(parameters) if number % PER_BLOCK < 3]
    rest = [parameter for number, parameter in enumerate(parameters) if number % PER_BLOCK >= 3]
    return [{"params": of_heads, "pieces": shape.num_heads, "lr": 1e-3}, {"params": rest, "lr": 1e-3}]


def medians(*works: Work) -> list[float]:
    """Return the median milliseconds of each work; the first three turns warm up."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(3 + TIMES):
        for seconds, work in zip(taken, works, strict=True):
            started_at = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started_at)
    return [statistics.median(seconds[3:]) * 1000 for seconds in taken]


if __name__ == "__main__":
    main()
