"""The gradient of unlikelihood against autograd on the formula written out."""

from __future__ import annotations

import contextlib

import pytest
import torch

from learning import unlikelihood
from learning.unlikelihood import unlikelihood_gradient
from model import Transformer
from tests.training_kit import make_model, wild

SIZE = 40

UNLIKELY = torch.zeros(5, 11, dtype=torch.int64)  # places where no token below is likely


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, SIZE, (5, 12), generator=generator)
    weights = torch.rand(5, 11, generator=generator) * (torch.rand(5, 11, generator=generator) < 0.3)
    weights[2] = 0  # a row without a fault
    return tokens, weights, torch.randint(0, 11, (5, 11), generator=generator)


def _last_logprobs(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """log p (B,) of the last token of each row, among the first SIZE ids."""
    logprobs = model(tokens[:, :-1])[:, -1, :SIZE].log_softmax(-1)
    return logprobs.gather(1, tokens[:, -1:])[:, 0].detach()


def test_unlikelihood_gradient_equals_autograd_written_out() -> None:
    model, (tokens, weights, repeats) = wild(make_model()), _case()
    p = model(tokens[:, :-1])[..., :SIZE].softmax(-1)  # (B, T-1, SIZE)
    q = p.gather(1, repeats[..., None].expand(-1, -1, SIZE)).gather(2, tokens[:, 1:, None])[..., 0].detach()
    p = p.gather(2, tokens[:, 1:, None])[..., 0]
    loss = -(weights * (1 - q) ** 2 * torch.log1p(-p)).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found = unlikelihood_gradient(model, tokens, weights, repeats, SIZE, contextlib.nullcontext)
    for own, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-3, atol=1e-6)
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in expected)


def test_unlikelihood_gradient_does_not_depend_on_the_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (tokens, weights, repeats) = wild(make_model()), _case()
    whole = unlikelihood_gradient(model, tokens, weights, repeats, SIZE, contextlib.nullcontext)
    monkeypatch.setattr(unlikelihood, "ROWS_AT_ONCE", 2)
    parts = unlikelihood_gradient(model, tokens, weights, repeats, SIZE, contextlib.nullcontext)
    for own, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-6)


def test_unlikelihood_gradient_makes_a_certain_token_less_likely_and_stays_finite() -> None:
    model, (tokens, _, _) = wild(make_model(), std=3.0), _case()  # probabilities of almost 1
    model.requires_grad_(True)
    likeliest = model(tokens)[..., :SIZE].argmax(-1)[:, -2]
    tokens[:, -1] = likeliest
    weights = torch.zeros(5, 11)
    weights[:, -1] = 1.0
    before = _last_logprobs(model, tokens).sum()
    gradient = unlikelihood_gradient(model, tokens, weights, UNLIKELY, SIZE, contextlib.nullcontext)
    assert all(bool(torch.isfinite(one).all()) for one in gradient)
    with torch.no_grad():
        for parameter, one in zip(model.parameters(), gradient, strict=True):
            parameter -= 1e-6 * one
    assert _last_logprobs(model, tokens).sum() < before


def test_unlikelihood_gradient_of_a_probability_of_one_is_finite() -> None:
    model, (tokens, _, _) = wild(make_model()), _case()
    with torch.no_grad():
        model.lm_head.weight *= 1000
    tokens[:, -1] = model(tokens)[:, -2, :SIZE].argmax(-1)
    weights = torch.zeros(5, 11)
    weights[:, -1] = 1.0
    assert float(_last_logprobs(model, tokens).exp().max()) == 1.0
    gradient = unlikelihood_gradient(model, tokens, weights, UNLIKELY, SIZE, contextlib.nullcontext)
    assert all(bool(one.isfinite().all()) for one in gradient)
