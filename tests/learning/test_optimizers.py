"""Muon and AdamW against torch's own, and a training that never loads torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Parameter

from learning.adamw import AdamW
from learning.muon import Muon, orthogonalised

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def _step_alike(first: tuple[Any, list[Parameter]], second: tuple[Any, list[Parameter]]) -> None:
    """Four steps of two optimizers, with the same gradients."""
    for _ in range(4):
        for a, b in zip(first[1], second[1], strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        first[0].step()
        second[0].step()


# ---- Muon --------------------------------------------------------------------------------------------------------------


def _muon(parameters: list[Parameter], lr: float, dtype: torch.dtype) -> Muon:
    return Muon([{"params": parameters, "lr": lr, "weight_decay": 0.1}], dtype=dtype)


def test_muon_moves_nearly_as_torchs_own() -> None:
    shapes = ((16, 16), (32, 16), (16, 32), (16, 16), (32, 16))
    ours = [Parameter(torch.randn(*shape)) for shape in shapes]
    theirs, start = ([Parameter(p.detach().clone()) for p in ours] for _ in range(2))
    optimizer, stock = _muon(ours, lr=0.02, dtype=torch.bfloat16), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    _step_alike((optimizer, ours), (stock, theirs))
    for a, b, c in zip(ours, theirs, start, strict=True):
        moved, wanted = (a - c).detach().flatten(), (b - c).detach().flatten()
        assert F.cosine_similarity(moved, wanted, dim=0) > 0.98
        assert float(moved.norm() / wanted.norm()) == pytest.approx(
            1.0, abs=0.15
        )  # singular values about 1 instead of 0.9
    assert (
        F.cosine_similarity(*((a[n] - start[n]).detach().flatten() for a, n in ((ours, 0), (theirs, 3))), dim=0) < 0.5
    )


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (30, 30), (24, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalised_keeps_directions_and_makes_singular_values_near_one(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    x = torch.randn(3, *shape) * torch.tensor([1e-6, 1.0, 1e3])[:, None, None]
    u, values, v = torch.linalg.svd(x, full_matrices=False)
    values[:, -1] = 0.004 * values.square().sum(1).sqrt()  # about the least that is led up
    made = orthogonalised(u @ torch.diag_embed(values) @ v, dtype).float()
    led = (u.mT @ made @ v.mT).diagonal(dim1=1, dim2=2)
    exact = dtype == torch.float32
    assert led[:, :-1].min() > (0.78 if exact else 0.68) and led.max() < 1.25
    assert led[:, -1].min() > (0.78 if exact else 0.5)
    assert values.max() > 1000


def test_muon_moves_the_pieces_of_a_matrix_like_matrices_of_their_own() -> None:
    whole, uncut = (Parameter(torch.zeros(32, 16)) for _ in range(2))
    apart = [Parameter(torch.zeros(8, 16)) for _ in range(4)]
    whole.grad = uncut.grad = torch.randn(32, 16)
    for parameter, grad in zip(apart, whole.grad.split(8), strict=True):
        parameter.grad = grad
    groups = [{"params": [whole], "pieces": 4, "lr": 0.1}, {"params": apart, "lr": 0.1}, {"params": [uncut], "lr": 0.1}]
    Muon(groups, dtype=torch.float32).step()
    assert torch.allclose(whole, torch.cat(apart), atol=1e-5)
    assert not torch.allclose(whole, uncut, atol=1e-2)


def test_muon_leaves_a_parameter_without_gradient_alone() -> None:
    still, moved = (Parameter(torch.ones(4, 4)) for _ in range(2))
    moved.grad = torch.eye(4)
    _muon([still, moved], lr=0.1, dtype=torch.float32).step()
    assert (still == 1).all()
    assert not (moved == 1).all()


# ---- AdamW -------------------------------------------------------------------------------------------------------------


def test_adamw_moves_bit_for_bit_as_torchs_own() -> None:
    shapes, settings = ((7, 5), (5,)), {"betas": (0.8, 0.95), "eps": 1e-10}
    ours = [Parameter(torch.randn(*shape)) for shape in shapes]
    theirs = [Parameter(p.detach().clone()) for p in ours]
    rates = [{"lr": 0.02, "weight_decay": 0.1}, {"lr": 0.3, "weight_decay": 0.0}]
    optimizer, stock = (
        kind([{"params": [p], **rate} for p, rate in zip(all_of_them, rates, strict=True)], **settings, **more)  # type: ignore[operator]
        for kind, all_of_them, more in ((AdamW, ours, {}), (torch.optim.AdamW, theirs, {"fused": True}))
    )
    _step_alike((optimizer, ours), (stock, theirs))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for a, b in zip(ours, theirs, strict=True):
        assert {key: value.tolist() for key, value in optimizer.state[a].items()} == {
            key: v.tolist() for key, v in stock.state[b].items()
        }


def test_adamw_with_its_rates_in_tensors_moves_like_one_with_numbers() -> None:
    """As on a card, where a CUDA graph reads them."""
    numbers, tensors = (Parameter(torch.ones(6)) for _ in range(2))
    numbers.grad = tensors.grad = torch.linspace(-1, 1, 6)
    for parameter, kind in ((numbers, float), (tensors, torch.tensor)):
        AdamW([{"params": [parameter], "lr": kind(0.1), "weight_decay": kind(0.5)}], betas=(0.8, 0.95), eps=1e-8).step()
    assert torch.allclose(numbers, tensors)
    assert float(numbers.detach().mean()) == pytest.approx(0.95, abs=1e-3)


def test_adamw_leaves_a_parameter_without_gradient_alone_and_gives_gradients_free() -> None:
    still, moved = (Parameter(torch.ones(4)) for _ in range(2))
    moved.grad = torch.ones(4)
    optimizer = AdamW([{"params": [still, moved], "lr": 0.1, "weight_decay": 0.1}], betas=(0.9, 0.99), eps=1e-8)
    optimizer.step()
    assert (still == 1).all() and still not in optimizer.state
    assert (moved < 1).all()
    optimizer.zero_grad()
    assert moved.grad is None


# ---- what neither may need ---------------------------------------------------------------------------------------------

TRAINING = """
import sys
import torch
from config import ModelConfig, TrainConfig
from learning.learner import Learner
from learning.schedules import WeightDecay
from model import Transformer
model = Transformer(ModelConfig(vocab_size=300, d_model=16, num_layers=1, num_heads=2, d_ff=32, max_seq_len=16))
model.initialise(0)
for optimizer in ("muon", "adamw"):
    learner = Learner(model, TrainConfig(optimizer=optimizer, device="cpu"))
    tokens = torch.randint(300, (2, 8))
    learner.compute_gradient(tokens, tokens, 2, 1, dropout=0.1)
    learner.clip_gradient()
    learner.take_step(1e-3, 0.0, WeightDecay(0.1), 1)
print(sorted(name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a card compiles")
def test_training_on_a_processor_never_loads_torchs_compiler() -> None:
    told = subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
