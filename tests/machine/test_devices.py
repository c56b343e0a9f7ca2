"""What the machine can do, told for machines this one is not."""

from __future__ import annotations

import os
import platform

import pytest
import torch

from errors import DeviceMissing
from machine import devices
from machine.devices import autocast, choose_device, choose_num_threads, choose_precision, describe

CPU = torch.device("cpu")


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


@pytest.mark.parametrize(("gain", "expected"), [(0.01, torch.float32), (1.1, torch.float32), (1.8, torch.bfloat16)])
def test_precision_is_bfloat16_only_where_it_is_measured_to_be_quicker(
    monkeypatch: pytest.MonkeyPatch, gain: float, expected: torch.dtype
) -> None:
    monkeypatch.setattr(devices, "bfloat16_gain", lambda kind: gain)
    assert choose_precision("auto", CPU) is expected
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) is torch.float32


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 tells what it multiplies natively")
def test_measured_gain_is_there_exactly_where_the_processor_has_units_for_it() -> None:
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert (devices.bfloat16_gain("cpu") > devices.WORTH) == native


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.bfloat16), (torch.float32, torch.float32)])
def test_autocast_computes_in_the_chosen_precision(dtype: torch.dtype, expected: torch.dtype) -> None:
    with autocast(CPU, dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is expected


def test_threads_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert choose_num_threads(None) == 3
    assert choose_num_threads(7) == 7


def test_devices_are_described_for_a_person() -> None:
    assert (describe(CPU), describe(torch.device("mps"))) == ("CPU", "Apple MPS")
