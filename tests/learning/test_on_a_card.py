"""On a graphics card: what is recorded and replayed is what would have been computed, and nothing of it is stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from azr_trainer import AZRTrainer
from events import Evaluated, IterationDone, SelfPlayDone
from learning import learner
from tests.training_kit import make_model, wild

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
Make = Callable[..., AZRTrainer]


def _train(trainer: AZRTrainer) -> list[Any]:
    return [event for event in trainer.run() if isinstance(event, IterationDone | Evaluated | SelfPlayDone)]


def _losses(events: list[Any]) -> list[float]:
    return [event.loss for event in events if isinstance(event, IterationDone)]


def _plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = learner.Recorder
    monkeypatch.setattr(learner, "Recorder", lambda device, wanted: recorder(device, wanted=False))


@pytest.mark.parametrize(
    "changes", [{}, {"dropout": 0.0}, {"grad_accum_steps": 3}, {"optimizer": "adamw"}, {"self_play": True}], ids=str
)
def test_replayed_iterations_are_the_plain_ones(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    changes = {"dropout": 0.0, "iterations": 12, "device": "cuda", **changes}
    replayed = make_trainer(wild(make_model(), std=0.1), **changes)
    told = _losses(_train(replayed))
    assert replayed.learner._recorder.active
    assert all(record._recorded for record in replayed.learner._recorder._records)
    with monkeypatch.context() as patched:
        _plainly(patched)
        plain = make_trainer(wild(make_model(), std=0.1), **changes)
        expected = _losses(_train(plain))
        assert not plain.learner._recorder.active
    assert told == pytest.approx(expected, rel=2e-3)
    assert told[-1] < told[0] - 0.05


def test_replayed_iterations_learn_as_on_the_processor(make_trainer: Make) -> None:
    on_card, on_processor = (
        _losses(_train(make_trainer(iterations=10, dropout=0.0, device=d))) for d in ("cuda", "cpu")
    )
    assert on_card == pytest.approx(on_processor, rel=2e-3)


def test_dropout_is_drawn_anew_in_each_replay(make_trainer: Make) -> None:
    """With a rate of almost nothing the weights stay; what differs between two replays is dropout's doing."""
    trainer = make_trainer(wild(make_model(), std=0.1), iterations=8, dropout=0.5, learning_rate=1e-12, device="cuda")
    inputs, targets = trainer._sequences.batch(0, 4)
    losses = []
    for seed in (1, 2, 3, 4, 5, 4):
        torch.manual_seed(seed)
        losses.append(float(trainer.learner.compute_gradient(inputs, targets, 4, 1, 0.5)))
    assert len(set(losses)) == 5
    assert losses[3] == losses[5]
    assert float(trainer.learner.compute_gradient(inputs, targets, 4, 1, 0.0)) == float(
        trainer.learner.compute_gradient(inputs, targets, 4, 1, 0.0)
    )


def test_training_on_a_card_goes_on_as_if_it_had_not_stopped(make_trainer: Make) -> None:
    straight = make_trainer(iterations=12, device="cuda")
    told = _losses(_train(straight))
    first = make_trainer(iterations=6, device="cuda")
    begun = _losses(_train(first))
    kept = first.snapshot()
    model = make_model()
    model.load_state_dict(kept.weights)
    state = type(first.state).from_json(kept.state)
    second = make_trainer(model, state=state.longer(), optimizer_state=kept.optimizer, iterations=6, device="cuda")
    assert begun + _losses(_train(second)) == pytest.approx(told, rel=1e-3)


def test_memory_that_runs_out_halves_the_micro_batch_and_is_recorded_anew(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(iterations=12, device="cuda", dropout=0.0)
    expected = _losses(_train(make_trainer(iterations=12, device="cuda", dropout=0.0)))
    loss = trainer.model.loss

    def limited(tokens: torch.Tensor, targets: torch.Tensor, *run: Any) -> torch.Tensor:
        if len(tokens) > 2 and trainer.model.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(tokens, targets, *run)

    monkeypatch.setattr(trainer.model, "loss", limited)
    assert _losses(_train(trainer)) == pytest.approx(expected, rel=2e-3)
    assert all(record._recorded for record in trainer.learner._recorder._records)
