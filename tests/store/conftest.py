"""An empty workspace, and one with a trained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.store_kit import NAME, create_trained
from workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    return workspace


@pytest.fixture
def trained(ws: Workspace) -> Workspace:
    create_trained(ws, NAME)
    return ws
