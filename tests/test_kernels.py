"""Each quick operation against the plain torch operation it stands for: the value, the gradients, and what must differ."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from muon import Muon, orthogonalised


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def leaf(*shape: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape) * scale).requires_grad_()


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


# ---- the head's loss ---------------------------------------------------------------------------------------------------


def plain_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight), targets)


@pytest.mark.parametrize("rows", [1, kernels.ROWS_AT_ONCE, 2 * kernels.ROWS_AT_ONCE + 7])
def test_linear_cross_entropy_equals_the_plain_one(rows: int) -> None:
    x, weight, targets = leaf(rows, 16), leaf(300, 16), torch.randint(300, (rows,))
    targets[rows // 2 + 1 :: 3] = -100  # these do not count
    quick, plain = kernels.linear_cross_entropy(x, weight, targets), plain_loss(x, weight, targets)
    torch.testing.assert_close(quick, plain)
    torch.testing.assert_close(gradients(quick * 3, x, weight), gradients(plain * 3, x, weight))
    counted = targets.clamp_min(0)
    if rows > 1:
        assert not torch.allclose(quick, plain_loss(x, weight, counted))  # the control: everything counts


def test_linear_cross_entropy_without_a_gradient_is_the_same_number() -> None:
    rows = kernels.ROWS_AT_ONCE + 40
    x, weight, targets = leaf(rows, 16), leaf(300, 16), torch.randint(300, (rows,))
    targets[::7] = -100
    with torch.no_grad():
        evaluated = kernels.linear_cross_entropy(x, weight, targets)
    torch.testing.assert_close(kernels.linear_cross_entropy(x, weight, targets).detach(), evaluated)


def test_weighted_nll_pays_and_charges_each_token_its_own_weight() -> None:
    rows = kernels.ROWS_AT_ONCE + 9
    x, weight, targets, weights = leaf(rows, 16), leaf(300, 16), torch.randint(300, (rows,)), torch.randn(rows)
    quick = kernels.weighted_nll(x, weight[:250], targets % 250, weights)  # a head of which only the first rows are known
    plain = (F.cross_entropy(F.linear(x, weight[:250]), targets % 250, reduction="none") * weights).sum()
    torch.testing.assert_close(quick, plain)
    torch.testing.assert_close(gradients(quick, x, weight), gradients(plain, x, weight))
    with torch.no_grad():
        torch.testing.assert_close(kernels.weighted_nll(x, weight[:250], targets % 250, weights), plain.detach())
    assert not torch.allclose(quick, plain_loss(x, weight, targets) * weights.sum())


def test_linear_cross_entropy_of_nothing_is_zero_and_moves_nothing() -> None:
    x, weight = leaf(4, 16), leaf(300, 16)
    loss = kernels.linear_cross_entropy(x, weight, torch.full((4,), -100))
    assert loss.item() == 0
    assert all((g == 0).all() for g in gradients(loss, x, weight))


def test_linear_cross_entropy_survives_a_hopeless_target() -> None:
    x, weight = torch.full((1, 1), 1000.0, requires_grad=True), torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = kernels.linear_cross_entropy(x, weight, torch.tensor([1]))
    assert 80 < loss.item() < 90  # of a probability of 0, told as the least float32 there is
    assert all(g.isfinite().all() and (g != 0).any() for g in gradients(loss, x, weight))


def test_linear_cross_entropy_under_autocast_is_close_and_learns_in_float32() -> None:
    x, weight, targets = leaf(700, 64), leaf(300, 64, scale=0.2), torch.randint(300, (700,))
    with torch.autocast("cpu", torch.bfloat16):
        quick = kernels.linear_cross_entropy(x, weight, targets)
    plain = plain_loss(x, weight, targets)
    assert quick.dtype == torch.float32
    assert quick.item() == pytest.approx(plain.item(), rel=2e-3)
    for ours, theirs in zip(gradients(quick, x, weight), gradients(plain, x, weight), strict=True):
        assert ours.dtype == torch.float32
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.9999


# ---- attention ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 24, kernels.LONGEST_DENSE, kernels.LONGEST_DENSE + 1])
def test_causal_attention_equals_torchs(length: int) -> None:
    q, k, v = (leaf(2, 3, length, 8) for _ in range(3))
    quick, plain = kernels.causal_attention(q, k, v), F.scaled_dot_product_attention(q, k, v, is_causal=True)
    weights = torch.randn_like(plain)
    torch.testing.assert_close(quick, plain)
    torch.testing.assert_close(gradients((quick * weights).sum(), q, k, v), gradients((plain * weights).sum(), q, k, v))
    if length > 1:
        assert not torch.allclose(quick, F.scaled_dot_product_attention(q, k, v))  # the control: looks ahead


def test_causal_attention_keeps_its_number_format_under_autocast() -> None:
    q, k, v = (leaf(2, 3, 16, 8).to(torch.bfloat16) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.causal_attention(q, k, v).dtype == torch.bfloat16


# ---- dropout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.999])
def test_dropout_keeps_its_share_and_the_mean(p: float) -> None:
    drop = kernels.Dropout(p)
    x = torch.ones(1001, 1001)  # an odd number: the random words do not fit it exactly
    kept = drop(x)
    rounded = min(255, round(p * 256)) / 256
    spread = 4 * math.sqrt(rounded * (1 - rounded) / x.numel())
    assert float((kept == 0).float().mean()) == pytest.approx(rounded, abs=spread)
    assert kept[kept > 0].unique().tolist() == pytest.approx([1 / (1 - rounded)])


def test_dropout_draws_each_number_by_itself() -> None:
    """Neighbours share a random word; their masks must not know of one another."""
    zero = (kernels.Dropout(0.5)(torch.ones(100_000, 8)) == 0).float()
    assert torch.corrcoef(zero.t()).fill_diagonal_(0).abs().max() < 0.02


def test_dropout_follows_the_seed_and_its_gradient_the_mask() -> None:
    drop, x = kernels.Dropout(0.3), leaf(50, 50)
    torch.manual_seed(5)
    first = drop(x)
    torch.manual_seed(5)
    assert torch.equal(first, drop(x))
    assert not torch.equal(first, drop(x))
    (gradient,) = gradients(first.sum(), x)
    torch.testing.assert_close(gradient * x, first)


def test_dropout_in_evaluation_and_of_nothing_changes_nothing() -> None:
    x = torch.randn(5, 5)
    assert torch.equal(kernels.Dropout(0.5).eval()(x), x)
    assert torch.equal(kernels.Dropout(0.0)(x), x)


# ---- Muon --------------------------------------------------------------------------------------------------------------


def test_muon_moves_as_torchs_own() -> None:
    shapes = ((16, 16), (32, 16), (16, 32), (16, 16), (32, 16))
    ours = [torch.nn.Parameter(torch.randn(*shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    optimizer, stock = Muon(ours, lr=0.02, weight_decay=0.1, dtype=torch.bfloat16), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        optimizer.step()
        stock.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)  # a step moves a number by 0.005 at the mean
    assert not torch.allclose(ours[0], ours[3], atol=2e-3)


def test_orthogonalised_in_float32_has_singular_values_near_one() -> None:
    x = torch.randn(3, 40, 20) * torch.tensor([1e-6, 1.0, 1e3])[:, None, None]
    values = torch.linalg.svdvals(orthogonalised(x, torch.float32))
    assert values.min() > 0.6 and values.max() < 1.3
    assert torch.linalg.svdvals(x).max() > 1000


def test_muon_leaves_a_parameter_without_gradient_alone() -> None:
    still, moved = (torch.nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    moved.grad = torch.eye(4)
    Muon([still, moved], lr=0.1, weight_decay=0.1, dtype=torch.float32).step()
    assert (still == 1).all()
    assert not (moved == 1).all()
