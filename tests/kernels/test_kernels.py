"""Each quick operation against the plain torch operation it stands for: the value, the gradients, and what must differ."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from kernels import attention
from kernels.attention import LONGEST_KEPT, MATRICES_AT_ONCE, QUERIES_AT_ONCE
from kernels.blocks import NUMBERS_AT_ONCE
from kernels.head import ROWS_AT_ONCE
from model import Rotary


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


@pytest.mark.parametrize("rows", [1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 7])
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
    rows = ROWS_AT_ONCE + 40
    x, weight, targets = leaf(rows, 16), leaf(300, 16), torch.randint(300, (rows,))
    targets[::7] = -100
    with torch.no_grad():
        evaluated = kernels.linear_cross_entropy(x, weight, targets)
    torch.testing.assert_close(kernels.linear_cross_entropy(x, weight, targets).detach(), evaluated)


def test_weighted_nll_pays_and_charges_each_token_its_own_weight() -> None:
    rows = ROWS_AT_ONCE + 9
    x, weight, targets, weights = leaf(rows, 16), leaf(300, 16), torch.randint(300, (rows,)), torch.randn(rows)
    quick = kernels.weighted_nll(
        x, weight[:250], targets % 250, weights
    )  # a head of which only the first rows are known
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


def torchs_attention(
    qkv: Tensor, num_heads: int, cos: Tensor | None = None, sin: Tensor | None = None, *, causal: bool = True
) -> Tensor:
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in qkv.chunk(3, -1))
    if cos is not None and sin is not None:
        q, k = kernels.rotate(q, cos, sin), kernels.rotate(k, cos, sin)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("length", [1, 24, QUERIES_AT_ONCE, QUERIES_AT_ONCE + 1, LONGEST_KEPT + 7])
def test_causal_attention_equals_torchs(length: int, turned: bool) -> None:
    num_heads, rows = 3, MATRICES_AT_ONCE // 3 + 2  # more rows than are taken at once
    qkv = leaf(rows, length, 3 * num_heads * 8)
    rotary = Rotary(8, length)
    tables = (rotary.cos, rotary.sin) if turned else (None, None)
    quick, plain = kernels.causal_attention(qkv, num_heads, *tables), torchs_attention(qkv, num_heads, *tables)
    weights = torch.randn_like(plain)
    torch.testing.assert_close(quick, plain)
    torch.testing.assert_close(gradients((quick * weights).sum(), qkv), gradients((plain * weights).sum(), qkv))
    if length > 1:
        assert not torch.allclose(
            quick, torchs_attention(qkv, num_heads, *tables, causal=False)
        )  # the control: looks ahead
        other = (None, None) if turned else (rotary.cos, rotary.sin)
        assert not torch.allclose(quick, torchs_attention(qkv, num_heads, *other))


def test_causal_attention_without_a_gradient_is_the_same_number() -> None:
    qkv = leaf(3, 70, 48)
    with torch.no_grad():
        evaluated = kernels.causal_attention(qkv, 2)
    assert torch.equal(evaluated, kernels.causal_attention(qkv, 2))


@pytest.mark.parametrize(("length", "learns"), [(LONGEST_KEPT, False), (LONGEST_KEPT + 1, True)])
def test_causal_attention_holds_one_piece_of_probabilities_at_a_time(
    length: int, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a gradient, and in long windows; else a layer's memory would grow with the square of the window."""
    made: list[weakref.ref[Tensor]] = []
    whole = attention._Pieces.probabilities

    def watched(*args: Any) -> Tensor:
        assert sum(piece() is not None for piece in made) <= 1
        made.append(weakref.ref(p := whole(*args)))
        return p

    monkeypatch.setattr(attention._Pieces, "probabilities", watched)
    kernels.causal_attention(torch.randn(MATRICES_AT_ONCE, length, 48).requires_grad_(learns), 2)
    assert len(made) > 2


@pytest.mark.parametrize("turned", [False, True])
def test_causal_attention_leaves_alone_what_it_reads(turned: bool) -> None:
    qkv, rotary = leaf(1, 1, 48), Rotary(16, 1)  # lies in memory as the pieces do
    before = qkv.detach().clone()
    kernels.causal_attention(qkv, 1, *((rotary.cos, rotary.sin + 1) if turned else (None, None)))
    assert torch.equal(qkv, before)


def test_causal_attention_keeps_its_number_format_under_autocast() -> None:
    qkv = leaf(2, 16, 72).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        quick = kernels.causal_attention(qkv, 3)
    assert quick.dtype == torch.bfloat16
    torch.testing.assert_close(quick.float(), torchs_attention(qkv.float(), 3), rtol=0.02, atol=0.02)


# ---- normalisation, several products -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "eps"), [(1, 1e-5), (2 * (NUMBERS_AT_ONCE // 24) + 7, 1e-5), (3, None), (3, 10.0)])
def test_rms_norm_equals_torchs(rows: int, eps: float | None) -> None:
    x = leaf(rows, 2, 24, scale=3.0)
    ours, theirs = kernels.RMSNorm(24, eps=eps), torch.nn.RMSNorm(24, eps=eps)
    for norm in (ours, theirs):
        torch.nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(rows, 2, 24)
    torch.testing.assert_close(ours(x), theirs(x))
    mine = gradients((ours(x) * weights).sum(), x, ours.weight)
    torch.testing.assert_close(mine, gradients((theirs(x) * weights).sum(), x, theirs.weight), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mine[1], gradients((theirs(x).flip(1) * weights).sum(), theirs.weight)[0])


def test_rms_norm_gives_out_what_the_products_read() -> None:
    x, norm = leaf(9, 24), kernels.RMSNorm(24, eps=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        given = norm(x)
        with torch.no_grad():
            assert norm(x).dtype == given.dtype == torch.bfloat16
    assert norm(x).dtype == torch.float32
    torch.testing.assert_close(given.float(), norm(x), rtol=0.01, atol=0.01)
    for gradient in gradients(given.float().sum(), x, norm.weight):
        assert gradient.dtype == torch.float32


@pytest.mark.parametrize("bias", [False, True])
def test_linear_of_several_layers_is_theirs_side_by_side(bias: bool) -> None:
    x, layers = leaf(5, 8), [torch.nn.Linear(8, size, bias=bias) for size in (3, 4)]
    torch.testing.assert_close(kernels.linear(x, *layers), torch.cat([layer(x) for layer in layers], -1))
    assert not torch.allclose(kernels.linear(x, *layers)[:, :3], layers[1](x)[:, :3])


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
