"""The operations in C against torch's in float64, and what happens where it can't be had."""

from __future__ import annotations

import logging
import math
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from config import PRESETS, TrainConfig
from kernels import native, native_attention
from kernels.gate import WORTH_A_CALL
from machine.processes import ALONE
from model import Rotary
from runs.reproducibility import circumstances

here = pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")
HEADS = 3


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`library` forgets what it has found, before and after, and nothing outside forbids it."""
    monkeypatch.delenv(native.SWITCH, raising=False)
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def batch(rows: int, length: int, dims: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """qkv and the gradient of the output."""
    torch.manual_seed(length)
    qkv = torch.randn(rows, length, 3 * HEADS * dims) * scale
    return qkv.bfloat16(), torch.randn(rows, length, HEADS * dims).bfloat16()


def tables(length: int, dims: int, *, turned: bool) -> tuple[Tensor, Tensor] | tuple[None, None]:
    rotary, uneven = Rotary(dims, length), torch.linspace(1, 0.5, dims)  # so that the halves of a table differ
    return (rotary.cos * uneven, rotary.sin * uneven) if turned else (None, None)


def both_passes(qkv: Tensor, gradient: Tensor, cos: Tensor | None, sin: Tensor | None) -> tuple[Tensor, Tensor]:
    x = qkv.clone().requires_grad_()
    y = kernels.causal_attention(x, HEADS, cos, sin)
    y.backward(gradient)
    assert x.grad is not None
    return y.detach(), x.grad


def exact(
    qkv: Tensor, gradient: Tensor, cos: Tensor | None, sin: Tensor | None, *, causal: bool = True
) -> tuple[Tensor, Tensor]:
    x = qkv.double().requires_grad_()
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in x.chunk(3, -1))
    if cos is not None and sin is not None:
        q, k = kernels.rotate(q, cos.double(), sin.double()), kernels.rotate(k, cos.double(), sin.double())
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
    y.backward(gradient.double())
    assert x.grad is not None
    return y.detach(), x.grad


def far(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> list[float]:
    """The length of the difference as a share of the length of what is wanted."""
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]


@here
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dims", [32, 64, 96])
@pytest.mark.parametrize("length", [1, 7, 32, 33, 100, 256, 300])
def test_attention_in_c_is_torchs_to_the_precision_of_its_numbers(length: int, dims: int, turned: bool) -> None:
    qkv, gradient = batch(2, length, dims)
    cos, sin = tables(length, dims, turned=turned)
    assert native_attention.takes(qkv, HEADS)
    found = both_passes(qkv, gradient, cos, sin)
    assert max(far(found, exact(qkv, gradient, cos, sin))) < 2**-7  # a bfloat16 has seven bits behind the point
    if length > 1:
        assert min(far(found, exact(qkv, gradient, cos, sin, causal=False))) > 0.1  # the control: looks ahead
        other = tables(length, dims, turned=not turned)
        assert min(far(found, exact(qkv, gradient, *other))) > 0.02


@here
def test_attention_in_c_is_nearer_than_that_of_torchs_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    qkv, gradient = batch(4, 200, 32)
    cos, sin = tables(200, 32, turned=True)
    in_c, wanted = both_passes(qkv, gradient, cos, sin), exact(qkv, gradient, cos, sin)
    monkeypatch.setattr(native_attention, "takes", lambda *_: False)
    assert all(
        c < torchs
        for c, torchs in zip(far(in_c, wanted), far(both_passes(qkv, gradient, cos, sin), wanted), strict=True)
    )


@here
@pytest.mark.parametrize("scale", [0.0, 1e-20, 40.0, 1e4])
def test_attention_in_c_survives_scores_of_any_size(scale: float) -> None:
    qkv, gradient = batch(1, 70, 32, scale)
    found = both_passes(qkv, gradient, None, None)
    assert all(part.isfinite().all() for part in found)
    if scale == 40.0:  # nearly all queries look at one key
        assert far(found[:1], exact(qkv, gradient, None, None)[:1]) == [pytest.approx(0, abs=2**-6)]


@here
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_none_come_out_again(wrong: float) -> None:
    """So that the guard of the loss sees them."""
    qkv, gradient = batch(1, 70, 32)
    qkv[0, 40] = wrong
    y, grad_qkv = both_passes(qkv, gradient, None, None)
    assert y[0, 40:].isnan().all()
    assert y[0, :32].isfinite().all()  # tokens that see it not even by a factor of 0
    assert not grad_qkv.isfinite().all()
    gate = torch.full((WORTH_A_CALL,), math.nan).bfloat16()
    assert all(part.isnan().all() for part in gated(gate, torch.ones_like(gate), torch.ones_like(gate)))


@here
def test_attention_in_c_has_the_same_bits_with_any_number_of_threads_and_without_a_gradient() -> None:
    qkv, gradient = batch(5, 90, 32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(both_passes(qkv, gradient, None, None))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    with torch.no_grad():
        assert torch.equal(kernels.causal_attention(qkv, HEADS), results[0][0])
    assert torch.equal(
        both_passes(qkv.mT.contiguous().mT, gradient, None, None)[1], results[0][1]
    )  # however it lies in memory


@here
def test_attention_in_c_keeps_no_more_than_grows_with_the_window() -> None:
    saved: list[int] = []

    def keep(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    sizes = []
    for length in (64, 128):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            kernels.causal_attention(batch(1, length, 32)[0].requires_grad_(), HEADS)
        sizes.append(sum(saved))
        saved.clear()
    assert sizes[1] == 2 * sizes[0]
    assert sizes[0] == 64 * HEADS * (4 * 32 + 2)


@here
def test_no_memory_for_attention_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: SimpleNamespace(attention_forward=lambda *_: 1))
    with pytest.raises(MemoryError):
        kernels.causal_attention(batch(1, 8, 32)[0], HEADS)


@here
@pytest.mark.parametrize(
    ("dtype", "dims"), [(torch.float32, 32), (torch.float16, 32), (torch.bfloat16, 24), (torch.bfloat16, 16)]
)
def test_other_numbers_and_sizes_are_left_to_torch(dtype: torch.dtype, dims: int) -> None:
    assert not native_attention.takes(torch.zeros(1, 4, 3 * HEADS * dims, dtype=dtype), HEADS)


# ---- the gate ----------------------------------------------------------------------------------------------------------


def gated(gate: Tensor, up: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    gate, up = gate.clone().requires_grad_(), up.clone().requires_grad_()
    y = kernels.silu_gate(gate, up)
    y.backward(gradient)
    assert gate.grad is not None
    assert up.grad is not None
    return y.detach(), gate.grad, up.grad


@here
@pytest.mark.parametrize("rows", [1, WORTH_A_CALL // 48, WORTH_A_CALL // 48 + 2, 1000])
def test_gate_is_torchs_to_the_precision_of_its_numbers(rows: int) -> None:
    torch.manual_seed(rows)
    gate, up, gradient = (torch.randn(rows, 48).bfloat16() * size for size in (5, 1, 1))
    x, u = gate.double().requires_grad_(), up.double().requires_grad_()
    y = F.silu(x) * u
    y.backward(gradient.double())
    assert x.grad is not None
    assert u.grad is not None
    assert max(far(gated(gate, up, gradient), (y.detach(), x.grad, u.grad))) < 2**-8
    assert min(far(gated(up, gate, gradient)[:1], (y.detach(),))) > 0.1  # the control: the sides exchanged


@here
def test_gate_survives_numbers_of_any_size() -> None:
    gate = torch.tensor([0.0, -0.0, 1e-30, 3e38, -3e38, 100, -100, 1]).repeat(WORTH_A_CALL // 8).bfloat16()
    found = gated(gate, torch.ones_like(gate), torch.ones_like(gate))
    assert all(part.isfinite().all() for part in found)
    assert found[0][:8].tolist() == [
        0,
        0,
        pytest.approx(5e-31, rel=0.01),
        *gate[3:4].tolist(),
        0,
        100,
        0,
        pytest.approx(0.731, abs=0.004),
    ]


@here
def test_gate_has_the_same_bits_with_any_number_of_threads() -> None:
    gate, up, gradient = torch.randn(3, WORTH_A_CALL).bfloat16()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(gated(gate, up, gradient))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@here
def test_gate_in_c_keeps_only_what_it_was_given() -> None:
    kept: list[int] = []
    gate, up = torch.randn(2, WORTH_A_CALL).bfloat16().requires_grad_()

    def keep(x: Tensor) -> Tensor:
        kept.append(x.data_ptr())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        kernels.silu_gate(gate, up)
    assert sorted(kept) == sorted([gate.data_ptr(), up.data_ptr()])


# ---- where it can't be had ---------------------------------------------------------------------------------------------


def test_without_a_compiler_attention_is_torchs(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert (native.library(), native.description()) == (None, "torch")
    qkv, gradient = batch(2, 40, 32)
    assert not native_attention.takes(qkv, HEADS)
    assert max(far(both_passes(qkv, gradient, None, None), exact(qkv, gradient, None, None))) < 2**-6


@pytest.mark.parametrize("change", ["switch", "processor", "system"])
def test_attention_in_c_is_left_out(change: str, anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if change == "switch":
        monkeypatch.setenv(native.SWITCH, "0")
    elif change == "processor":
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    else:
        monkeypatch.setattr("sys.platform", "win32")
    assert native.library() is None


@pytest.mark.skipif(os.name != "posix", reason="the compiler is a shell script")
@pytest.mark.parametrize("words", ["echo 'no such flag' >&2; exit 1", "exit 0", "echo old 1.0"])
def test_compiler_that_fails_is_told_and_done_without(
    words: str, tmp_path: Path, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\n{words}\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(native, "BUILT", tmp_path / "built")
    monkeypatch.setattr(native, "_is_for_this_processor", lambda: True)
    with caplog.at_level(logging.WARNING):
        assert native.library() is None
    assert "falling back to PyTorch" in caplog.text
    assert list((tmp_path / "built").glob("*")) == []


@pytest.mark.slow
@here
def test_library_is_built_once_and_anew_for_another_source(
    tmp_path: Path, anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "BUILT", tmp_path / "built")
    sources = Path(shutil.copytree(native.SOURCES, tmp_path / "c"))
    monkeypatch.setattr(native, "SOURCES", sources)
    names = []
    for _ in range(3):
        native.library.cache_clear()
        assert native.library() is not None
        names.append({(file.name, file.stat().st_mtime_ns) for file in native.BUILT.iterdir()})
        if len(names) == 2:
            (sources / "numbers.h").write_text(
                (sources / "numbers.h").read_text(encoding="utf-8") + "\n", encoding="utf-8"
            )
    assert names[0] == names[1] < names[2]
    assert [len(found) for found in names] == [1, 1, 2]


@here
def test_a_checkpoint_knows_whether_the_c_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str:
        return circumstances(PRESETS["small"], TrainConfig(precision="bfloat16"), ALONE)["kernels"]

    in_c = told()
    monkeypatch.setattr(native, "library", lambda: None)
    assert (in_c != "torch", told()) == (True, "torch")
