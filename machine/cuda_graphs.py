"""Work for a graphics card, recorded once and from then on started as a whole.

An iteration of a small model is a thousand little operations, and to start one takes the processor longer than the card needs
to do it. A CUDA graph starts all of them with a single call (docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

What is recorded must read and write the same memory each time: numbers that change stand in tensors, and nothing may ask for a
result. Random numbers are drawn as if the work were done anew, from the seed that holds at the time.

Not here: what is worth recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

Result = TypeVar("Result")

WARM_UPS = 2  # times that work is done plainly first: libraries set themselves up, optimizers make their state


class Recorder:
    """Records the works of one training, which share their memory. Off a CUDA card, or unless `wanted`, works stay as they are."""

    def __init__(self, device: torch.device, wanted: bool = True) -> None:
        self.active = wanted and device.type == "cuda"
        self._records: list[_Record[Any]] = []
        self._pool: Any = torch.cuda.graph_pool_handle() if self.active else None

    def __call__(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """`work`, or what replays it; tensors that it returns are overwritten by the next call."""
        if not self.active:
            return work
        record = _Record(self, work)
        self._records.append(record)
        return record

    def forget(self) -> None:
        """Record anew: something that was fixed has changed, such as a size."""
        for record in self._records:
            record.forget()
        if self.active:
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result] | None:
        """The graph and what the work returned; None, and never again, where this work can't be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, capture_error_mode="thread_local"
            ):  # other threads may write texts
                return graph, work()
        except RuntimeError as error:
            warnings.warn(f"trained without CUDA graphs: {error}", stacklevel=2)
            self.active = False
            return None


class _Record(Generic[Result]):
    def __init__(self, recorder: Recorder, work: Callable[[], Result]) -> None:
        self._recorder, self._work = recorder, work
        self.forget()

    def forget(self) -> None:
        self._calls = 0
        self._recorded: tuple[torch.cuda.CUDAGraph, Result] | None = None

    def __call__(self) -> Result:
        self._calls += 1
        if self._recorded is None and self._recorder.active and self._calls > WARM_UPS:
            self._recorded = self._recorder.record(self._work)
        if self._recorded is None:
            return self._work()
        graph, result = self._recorded
        graph.replay()
        return result
