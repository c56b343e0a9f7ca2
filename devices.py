"""What this machine can compute with: the device, the number format that is fast on it, its threads and its free memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from config import Device, Precision
from errors import DeviceMissing

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt
USUAL_MMAP_BYTES = 2**25  # the most that the library comes to by itself


def choose_device(wanted: Device) -> torch.device:
    """CUDA, then Apple's MPS, then the CPU for "auto". Raises DeviceMissing when the named one is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[wanted]:
        raise DeviceMissing(field="device", device=wanted)
    return torch.device(wanted)


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively (elsewhere it is slower than float32), else float32."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def choose_num_threads(wanted: int | None, processes: int = 1) -> int:
    """All cores this process may use, divided among the training's processes, unless the person says otherwise."""
    return wanted or max(1, _cores() // processes)


def count_devices(device: torch.device) -> int:
    """How many processes can train side by side: graphics cards, or cores."""
    return {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type) or _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_bytes(device: torch.device) -> int | None:
    """Memory that a new training may take, in bytes; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if sys.platform == "linux":
        return _linux_available_bytes()
    if sys.platform == "win32":
        return _windows_available_bytes()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS: half of all there is
    return None


def _linux_available_bytes() -> int | None:
    """The kernel's own estimate, or what is left under this container's limit when that is less."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except OSError:
        return free
    return free if limit == "max" or free is None else min(free, max(0, int(limit) - used))


def _windows_available_bytes() -> int | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "available", "total_page", "available_page", "total_virtual", "available_virtual", "extended")
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined,unused-ignore]
        return None
    return int(status.available)


def peak_bytes() -> int | None:
    """The most memory that this process has held since `forget_peak_bytes`, or since its start where that does nothing."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak_bytes() -> None:
    """Count the peak anew from here. Linux only; a container may forbid it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """While it lasts this process keeps what it frees for its next tensors; afterwards all of it is given back.

    An iteration else returns hundreds of megabytes to the system and fetches them anew. GNU's C library only (mallopt(3),
    malloc_trim(3)); elsewhere nothing happens.
    """
    library = _c_library()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, 2**30)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_THRESHOLD, USUAL_MMAP_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, 2 * USUAL_MMAP_BYTES)
        library.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def describe(device: torch.device) -> str:
    """One line for a person, such as "CPU" or the name of the graphics card."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return {"cpu": "CPU", "mps": "Apple MPS"}[device.type]
