"""A disk that fails or a process that dies at the N-th operation.

`Faults` counts every operation that changes the disk (open, write, fsync, rename, replace, mkdir, unlink, rmdir, truncate) and
lets the one numbered `at` go wrong: with an OSError once, or with `Killed`, after which nothing at all works any more, as in a
process that was killed, so that no clean-up in a `finally` can help. A write goes wrong half-way.

Not covered: what a power cut does to pages that were never flushed; the order of fsyncs is checked from `done` instead.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from errors import DiskFull
from workspace import TEMPORARY_PREFIX, Workspace


class Killed(BaseException):
    pass


FAULTS: tuple[BaseException, ...] = (
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    Killed(),
)


class Faults:
    """Fails at operation `at` (counted from 1; 0 never); `done` lists what was done as (operation, file name)."""

    def __init__(self, at: int = 0, fault: BaseException | None = None) -> None:
        self.at, self.fault = at, fault
        self.done: list[tuple[str, str]] = []

    def strike(self, operation: str, target: object) -> None:
        if isinstance(self.fault, Killed) and 0 < self.at <= len(self.done):
            raise self.fault
        self.done.append((operation, Path(str(target)).name))
        if len(self.done) == self.at and self.fault is not None:
            raise self.fault

    @contextmanager
    def installed(self) -> Iterator[Faults]:
        """Route the disk operations of this process through the faults."""
        patch = pytest.MonkeyPatch()
        patch.setattr(io, "open", self._open)
        patch.setattr(safetensors.torch, "save_file", self._save_file)
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
            patch.setattr(os, name, self._struck(name, getattr(os, name)))
        try:
            yield self
        finally:
            patch.undo()

    def _open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wa+x"):
            return _open(file, mode, *arguments, **options)
        self.strike("open", file)
        return _File(_open(file, mode, *arguments, **options), self)

    def _save_file(self, tensors: Any, filename: Any, metadata: Any = None) -> None:
        _save_file(tensors, filename, metadata)
        try:
            self.strike("write", filename)
        except BaseException:
            os.truncate(filename, os.path.getsize(filename) // 2)
            raise

    def _struck(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(target: Any, *arguments: Any, **options: Any) -> Any:
            shown = arguments[0] if name in ("rename", "replace") else target
            if name == "fsync":
                shown = os.readlink(f"/proc/self/fd/{target}") if os.path.isdir("/proc/self/fd") else ""
            self.strike(name, shown)
            if name == "fsync":
                return None  # slow, and nothing here cuts the power
            return real(target, *arguments, **options)

        return operation


_open, _save_file = io.open, safetensors.torch.save_file


class _File:
    """A file open for writing."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        try:
            self._faults.strike("write", self._file.name)
        except BaseException:
            self._file.write(data[: len(data) // 2])
            raise
        return int(self._file.write(data))

    def truncate(self, size: int) -> int:
        self._faults.strike("truncate", self._file.name)
        return int(self._file.truncate(size))


def survive(
    folder: Path,
    prepare: Callable[[Workspace], Any],
    action: Callable[[Workspace], Any],
    state: Callable[[Workspace], Any],
    *,
    one_step: bool = True,
) -> int:
    """Let `action` fail at each of its operations in each way; `state` must then be that of before or of after.

    An action of one step reports an error only where the state is that of before; one that goes on behind the step which `state`
    shows may fail there.

    Returns how many failures were tried.
    """
    before, after = Workspace(folder / "before"), Workspace(folder / "after")
    before.prepare()
    prepare(before)
    shutil.copytree(before.root, after.root)
    with Faults().installed() as counted:
        action(after)
    old, new, operations = state(before), state(after), len(counted.done)
    assert old != new and operations > 0
    for fault in FAULTS:
        for at in range(1, operations + 1):
            ws = Workspace(folder / "tried")
            shutil.copytree(before.root, ws.root)
            raised = _attempt(Faults(at, fault), action, ws)
            where = f"{fault!r} at {counted.done[at - 1]}, operation {at} of {operations}"
            _check(ws, state, old, new, raised, where)
            assert not one_step or not isinstance(raised, DiskFull) or state(ws) == old, (
                f"{where}: an error, and yet done"
            )
            shutil.rmtree(ws.root)
    return operations * len(FAULTS)


def _attempt(faults: Faults, action: Callable[[Workspace], Any], ws: Workspace) -> BaseException | None:
    try:
        with faults.installed():
            action(ws)
    except (DiskFull, Killed) as error:
        return error
    return None


def _check(
    ws: Workspace, state: Callable[[Workspace], Any], old: Any, new: Any, raised: BaseException | None, where: str
) -> None:
    found = state(ws)
    assert found in (old, new), where
    assert raised is not None or found == new, f"{where}: no error, and yet nothing done"
    ws.prepare()
    assert state(ws) == found, f"{where}: sweeping changed what is there"
    assert not list(ws.root.rglob(f"{TEMPORARY_PREFIX}*")), f"{where}: not swept"
