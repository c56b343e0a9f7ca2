"""The operations that are written in C (folder c), compiled on this machine when they are first needed; that takes a second or two.

It takes a Linux with a C compiler and a processor with AVX512-BF16; elsewhere the same is done by torch's operations. AZR_NATIVE=0 in
the environment leaves the C out.

The library lies in __pycache__, named after its source, its compiler and the flags, so nothing old is ever loaded. It is linked
without an OpenMP of its own and finds the one that torch has loaded, so both use the same threads.
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
PROCESSOR = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16")
COMPILE = ("-O3", "-fPIC", "-fopenmp", "-fno-strict-aliasing", *PROCESSOR)
PATIENCE_SECONDS = 60
SWITCH = "AZR_NATIVE"

_log = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where they can't be had."""
    compiler = _compiler()
    if compiler is None or os.environ.get(SWITCH) == "0" or not _is_for_this_processor():
        return None
    try:
        return ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or error
        _log.warning("torch does without the C, which could not be compiled or loaded: %s", told)
        return None


def description() -> str:
    """What computes here: with another compiler the last bits may be others."""
    compiler = _compiler()
    return "torch" if compiler is None or library() is None else _version(compiler)


def serves(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and dtype == torch.bfloat16 and library() is not None


def call(name: str, tensors: tuple[Tensor | None, ...], *sizes: int) -> None:
    """A function of the C with contiguous tensors, then sizes, then torch's number of threads. Raises MemoryError."""
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
    """Raises OSError and SubprocessError where it can't be built."""
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
