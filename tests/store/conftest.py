"""An empty workspace, one with a trained model, a folder for many small copies, and one thread for tiny tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.store.store_kit import NAME, create_trained
from workspace import Workspace


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another cost tiny tensors up to fifty times the time on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ws(memory_folder: Path) -> Workspace:
    workspace = Workspace(memory_folder / "workspace")
    workspace.prepare()
    return workspace


@pytest.fixture
def trained(ws: Workspace) -> Workspace:
    create_trained(ws, NAME)
    return ws


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder in memory where the system has one: hundreds of copies are made and removed."""
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None) as folder:
        yield Path(folder)
