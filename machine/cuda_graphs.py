"""CUDA graphs: record work for a graphics card once, then replay it with a single call.

An iteration of a small model is a thousand small operations, and launching one takes the processor longer than running it takes the
card. A CUDA graph launches all of them at once (docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

Recorded work must read and write the same memory each time: numbers that change are tensors, and nothing may wait for a result.
Random numbers are drawn from the current seed at each replay.

Not here: what is worth recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

Result = TypeVar("Result")

WARM_UPS = 2  # plain calls before recording: libraries set themselves up, optimizers create their state


class Recorder:
    """Records the functions of one training, which share memory. Without a CUDA card, or unless `wanted`, calls them directly."""

    def __init__(self, device: torch.device, wanted: bool = True) -> None:
        self.active = wanted and device.type == "cuda"
        self._records: list[_Record[Any]] = []
        self._pool: Any = torch.cuda.graph_pool_handle() if self.active else None

    def __call__(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Return `work`, or a function that replays it and whose returned tensors the next call overwrites."""
        if not self.active:
            return work
        record = _Record(self, work)
        self._records.append(record)
        return record

    def forget(self) -> None:
        """Drop the recordings, because something fixed in them has changed, such as a size."""
        for record in self._records:
            record.forget()
        if self.active:
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result] | None:
        """Return the graph and the result of the work; None if it cannot be recorded, which turns recording off."""
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
