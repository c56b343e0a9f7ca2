"""Memory that is free, held, and kept for later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from errors import OutOfMemory
from machine.memory import available_bytes, forget_peak_bytes, is_out_of_memory, lack_named, peak_bytes

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


# ---- running out -----------------------------------------------------------------------------------------------------

LACKS = [
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a memory object"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 8388608 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough memory: "
        "you tried to allocate 8388608 bytes."
    ),
    RuntimeError("unable to mmap 4096 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 9.00 MB)"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("could not create a primitive descriptor for a matmul primitive"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    OSError(28, "No space left on device"),
    ValueError("not enough memory"),
]


@pytest.mark.parametrize("error", LACKS, ids=str)
def test_lack_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(OutOfMemory) as named, lack_named("CPU"):
        raise error
    assert named.value.parameters == {"device": "CPU"}


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as same, lack_named("CPU"):
        raise error
    assert same.value is error


SHORT_OF_MEMORY = """
import resource, torch
from azr_trainer import AZRTrainer
from corpus.dataset import split, tokenize
from errors import OutOfMemory
from events import IterationDone
from tests.training_kit import SHAPE, TEXT, TRAINING, changed, finish, make_model
from tokenizer import Tokenizer

tokenizer = Tokenizer.fit([TEXT], 300)
dataset = finish(tokenize([split(TEXT * 20, 0.1)], tokenizer))
shape = changed(SHAPE, d_model=128, num_layers=4, num_heads=4, d_ff=512, max_seq_len=128)
config = changed(TRAINING, iterations=2, batch_size=64, precision="bfloat16", eval_every=100)
trainer = AZRTrainer(make_model(0, shape), tokenizer, dataset, config)
torch.set_num_threads(1)
with open("/proc/self/statm", encoding="utf-8") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + ROOM * 2**20,) * 2)
try:
    done = [event.iteration for event in trainer.run() if isinstance(event, IterationDone)]
    print("done", done, "micro-batches", trainer.state.micro_batches)
except OutOfMemory as error:
    print("named", error.parameters["device"])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to RLIMIT_AS")
@pytest.mark.parametrize("megabytes", [20, 60, 150])
def test_training_that_really_runs_out_of_memory_shrinks_its_batches_or_names_the_lack(megabytes: int) -> None:
    script = SHORT_OF_MEMORY.replace("ROOM", str(megabytes))
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith(("done [1, 2] micro-batches", "named CPU")), ended.stdout
    assert not ended.stdout.endswith("micro-batches 0\n")  # it was short of memory
