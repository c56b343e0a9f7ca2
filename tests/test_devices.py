"""What the machine can do, told for machines this one is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from devices import (
    autocast,
    available_bytes,
    choose_device,
    choose_num_threads,
    choose_precision,
    describe,
    forget_peak_bytes,
    peak_bytes,
)
from errors import DeviceMissing

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent


def _machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_is_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    _machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_device_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    _machine(monkeypatch, cuda=False, mps=False)
    with pytest.raises(DeviceMissing) as error:
        choose_device(wanted)
    assert (error.value.field, error.value.parameters) == ("device", {"device": wanted})


@pytest.mark.parametrize(
    ("avx", "amx", "expected"),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_precision_is_bfloat16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, avx: bool, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision("auto", CPU) is expected
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) is torch.float32


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.bfloat16), (torch.float32, torch.float32)])
def test_autocast_computes_in_the_chosen_precision(dtype: torch.dtype, expected: torch.dtype) -> None:
    with autocast(CPU, dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is expected


def test_threads_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert choose_num_threads(None) == 3
    assert choose_num_threads(7) == 7


def test_free_memory_is_a_plausible_number() -> None:
    found = available_bytes(CPU)
    assert found is None or 10**7 < found < 10**14


def test_devices_are_described_for_a_person() -> None:
    assert (describe(CPU), describe(torch.device("mps"))) == ("CPU", "Apple MPS")


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


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library")
def test_freed_memory_is_kept_for_a_while_and_then_given_back() -> None:
    """In a process of its own, because the setting is the whole process's."""
    source = """
import devices
from pathlib import Path
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def freed(count):
    tensors = [torch.ones(25_000_000) for _ in range(count)]
    full = resident()
    del tensors
    return full - resident()

before = resident()
print(freed(3) > 250e6)
with devices.memory_kept():
    print(freed(3) < 50e6)
print(resident() - before < 50e6, freed(3) > 250e6)
"""
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.split() == ["True"] * 4
