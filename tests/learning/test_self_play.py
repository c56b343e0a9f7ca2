"""A round makes a model unlearn its faults, equals what is written out by hand, and keeps its state."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Mapping, Sequence

import pytest
import torch

from config import SelfPlayConfig
from events import Writing
from learning.loop_breaking import BLOCKS_SHARE, loop_breaking_gradient
from learning.self_play import Beginning, Round, SelfPlay, SelfPlayState
from model import Transformer
from selfplay.environment import Band, Prompt, Score
from selfplay.gate import Gate, Starter
from tests.training_kit import finish, make_model, play, same, wild
from tokenizer import Tokenizer

WRONG = 160  # ids below this one are faults
CONFIG = SelfPlayConfig(every=1, num_prompts=12, max_new_tokens=8, temperature=1.0, top_k=0, top_p=1.0)
STARTED = SelfPlayState(starter=Starter(5.7, True))
WRITING = Writing(0.5, {"length": 0.5}, 0.25, "и он", ((0, 2),))


class Toy:
    """Rewards the share of tokens from `WRONG` on; the others are faults, or nothing is."""

    def __init__(self, faultless: bool = False) -> None:
        self.faultless = faultless

    @property
    def book(self) -> Mapping[str, Band]:
        return {"reward": (0.8, 0.9, 1.0)}

    def propose(self, rng: random.Random) -> Prompt:
        return Prompt("", (rng.randrange(100, 200), rng.randrange(100, 200)))

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        faults = tuple(place for place, token in enumerate(completion_tokens) if token < WRONG)
        right = 1 - len(faults) / len(completion_tokens)
        return Score(right, {"right": right}) if self.faultless else Score(right, {"right": right}, faults, faults)


def _player(tokenizer: Tokenizer, faultless: bool = False, config: SelfPlayConfig = CONFIG) -> SelfPlay:
    return play(tokenizer, config, Toy(faultless))


def _round(
    player: SelfPlay, model: Transformer, state: SelfPlayState = STARTED, averaged: Transformer | None = None
) -> Round:
    return finish(player.play(model, averaged or model, state, 1, contextlib.nullcontext))


def test_averaged_weights_write_and_the_model_learns(tokenizer: Tokenizer) -> None:
    model, averaged, player = wild(make_model()), wild(make_model(), seed=2), _player(tokenizer)
    found, own, others = _round(player, model, averaged=averaged), _round(player, model), _round(player, averaged)
    assert found.event == others.event != own.event
    assert found.gradient is not None and others.gradient is not None
    assert not any(torch.equal(*pair) for pair in zip(found.gradient, others.gradient, strict=True))
    assert all(parameter.grad is None for parameter in averaged.parameters())


# ---- learning --------------------------------------------------------------------------------------------------------


def test_round_writes_and_learns_without_dropout(tokenizer: Tokenizer) -> None:
    player, model = _player(tokenizer), wild(make_model())
    expected = _round(player, model)
    model.set_dropout(0.5)
    found = _round(player, model.train())
    assert found.event == expected.event
    assert found.gradient is not None and expected.gradient is not None
    assert all(torch.equal(*pair) for pair in zip(found.gradient, expected.gradient, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.2, 0.0], ids=["learning", "control"])
def test_rounds_raise_the_reward_by_unlearning_the_faults(tokenizer: Tokenizer, step: float) -> None:
    model = wild(make_model(), std=0.1)
    player, state, rewards = _player(tokenizer), STARTED, []
    for _ in range(60):
        round_ = _round(player, model, state)
        state = round_.state
        rewards.append(round_.event.reward)
        if round_.gradient is not None:
            length = torch.nn.utils.get_total_norm(round_.gradient)
            with torch.no_grad():
                torch._foreach_sub_(list(model.parameters()), [step / length * part for part in round_.gradient])
    rise = sum(rewards[-10:]) / 10 - sum(rewards[:10]) / 10
    assert rise > 0.1 if step else abs(rise) < 0.05
    assert state.round == 60


def test_round_of_faultless_texts_has_no_gradient(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    clean, faulty = (_round(_player(tokenizer, faultless), model) for faultless in (True, False))
    assert clean.gradient is None
    assert clean.event.looped == 0.0
    assert faulty.gradient is not None
    assert 0 < faulty.event.looped < 1


@pytest.mark.parametrize(("looping", "strength"), [(0, 0.0), (1, 1 / 3), (3, 1.0), (12, 1.0)])
def test_round_learns_with_less_strength_when_few_texts_loop(
    tokenizer: Tokenizer, looping: int, strength: float
) -> None:
    player = _player(tokenizer)
    scores = iter([Score(0.5, {"right": 0.5}, (0,), (0,))] * looping + [Score(1.0, {"right": 1.0})] * 12)
    player._environment.score = lambda *_: next(scores)  # type: ignore[method-assign]
    assert _round(player, wild(make_model())).strength == pytest.approx(strength)


@pytest.mark.parametrize(("looped", "strength"), [(0.3, 1.0), (0.3 / 0.225, 0.5), (2.0, 0.0), (0.0, 1.0)])
def test_round_learns_with_less_strength_the_less_repetition_is_left_in_greedy_texts(
    tokenizer: Tokenizer, looped: float, strength: float
) -> None:
    """`looped` is the repetition of greedy texts when self-play began; now it is 0.3 of their tokens, and all of the others'."""
    began = dataclasses.replace(
        STARTED, beginning=Beginning(200, "", {"greedy": dataclasses.replace(WRITING, looped=looped)})
    )
    player = _player(tokenizer, config=CONFIG.model_copy(update={"max_new_tokens": 10}))
    some, all_ = (Score(0.5, {"right": 0.5}, tuple(range(count)), (0,) * count) for count in (3, 10))
    scores = iter([some] * 9 + [all_] * 3)
    player._environment.score = lambda *_: next(scores)  # type: ignore[method-assign]
    assert _round(player, wild(make_model()), began).strength == pytest.approx(strength, abs=1e-5)


def test_round_without_greedy_texts_learns_with_full_strength(tokenizer: Tokenizer) -> None:
    began = dataclasses.replace(
        STARTED, beginning=Beginning(200, "", {"greedy": dataclasses.replace(WRITING, looped=2.0)})
    )
    player = _player(tokenizer, config=CONFIG.model_copy(update={"greedy_share": 0.0}))
    assert _round(player, wild(make_model()), began).strength == 1.0


def test_round_tells_the_share_of_each_text_that_is_faults(tokenizer: Tokenizer) -> None:
    rollouts = _round(_player(tokenizer), wild(make_model())).event.rollouts
    assert [one.looped for one in rollouts] == pytest.approx([1 - one.reward for one in rollouts])


def test_round_weighs_the_first_faults_of_each_text(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learning.self_play.FIRST_FAULTS", 3)
    model, averaged, player = wild(make_model()), wild(make_model(), seed=2), _player(tokenizer)
    written: list[tuple[Prompt, list[int]]] = []
    score = player._environment.score

    def watched(prompt: Prompt, completion: Sequence[int], finished: bool) -> Score:
        written.append((prompt, list(completion)))
        return score(prompt, completion, finished)

    player._environment.score = watched  # type: ignore[method-assign]
    found = _round(player, model, averaged=averaged).gradient
    assert sum(token < WRONG for _, completion in written for token in completion) > 3 * 12  # more than count
    total = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for prompt, completion in written:
        tokens, weights = torch.tensor([[*prompt.tokens, *completion]]), torch.zeros(1, len(completion) + 1)
        first = [place for place, token in enumerate(completion) if token < WRONG][:3]
        weights[0, [place + 1 for place in first]] = 1.0
        repeats = torch.arange(len(completion) + 1)[None]
        own = loop_breaking_gradient(model, averaged, tokens, weights, repeats, tokenizer.size, contextlib.nullcontext)
        torch._foreach_add_(total, own)
    for (name, _), one, wanted in zip(model.named_parameters(), found, total, strict=True):
        share = 1.0 if name in ("embed_tokens.weight", "lm_head.weight") else BLOCKS_SHARE
        torch.testing.assert_close(one, share * wanted, rtol=1e-3, atol=1e-6)


def test_round_writes_the_configured_share_greedily(tokenizer: Tokenizer) -> None:
    config = CONFIG.model_copy(update={"greedy_share": 0.25})
    event = _round(_player(tokenizer, config=config), wild(make_model())).event
    assert [one.greedy for one in event.rollouts] == [True] * 3 + [False] * 9


def test_round_changes_neither_weights_nor_state(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    player = _player(tokenizer)
    first, again = _round(player, model), _round(player, model)
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert first.event == again.event
    assert _round(player, model, first.state).event.rollouts != first.event.rollouts


def test_round_carries_the_parts_by_the_names_of_their_environment(tokenizer: Tokenizer) -> None:
    event = _round(_player(tokenizer), wild(make_model())).event
    assert event.reward_breakdown == {"right": pytest.approx(event.reward)}
    assert [rollout.reward_breakdown for rollout in event.rollouts] == [
        {"right": rollout.reward} for rollout in event.rollouts
    ]
    assert event.book == {"reward": (0.8, 0.9, 1.0)}


def test_round_marks_the_characters_of_its_faults(tokenizer: Tokenizer) -> None:
    for rollout in _round(_player(tokenizer), wild(make_model())).event.rollouts:
        for first, last in rollout.loops:
            assert 0 <= first < last <= len(rollout.completion)
        assert bool(rollout.looped) >= bool(rollout.loops)


# ---- what it has changed -----------------------------------------------------------------------------------------------


def test_compare_keeps_the_first_writing_and_shows_it_beside_the_present_one(tokenizer: Tokenizer) -> None:
    player, model = _player(tokenizer), wild(make_model())
    state, first = player.compare(model, STARTED, 200, contextlib.nullcontext)
    assert first is None
    _, unchanged = player.compare(model, state, 300, contextlib.nullcontext)
    assert unchanged.before == unchanged.now
    assert set(unchanged.now) == {"greedy", "sampled"}
    _, changed = player.compare(wild(make_model(), seed=9), state, 300, contextlib.nullcontext)
    assert (changed.since, changed.iteration) == (200, 300)
    assert changed.before == unchanged.before
    assert changed.now != changed.before


def test_compare_does_nothing_before_self_play_has_started(tokenizer: Tokenizer) -> None:
    state = SelfPlayState()
    assert _player(tokenizer).compare(make_model(), state, 100, contextlib.nullcontext) == (state, None)


# ---- the gate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train_loss", "paused"), [(2.1, True), (1.5, False)], ids=["damaged", "memorising"])
def test_self_play_pauses_while_the_model_gets_worse_unless_it_memorises_the_book(
    tokenizer: Tokenizer, train_loss: float, paused: bool
) -> None:
    player = _player(tokenizer)
    state, _ = player.after_evaluation(STARTED, 100, 2.0, 2.0, 2.0)
    codes = []
    for iteration in (200, 300, 400):
        state, notices = player.after_evaluation(state, iteration, 2.2, 2.0, train_loss)
        codes += [notice.code for notice in notices]
    assert (codes, player.is_due(400, state)) == ((["self_play_paused"], False) if paused else ([], True))
    state, notices = player.after_evaluation(state, 500, 2.01, 2.0, train_loss)
    assert [notice.code for notice in notices] == ["self_play_resumed"] * paused
    assert player.is_due(500, state)


# ---- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        SelfPlayState(),
        SelfPlayState(
            7,
            Starter(5.7, True),
            Gate(2.0, 3, True),
            2.25,
            Beginning(200, "Он", {"greedy": WRITING}),
        ),
    ],
)
def test_state_round_trips_through_json(state: SelfPlayState) -> None:
    text = json.dumps(state.to_json(), allow_nan=False)
    assert SelfPlayState.from_json(json.loads(text)) == state
    assert SelfPlayState.from_json(json.loads(text)) != dataclasses.replace(state, round=99)


def test_state_of_a_checkpoint_with_a_policy_gradient_goes_on() -> None:
    former = {"kl_coef": 0.05, "target": 0.3, "lowest": 0.005, "highest": 0.5}
    values = SelfPlayState(7, Starter(5.7, True)).to_json() | {"controller": former}
    del values["beginning"]
    assert SelfPlayState.from_json(values) == SelfPlayState(7, Starter(5.7, True))


def test_self_play_is_due_every_so_often_once_started_and_not_paused(tokenizer: Tokenizer) -> None:
    player = _player(tokenizer, config=SelfPlayConfig(every=10))
    assert [i for i in range(1, 41) if player.is_due(i, STARTED)] == [10, 20, 30, 40]
    assert not player.is_due(10, SelfPlayState())
    assert not player.is_due(10, dataclasses.replace(STARTED, gate=Gate(2.0, 3, True)))
