"""The learning-rate schedule and the average against numbers worked out by hand, and optimizers that cover and remember everything."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from config import ModelConfig
from learning.average import AVERAGE_SHARE, Average
from learning.parameter_groups import EMBEDDING_FACTOR, MUON_FACTOR, Optimizers
from learning.schedules import (
    DECAY_RISE,
    EMBEDDING_SHARE,
    KNOWN_DROPOUT,
    LATE_PULL_RISE,
    LEAST_KNOWN,
    LONG_POWER,
    MANY_READINGS,
    MOST_DECAY,
    MOST_PULL,
    NEW_DECAY,
    PULL_RISE,
    WeightDecay,
    dropout_at,
    how_known,
    known_after,
    learning_rate_at,
    most_decay,
    pull_at,
    weight_decay_at,
)
from model import Transformer
from tests.training_kit import SHAPE, TRAINING, changed, make_model, same

RATES = changed(TRAINING, learning_rate=2e-3, warmup_iterations=10)
OPTIMIZERS: tuple[Literal["muon", "adamw"], ...] = ("muon", "adamw")


@pytest.mark.parametrize(("iteration", "expected"), [(0, 2e-4), (4, 1e-3), (9, 2e-3), (10, 2e-3), (10**9, 2e-3)])
def test_schedule_climbs_to_its_rate_and_stays(iteration: int, expected: float) -> None:
    assert learning_rate_at(RATES, iteration) == pytest.approx(expected, rel=1e-9)
    assert learning_rate_at(RATES, iteration) != pytest.approx(expected * 1.001, rel=1e-9)


def test_schedule_without_warm_up_begins_with_its_rate() -> None:
    assert learning_rate_at(changed(RATES, warmup_iterations=0), 0) == pytest.approx(2e-3)


# ---- how often the books have been read --------------------------------------------------------------------------------


@pytest.mark.parametrize(("readings", "expected"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0), (1e9, 1.0)])
def test_books_become_known_during_the_first_reading(readings: float, expected: float) -> None:
    assert how_known(readings) == expected


def test_dropout_by_itself_grows_with_the_readings_and_a_chosen_one_stays() -> None:
    by_itself, chosen = changed(TRAINING, dropout=None), changed(TRAINING, dropout=0.3)
    assert [dropout_at(by_itself, readings) for readings in (0, 1, 1.5, 9)] == [
        0.0,
        0.0,
        KNOWN_DROPOUT / 2,
        KNOWN_DROPOUT,
    ]
    assert [dropout_at(chosen, readings) for readings in (0, 0.5, 9)] == [0.3] * 3


def test_weight_decay_by_itself_grows_with_the_readings_and_a_chosen_one_stays() -> None:
    found = [weight_decay_at(TRAINING, readings, known=3.0) for readings in (0, 3, 4, 1000)]
    most = MOST_DECAY - NEW_DECAY
    rises = [(0.0, 0.0), (0.0, 0.0), (DECAY_RISE, EMBEDDING_SHARE * DECAY_RISE), (most, EMBEDDING_SHARE * most)]
    assert found == [WeightDecay(NEW_DECAY + matrices, embeddings) for matrices, embeddings in rises]
    chosen = changed(TRAINING, weight_decay=0.3)
    assert [weight_decay_at(chosen, readings, 3.0) for readings in (0, 9)] == [WeightDecay(0.3)] * 2


def test_best_weights_pull_from_twice_the_readings_on_and_never_beside_a_chosen_weight_decay() -> None:
    found = [pull_at(TRAINING, readings, known=3.0) for readings in (0, 6, 7, MANY_READINGS)]
    assert found == [0.0, 0.0, PULL_RISE, MOST_PULL]
    assert pull_at(changed(TRAINING, weight_decay=0.3), 1000, 3.0) == 0.0


def test_pull_grows_on_after_many_readings_until_every_step_goes_back_to_the_best_weights() -> None:
    found = [pull_at(TRAINING, MANY_READINGS + more, known=3.0) for more in (200, 10_000)]
    assert found == [pytest.approx(MOST_PULL + 200 * LATE_PULL_RISE), 1.0]


def test_books_are_known_the_sooner_the_fewer_tokens_there_are_for_a_parameter() -> None:
    assert known_after(83_000, 2_330_000) == pytest.approx(3, abs=0.05)
    assert known_after(170_000, 2_330_000) == pytest.approx(2 * known_after(85_000, 2_330_000))
    assert known_after(10_000, 2_330_000) == LEAST_KNOWN


def test_long_books_are_known_sooner_than_in_proportion() -> None:
    assert known_after(370_000, 2_330_000) == pytest.approx(8.7, abs=0.05)
    assert known_after(740_000, 2_330_000) == pytest.approx(2**LONG_POWER * known_after(370_000, 2_330_000))


def test_weight_decay_rises_less_the_longer_the_books_are() -> None:
    assert most_decay(170_000, 2_330_000) == MOST_DECAY
    assert most_decay(370_000, 2_330_000) == pytest.approx(0.57, abs=0.01)
    assert most_decay(10**8, 2_330_000) == NEW_DECAY
    assert weight_decay_at(TRAINING, 1000, 3.0, most=0.5).matrices == 0.5


@pytest.mark.parametrize(("readings", "which"), [(0.0, 0), (1.0, 1), (4.0, 1)])
def test_each_group_moves_at_the_rate_of_its_readings(readings: float, which: int) -> None:
    model = make_model()
    optimizers = Optimizers(model, TRAINING)
    before = model.embed_tokens.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.set_rates(1e-4, readings, WeightDecay(0.0))
    optimizers.step()
    moved = (before - model.embed_tokens.weight.detach()).mean()
    assert float(moved) == pytest.approx(1e-4 * EMBEDDING_FACTOR[which], rel=1e-3)  # AdamW's first step is its rate
    assert EMBEDDING_FACTOR[0] != EMBEDDING_FACTOR[1] and MUON_FACTOR[0] != MUON_FACTOR[1]


# ---- the average -------------------------------------------------------------------------------------------------------


def _averaged(steps: int) -> float:
    """The average after steps whose weights were 1, 2, ... `steps`."""
    model = make_model()
    average = Average(model)
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.norm.weight.fill_(float(step))
        average.set_steps(step)
        average.update(model)
    return float(average.model.norm.weight[0])


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_average_of_the_first_steps_is_the_newest_step(steps: int) -> None:
    assert _averaged(steps) == steps


def test_average_lags_by_a_tenth_of_the_steps_however_many_there_are() -> None:
    """Weights that grow by one a step: the mean of a window of share s lies s / (1 + s) of the way back."""
    for steps in (400, 1600):
        assert _averaged(steps) / steps == pytest.approx(1 / (1 + AVERAGE_SHARE), rel=0.01)


def test_average_is_a_copy_that_needs_no_gradient_and_drops_nothing_out() -> None:
    model = make_model()
    average = Average(model)
    before = {name: tensor.clone() for name, tensor in average.model.state_dict().items()}
    with torch.no_grad():
        model.embed_tokens.weight.add_(1)
    assert same(before, average.model.state_dict())
    assert not any(p.requires_grad for p in average.model.parameters())
    assert not average.model.training


# ---- the optimizers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_optimizers_cover_each_parameter_exactly_once(optimizer: str, architecture: str) -> None:
    model = Transformer(ModelConfig(**{**SHAPE.model_dump(), "architecture": architecture}))
    optimizers = Optimizers(model, changed(TRAINING, optimizer=optimizer))
    covered = [id(p) for o in optimizers._optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(covered) == sorted(id(p) for p in model.parameters())
    assert sorted(covered[1:]) != sorted(id(p) for p in model.parameters())


def test_optimizers_move_matrices_by_muon_and_decay_them_apart_from_embeddings_and_norms_never() -> None:
    model = make_model()
    names = {id(p): name for name, p in model.named_parameters()}
    optimizers = Optimizers(model, changed(TRAINING, optimizer="muon"))
    optimizers.set_rates(1e-3, 0.0, WeightDecay(0.1, 0.2))
    by_muon = {names[id(p)] for group in optimizers._optimizers[0].param_groups for p in group["params"]}
    assert by_muon == {n for n in names.values() if n.startswith("layers.") and n.endswith("_proj.weight")}
    groups = [group for o in optimizers._optimizers for group in o.param_groups]
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert {name for name, decay in decays.items() if decay == 0.1} == by_muon | {"lm_head.weight"}
    assert {name for name, decay in decays.items() if decay == 0.2} == {"embed_tokens.weight"}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_muon_orthogonalises_queries_keys_and_values_head_by_head(architecture: str) -> None:
    model = Transformer(ModelConfig(**{**SHAPE.model_dump(), "architecture": architecture}))
    model.initialise(0)
    attention, heads = model.layers[0].attention, SHAPE.num_heads
    before = {name: p.detach().clone() for name, p in attention.named_parameters()}
    for parameter in model.parameters():  # the same for all heads: together they would share one matrix
        parameter.grad = torch.randn(len(parameter) // heads, *parameter.shape[1:]).repeat(
            heads, *[1] * (parameter.dim() - 1)
        )
    optimizers = Optimizers(model, changed(TRAINING, optimizer="muon", precision="float32"))
    optimizers.set_rates(1.0, 0.0, WeightDecay(0.0))
    optimizers.step()
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        moved = (attention.get_submodule(name).weight.detach() - before[f"{name}.weight"]) / MUON_FACTOR[0]
        values = torch.linalg.svdvals(moved.view(heads, -1, SHAPE.d_model))  # of each head
        assert (float(values.min()) > 0.7 and float(values.max()) < 1.25) == (name != "o_proj")
    assert heads > 1


def _steps(model: Transformer, optimizers: Optimizers, first: int, last: int) -> None:
    for step in range(first, last):
        torch.manual_seed(step)
        model.loss(torch.randint(300, (2, 8)), torch.randint(300, (2, 8))).backward()
        optimizers.set_rates(1e-3, 0.0, WeightDecay(0.1))
        optimizers.step()
        optimizers.zero_grad()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_state_round_trips_bit_for_bit(optimizer: str) -> None:
    config = changed(TRAINING, optimizer=optimizer)
    straight, halted, forgetful = make_model(), make_model(), make_model()
    _steps(straight, Optimizers(straight, config), 0, 4)

    first = Optimizers(halted, config)
    _steps(halted, first, 0, 2)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = Optimizers(halted, config)
    second.load_state(state)
    assert same(second.state(), state)
    _steps(halted, second, 2, 4)
    assert same(halted.state_dict(), straight.state_dict())

    _steps(forgetful, Optimizers(forgetful, config), 0, 2)
    _steps(forgetful, Optimizers(forgetful, config), 2, 4)  # the control: the state is not handed over
    assert not same(forgetful.state_dict(), straight.state_dict())


def test_optimizer_state_that_was_loaded_is_a_copy() -> None:
    model = make_model()
    optimizers = Optimizers(model, TRAINING)
    _steps(model, optimizers, 0, 1)
    kept = {name: tensor.clone() for name, tensor in optimizers.state().items()}
    given = {name: tensor.clone() for name, tensor in kept.items()}
    other = Optimizers(model, TRAINING)
    other.load_state(given)
    _steps(model, other, 1, 2)
    assert same(given, kept)
    assert not same(other.state(), kept)


def test_optimizer_step_clears_the_gradients() -> None:
    model = make_model()
    _steps(model, Optimizers(model, TRAINING), 0, 1)
    assert all(parameter.grad is None for parameter in model.parameters())
