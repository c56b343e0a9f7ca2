"""One step of learning: the gradient of a batch, its norm, and the weights moved by it, with their average.

Whoever calls decides in between: a gradient may be added to, and a step may be left out. On a graphics card each of the three
parts is recorded once and replayed (machine/cuda_graphs.py); the large models are compiled besides, where the training is long enough to
pay for it.

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
from learning.average import Average
from learning.parameter_groups import Optimizers
from machine.cuda_graphs import Recorder
from machine.devices import autocast, choose_device, choose_precision
from machine.processes import ALONE, Ranks
from model import Place, RunBlock, Transformer

COMPILE_FROM = 2 * 10**11  # numbers written: about twice what the compiling of some seconds costs (docs/en/scaling.md)


class Learner:
    """Owns `model`, its average and its optimizers. Of several processes each gives its own rows; all take the same step."""

    def __init__(self, model: Transformer, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.model = model.to(self.device)
        self.average = Average(self.model)
        self.optimizers = Optimizers(self.model, config)
        self._max_grad_norm, self._ranks = config.max_grad_norm, ranks
        self.compiles = pays_to_compile(model.config, config, self.device)
        self._losses: nn.Module = _Losses(self.model, torch.compile(_block, dynamic=False) if self.compiles else _block)
        if ranks.world_size > 1:
            self._losses = DistributedDataParallel(self._losses)
        self._batch: tuple[Tensor, Tensor] | None = None
        self._sizes = (0, 0)  # rows of the whole batch, of all processes; rows of a micro-batch
        recorder = Recorder(self.device, wanted=ranks.world_size == 1)
        self._recorder, self._dropout = recorder, torch.zeros((), device=self.device)
        self._gradient, self._clip, self._move = (
            recorder(self._backward),
            recorder(self._clipped),
            recorder(self._moved),
        )

    @property
    def warms_up(self) -> bool:
        """Whether its first iterations take longer than the others, which are replayed."""
        return self._recorder.active

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.precision)

    # ---- the three parts -----------------------------------------------------------------------------------------------

    def gradient(self, inputs: Tensor, targets: Tensor, rows: int, micro_batches: int, dropout: float) -> Tensor:
        """This process's share (B, T) of a batch of `rows`: leaves the gradient of the batch's mean loss; returns its share of it, ()."""
        sizes = (rows, -(-rows // micro_batches))
        if sizes != self._sizes:
            self._sizes, self._batch = sizes, None
            self._recorder.forget()
        self._take(inputs, targets)
        self.model.train()
        self.model.set_dropout(self._dropout.fill_(dropout) if self.device.type == "cuda" else dropout)
        return self._gradient()

    def clip(self) -> Tensor:
        """The norm of the gradient (); what is above `max_grad_norm` is cut down to it."""
        return self._clip()

    def move(self, learning_rate: float, readings: float, steps: int) -> None:
        """The weights, by the gradient, as step number `steps`; and the average after them."""
        self.optimizers.set_rates(learning_rate, readings)
        self.average.set_steps(steps)
        self._move()
        self.forget_gradient()

    def forget_gradient(self) -> None:
        """Give its memory free; what is recorded needs it where it is, and overwrites it."""
        if not self._recorder.active:
            self.optimizers.zero_grad()

    # ---- what is recorded ----------------------------------------------------------------------------------------------

    def _take(self, inputs: Tensor, targets: Tensor) -> None:
        if not self._recorder.active:
            self._batch = (inputs.to(self.device), targets.to(self.device))
            return
        if self._batch is None:
            self._batch = (torch.empty_like(inputs, device=self.device), torch.empty_like(targets, device=self.device))
        for place, values in zip(self._batch, (inputs, targets), strict=True):
            place.copy_(values.contiguous().pin_memory(), non_blocking=True)

    def _backward(self) -> Tensor:
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
        """The gradients of several processes are exchanged during the last of their micro-batches."""
        if last or not isinstance(self._losses, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._losses.no_sync()

    def _clipped(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._max_grad_norm)

    def _moved(self) -> None:
        self.optimizers.step()
        self.average.update(self.model)


class _Losses(nn.Module):
    """The forward pass of a training: what DistributedDataParallel has to stand around."""

    def __init__(self, model: Transformer, run: RunBlock) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(tokens, targets, self.run)


def _block(block: nn.Module, x: Tensor, place: Place) -> Tensor:
    y: Tensor = block(x, place)
    return y


def pays_to_compile(model: ModelConfig, config: TrainConfig, device: torch.device) -> bool:
    """On a card, for a training long enough to win back the compiling, where the compiler's parts are there."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    numbers = config.batch_size * model.max_seq_len * model.d_model * model.num_layers  # that a pass writes
    return config.iterations is None or config.iterations * numbers >= COMPILE_FROM
