"""A round of self-play: the model writes rollouts, the environment scores them, and a policy gradient is computed.

REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740), one on-policy step a round, a constant length
normaliser (Dr. GRPO, arXiv 2503.20783), and a KL penalty: `kl_coef` for every nat between a rollout and the reference, the
averaged weights of the last good evaluation. `selfplay/` computes rewards and decides when to start, pause and update the
reference; it uses no tensors.

`play` does not change the weights; the trainer adds the gradient to the book's and takes the step.
Several processes divide a round by groups: each writes, scores and differentiates its own, and all get the same sums.
Shapes: B = num_prompts * group_size rows, T tokens.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from config import ModelConfig, SelfPlayConfig
from engine.rollouts import Rollouts, write_rollouts
from events import Event, Notice, Rollout, SelfPlayDone, Stage, StageBegun
from machine.processes import ALONE, Ranks
from model import Transformer
from selfplay.advantages import advantages
from selfplay.environment import Environment, Prompt, Score
from selfplay.factory import rollout_tokens
from selfplay.leash import Gate, KLController, Starter, may_be_reference
from selfplay.rewards import penalised
from tokenizer import Tokenizer

REFERENCE_PREFIX = "reference/"
ROWS_AT_ONCE = 16  # bounds the memory of the update


@dataclass(frozen=True)
class SelfPlayState:
    """The state of self-play between rounds: plain numbers, kept in a checkpoint."""

    round: int = 0
    starter: Starter = field(default_factory=Starter)
    gate: Gate = field(default_factory=Gate)
    controller: KLController | None = None
    train_loss_at_best: float = math.inf

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SelfPlayState:
        controller = values["controller"]
        return cls(
            round=values["round"],
            starter=Starter(**values["starter"]),
            gate=Gate(**values["gate"]),
            controller=None if controller is None else KLController(**controller),
            train_loss_at_best=math.inf if values["train_loss_at_best"] is None else values["train_loss_at_best"],
        )

    def to_json(self) -> dict[str, Any]:
        finite = math.isfinite(self.train_loss_at_best)
        return dataclasses.asdict(self) | {"train_loss_at_best": self.train_loss_at_best if finite else None}


@dataclass(frozen=True)
class Written:
    """One rollout with its figures for the means of the round."""

    rollout: Rollout
    tokens: int
    kl_sum: float  # nats
    entropy: float  # nats per token
    skipped: bool  # the rewards of its group are too similar to learn from


@dataclass(frozen=True)
class Round:
    """The result of a round. `gradient` is in the order of `model.parameters()`, or None if all groups were skipped."""

    gradient: list[Tensor] | None
    event: SelfPlayDone
    state: SelfPlayState


class SelfPlay:
    def __init__(
        self,
        environment: Environment,
        config: SelfPlayConfig,
        tokenizer: Tokenizer,
        model: ModelConfig,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._environment, self._config, self._tokenizer, self._seed = environment, config, tokenizer, seed
        self._max_new_tokens = rollout_tokens(config, model)
        self._untrained_loss = math.log(model.vocab_size)
        self.reference: Transformer | None = None

    def begin(self, model: Transformer) -> SelfPlayState:
        """Start at once with `model` as the reference; return a state in which `play` may be called."""
        self._freeze(model)
        controller = KLController.start(self._config.kl_coef, self._config.kl_target)
        return SelfPlayState(starter=Starter(self._untrained_loss, started=True), controller=controller)

    # ---- when ------------------------------------------------------------------------------------------------------

    def is_due(self, iteration: int, state: SelfPlayState) -> bool:
        ready = (
            state.starter.started and self.reference is not None
        )  # a reference that was not saved is set by the next evaluation
        return ready and not state.gate.closed and iteration % self._config.every == 0

    def after_evaluation(
        self,
        state: SelfPlayState,
        average: Transformer,
        iteration: int,
        val_loss: float,
        best_val_loss: float,
        train_loss: float,
    ) -> tuple[SelfPlayState, list[Event]]:
        """Start, pause or resume self-play after an evaluation of `average`, which becomes the reference unless it is worse than before.

        If the held-out loss rises while the training loss still falls, the model is memorising the book. That does not pause
        self-play, because damage by self-play would raise both losses.
        """
        is_best = val_loss <= best_val_loss
        memorising = not is_best and train_loss < state.train_loss_at_best
        starter = state.starter if state.starter.first_val_loss else Starter(self._untrained_loss)
        starter, begun = starter.after(iteration, val_loss)
        judged = best_val_loss if memorising else val_loss
        gate, gated = state.gate.after(judged) if starter.started else (state.gate, None)
        if starter.started and (self.reference is None or may_be_reference(val_loss, best_val_loss)):
            self._freeze(average)
        controller = state.controller or KLController.start(self._config.kl_coef, self._config.kl_target)
        state = dataclasses.replace(
            state,
            starter=starter,
            gate=gate,
            controller=controller,
            train_loss_at_best=train_loss if is_best else state.train_loss_at_best,
        )
        return state, [Notice(iteration, code) for code in (begun, gated) if code]

    # ---- a round ---------------------------------------------------------------------------------------------------

    def play(
        self,
        model: Transformer,
        state: SelfPlayState,
        iteration: int,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> Generator[Event, None, Round]:
        """Write rollouts, score them and compute the gradient. Prompts and tokens depend only on seed, round number and weights."""
        assert self.reference is not None and state.controller is not None
        config, number = self._config, state.round + 1
        rng = random.Random(f"{self._seed}/{number}")
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        yield StageBegun(Stage.SELF_PLAY)
        prompts = [self._environment.propose(rng) for _ in range(config.num_prompts)]
        own = self._ranks.share(config.num_prompts)
        rows = [prompt for prompt in prompts[own.start : own.stop] for _ in range(config.group_size)]
        model.eval()
        with autocast():
            written = write_rollouts(
                model,
                [list(prompt.tokens) for prompt in rows],
                self._max_new_tokens,
                self._tokenizer.size,
                self._tokenizer.end_of_text,
                generator,
                part=(own.start * config.group_size, config.num_prompts * config.group_size),
            )
        yield StageBegun(Stage.REWARD)
        with torch.no_grad(), autocast():
            kl_sums = self._kl_sums(written)
        scores = [
            self._environment.score(*row) for row in zip(rows, written.completions, written.finished, strict=True)
        ]
        advantages_ = self._advantages(scores, kl_sums, state.controller.kl_coef)
        yield StageBegun(Stage.UPDATE)
        gradient = self._gradient(model, written, advantages_, autocast)
        own_part = self._written(rows, written, scores, kl_sums, advantages_)
        event = _event(iteration, number, self._of_all_ranks(own_part), state.controller.kl_coef)
        controller = state.controller.after(event.kl)
        state = dataclasses.replace(state, round=number, controller=controller)
        return Round(gradient, event, state)

    def _kl_sums(self, written: Rollouts) -> list[float]:
        """Return sum_t(logprob - ref_logprob) over each completion, in nats."""
        assert self.reference is not None
        sums = []
        for tokens, mask, logprobs in _chunks(written):
            reference = self.reference.token_logprobs(tokens, size=self._tokenizer.size)  # (b, T-1)
            sums += ((logprobs - reference) * mask).sum(-1).tolist()
        return sums

    def _advantages(self, scores: list[Score], kl_sums: list[float], kl_coef: float) -> list[float | None]:
        rewards = [
            penalised(
                score.reward,
                kl_sum=kl_sum,
                kl_coef=kl_coef,
                copied=score.copied,
                copied_in_book=score.copied_in_book,
                copy_penalty=self._config.copy_penalty,
            )
            for score, kl_sum in zip(scores, kl_sums, strict=True)
        ]
        size = self._config.group_size
        groups = advantages([rewards[start : start + size] for start in range(0, len(rewards), size)])
        return [value for group in groups for value in (group if group is not None else [None] * size)]

    def _gradient(
        self,
        model: Transformer,
        written: Rollouts,
        advantages_: list[float | None],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> list[Tensor] | None:
        """Return the gradient of -(1 / (B * max_new_tokens)) * sum_i advantage_i * sum_t logprob_t, without skipped groups."""
        teaching = [row for row, value in enumerate(advantages_) if value is not None]
        (taught,) = self._ranks.total(len(teaching))
        if not taught:
            return None
        weights = torch.tensor([advantages_[row] for row in teaching], device=written.tokens.device)  # (b,)
        normaliser = self._config.num_prompts * self._config.group_size * self._max_new_tokens
        total = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for (tokens, mask, _), weight in zip(_chunks(written, teaching), weights.split(ROWS_AT_ONCE), strict=True):
            with autocast():
                loss = model.weighted_nll(tokens, mask * weight[:, None] / normaliser, size=self._tokenizer.size)
            torch._foreach_add_(total, list(torch.autograd.grad(loss, list(model.parameters()))))
        self._ranks.sum_(total)
        return total

    def _written(
        self,
        prompts: list[Prompt],
        rollouts: Rollouts,
        scores: list[Score],
        kl_sums: list[float],
        advantages_: list[float | None],
    ) -> list[Written]:
        """Return this process's rollouts with their scores."""
        return [
            Written(
                Rollout(
                    prompt=prompt.text,
                    completion=self._tokenizer.decode(completion),
                    reward=score.reward,
                    reward_breakdown=dict(score.breakdown),
                    copied=score.copied,
                    kl=kl_sum / max(1, len(completion)),
                    advantage=advantage or 0.0,
                ),
                tokens=max(1, len(completion)),
                kl_sum=kl_sum,
                entropy=rollouts.entropy,
                skipped=advantage is None,
            )
            for prompt, completion, score, kl_sum, advantage in zip(
                prompts, rollouts.completions, scores, kl_sums, advantages_, strict=True
            )
        ]

    def _of_all_ranks(self, own: list[Written]) -> list[Written]:
        if self._ranks.world_size == 1:
            return own
        parts = self._ranks.gather([dataclasses.asdict(one) for one in own])
        return [Written(**one | {"rollout": Rollout(**one["rollout"])}) for part in parts for one in part]

    # ---- the reference ----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return the reference's weights, for a checkpoint."""
        if self.reference is None:
            return {}
        return {REFERENCE_PREFIX + name: tensor for name, tensor in self.reference.state_dict().items()}

    def load_tensors(self, model: Transformer, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take the reference's weights out of a checkpoint's tensors; return the others."""
        own = {
            name.removeprefix(REFERENCE_PREFIX): t for name, t in tensors.items() if name.startswith(REFERENCE_PREFIX)
        }
        if own:
            self._freeze(model)
            assert self.reference is not None
            self.reference.load_state_dict(own)
        return {name: tensor for name, tensor in tensors.items() if not name.startswith(REFERENCE_PREFIX)}

    def _freeze(self, model: Transformer) -> None:
        self.reference = copy.deepcopy(model).eval().requires_grad_(False)


def _event(iteration: int, number: int, written: list[Written], kl_coef: float) -> SelfPlayDone:
    """Return the event of a round: means over the rollouts of all processes."""
    rollouts = tuple(one.rollout for one in written)
    tokens = sum(one.tokens for one in written)
    return SelfPlayDone(
        iteration=iteration,
        round=number,
        reward=_mean([rollout.reward for rollout in rollouts]),
        reward_breakdown=_mean_parts([rollout.reward_breakdown for rollout in rollouts]),
        kl=sum(one.kl_sum for one in written) / tokens,
        kl_coef=kl_coef,
        entropy=sum(one.entropy * one.tokens for one in written) / tokens,
        copied=_mean([rollout.copied for rollout in rollouts]),
        skipped_share=_mean([float(one.skipped) for one in written]),
        rollouts=rollouts,
    )


def _mean_parts(breakdowns: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each part over the rollouts that have it; an environment may score different tasks by different parts."""
    names = dict.fromkeys(name for parts in breakdowns for name in parts)
    return {name: _mean([parts[name] for parts in breakdowns if name in parts]) for name in names}


def _chunks(written: Rollouts, rows: list[int] | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (tokens (b, T), mask (b, T-1) of the sampled tokens, their logprobs (b, T-1)) of the rows, a few rows each."""
    rows = list(range(len(written.starts))) if rows is None else rows
    mask = torch.zeros_like(written.logprobs)
    for row in rows:
        first = written.starts[row] - 1  # targets are shifted by one
        mask[row, first : first + len(written.completions[row])] = 1.0
    parts = (tensor[rows].split(ROWS_AT_ONCE) for tensor in (written.tokens, mask, written.logprobs))
    return list(zip(*parts, strict=True))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
