"""Memory that is free, held, and kept for later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from machine.memory import available_bytes, forget_peak_bytes, peak_bytes

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def test_free_memory_is_a_plausible_number() -> None:
    found = available_bytes(CPU)
    assert found is None or 10**7 < found < 10**14


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted anew on Linux only")
def test_peak_of_memory_is_counted_anew_when_it_is_forgotten() -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    high = peak_bytes()
    del held
    forget_peak_bytes()
    low = peak_bytes()
    assert high is not None and low is not None
    assert low < high - 100_000_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library")
def test_thread_takes_its_memory_from_the_one_heap() -> None:
    """In a process of its own, because the setting is the whole process's. The thread before it, still alive, has its own heap."""
    source = """
import ctypes, queue, threading
from pathlib import Path
from machine import memory

library, told, taken, done = ctypes.CDLL(None), queue.Queue(), [], threading.Event()
library.malloc.restype = ctypes.c_void_p

def take():
    told.put(library.malloc(1000))
    done.wait()

for set_up in (lambda: None, memory.use_one_heap):
    set_up()
    threading.Thread(target=take, daemon=True).start()
    taken.append(told.get(timeout=60))
done.set()
heap = next(line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]"))
first, last = (int(end, 16) for end in heap.split("-"))
print(*(first <= address < last for address in taken))
"""
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.split() == ["False", "True"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library")
def test_freed_memory_is_kept_for_a_while_and_then_given_back() -> None:
    """In a process of its own, because the setting is the whole process's."""
    source = """
from machine import memory
from pathlib import Path
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def freed(count, size=25_000_000):
    tensors = [torch.ones(size) for _ in range(count)]
    full = resident()
    del tensors
    return full - resident()

before = resident()
print(freed(3) > 250e6)
with memory.memory_kept():
    print(freed(3) < 50e6)
    memory.give_back_unused()
    print(resident() - before < 50e6, freed(3) < 50e6)
print(resident() - before < 50e6, freed(1, 100_000_000) > 350e6)  # larger than any gap that the tensors before left
"""
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.split() == ["True"] * 6
