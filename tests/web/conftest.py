"""A running application over a workspace in a temporary folder."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.web_client import (
    BOOK,
    BOOK_NAME,
    MODEL,
    PORT,
    UPLOAD_LIMIT_BYTES,
    Direct,
    create,
    running,
    train,
    upload,
    wait_until_over,
)
from web.access import Access
from web.app import create_app
from web.network import Network
from workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "рабочая папка")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with running(workspace) as client:
        yield client


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    """The same application, asked ten times as fast, without a start or an end, and one for all tests of a file."""
    workspace = Workspace(tmp_path_factory.mktemp("direct"))
    workspace.prepare()
    with asyncio.Runner() as runner:
        yield Direct(
            create_app(workspace, network=Network(Access(PORT)), upload_limit_bytes=UPLOAD_LIMIT_BYTES), runner
        )


@pytest.fixture
def make_model(client: TestClient) -> Callable[[str], dict[str, Any]]:
    return lambda name: create(client, name)


@pytest.fixture
def make_book(client: TestClient) -> Callable[..., dict[str, Any]]:
    return lambda name, text=BOOK: upload(client, name, text)


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose model was trained for ten iterations on its one book."""
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    with running(workspace) as client:
        create(client, MODEL)
        upload(client, BOOK_NAME)
        train(client, iterations=10)
        assert wait_until_over(client)["state"] == "done"
    return workspace.root


@pytest.fixture
def trained(client: TestClient, workspace: Workspace, trained_folder: Path) -> str:
    """The name of a trained model, in the workspace of the running server."""
    shutil.copytree(trained_folder, workspace.root, dirs_exist_ok=True)
    return MODEL
