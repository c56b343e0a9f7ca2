"""One step of learning: compute the gradient of a batch, clip it, and update the weights and their average.

Between the parts the caller may add to the gradient or skip the step. Each part has three names: `compute_gradient` is public,
`_gradient_work` does the work, and `_run_gradient` either calls it or, on a graphics card, replays its recording
(machine/cuda_graphs.py). Large models are also compiled, if the training is long enough to gain from it.

Not here: which text, which rates, what to do about a bad loss. Shapes: B rows, T tokens.
"""

from __future__ import annotations

import contextlib
import importlib.util
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config import ModelConfig, TrainConfig
from learning.anchor import Anchor
from learning.average import Average
from learning.parameter_groups import Optimizers
from learning.schedules import WeightDecay
from machine.cuda_graphs import Recorder
from machine.devices import autocast, choose_device, choose_precision
from machine.processes import ALONE, Ranks
from model import Place, RunBlock, Transformer

COMPILE_MINUTES = 10.0  # of a training that time ends; a shorter one is over soon after compiling
COMPILE_FROM = 2 * 10**11  # numbers written in a training; from half of them on compiling pays (docs/en/scaling.md)


class Learner:
    """Owns `model`, its average and its optimizers. With several processes each computes its own rows; all take the same step."""

    def __init__(self, model: Transformer, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.model = model.to(self.device)
        self.average, self.anchor = Average(self.model), Anchor()
        self.optimizers = Optimizers(self.model, config)
        self._max_grad_norm, self._ranks = config.max_grad_norm, ranks
        self.compiles = pays_to_compile(model.config, config, self.device)
        self._losses: nn.Module = _Losses(self.model, torch.compile(_block, dynamic=False) if self.compiles else _block)
        if ranks.world_size > 1:
            self._losses = DistributedDataParallel(self._losses)
        self._batch: tuple[Tensor, Tensor] | None = None
        self._sizes = (0, 0)  # rows of the whole batch, over all processes; rows of a micro-batch
        recorder = Recorder(self.device, wanted=ranks.world_size == 1)
        self._recorder, self._dropout = recorder, torch.zeros((), device=self.device)
        self._run_gradient = recorder(self._gradient_work)
        self._run_clip = recorder(self._clip_work)
        self._run_step = recorder(self._step_work)

    @property
    def warms_up(self) -> bool:
        """Return whether the first iterations are slower than later ones, because those replay a recording."""
        return self._recorder.active

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.precision)

    # ---- the three parts -----------------------------------------------------------------------------------------------

    def compute_gradient(
        self, inputs: Tensor, targets: Tensor, rows: int, micro_batches: int, dropout: float
    ) -> Tensor:
        """Compute the gradient of the mean loss over a batch of `rows`, of which `inputs` and `targets` (B, T) are this process's share.

        The gradient stays in the parameters. Returns this process's share of the loss, ().
        """
        sizes = (rows, -(-rows // micro_batches))
        if sizes != self._sizes:
            self._sizes, self._batch = sizes, None
            self._recorder.forget()
        self._take(inputs, targets)
        self.model.train()
        self.model.set_dropout(self._dropout.fill_(dropout) if self.device.type == "cuda" else dropout)
        return self._run_gradient()

    def clip_gradient(self) -> Tensor:
        """Scale the gradient down to `max_grad_norm` where it is longer; return the norm it had, ()."""
        return self._run_clip()

    def take_step(
        self, learning_rate: float, readings: float, weight_decay: WeightDecay, steps: int, pull: float = 0.0
    ) -> None:
        """Move the weights along the gradient as step number `steps`, update the average, and clear the gradient.

        Before that, pull them towards the anchor by this share of their distance.
        """
        self.anchor.pull(self.model, pull)
        self.optimizers.set_rates(learning_rate, readings, weight_decay)
        self.average.set_steps(steps)
        self._run_step()
        self.clear_gradient()

    def clear_gradient(self) -> None:
        """Free the gradient's memory; a recording keeps it, because it writes to the same place each time."""
        if not self._recorder.active:
            self.optimizers.zero_grad()

    # ---- the work ------------------------------------------------------------------------------------------------------

    def _take(self, inputs: Tensor, targets: Tensor) -> None:
        if not self._recorder.active:
            self._batch = (inputs.to(self.device), targets.to(self.device))
            return
        if self._batch is None:
            self._batch = (torch.empty_like(inputs, device=self.device), torch.empty_like(targets, device=self.device))
        for place, values in zip(self._batch, (inputs, targets), strict=True):
            place.copy_(values.contiguous().pin_memory(), non_blocking=True)

    def _gradient_work(self) -> Tensor:
        assert self._batch is not None
        rows, size = self._sizes
        parts = list(zip(*(torch.split(tensor, size) for tensor in self._batch), strict=True))
        self.optimizers.zero_grad()
        total = torch.zeros((), device=self.device)
        for number, (x, y) in enumerate(parts, 1):
            with self._exchange_after(number == len(parts)):
                with self.autocast():
                    loss = self._losses(x, y)
                share = len(x) / rows
                (loss * (share * self._ranks.world_size)).backward()  # gradients of several processes are averaged
            total += loss.detach() * share
        return total

    def _exchange_after(self, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes during the last micro-batch only."""
        if last or not isinstance(self._losses, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._losses.no_sync()

    def _clip_work(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._max_grad_norm)

    def _step_work(self) -> None:
        self.optimizers.step()
        self.average.update(self.model)


class _Losses(nn.Module):
    """The forward pass with its loss, as one module that DistributedDataParallel can wrap."""

    def __init__(self, model: Transformer, run: RunBlock) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(tokens, targets, self.run)


def _block(block: nn.Module, x: Tensor, place: Place) -> Tensor:
    y: Tensor = block(x, place)
    return y


def pays_to_compile(model: ModelConfig, config: TrainConfig, device: torch.device) -> bool:
    """Return whether to compile: on a card, if Triton is installed and the training is long enough to save more time than it costs."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    numbers = config.batch_size * model.max_seq_len * model.d_model * model.num_layers  # written by one pass
    if config.iterations is None:
        return config.max_minutes is None or config.max_minutes >= COMPILE_MINUTES
    return config.iterations * numbers >= COMPILE_FROM
