"""Rename and duplicate a model together with its checkpoints, and keep a person's notes on it."""

from __future__ import annotations

from errors import ModelNotFound
from exchange import importing
from store import checkpoint_store, model_store
from store.model_list import ModelInfo, get_model
from workspace import Workspace, safe_name


def rename_model(ws: Workspace, name: str, new_name: str) -> ModelInfo:
    """Give a model another name, its checkpoints with it. Raises ModelNotFound, InvalidName, NameTaken, DiskFull."""
    old, new_name = _existing(ws, name), safe_name(new_name)
    if new_name == old:
        return get_model(ws, old)
    model_store.rename(ws, old, new_name)
    try:
        checkpoint_store.rename(ws, old, new_name)
    except BaseException:
        model_store.rename(ws, new_name, old)
        raise
    return get_model(ws, new_name)


def duplicate_model(ws: Workspace, name: str, new_name: str | None = None) -> ModelInfo:
    """Copy a model with its newest whole checkpoint and its logs, so that two trainings can go on from one place.

    Without a name the copy is called "name (2)" or the next that is free. Raises ModelNotFound, InvalidName, NameTaken, DiskFull.
    """
    old = _existing(ws, name)
    with importing.new_name(ws, new_name, old) as target:
        checkpoint_store.copy_newest(ws, old, target)
        try:
            model_store.duplicate(ws, old, target)
        except BaseException:
            checkpoint_store.delete_all(ws, target)
            raise
    return get_model(ws, target)


def _existing(ws: Workspace, name: str) -> str:
    folder = ws.model_folder(name)
    if not folder.is_dir():
        raise ModelNotFound(name=name, field="model")
    return folder.name
