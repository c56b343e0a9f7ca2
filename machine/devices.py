"""The device of this machine, the number format that is fast on it, and its threads."""

from __future__ import annotations

import functools
import os
import time
from contextlib import AbstractContextManager

import torch

from config import Device, Precision
from errors import DeviceMissing

WORTH = 1.2  # bfloat16 is chosen when it is this many times as fast as float32
TIMES = 5  # measurements of each product; the fastest counts


def choose_device(wanted: Device) -> torch.device:
    """Return the named device; for "auto" CUDA, else Apple's MPS, else the CPU. Raises DeviceMissing."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[wanted]:
        raise DeviceMissing(field="device", device=wanted)
    return torch.device(wanted)


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """Return the number format asked for; for "auto" bfloat16 where this machine multiplies it clearly faster, else float32.

    Measured once in a process: a processor or card without units for bfloat16 imitates it, up to hundreds of times slower.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "mps":
        return torch.float32
    return torch.bfloat16 if bfloat16_gain(device.type) > WORTH else torch.float32


@functools.cache
def bfloat16_gain(kind: str) -> float:
    """Measure how many times as fast as in float32 a matrix product is in bfloat16, on "cpu" or "cuda"."""
    device, size = torch.device(kind), 256 if kind == "cpu" else 2048
    plain = torch.randn(size, size, device=device)
    seconds = {dtype: _product_seconds(plain.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _product_seconds(x: torch.Tensor) -> float:
    """Return the shortest time of x @ x, in seconds, without the first, which sets up."""
    taken = []
    for _ in range(TIMES + 1):
        started_at = time.perf_counter()
        (x @ x)[0, 0].item()  # waits for the card
        taken.append(time.perf_counter() - started_at)
    return min(taken[1:])


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def choose_num_threads(wanted: int | None, processes: int = 1) -> int:
    """Return the number of threads asked for; else all cores this process may use, divided among the training's processes."""
    return wanted or max(1, _cores() // processes)


def has_graphics_card() -> bool:
    """Return whether PyTorch can train on a graphics card of this machine."""
    return choose_device("auto").type != "cpu"


def count_devices(device: torch.device) -> int:
    """Return how many processes can train side by side: the number of graphics cards, or of cores."""
    return {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type) or _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: torch.device) -> str:
    """Return the device's name for a person, such as "CPU" or the name of the graphics card."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return {"cpu": "CPU", "mps": "Apple MPS"}[device.type]
