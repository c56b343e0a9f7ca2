"""Compile and call the operations written in C (folder c). Compiling happens on first use and takes a second or two.

They need Linux, a C compiler and a processor with AVX512-BF16; elsewhere PyTorch's operations are used. AZR_NATIVE=0 in the
environment turns them off.

The library is kept in __pycache__ under the digest of its source, compiler and flags, so an outdated one is never loaded. It is linked
without OpenMP and uses the one that torch has loaded, so both share the same threads.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

LANES = 16  # numbers of a register
HERE = Path(__file__).resolve().parent
SOURCES = HERE / "c"
BUILT = HERE / "__pycache__"
PROCESSOR = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mf16c", "-mfma")
COMPILE = ("-O3", "-fPIC", "-fopenmp", "-fno-strict-aliasing", *PROCESSOR)
PATIENCE_SECONDS = 60
SWITCH = "AZR_NATIVE"

_log = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled functions, or None if they are turned off or cannot be built."""
    compiler = _compiler()
    if compiler is None or os.environ.get(SWITCH) == "0" or not _is_for_this_processor():
        return None
    try:
        return ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        _log.warning("falling back to PyTorch: native kernels unavailable: %s", reason)
        return None


def description() -> str:
    """Return "torch" or the version of the compiler used: another compiler may give different last bits."""
    compiler = _compiler()
    return "torch" if compiler is None or library() is None else _version(compiler)


def serves(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the C operations are available for this device and number format."""
    return device.type == "cpu" and dtype == torch.bfloat16 and library() is not None


def call(name: str, tensors: tuple[Tensor | None, ...], *sizes: int) -> None:
    """Call a C function with contiguous tensors, then sizes, then torch's number of threads. Raises MemoryError."""
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
    function = getattr(library(), name)
    if function(*pointers, *map(ctypes.c_long, sizes), ctypes.c_int(torch.get_num_threads())):
        raise MemoryError(f"not enough memory for {name}")


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def _is_for_this_processor() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def _built(compiler: str) -> Path:
    """Return the path of the compiled library, built if needed. Raises OSError and SubprocessError."""
    path = BUILT / f"native-{_digest(compiler)}.so"
    if path.exists():
        return path
    BUILT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:
        _run(compiler, "-c", *COMPILE, *map(str, sorted(SOURCES.glob("*.c"))), folder=folder)
        _run(
            compiler, "-shared", *sorted(file.name for file in Path(folder).glob("*.o")), "-o", path.name, folder=folder
        )
        (Path(folder) / path.name).replace(path)
    return path


def _digest(compiler: str) -> str:
    digest = hashlib.sha256(f"{_version(compiler)} {COMPILE}".encode())
    for file in sorted(SOURCES.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _version(compiler: str) -> str:
    return _run(compiler, "--version").partition("\n")[0]


def _run(*command: str, folder: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", check=True, timeout=PATIENCE_SECONDS
    )
    return done.stdout
