"""What an ordinary user reads when a folder of the workspace may not be written or read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.ordinary_user import forbid_writing, give_to_nobody, needs_permissions, open_folder, ordinary_user
from tests.web.web_client import (
    BOOK,
    BOOK_NAME,
    MODEL,
    TINY_MODEL,
    assert_error,
    create,
    running,
    train,
    upload,
    wait_until_over,
)
from workspace import Workspace

pytestmark = [needs_permissions, pytest.mark.slow]
BIG_BOOK = BOOK * 60  # beyond what a form keeps in memory


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with open_folder() as folder:
        yield Workspace(folder / "ws")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    """With a model and a book, served by an ordinary user to whom everything belongs."""
    with running(workspace, upload_limit_bytes=len(BIG_BOOK.encode("utf-8"))) as client:
        create(client, MODEL)
        upload(client, BOOK_NAME)
        train(client, iterations=1)  # what this imports may be readable to root alone
        wait_until_over(client)
        create(client, "new")
        give_to_nobody(workspace.root)
        with ordinary_user():
            yield client


def refused(answer: object, folder: Path) -> None:
    error = assert_error(answer, 403, "access_denied")
    assert f"write in {folder}." in error["message"]


def test_model_is_not_created_or_deleted_in_a_read_only_folder(client: TestClient, workspace: Workspace) -> None:
    forbid_writing(workspace.models)
    refused(client.post("/create_model", json={"name": "second", **TINY_MODEL}), workspace.models)
    refused(client.delete(f"/models/{MODEL}"), workspace.models)
    assert {model["name"] for model in client.get("/models").json()["models"]} == {MODEL, "new"}


def test_book_is_not_uploaded_or_deleted_in_a_read_only_folder(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_writing(workspace.books)
    monkeypatch.setattr("tempfile.tempdir", str(workspace.books))  # as server.py sets it
    for text in (BOOK, BIG_BOOK):
        form = {"file": ("лес.txt", text.encode("utf-8"))}
        refused(client.post("/upload_book", files=form), workspace.books)
    refused(client.post(f"/books/{BOOK_NAME}/encoding", json={"encoding": "utf-8"}), workspace.books)
    refused(client.delete(f"/books/{BOOK_NAME}"), workspace.books)
    assert [book["name"] for book in client.get("/books").json()["books"]] == [BOOK_NAME]


@pytest.mark.parametrize("folder", ["models", "checkpoints"])
def test_training_that_cannot_be_saved_fails_and_names_the_folder(
    client: TestClient, workspace: Workspace, folder: str
) -> None:
    forbid_writing(workspace.root / folder)
    train(client, model="new", iterations=1)
    error = wait_until_over(client)["error"]
    assert error["code"] == "access_denied"
    assert str(workspace.root / folder) in error["message"]


def test_folder_that_may_not_be_read_is_named(client: TestClient, workspace: Workspace) -> None:
    workspace.books.chmod(0o000)
    error = assert_error(client.get("/books"), 403, "access_denied")
    assert f"read {workspace.books}." in error["message"]
    page = client.get("/library", headers={"Accept": "text/html"})
    assert (page.status_code, str(workspace.books) in page.text) == (403, True)
    workspace.books.chmod(0o700)
    assert client.get("/books").status_code == 200


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors", "azr.json"])
def test_model_file_that_may_not_be_read_is_named_and_not_called_damaged(
    client: TestClient, workspace: Workspace, file: str
) -> None:
    path = workspace.model_folder(MODEL) / file
    wish = {"model": MODEL, "prompt": "x", "max_new_tokens": 1}
    path.chmod(0o000)
    for answer in (client.post("/generate", json=wish), client.get("/download_model", params={"model": MODEL})):
        assert f"read {path}." in assert_error(answer, 403, "access_denied")["message"]
    listed = {model["name"]: (model["damaged"], model["denied"]) for model in client.get("/models").json()["models"]}
    assert listed == {MODEL: (None, str(path)), "new": (None, None)}
    page = client.get("/library", headers={"Accept-Language": "en"}).text
    assert f"read {path}." in page and "Damaged" not in page
    path.chmod(0o600)
    assert client.post("/generate", json=wish).status_code == 200
