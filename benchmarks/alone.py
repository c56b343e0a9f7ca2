"""Work in a process of its own: nothing before it has warmed it up, and its peak of memory is its own."""

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
    """The most memory that this process has held so far; 0 where the system does not tell.

    Not by getrusage alone: on Linux a new process inherits the figure of the one that started it.
    """
    return memory.peak_bytes() or 0
