"""Run work in a process of its own, so that nothing has warmed it up and its peak of memory is its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from machine import memory

Result = TypeVar("Result")


def alone(work: Callable[..., Result], *arguments: object) -> Result:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_bytes() -> int:
    """Return the most memory that this process has held so far; 0 where the system does not say.

    Not by getrusage alone: on Linux a new process inherits the figure of the one that started it.
    """
    return memory.peak_bytes() or 0
