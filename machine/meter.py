"""Read how much of this computer the process uses: processor time and memory.

Two readings give the share of the processor between them, so nothing has to be kept here. Not covered: the other processes of a
training on several devices, and other programs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from machine.memory import available_bytes, held_bytes


@dataclass(frozen=True)
class MachineLoad:
    """One reading. None where the system does not report a value."""

    at_seconds: float  # of a clock that never goes back
    cpu_seconds: float  # of all threads of this process since its start
    cpu_count: int
    memory_bytes: int | None  # held by this process
    available_bytes: int | None  # that could be taken on top of it
    card_bytes: int | None  # held on the graphics card


def machine_load() -> MachineLoad:
    """Read processor time and memory of this process."""
    return MachineLoad(
        at_seconds=time.monotonic(),
        cpu_seconds=time.process_time(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=held_bytes(),
        available_bytes=available_bytes(torch.device("cpu")),
        card_bytes=torch.cuda.memory_allocated() if torch.cuda.is_available() else None,
    )
