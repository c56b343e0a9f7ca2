"""The policy gradient learns what is paid for, equals autograd on a case small enough to write out, and keeps its state."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Sequence

import pytest
import torch

from config import SelfPlayConfig
from learning import policy_gradient
from learning.self_play import Round, SelfPlay, SelfPlayState
from model import Transformer
from selfplay.environment import Prompt, Score
from selfplay.gate import Gate, KLController, Starter
from tests.training_kit import finish, make_model, play, same, wild
from tokenizer import Tokenizer

PAID = 40  # ids below this one are paid for
CONFIG = SelfPlayConfig(every=1, num_prompts=4, group_size=6, max_new_tokens=8, kl_coef=0.0)
STARTED = SelfPlayState(starter=Starter(5.7, True), controller=KLController.start(0.0, 0.05))


class Toy:
    """Pays for the share of tokens below `PAID`; or the same for everything."""

    def __init__(self, flat: bool = False) -> None:
        self.flat = flat

    def propose(self, rng: random.Random) -> Prompt:
        return Prompt("", (rng.randrange(100, 200), rng.randrange(100, 200)))

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        share = sum(token < PAID for token in completion_tokens) / len(completion_tokens)
        return Score(0.5 if self.flat else share, {"below_forty": share})


def _player(tokenizer: Tokenizer, model: Transformer, flat: bool = False, config: SelfPlayConfig = CONFIG) -> SelfPlay:
    player = play(tokenizer, config, Toy(flat))
    player._freeze(model)
    return player


def _round(player: SelfPlay, model: Transformer, state: SelfPlayState = STARTED) -> Round:
    return finish(player.play(model, state, 1, contextlib.nullcontext))


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [20.0, 0.0], ids=["learning", "control"])
def test_policy_gradient_raises_a_toy_reward(tokenizer: Tokenizer, learning_rate: float) -> None:
    model = wild(make_model(), std=0.1)
    player, state, rewards = _player(tokenizer, model), STARTED, []
    for _ in range(60):
        round_ = _round(player, model, state)
        state = round_.state
        rewards.append(round_.event.reward)
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), round_.gradient or [], strict=False):
                parameter -= learning_rate * gradient
    rise = sum(rewards[-10:]) / 10 - sum(rewards[:10]) / 10
    assert rise > 0.3 if learning_rate else abs(rise) < 0.1
    assert state.round == 60


def test_policy_gradient_of_equal_rewards_is_none(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    flat, steep = (_round(_player(tokenizer, model, flat), model) for flat in (True, False))
    assert flat.gradient is None
    assert flat.event.skipped_share == 1.0
    assert {rollout.advantage for rollout in flat.event.rollouts} == {0.0}
    assert steep.gradient is not None
    assert steep.event.skipped_share < 1.0


def test_policy_gradient_equals_autograd_written_out(tokenizer: Tokenizer) -> None:
    """-(1 / (B * max_new_tokens)) * sum over rollouts of A * log p(completion), A = reward - mean of the other rewards."""
    config = SelfPlayConfig(num_prompts=1, group_size=2, max_new_tokens=8, kl_coef=0.0)
    model = wild(make_model())
    player, state = _player(tokenizer, model, config=config), STARTED
    while (round_ := _round(player, model, state)).gradient is None:  # both were paid the same
        state = round_.state
    tokens = _rollout_tokens(player, model, state)
    rewards = [sum(t < PAID for t in completion) / len(completion) for _, completion in tokens]
    differences = [rewards[0] - rewards[1], rewards[1] - rewards[0]]
    loss = torch.zeros(())
    for (prompt, completion), advantage in zip(tokens, differences, strict=True):
        logits = model(torch.tensor([prompt + completion]))[0, len(prompt) - 1 : -1, : tokenizer.size]
        logprobs = logits.log_softmax(-1)[torch.arange(len(completion)), completion]
        loss = loss - advantage * logprobs.sum() / (2 * 8)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    assert any(float(g.abs().max()) > 1e-3 for g in expected)
    for found, wanted in zip(round_.gradient, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert not all(torch.allclose(a, -b, atol=1e-6) for a, b in zip(round_.gradient, expected, strict=True))
    assert not all(torch.allclose(a, 2 * b, atol=1e-6) for a, b in zip(round_.gradient, expected, strict=True))


def _rollout_tokens(player: SelfPlay, model: Transformer, state: SelfPlayState) -> list[tuple[list[int], list[int]]]:
    """What the round after `state` writes: (prompt, completion) of each rollout."""
    kept = []
    write = policy_gradient.write_rollouts

    def watched(*arguments, **named):
        kept.append(write(*arguments, **named))
        return kept[-1]

    policy_gradient.write_rollouts = watched
    try:
        _round(player, model, state)
    finally:
        policy_gradient.write_rollouts = write
    written = kept[0]
    prompts = [row[:start] for row, start in zip(written.tokens.tolist(), written.starts, strict=True)]
    return list(zip(prompts, written.completions, strict=True))


def test_policy_gradient_does_not_depend_on_the_chunks(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wild(make_model())
    player = _player(tokenizer, model)
    whole = _round(player, model)
    monkeypatch.setattr(policy_gradient, "ROWS_AT_ONCE", 5)
    chunked = _round(player, model)
    other = _round(player, model, whole.state)
    for a, b, c in zip(whole.gradient, chunked.gradient, other.gradient, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(a, c, rtol=1e-4, atol=1e-6) or a.abs().max() < 1e-5
    assert whole.event == chunked.event or whole.event.kl == pytest.approx(chunked.event.kl, abs=1e-5)


def test_round_changes_neither_weights_nor_state(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    player = _player(tokenizer, model)
    first, again = _round(player, model), _round(player, model)
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert first.event == again.event
    assert _round(player, model, first.state).event.rollouts != first.event.rollouts


def test_round_carries_the_parts_by_the_names_of_their_environment(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    event = _round(_player(tokenizer, model), model).event
    assert event.reward_breakdown == {"below_forty": pytest.approx(event.reward)}
    assert [rollout.reward_breakdown for rollout in event.rollouts] == [
        {"below_forty": rollout.reward} for rollout in event.rollouts
    ]


# ---- the leash -------------------------------------------------------------------------------------------------------


def test_kl_of_a_policy_equal_to_its_reference_is_zero(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    player = _player(tokenizer, model)
    assert abs(_round(player, model).event.kl) < 1e-5
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    assert _round(player, model).event.kl > 0.05


def test_reference_follows_the_average_while_it_is_good(tokenizer: Tokenizer) -> None:
    first, better, worse = (wild(make_model(), seed=seed) for seed in (1, 2, 3))
    player = _player(tokenizer, first)
    player.after_evaluation(STARTED, better, 20, 2.0, 2.0, 2.0)
    assert same(player.reference.state_dict(), better.state_dict())
    player.after_evaluation(STARTED, worse, 30, 2.02, 2.0, 2.0)
    assert same(player.reference.state_dict(), better.state_dict())
    with torch.no_grad():
        better.lm_head.weight.mul_(1.5)
    assert not same(player.reference.state_dict(), better.state_dict())  # a copy, not the average itself


def test_reference_round_trips_through_a_checkpoint(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    player, other = _player(tokenizer, model), play(tokenizer, CONFIG, Toy())
    rest = other.load_tensors(make_model(), {**player.tensors(), "norm.weight/step": torch.ones(1)})
    assert list(rest) == ["norm.weight/step"]
    assert same(other.reference.state_dict(), model.state_dict())


# ---- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        SelfPlayState(),
        SelfPlayState(7, Starter(5.7, True), Gate(2.0, 3, True), KLController.start(0.05, 0.1), 2.25),
    ],
)
def test_state_round_trips_through_json(state: SelfPlayState) -> None:
    text = json.dumps(state.to_json(), allow_nan=False)
    assert SelfPlayState.from_json(json.loads(text)) == state
    assert SelfPlayState.from_json(json.loads(text)) != dataclasses.replace(state, round=99)


def test_self_play_is_due_every_so_often_once_started_and_not_paused(tokenizer: Tokenizer) -> None:
    player = _player(tokenizer, make_model(), config=SelfPlayConfig(every=10))
    assert [i for i in range(1, 41) if player.is_due(i, STARTED)] == [10, 20, 30, 40]
    assert not player.is_due(10, SelfPlayState())
    assert not player.is_due(10, dataclasses.replace(STARTED, gate=Gate(2.0, 3, True)))


def test_self_play_started_but_without_a_reference_waits_for_the_next_evaluation(tokenizer: Tokenizer) -> None:
    player = play(tokenizer, CONFIG, Toy())
    assert not player.is_due(10, STARTED)
    state, _ = player.after_evaluation(STARTED, make_model(), 10, 2.0, 2.0, 2.0)
    assert player.is_due(11, state)
