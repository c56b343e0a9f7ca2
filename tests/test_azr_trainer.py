"""The training loop: it learns, it goes on after a stop as if nothing had happened, and it survives what can go wrong within."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import azr_trainer
from azr_trainer import ANCHOR_PREFIX, WEIGHTS_PREFIX, AZRTrainer, Snapshot, TrainerState
from errors import Diverged, OutOfMemory
from events import Evaluated, Event, IterationDone, Notice, Rollout, RunStarted, SampleWritten, SelfPlayDone, StageBegun
from learning import self_play
from learning.schedules import LEAST_KNOWN
from tests.training_kit import SELF_PLAY, SHAPE, changed, make_model, same, wild

Make = Callable[..., AZRTrainer]


def _losses(events: list[Any]) -> dict[int, float]:
    return {event.iteration: event.loss for event in events if isinstance(event, IterationDone)}


def _codes(events: list[Any]) -> list[str]:
    return [event.code for event in events if isinstance(event, Notice)]


def _weights(trainer: AZRTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trainer_overfits_one_batch(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=80, eval_every=1000, dropout=0.0, learning_rate=4e-3, weight_decay=0.0)
    one = trainer._sequences.batch(0, 4)
    monkeypatch.setattr(trainer._sequences, "batch", lambda first, count: one)
    losses = list(_losses(list(trainer.run())).values())
    assert losses[0] > 5
    assert losses[-1] < 0.1


def test_trainer_first_evaluation_is_that_of_a_uniform_guess(make_trainer: Make) -> None:
    evaluated = next(event for event in make_trainer().run() if isinstance(event, Evaluated))
    assert evaluated.val_loss == pytest.approx(math.log(300), abs=1e-5)
    assert evaluated.val_loss != pytest.approx(math.log(299), abs=1e-5)
    assert (evaluated.iteration, evaluated.is_best) == (0, True)


def test_trainer_tells_its_events_in_order(make_trainer: Make) -> None:
    told = [e for e in make_trainer(iterations=3).run() if not isinstance(e, StageBegun)]
    names = ["RunStarted", "Evaluated", "SampleWritten", *["IterationDone"] * 3, "Evaluated", "SampleWritten"]
    assert [type(event).__name__ for event in told] == names
    assert [event.iteration for event in told] == [0, 0, 0, 1, 2, 3, 3, 3]
    assert isinstance(told[0], RunStarted)
    assert (told[0].iterations, told[0].resumed, told[0].precision, told[0].num_threads) == (3, False, "float32", 1)


def test_trainer_tells_the_stages_of_a_round_in_order(make_trainer: Make) -> None:
    told = list(make_trainer(self_play=True, iterations=2, eval_every=100).run())
    stages = [event.stage.value for event in told if isinstance(event, StageBegun)]
    round_ = ["self_play", "reward", "update", "supervised"]
    assert stages == ["supervised", "evaluating", "supervised", *round_, "evaluating", "supervised"]
    assert [type(e).__name__ for e in told if isinstance(e, IterationDone | SelfPlayDone)][-2:] == [
        "IterationDone",
        "SelfPlayDone",
    ]


def test_bits_per_byte_counts_the_bytes_of_the_held_out_text(make_trainer: Make) -> None:
    trainer = make_trainer()
    evaluated = next(event for event in trainer.run() if isinstance(event, Evaluated))
    expected = math.log2(300) * len(trainer.dataset.val) / trainer.dataset.val_bytes
    assert evaluated.bits_per_byte == pytest.approx(expected, abs=1e-5)
    assert evaluated.bits_per_byte != pytest.approx(math.log2(300), abs=1e-5)


@pytest.mark.slow
def test_accumulating_eight_times_one_equals_one_times_eight(make_trainer: Make) -> None:
    def trained(**changes: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
        trainer = make_trainer(wild(make_model(), std=0.1), iterations=3, dropout=0.0, optimizer="adamw", **changes)
        done = [event for event in trainer.run() if isinstance(event, IterationDone)]
        # the norm too: clipping and AdamW hide a gradient that is too large by a factor
        return _weights(trainer), [number for event in done for number in (event.loss, event.grad_norm)]

    whole, whole_losses = trained(batch_size=8, grad_accum_steps=1)
    parts, parts_losses = trained(batch_size=1, grad_accum_steps=8)
    fewer, fewer_losses = trained(batch_size=1, grad_accum_steps=7)
    assert parts_losses == pytest.approx(whole_losses, abs=1e-4)
    assert fewer_losses != pytest.approx(whole_losses, abs=1e-4)
    close = {"rtol": 1e-3, "atol": 2e-4}
    assert all(torch.allclose(whole[name], parts[name], **close) for name in whole)
    assert not all(torch.allclose(whole[name], fewer[name], **close) for name in whole)


# ---- stopping and going on -------------------------------------------------------------------------------------------


def _resumed(make: Make, snapshot: Snapshot, **options: Any) -> AZRTrainer:
    model = make_model(seed=9)  # its weights must not matter
    model.load_state_dict(snapshot.weights)
    state = TrainerState.from_json(json.loads(json.dumps(snapshot.state, allow_nan=False)))
    return make(model, state=state, optimizer_state=snapshot.optimizer, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_average")
@pytest.mark.parametrize("self_play", [False, True], ids=["supervised", "self-play"])
def test_trainer_stopped_at_any_event_goes_on_bit_for_bit(make_trainer: Make, self_play: bool) -> None:
    options = {"self_play": self_play, "iterations": 3, "eval_every": 2, "batch_size": 2}
    straight = make_trainer(**options)
    told = list(straight.run())
    expected, losses = straight.snapshot(), _losses(told)
    assert any(isinstance(event, SelfPlayDone) for event in told) == self_play
    rounds = [event.reward for event in told if isinstance(event, SelfPlayDone)]
    for stop in range(1, len(told) + 1):
        first = make_trainer(**options)
        run = first.run()
        before = [next(run) for _ in range(stop)]
        run.close()
        second = _resumed(make_trainer, first.snapshot(), **options)
        after = list(second.run())
        found = second.snapshot()
        assert same(found.weights, expected.weights), told[stop - 1]
        assert same(found.optimizer, expected.optimizer), told[stop - 1]
        assert _losses(before) | _losses(after) == losses
        assert [e.reward for e in after if isinstance(e, SelfPlayDone)] == rounds[len(rounds) - sum(
            isinstance(e, SelfPlayDone) for e in after
        ) :]  # fmt: skip
        ignored = {"elapsed_seconds"}
        assert {k: v for k, v in found.state.items() if k not in ignored} == {
            k: v for k, v in expected.state.items() if k not in ignored
        }


@pytest.mark.slow
@pytest.mark.usefixtures("quick_average")
@pytest.mark.parametrize("lost", ["moments", "weights", "average", "sequences"])
def test_trainer_that_loses_a_part_of_the_snapshot_does_not_go_on_alike(make_trainer: Make, lost: str) -> None:
    """The control of the test above."""
    options = {"self_play": True, "iterations": 6, "eval_every": 2, "batch_size": 2}
    straight = make_trainer(**options)
    list(straight.run())
    first = make_trainer(**options)
    run = first.run()
    while next(run) and first.state.iteration < 3:
        pass
    run.close()
    kept = first.snapshot()
    if lost == "sequences":
        kept.state["sequences_seen"] = 0
    trained = {name: kept.optimizer[WEIGHTS_PREFIX + name] for name in kept.weights}
    parts = {name: "weights" if name.startswith(WEIGHTS_PREFIX) else "moments" for name in kept.optimizer}
    optimizer = {name: tensor for name, tensor in kept.optimizer.items() if parts[name] != lost}
    if lost == "weights":  # the average in their place
        optimizer |= {WEIGHTS_PREFIX + name: tensor for name, tensor in kept.weights.items()}
    weights = trained if lost == "average" else kept.weights
    second = _resumed(make_trainer, Snapshot(kept.iteration, weights, optimizer, kept.state), **options)
    list(second.run())
    assert not same(second.snapshot().weights, straight.snapshot().weights)


@pytest.fixture
def known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Books are known from the first reading on, and the best weights pull at once."""
    for name, value in {"KNOWN_FACTOR": 0.0, "LEAST_KNOWN": 0.0, "PULL_RISE": 1.0, "MOST_PULL": 0.5}.items():
        monkeypatch.setattr(f"learning.schedules.{name}", value)


@pytest.mark.usefixtures("known_at_once")
@pytest.mark.parametrize("lost", [False, True], ids=["whole snapshot", "without the best weights"])
def test_training_held_near_its_best_goes_on_bit_for_bit(make_trainer: Make, lost: bool) -> None:
    options = {"iterations": 6, "eval_every": 2, "batch_size": 2, "weight_decay": None}
    straight, first = make_trainer(**options), make_trainer(**options)
    list(straight.run())
    run = first.run()
    while next(run) and first.state.iteration < 5:
        pass
    run.close()
    kept = first.snapshot()
    optimizer = {name: each for name, each in kept.optimizer.items() if not (lost and name.startswith(ANCHOR_PREFIX))}
    second = _resumed(make_trainer, dataclasses.replace(kept, optimizer=optimizer), **options)
    list(second.run())
    assert same(second.snapshot().weights, straight.snapshot().weights) is not lost


@pytest.mark.usefixtures("known_at_once")
def test_best_weights_hold_a_training_only_on_the_books_they_are_best_on(make_trainer: Make) -> None:
    trainer = make_trainer(iterations=2, eval_every=2, weight_decay=None)
    list(trainer.run())
    kept = trainer.snapshot()
    anchored = [name for name in kept.optimizer if name.startswith(ANCHOR_PREFIX)]
    assert [kept.optimizer[name].tolist() for name in anchored] == [
        kept.weights[name.removeprefix(ANCHOR_PREFIX)].tolist() for name in anchored
    ]
    assert len(anchored) == len(dict(trainer.model.named_parameters()))
    following = TrainerState.from_json(kept.state).next_run()
    other = make_trainer(state=following, optimizer_state=kept.optimizer, weight_decay=None)
    assert other.learner.anchor.state() == {}


@pytest.mark.parametrize(("part", "kept"), [(2.2, False), (1.8, True)], ids=["before half", "after it"])
def test_best_weights_are_kept_from_half_way_to_known_books_on(make_trainer: Make, part: float, kept: bool) -> None:
    trainer = make_trainer(iterations=4, eval_every=4, weight_decay=None)
    list(trainer._iterations())
    trainer._known_after, trainer.state.best_val_loss = part * trainer._readings, None
    list(trainer._evaluate())
    assert bool(trainer.learner.anchor.state()) is kept


def test_snapshot_is_a_copy(make_trainer: Make) -> None:
    trainer = make_trainer(iterations=2)
    run = trainer.run()
    while not isinstance(next(run), IterationDone):
        pass
    kept = trainer.snapshot()
    weights, optimizer = ({k: v.clone() for k, v in part.items()} for part in (kept.weights, kept.optimizer))
    list(run)
    assert same(kept.weights, weights)
    assert same(kept.optimizer, optimizer)
    assert not same(trainer.snapshot().weights, weights)


def test_trainer_same_seed_trains_alike_and_another_does_not(make_trainer: Make) -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        trainer = make_trainer(seed=seed, iterations=3)
        list(trainer.run())
        return _weights(trainer)

    first = trained(5)
    torch.rand(7)  # whatever else draws from torch's own generator
    assert same(trained(5), first)
    assert not same(trained(6), first)


def test_endless_training_runs_past_any_number(make_trainer: Make) -> None:
    run = make_trainer(iterations=None, eval_every=10, batch_size=1, learning_rate=2e-3).run()
    started = next(run)
    assert started.iterations is None
    last = next(event for event in run if isinstance(event, IterationDone) and event.iteration == 25)
    assert last.learning_rate == pytest.approx(2e-3)
    run.close()


def _with_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an iteration take three seconds, and an evaluation as many as it asks for the time."""
    monkeypatch.setattr(azr_trainer, "time", SimpleNamespace(perf_counter=itertools.count().__next__))


def _checks(events: list[Any]) -> list[int]:
    return [event.iteration for event in events if isinstance(event, Evaluated)]


def test_training_that_time_ends_is_checked_often_at_first_and_once_more_at_its_end(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_a_clock(monkeypatch)
    trainer = make_trainer(iterations=None, max_minutes=2.0, eval_every=8, batch_size=1)
    told = list(trainer.run())
    assert _checks(list(make_trainer(iterations=None, max_minutes=0.01, batch_size=1).run())) == [0, 1]
    assert _checks(told) == [0, 5, 10, 15, 22, 30, 34]  # 34 iterations and six checks, of three seconds each
    assert trainer.state.elapsed_seconds - 120 in range(4)


@pytest.mark.usefixtures("quick_average")
def test_training_that_time_ends_goes_on_for_the_time_that_is_left_bit_for_bit(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_a_clock(monkeypatch)
    options = {"iterations": None, "max_minutes": 1.0, "batch_size": 1}
    straight, first = make_trainer(**options), make_trainer(**options)
    whole, before = list(straight.run()), list(_until(first, 7))
    second = _resumed(make_trainer, first.snapshot(), **options)
    assert _checks(before) + _checks(list(second.run())) == _checks(whole)
    assert second.state.iteration == straight.state.iteration
    assert same(second.snapshot().weights, straight.snapshot().weights)
    longer = second.state.longer()
    assert not longer.has_reached_its_end(second.config)
    assert longer.ends_at_seconds(1.0) == longer.elapsed_seconds + 60


@pytest.mark.usefixtures("quick_average")
def test_what_is_measured_and_sampled_is_the_average(make_trainer: Make) -> None:
    trainer = make_trainer(iterations=6)
    list(trainer.run())
    measured, sampled = trainer.validate(), trainer.sample()
    wild(trainer.model)
    assert (trainer.validate(), trainer.sample()) == (measured, sampled)
    wild(trainer.average.model)
    assert trainer.validate() != measured


def test_texts_of_self_play_are_compared_as_the_average_writes_them(make_trainer: Make) -> None:
    trainer = make_trainer(self_play=True, iterations=2)
    list(trainer.run())
    assert trainer.self_play is not None
    before = trainer._compare(trainer.self_play)
    wild(trainer.model)
    assert trainer._compare(trainer.self_play) == before
    wild(trainer.average.model)
    assert trainer._compare(trainer.self_play) != before


def test_average_writes_the_texts_of_self_play(make_trainer: Make) -> None:
    def texts(change: float) -> tuple[Rollout, ...]:
        trainer = make_trainer(self_play=True, iterations=2)
        told = trainer.run()
        next(event for event in told if isinstance(event, IterationDone))
        with torch.no_grad():
            trainer.average.model.lm_head.weight.mul_(change)
        return next(event for event in told if isinstance(event, SelfPlayDone)).rollouts

    assert texts(1.0) == texts(1.0) != texts(-1.0)


def test_beginning_of_self_play_is_kept_where_no_sample_is_due(make_trainer: Make) -> None:
    trainer = make_trainer(self_play=True, iterations=2)
    trainer._sampled_at = math.inf
    next(event for event in trainer.run() if isinstance(event, Evaluated))
    beginning = trainer.state.self_play.beginning
    assert beginning is not None and beginning.iteration == 0


@pytest.mark.usefixtures("quick_average")
def test_average_takes_in_the_weights_after_each_step(make_trainer: Make) -> None:
    trainer = make_trainer(iterations=5)
    expected = trainer.model.lm_head.weight.detach().clone()
    for event in trainer.run():
        if isinstance(event, IterationDone):
            expected.lerp_(trainer.model.lm_head.weight.detach(), min(1.0, 1 / (0.9 * event.iteration)))
    torch.testing.assert_close(trainer.average.model.lm_head.weight, expected)


def test_next_run_keeps_the_counts_and_forgets_the_rest() -> None:
    state = TrainerState(
        iteration=50, sequences_seen=9, elapsed_seconds=7.0, best_val_loss=1.0, evaluations_since_best=3
    )
    following = state.next_run()
    assert (following.iteration, following.run_start, following.elapsed_seconds) == (50, 50, 7.0)
    assert (following.best_val_loss, following.evaluations_since_best, following.sequences_seen) == (None, 0, 9)
    assert following.schedule_start == 50


def test_longer_run_keeps_all_but_where_it_began_and_its_patience() -> None:
    state = TrainerState(
        iteration=50, elapsed_seconds=7.0, schedule_start=7, best_val_loss=1.0, evaluations_since_best=3
    )
    following = state.longer()
    assert (following.run_start, following.run_start_seconds, following.evaluations_since_best) == (50, 7.0, 0)
    assert dataclasses.replace(following, run_start=0, run_start_seconds=None, evaluations_since_best=3) == state


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def _spoil(trainer: AZRTrainer, monkeypatch: pytest.MonkeyPatch, iterations: range) -> None:
    """The loss of these iterations (the next one to finish counts) is NaN in training."""
    loss = trainer.model.loss

    def spoiled(tokens: torch.Tensor, targets: torch.Tensor, *run: Any) -> torch.Tensor:
        bad = trainer.model.training and trainer.state.iteration + 1 in iterations
        return loss(tokens, targets, *run) * (math.nan if bad else 1.0)

    monkeypatch.setattr(trainer.model, "loss", spoiled)


def test_trainer_skips_one_iteration_that_is_not_finite(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=4, eval_every=100)
    _spoil(trainer, monkeypatch, range(2, 3))
    seen: dict[int, dict[str, torch.Tensor]] = {}
    told = []
    for event in trainer.run():
        told.append(event)
        if isinstance(event, IterationDone):
            seen[event.iteration] = _weights(trainer)
    assert _codes(told) == ["non_finite_skipped"]
    assert same(seen[1], seen[2])
    assert not same(seen[2], seen[3])
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.snapshot().weights.values())
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.snapshot().optimizer.values())
    assert math.isnan(_losses(told)[2])


def test_trainer_ends_after_five_iterations_that_are_not_finite(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(iterations=20, eval_every=100)
    _spoil(trainer, monkeypatch, range(3, 99))
    told = []
    with pytest.raises(Diverged) as error:
        told.extend(event for event in _collected(trainer, told))
    assert error.value.parameters == {"iteration": 7, "times": 5}
    assert _codes(told) == ["non_finite_skipped"] * 4
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.model.state_dict().values())


def _collected(trainer: AZRTrainer, into: list[Any]) -> list[Any]:
    for event in trainer.run():
        into.append(event)
    return []


def test_trainer_counts_only_failures_in_a_row(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=12, eval_every=100)
    loss = trainer.model.loss
    monkeypatch.setattr(
        trainer.model, "loss", lambda *given: loss(*given) * (math.nan if trainer.state.iteration % 4 else 1.0)
    )
    assert len(_codes(list(trainer.run()))) == 9


def _limit_memory(
    trainer: AZRTrainer, monkeypatch: pytest.MonkeyPatch, rows: int, message: str = "not enough memory"
) -> None:
    loss = trainer.model.loss

    def limited(tokens: torch.Tensor, targets: torch.Tensor, *run: Any) -> torch.Tensor:
        if trainer.model.training and len(tokens) > rows:
            raise RuntimeError(f"DefaultCPUAllocator: {message}: you tried to allocate 1 bytes")
        return loss(tokens, targets, *run)

    monkeypatch.setattr(trainer.model, "loss", limited)


def test_trainer_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"iterations": 3, "batch_size": 8, "dropout": 0.0, "optimizer": "adamw"}
    free, tight, smaller = (
        make_trainer(wild(make_model(), std=0.1), **options | more) for more in ({}, {}, {"batch_size": 2})
    )
    _limit_memory(tight, monkeypatch, rows=2)
    wide, told, narrow = (list(trainer.run()) for trainer in (free, tight, smaller))
    halved = [event for event in told if isinstance(event, Notice)]
    assert [(event.code, event.parameters["batch_size"]) for event in halved] == [
        ("micro_batch_halved", 4),
        ("micro_batch_halved", 2),
    ]
    assert list(_losses(told).values()) == pytest.approx(list(_losses(wide).values()), abs=1e-4)
    assert list(_losses(narrow).values()) != pytest.approx(list(_losses(wide).values()), abs=1e-4)
    found, expected = _weights(tight), _weights(free)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=2e-4) for name in found)
    assert TrainerState.from_json(tight.snapshot().state).micro_batches == 4


def test_trainer_out_of_memory_at_one_sequence_is_told(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(batch_size=3)
    _limit_memory(trainer, monkeypatch, rows=0)
    with pytest.raises(OutOfMemory):
        list(trainer.run())


def test_trainer_does_not_take_other_errors_for_a_lack_of_memory(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(batch_size=3)
    _limit_memory(trainer, monkeypatch, rows=0, message="size mismatch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(trainer.run())


# ---- evaluations -----------------------------------------------------------------------------------------------------


def _validates(trainer: AZRTrainer, monkeypatch: pytest.MonkeyPatch, *val_losses: float) -> None:
    values = iter(val_losses)
    monkeypatch.setattr(trainer, "validate", lambda: next(values))


def test_early_stopping_ends_after_that_many_evaluations_without_a_best(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(iterations=100, eval_every=2, early_stopping_patience=2)
    _validates(trainer, monkeypatch, 5.0, 4.0, 4.5, 3.0, 3.0, 3.1, 2.0)
    told = list(trainer.run())
    assert [event.is_best for event in told if isinstance(event, Evaluated)] == [True, True, False, True, False, False]
    assert _codes(told) == ["early_stopped"]
    assert trainer.state.iteration == 10
    assert told[-1].parameters == {"best_iteration": 6, "evaluations": 2}


def test_finite_training_stops_early_by_itself_and_an_endless_one_goes_on(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.PATIENCE_ITERATIONS", 10)
    finite = make_trainer(iterations=100, eval_every=2)
    _validates(finite, monkeypatch, 5.0, 4.0, *[4.1] * 50)
    notices = [event for event in finite.run() if isinstance(event, Notice)]
    assert (notices[-1].code, finite.state.iteration) == ("early_stopped", 2 + 5 * 2)
    timed = make_trainer(iterations=None, max_minutes=1000.0, eval_every=2)
    _validates(timed, monkeypatch, 5.0, *[5.1] * 50)
    notices = [event for event in timed.run() if isinstance(event, Notice)]
    assert (notices[-1].code, timed.state.iteration) == ("early_stopped", 10)
    endless = make_trainer(iterations=None, eval_every=2)
    _validates(endless, monkeypatch, 5.0, 4.0, *[4.1] * 50)
    assert max(event.iteration for event in _until(endless, 40) if isinstance(event, IterationDone)) == 40


def _until(trainer: AZRTrainer, iteration: int) -> Iterator[Event]:
    for event in trainer.run():
        yield event
        if isinstance(event, IterationDone) and event.iteration == iteration:
            return


def test_val_loss_that_is_not_finite_is_never_the_best(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=2, eval_every=1)
    _validates(trainer, monkeypatch, math.nan, 4.0, -math.inf)
    assert [e.is_best for e in trainer.run() if isinstance(e, Evaluated)] == [False, True, False]
    assert trainer.state.best_val_loss == 4.0


def test_memorising_is_told_once_until_there_is_a_new_best(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=14, eval_every=1)
    _validates(trainer, monkeypatch, 4.0, *[4.1] * 6, 3.9, *[4.1] * 7)
    assert _codes(list(trainer.run())) == ["memorising", "memorising"]


@pytest.mark.parametrize(
    ("weight_decay", "expected"), [(None, ["books_known"]), (0.1, [])], ids=["by itself", "chosen"]
)
def test_books_are_called_known_once_when_weight_decay_begins_to_rise(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, weight_decay: float | None, expected: list[str]
) -> None:
    monkeypatch.setattr("learning.schedules.KNOWN_FACTOR", 1.0)  # the text is long for a model as small as this
    trainer = make_trainer(
        iterations=60, eval_every=10, weight_decay=weight_decay, dropout=0.0, early_stopping_patience=0
    )
    told = list(trainer.run())
    assert [code for code in _codes(told) if code == "books_known"] == expected
    if expected:
        (notice,) = (event for event in told if isinstance(event, Notice) and event.code == "books_known")
        assert notice.parameters["readings"] >= LEAST_KNOWN > notice.parameters["readings"] - 0.6


def test_dropout_by_itself_follows_the_readings_of_these_books(make_trainer: Make) -> None:
    trainer = make_trainer(iterations=None, dropout=None, eval_every=10**6)
    per_epoch = -(-trainer._sequences.per_epoch // (trainer.config.batch_size * trainer.config.grad_accum_steps))
    wanted = {0: 0.0, per_epoch // 2: 0.0, 2 * per_epoch: 0.1, 5 * per_epoch: 0.1}
    for begun, dropout in wanted.items():
        for first in (0, 700):  # iterations of other books before
            trainer.state.iteration, trainer.state.schedule_start = first + begun, first
            next(event for event in trainer.run() if isinstance(event, IterationDone))
            assert trainer.model.dropout.p == dropout


def test_evaluation_changes_no_weight_and_uses_no_dropout(make_trainer: Make) -> None:
    trainer = make_trainer(wild(make_model(), std=0.1), dropout=0.5)
    before = _weights(trainer)
    assert trainer.validate() == trainer.validate()
    assert trainer.sample() == trainer.sample()
    assert same(_weights(trainer), before)


def test_sample_of_the_same_iteration_is_the_same(make_trainer: Make) -> None:
    samples = [[e.text for e in make_trainer(iterations=3).run() if isinstance(e, SampleWritten)] for _ in range(2)]
    assert samples[0] == samples[1]
    assert samples[0][0] != samples[0][1]


def test_evaluations_close_together_share_a_sample_but_the_last_has_its_own(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, sampled in ((3600.0, [0, 4]), (0.0, [0, 1, 2, 3, 4])):
        monkeypatch.setattr(azr_trainer, "SAMPLE_SECONDS", seconds)
        events = list(make_trainer(iterations=4, eval_every=1).run())
        assert [event.iteration for event in events if isinstance(event, Evaluated)] == [0, 1, 2, 3, 4]
        assert [event.iteration for event in events if isinstance(event, SampleWritten)] == sampled


# ---- self-play's share -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("size", [1e-3, 1e3], ids=["small", "large"])
def test_self_play_adds_its_share_of_the_books_gradient(
    make_trainer: Make, share: float, strength: float, size: float
) -> None:
    trainer = make_trainer(wild(make_model(), std=0.1), self_play=True)
    trainer.config = changed(trainer.config, self_play=changed(SELF_PLAY, max_grad_share=share))
    trainer._book_gradient()
    book = [p.grad.clone() for p in trainer.model.parameters()]
    generator = torch.Generator().manual_seed(0)
    trainer._add_gradient([torch.randn(g.shape, generator=generator) * size for g in book], strength)
    added = [p.grad - g for p, g in zip(trainer.model.parameters(), book, strict=True)]
    book_norm, added_norm = (float(torch.nn.utils.get_total_norm(g)) for g in (book, added))
    wanted = 1.5 * strength * share * book_norm
    assert added_norm == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_self_play_gradient_that_is_not_finite_is_left_out(make_trainer: Make) -> None:
    trainer = make_trainer(wild(make_model(), std=0.1), self_play=True)
    trainer._book_gradient()
    before = [p.grad.clone() for p in trainer.model.parameters()]
    trainer._add_gradient([torch.full_like(g, math.nan) for g in before], 1.0)
    assert all(torch.equal(p.grad, g) for p, g in zip(trainer.model.parameters(), before, strict=True))


def test_self_play_waits_until_the_model_can_write(make_trainer: Make) -> None:
    told = list(make_trainer(self_play=True, state=TrainerState(), iterations=4).run())
    assert not any(isinstance(event, SelfPlayDone) for event in told)


def test_constants_of_the_tests_are_those_of_the_trainer() -> None:
    assert (azr_trainer.MOST_BAD, azr_trainer.MEMORISING_EVALUATIONS, SHAPE.vocab_size) == (5, 5, 300)


def test_held_out_loss_that_is_not_finite_leaves_a_state_that_can_be_saved(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(iterations=1)
    _validates(trainer, monkeypatch, math.nan, math.nan)
    next(event for event in trainer.run() if isinstance(event, Evaluated))
    assert json.loads(json.dumps(trainer.snapshot().state, allow_nan=False)) == trainer.snapshot().state


def test_comparison_that_finds_no_memory_is_left_out_with_a_notice(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(self_play=True, iterations=1, eval_every=100)
    monkeypatch.setattr(self_play.SelfPlay, "_writing", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert "self_play_left_out" in _codes(list(trainer.run()))


# ---- spikes ----------------------------------------------------------------------------------------------------------


def _inflate(trainer: AZRTrainer, monkeypatch: pytest.MonkeyPatch, iterations: range) -> None:
    """The loss of these iterations is a hundred times what it is."""
    loss = trainer.model.loss

    def inflated(tokens: torch.Tensor, targets: torch.Tensor, *run: Any) -> torch.Tensor:
        bad = trainer.model.training and trainer.state.iteration + 1 in iterations
        return loss(tokens, targets, *run) * (100.0 if bad else 1.0)

    monkeypatch.setattr(trainer.model, "loss", inflated)


def test_trainer_leaves_out_a_step_whose_loss_leaps(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(iterations=4, eval_every=100)
    _inflate(trainer, monkeypatch, range(3, 4))
    seen = {}
    told = []
    for event in trainer.run():
        told.append(event)
        if isinstance(event, IterationDone):
            seen[event.iteration] = _weights(trainer)
    assert _codes(told) == ["spike_skipped"]
    assert same(seen[2], seen[3])
    assert not same(seen[3], seen[4])


def test_trainer_does_not_go_on_with_weights_that_are_to_blame(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(iterations=20, eval_every=100)
    _inflate(trainer, monkeypatch, range(3, 99))
    with pytest.raises(Diverged):
        list(trainer.run())


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_trainer_evaluates_in_smaller_batches_when_the_memory_runs_out(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(batch_size=8)
    expected, model = trainer.validate(), trainer.average.model
    loss, asked = model.loss, []

    def limited(tokens: torch.Tensor, targets: torch.Tensor, *run: Any) -> torch.Tensor:
        asked.append(len(tokens))
        if len(tokens) > 3:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
        return loss(tokens, targets, *run)

    monkeypatch.setattr(model, "loss", limited)
    assert trainer.validate() == pytest.approx(expected, rel=1e-5)
    assert asked[:3] == [8, 4, 2]
    monkeypatch.setattr(model, "loss", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(OutOfMemory):
        trainer.validate()


def test_trainer_leaves_out_a_round_that_finds_no_memory(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(self_play=True, iterations=4, eval_every=100)
    written = self_play.write_rollouts
    calls = []

    def first_time_fails(model: Any, prompts: Any, *others: Any, **named: Any) -> Any:
        calls.append(len(prompts))
        if calls.count(SELF_PLAY.num_prompts) == 1:  # a round, not a comparison
            raise RuntimeError("not enough memory")
        return written(model, prompts, *others, **named)

    monkeypatch.setattr(self_play, "write_rollouts", first_time_fails)
    told = list(trainer.run())
    assert "self_play_left_out" in _codes(told)
    assert [event.iteration for event in told if isinstance(event, SelfPlayDone)] == [4]
    assert [event.iteration for event in told if isinstance(event, IterationDone)] == [1, 2, 3, 4]
