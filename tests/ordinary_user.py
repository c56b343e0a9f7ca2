"""An ordinary user for tests that may run as root, whom no permission stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
needs_permissions = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's rights inside this block, in every thread of the process."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that an ordinary user can reach; pytest's own belongs to root alone."""
    folder = Path(tempfile.mkdtemp(prefix="azr-test-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        for inside in [folder, *folder.rglob("*")]:
            if inside.is_dir() and not inside.is_symlink():
                inside.chmod(0o700)
        shutil.rmtree(folder)


def give_to_nobody(folder: Path) -> None:
    """Let the ordinary user own a folder with all it holds."""
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


def forbid_writing(folder: Path) -> None:
    """Make a folder and the folders in it read-only."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o500)
