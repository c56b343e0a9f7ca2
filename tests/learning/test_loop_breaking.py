"""The gradient that breaks loops against autograd on the formula written out, and what a step along it changes."""

from __future__ import annotations

import contextlib

import pytest
import torch

from learning import loop_breaking
from learning.loop_breaking import loop_breaking_gradient
from model import Transformer
from tests.training_kit import make_model, wild

SIZE = 40


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, SIZE, (5, 12), generator=generator)
    weights = torch.rand(5, 11, generator=generator) * (torch.rand(5, 11, generator=generator) < 0.3)
    weights[2] = 0  # a row without a fault
    return tokens, weights, torch.randint(0, 11, (5, 11), generator=generator)


def _gradient(model: Transformer, *case: torch.Tensor, averaged: Transformer | None = None) -> list[torch.Tensor]:
    return loop_breaking_gradient(model, averaged or model, *case, SIZE, contextlib.nullcontext)


def _probabilities(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens[:, :-1])[..., :SIZE].softmax(-1)  # (B, T-1, SIZE)


def _probability(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """The probability (B,) of the last token of each row."""
    return _probabilities(model, tokens)[:, -1].gather(1, tokens[:, -1:])[:, 0].detach()


def test_gradient_equals_autograd_written_out() -> None:
    model, averaged, (tokens, weights, repeats) = wild(make_model()), wild(make_model(), seed=2), _case()
    p, of_averaged = _probabilities(model, tokens), _probabilities(averaged, tokens).detach()
    loss = torch.zeros(())
    for row, place in weights.nonzero().tolist():
        q, repeated = of_averaged[row, repeats[row, place]], int(tokens[row, place + 1])
        others = torch.arange(SIZE) != repeated
        entropy = -((q / (1 - q[repeated])) * p[row, place].log())[others].sum()
        loss = loss + weights[row, place] * (1 - q[repeated]) ** 2 * entropy
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found = _gradient(model, tokens, weights, repeats, averaged=averaged)
    for own, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-3, atol=1e-5)
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in expected)


def test_gradient_does_not_depend_on_the_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, case = wild(make_model()), _case()
    whole = _gradient(model, *case)
    monkeypatch.setattr(loop_breaking, "ROWS_AT_ONCE", 2)
    for own, wanted in zip(_gradient(model, *case), whole, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-6)


def test_steps_bring_back_what_else_was_possible_where_the_passage_stood_first() -> None:
    model, (tokens, _, _) = wild(make_model()), _case()
    weights, repeats = torch.zeros(5, 11), torch.full((5, 11), 3)
    weights[:, 10] = 1.0

    def distance() -> float:
        here, first = _probabilities(model, tokens).detach()[:, [10, 3]].unbind(1)
        first = first.scatter(1, tokens[:, -1:], 0.0)
        return float((here - first / first.sum(1, keepdim=True)).abs().sum())

    before, repeated = distance(), _probability(model, tokens)
    for _ in range(20):
        gradient = _gradient(model, tokens, weights, repeats)
        with torch.no_grad():
            torch._foreach_sub_(list(model.parameters()), [0.2 * one for one in gradient])
    assert distance() < 0.7 * before
    assert bool((_probability(model, tokens) < repeated).all())


def test_token_that_was_certain_where_it_stood_first_teaches_nothing() -> None:
    model, (tokens, _, _) = wild(make_model()), _case()
    with torch.no_grad():
        model.lm_head.weight *= 1000
    tokens[:, -1] = model(tokens)[:, -2, :SIZE].argmax(-1)
    weights, repeats = torch.zeros(5, 11), torch.full((5, 11), 10)
    weights[:, 10] = 1.0
    assert float(_probability(model, tokens).min()) > 0.999999
    assert all(float(one.abs().max()) < 1e-6 for one in _gradient(model, tokens, weights, repeats))
