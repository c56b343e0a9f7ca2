"""A round of self-play: the model writes, the environment scores its texts and names their faults, and the faults become less likely.

The model writes as people let it write: with its averaged weights, most texts greedily, the others with the person's sampling
settings. A reward for a whole text does not know which token was wrong, so learning uses the environment's faults (for text, the tokens
with which it loops); the reward measures whether the texts improve. `selfplay/` scores and decides when to start and pause and how
strongly to teach; it uses no tensors.

`play` does not change the weights; the trainer adds the gradient to the book's and takes the step.
Several processes divide a round by texts: each writes, scores and differentiates its own, and all get the same sums.
Shapes: B = num_prompts rows, T tokens.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from config import ModelConfig, SamplingConfig, SelfPlayConfig
from engine.rollouts import Rollouts, write_rollouts
from events import Event, Notice, Rollout, SelfPlayCompared, SelfPlayDone, Stage, StageBegun, Writing, restored
from learning.loop_breaking import lighten_blocks, loop_breaking_gradient
from learning.round_report import reported, round_event, writing
from machine.processes import ALONE, Ranks
from model import Transformer
from selfplay.environment import Environment, Prompt, Score
from selfplay.factory import rollout_tokens
from selfplay.gate import Gate, Starter, strength
from tokenizer import Tokenizer

COMPARED_PROMPTS = 16
FIRST_FAULTS = 32  # of a text, which count; bounds the memory
Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Beginning:
    """How the model wrote when self-play began, by ways of writing."""

    iteration: int
    prompt: str
    writing: dict[str, Writing]


@dataclass(frozen=True)
class SelfPlayState:
    """The state of self-play between rounds: plain numbers and texts, kept in a checkpoint."""

    round: int = 0
    starter: Starter = field(default_factory=Starter)
    gate: Gate = field(default_factory=Gate)
    train_loss_at_best: float = math.inf
    beginning: Beginning | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SelfPlayState:
        """Return the state that a checkpoint of this or an earlier version holds."""
        beginning = values.get("beginning")
        return cls(
            round=values["round"],
            starter=Starter(**values["starter"]),
            gate=Gate(**values["gate"]),
            train_loss_at_best=math.inf if values["train_loss_at_best"] is None else values["train_loss_at_best"],
            beginning=None if beginning is None else restored(Beginning, beginning),
        )

    def to_json(self) -> dict[str, Any]:
        finite = math.isfinite(self.train_loss_at_best)
        return dataclasses.asdict(self) | {"train_loss_at_best": self.train_loss_at_best if finite else None}


@dataclass(frozen=True)
class Round:
    """The result of a round. `gradient` is in the order of `model.parameters()`, or None if no text had a fault; `strength`, from 0 to 1, says
    how much of it is needed."""

    gradient: list[Tensor] | None
    strength: float
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
        self._sampling = SamplingConfig(
            max_new_tokens=rollout_tokens(config, model),
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
        )
        self._untrained_loss = math.log(model.vocab_size)

    def begin(self) -> SelfPlayState:
        """Start at once; return a state in which `play` may be called."""
        return SelfPlayState(starter=Starter(self._untrained_loss, started=True))

    # ---- when ------------------------------------------------------------------------------------------------------

    def is_due(self, iteration: int, state: SelfPlayState) -> bool:
        return state.starter.started and not state.gate.closed and iteration % self._config.every == 0

    def after_evaluation(
        self, state: SelfPlayState, iteration: int, val_loss: float, best_val_loss: float, train_loss: float
    ) -> tuple[SelfPlayState, list[Event]]:
        """Start, pause or resume self-play after an evaluation.

        If the held-out loss rises while the training loss still falls, the model is memorising the book. That does not pause
        self-play, because damage by self-play would raise both losses.
        """
        is_best = val_loss <= best_val_loss
        memorising = not is_best and train_loss < state.train_loss_at_best
        starter = state.starter if state.starter.first_val_loss else Starter(self._untrained_loss)
        starter, begun = starter.after(iteration, val_loss)
        judged = best_val_loss if memorising else val_loss
        gate, gated = state.gate.after(judged) if starter.started else (state.gate, None)
        state = dataclasses.replace(
            state,
            starter=starter,
            gate=gate,
            train_loss_at_best=train_loss if is_best else state.train_loss_at_best,
        )
        return state, [Notice(iteration, code) for code in (begun, gated) if code]

    # ---- a round ---------------------------------------------------------------------------------------------------

    def play(
        self, model: Transformer, averaged: Transformer, state: SelfPlayState, iteration: int, autocast: Autocast
    ) -> Generator[Event, None, Round]:
        """Let `averaged` write, score its texts, and compute the gradient of `model`.

        Prompts and tokens depend only on seed, round number and weights.
        """
        config, number = self._config, state.round + 1
        rng = random.Random(f"{self._seed}/{number}")
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        yield StageBegun(Stage.SELF_PLAY)
        prompts = [self._environment.propose(rng) for _ in range(config.num_prompts)]
        own = self._ranks.share(config.num_prompts)
        mine = prompts[own.start : own.stop]
        greedy = [row < config.num_prompts * config.greedy_share for row in own]
        model.eval()
        with autocast():
            written = self._write(averaged, mine, greedy, generator, part=(own.start, config.num_prompts))
        yield StageBegun(Stage.REWARD)
        scores = self._scores(mine, written)
        yield StageBegun(Stage.UPDATE)
        gradient = self._gradient(model, averaged, written, scores, autocast)
        rollouts = self._of_all_ranks(reported(mine, written, scores, greedy, self._tokenizer))
        event = round_event(iteration, number, rollouts, self._environment.book)
        looping = sum(bool(rollout.looped) for rollout in rollouts) / len(rollouts)
        left = _left(rollouts, state.beginning)
        return Round(gradient, strength(looping, left), event, dataclasses.replace(state, round=number))

    def _write(
        self,
        model: Transformer,
        prompts: list[Prompt],
        greedy: list[bool],
        generator: torch.Generator,
        part: tuple[int, int] | None = None,
    ) -> Rollouts:
        tokens, known = [prompt.tokens for prompt in prompts], self._tokenizer
        return write_rollouts(
            model, tokens, greedy, self._sampling, known.size, known.end_of_text, generator, part=part
        )

    def _scores(self, prompts: list[Prompt], written: Rollouts) -> list[Score]:
        rows = zip(prompts, written.completions, written.finished, strict=True)
        return [self._environment.score(*row) for row in rows]

    def _gradient(
        self, model: Transformer, averaged: Transformer, written: Rollouts, scores: list[Score], autocast: Autocast
    ) -> list[Tensor] | None:
        """Return the gradient of each text's first faults; whoever adds it to another scales it."""
        (faults,) = self._ranks.total(sum(len(score.faults) for score in scores))
        if not faults:
            return None
        weights = torch.zeros_like(written.tokens[:, 1:], dtype=torch.float32)  # (B, T-1): place t weighs token t+1
        repeats = torch.zeros_like(written.tokens[:, 1:])
        for row, (start, score) in enumerate(zip(written.starts, scores, strict=True)):
            places = [start + fault - 1 for fault in score.faults[:FIRST_FAULTS]]
            firsts = [start + place - 1 for place in score.repeats[:FIRST_FAULTS]]
            weights[row, places] = 1.0
            repeats[row, places] = torch.tensor(firsts, dtype=torch.int64, device=repeats.device)
        size = self._tokenizer.size
        gradient = loop_breaking_gradient(model, averaged, written.tokens, weights, repeats, size, autocast)
        self._ranks.sum_(gradient)
        lighten_blocks(model, gradient)
        return gradient

    def _of_all_ranks(self, own: list[Rollout]) -> list[Rollout]:
        if self._ranks.world_size == 1:
            return own
        parts = self._ranks.gather([dataclasses.asdict(one) for one in own])
        return [restored(Rollout, one) for part in parts for one in part]

    # ---- what it has changed -----------------------------------------------------------------------------------------

    def compare(
        self, model: Transformer, state: SelfPlayState, iteration: int, autocast: Autocast
    ) -> tuple[SelfPlayState, SelfPlayCompared | None]:
        """Write at the same prompts and seeds as when self-play began, and return the event with both; the first time only keep it.

        Returns None before self-play has started.
        """
        if not state.starter.started:
            return state, None
        prompt, now = self._writing(model, autocast)
        if state.beginning is None:
            return dataclasses.replace(state, beginning=Beginning(iteration, prompt, now)), None
        began = state.beginning
        return state, SelfPlayCompared(
            iteration, began.iteration, began.prompt, began.writing, now, dict(self._environment.book)
        )

    def _writing(self, model: Transformer, autocast: Autocast) -> tuple[str, dict[str, Writing]]:
        """Return the first of the fixed prompts, and how `model` continues all of them, by ways of writing."""
        rng = random.Random(f"{self._seed}/compared")
        prompts = [self._environment.propose(rng) for _ in range(COMPARED_PROMPTS)]
        generator = torch.Generator().manual_seed(self._seed)
        found = {}
        for way, likeliest in (("greedy", True), ("sampled", False)):  # one after the other, which bounds the memory
            greedy = [likeliest] * len(prompts)
            with autocast():
                written = self._write(model, prompts, greedy, generator)
            found[way] = writing(reported(prompts, written, self._scores(prompts, written), greedy, self._tokenizer))
        return prompts[0].text, found


def _left(rollouts: list[Rollout], beginning: Beginning | None) -> float | None:
    """Return the repetition of the greedy texts in parts of that when self-play began; None where either is not known or there was none."""
    greedy = [rollout.looped or 0.0 for rollout in rollouts if rollout.greedy]
    began = beginning.writing["greedy"].looped if beginning else 0.0
    return fmean(greedy) / began if greedy and began else None
