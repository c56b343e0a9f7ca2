"""The best weights hold a training near them, and are not moved by it."""

from __future__ import annotations

import pytest
import torch

from learning.anchor import Anchor
from tests.training_kit import make_model, same, wild


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_go_back_by_that_share_of_the_distance(share: float) -> None:
    best, model, anchor = wild(make_model()), wild(make_model(), std=0.3), Anchor()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    anchor.set(best)
    anchor.pull(model, share)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, before[name] + share * (best.get_parameter(name) - before[name]))


def test_best_weights_stay_what_they_were_while_the_average_goes_on() -> None:
    average, anchor = make_model(), Anchor()
    anchor.set(average)
    kept = {name: weight.clone() for name, weight in anchor.state().items()}
    wild(average)
    assert same(anchor.state(), kept)


def test_without_a_best_nothing_pulls_and_the_order_of_a_checkpoint_does_not_matter() -> None:
    model, other, anchor = wild(make_model()), make_model(), Anchor()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    anchor.pull(model, 1.0)
    assert same(dict(model.named_parameters()), before)
    anchor.load_state(dict(reversed(list(other.named_parameters()))))
    anchor.pull(model, 1.0)
    assert same(dict(model.named_parameters()), dict(other.named_parameters()))
