"""The workspace that a command works in: the option, reading it, changing it under its lock, and what to do next in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer

from console import output
from errors import AZRError, FolderUnusable
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE_BOOK = ROOT / "books" / "example_book.txt"

_OPTION = typer.Option("--workspace", envvar="AZR_WORKSPACE", show_default=False, help="cli.option.workspace")
WorkspaceOption = Annotated[Path, _OPTION]
EarlyWorkspace = Annotated[Optional[Path], _OPTION]  # noqa: UP045  (before the command)


def before_the_command(workspace: EarlyWorkspace = None) -> None:
    """Take --workspace where it stands before a command, whose own then is what the environment says."""
    if workspace is not None:
        os.environ["AZR_WORKSPACE"] = str(workspace)  # also for the processes that a training starts


@contextlib.contextmanager
def opened_for_change(path: Path) -> Iterator[Workspace]:
    """Yield the workspace, locked for a change. Raises WorkspaceLocked."""
    workspace = Workspace(path)
    with workspace.lock(f"cli.py, PID {os.getpid()}"):
        workspace.prepare()
        yield workspace


def existing(path: Path) -> Workspace:
    """Return the workspace for reading. Raises FolderUnusable if its folder is missing."""
    if not os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a name that is too long)
        raise FolderUnusable(path=str(path), reason="file" if os.path.exists(path) else "missing")  # noqa: PTH110
    return Workspace(path)


def with_examples(workspace: Workspace) -> Workspace:
    """Return a locked workspace, with the example books if it is new: as a server does at its start."""
    import workflows

    workflows.ensure_example(workspace, EXAMPLE_BOOK)
    return workspace


def existing_with_examples(path: Path) -> Workspace:
    """Return the workspace for reading, with the example books if it is new. Raises FolderUnusable if its folder is missing."""
    workspace = existing(path)
    if not workspace.example_marker.exists():  # reading goes on where none can be added
        with contextlib.suppress(AZRError), opened_for_change(path) as opened:
            with_examples(opened)
    return workspace


def say_next(key: str, *command: str, workspace: Path) -> None:
    output.say_next(key, *command, workspace=workspace, default=ROOT)
