"""The memory of this process and of its device: what is free, the most that was held, what is kept for reuse, and when it ran out."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from errors import OutOfMemory

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt
USUAL_MMAP_BYTES = 2**25  # the largest threshold that the library sets automatically
OUT_OF_MEMORY = re.compile(  # as torch, oneDNN, cuBLAS, cuDNN, the C++ library and the kernel say it
    r"not enough memory|allocate memory|out of memory|bad_alloc|alloc_failed|cudaErrorMemoryAllocation"
    r"|could not create a (?:primitive(?! desc)|memory object)",
    re.IGNORECASE,
)


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that a new training may take, in bytes; None where the system does not report it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if sys.platform == "linux":
        return _linux_available_bytes()
    if sys.platform == "win32":
        return _windows_available_bytes()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS: half of the physical memory
    return None


def _linux_available_bytes() -> int | None:
    """Return the kernel's own estimate, or what is left under this container's limit when that is less."""
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
            for name in (
                "total",
                "available",
                "total_page",
                "available_page",
                "total_virtual",
                "available_virtual",
                "extended",
            )
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined,unused-ignore]
        return None
    return int(status.available)


def held_bytes() -> int | None:
    """Return the memory that this process holds now, in bytes; None on systems other than Linux."""
    if sys.platform != "linux":
        return None
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


def peak_bytes() -> int | None:
    """Return the most memory that this process has held since `forget_peak_bytes`, or since its start where that has no effect."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak_bytes() -> None:
    """Reset the peak. Linux only; a container may forbid it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def use_one_heap() -> None:
    """Make all threads allocate from one heap. Call it before the first thread starts: a thread that has a heap keeps it.

    The heaps of threads consist of pieces of 64 MB, in which large tensors leave gaps that fit no other. GNU's C library only.
    """
    if (library := _c_library()) is not None:
        library.mallopt(M_ARENA_MAX, 1)


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Inside this block, freed memory is kept for reuse; at its end all of it is given back to the system.

    Without it an iteration returns hundreds of megabytes and requests them again. GNU's C library only (mallopt(3),
    malloc_trim(3)); elsewhere this does nothing.
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


def give_back_unused() -> None:
    """Return freed memory to the system; the process requests it again when it needs it.

    Memory kept for reuse fragments over the hours, and a tensor that fits no fragment takes new memory.
    """
    if (library := _c_library()) is not None:
        library.malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out. Libraries have no common type for it, so the message decides.

    oneDNN reports each failure of its own allocations as "could not create a primitive".
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


@contextlib.contextmanager
def lack_named(device: str) -> Iterator[None]:
    """Inside this block, an error that means a lack of memory becomes OutOfMemory, which a person understands."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(device=device) from error
        raise


def _c_library() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
