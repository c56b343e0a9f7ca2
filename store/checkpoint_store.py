"""Save and read checkpoints: all that a training needs to continue, each in a folder that is either complete or absent.

    checkpoints/<name>/step-00001000/{model.safetensors, optimizer.safetensors, state.json, manifest.json}

A folder is built under a temporary name and renamed. manifest.json holds the size and sha256 of each file,
and readers take the newest folder that matches them. A folder is never overwritten: if an iteration is saved again, the new
folder is step-00001000-2, and then the first is removed. Saving removes folders of later iterations, which were rolled back, and
then the oldest ones beyond `keep` or the budget, but never the one just saved.

Checkpoints keep our own parameter names. Not here: when to save, the published model (model_store).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from store import tensor_file
from workspace import TEMPORARY_PREFIX, Workspace, disk_errors, move, new_folder, remove, sync, temporary_beside

FORMAT_VERSION = 1
WEIGHTS, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
FILES = (WEIGHTS, OPTIMIZER, STATE)

_STEP = re.compile(r"step-(\d{8,})(?:-(\d+))?", re.ASCII)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    iteration: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]  # may hold more than the optimizer, such as "reference/..." of self-play
    state: dict[str, Any]  # JSON


@dataclass(frozen=True, order=True)
class _Step:
    """The folder of one checkpoint, ordered by age."""

    iteration: int
    revision: int  # counts how often this iteration was saved
    folder: Path = field(compare=False)


@dataclass(frozen=True)
class _Entry:
    size: int
    sha256: str


class _Damaged(Exception):
    pass


# ---- writing ---------------------------------------------------------------------------------------------------------


def save(ws: Workspace, name: str, checkpoint: Checkpoint, *, keep: int, budget_bytes: int) -> int:
    """Save a checkpoint, then remove old ones. Return its size in bytes. Raises DiskFull; the older checkpoints then remain."""
    home = ws.checkpoint_folder(name)
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        sync(home.parent)
    step = _next_step(home, checkpoint.iteration)
    with new_folder(step.folder) as folder:
        tensor_file.write(folder / WEIGHTS, checkpoint.weights)
        tensor_file.write(folder / OPTIMIZER, checkpoint.optimizer)
        (folder / STATE).write_bytes(json.dumps(checkpoint.state, ensure_ascii=False, allow_nan=False).encode("utf-8"))
        entries = {file: _measure(folder / file) for file in FILES}
        (folder / MANIFEST).write_bytes(_manifest(checkpoint.iteration, entries).encode("utf-8"))
    _prune(home, step, keep, budget_bytes)
    return _size(step)


def delete_all(ws: Workspace, name: str) -> None:
    """Remove a model's checkpoints and its logs. Raises DiskFull."""
    home = ws.checkpoint_folder(name)
    if home.exists():
        with disk_errors(home):
            remove(home)


def set_aside(ws: Workspace, name: str) -> Path | None:
    """Hide a model's checkpoints and logs under a temporary name; return where they lie. Raises DiskFull, AccessDenied."""
    home = ws.checkpoint_folder(name)
    if not home.exists():
        return None
    place = temporary_beside(home)
    move(home, place)
    return place


def bring_back(ws: Workspace, place: Path, name: str) -> None:
    """Give hidden checkpoints and logs to a model. Raises DiskFull, AccessDenied."""
    _make_room(ws, name, place)
    move(place, ws.checkpoints / name)


def rename(ws: Workspace, name: str, new_name: str) -> None:
    """Give a model's checkpoints and logs to another name, which no model has. Raises DiskFull, AccessDenied."""
    home = ws.checkpoint_folder(name)
    if home.exists():
        _make_room(ws, new_name, home)
        move(home, ws.checkpoints / new_name)


def copy_newest(ws: Workspace, name: str, new_name: str) -> None:
    """Copy the newest checkpoint that verifies, and the logs, to another name, which no model has. Raises DiskFull, AccessDenied."""
    home = ws.checkpoint_folder(name)
    _make_room(ws, new_name, home)
    if not home.exists():
        return
    logs = {file.name: file for file in home.iterdir() if file.is_file() and not file.name.startswith(TEMPORARY_PREFIX)}
    with new_folder(ws.checkpoints / new_name) as folder:
        for place, file in (logs | newest_files(ws, name)).items():
            target = folder / place
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
            sync(target)


def _make_room(ws: Workspace, name: str, but: Path) -> None:
    """Remove what a model that no longer exists has left under this name."""
    left = ws.checkpoint_folder(name)
    if left.exists() and left != but:
        remove(left)


def _next_step(home: Path, iteration: int) -> _Step:
    revision = 1 + max((step.revision for step in _steps(home) if step.iteration == iteration), default=0)
    suffix = "" if revision == 1 else f"-{revision}"
    return _Step(iteration, revision, home / f"step-{iteration:08d}{suffix}")


def _prune(home: Path, saved: _Step, keep: int, budget_bytes: int) -> None:
    """Remove the checkpoints that `saved` replaces. A folder that cannot be removed now is tried again after the next save."""
    older, kept_iterations, used_bytes = [], {saved.iteration}, _size(saved)
    for step in reversed(_steps(home)):
        if step == saved:
            continue
        is_superfluous = step > saved or step.iteration == saved.iteration or not _stands(step)
        if is_superfluous or len(kept_iterations) >= keep or used_bytes + _size(step) > budget_bytes:
            older.append(step)
        else:
            kept_iterations.add(step.iteration)
            used_bytes += _size(step)
    for step in sorted(older, key=lambda step: (step < saved, step)):  # rolled-back iterations first, then the oldest
        try:
            remove(step.folder)
        except OSError as error:
            _log.warning("%s could not be removed: %s", step.folder, error)


# ---- reading ---------------------------------------------------------------------------------------------------------


def latest(ws: Workspace, name: str) -> tuple[Checkpoint | None, list[int]]:
    """Return the newest checkpoint that verifies, and the iterations of newer ones that are damaged."""
    return latest_in(ws.checkpoint_folder(name))


def latest_in(home: Path) -> tuple[Checkpoint | None, list[int]]:
    """Do the same for a folder of checkpoints that need not be in a workspace."""
    damaged: list[int] = []
    for step in reversed(_steps(home)):
        try:
            entries = _entries(step)
            state = json.loads(_content(step, entries, STATE))
            weights, _ = tensor_file.read(_content(step, entries, WEIGHTS))
            optimizer, _ = tensor_file.read(_content(step, entries, OPTIMIZER))
            return Checkpoint(step.iteration, weights, optimizer, state), damaged
        except (_Damaged, tensor_file.DamagedTensorFile, ValueError, RecursionError) as error:
            _log.warning("%s is damaged: %s", step.folder, error)
            damaged.append(step.iteration)
    return None, damaged


def last_weights(ws: Workspace, name: str) -> dict[str, Tensor] | None:
    """Return the weights of the newest checkpoint whose weights verify; safe while a training saves and removes others."""
    home, seen = ws.checkpoint_folder(name), None
    while (steps := _steps(home)) != seen:
        for step in reversed(steps):
            try:
                return tensor_file.read(_content(step, _entries(step), WEIGHTS))[0]
            except (_Damaged, tensor_file.DamagedTensorFile) as error:
                _log.warning("%s cannot be read: %s", step.folder, error)
        seen = steps
    return None


def weights_at(ws: Workspace, name: str, iteration: int) -> dict[str, Tensor] | None:
    """Return the weights of the checkpoint of an iteration, None where none is kept or it does not verify."""
    for step in reversed(_steps(ws.checkpoint_folder(name))):
        with contextlib.suppress(_Damaged, tensor_file.DamagedTensorFile):
            if step.iteration == iteration:
                return tensor_file.read(_content(step, _entries(step), WEIGHTS))[0]
    return None


def newest_files(ws: Workspace, name: str) -> dict[str, Path]:
    """Return the files of the newest checkpoint that verifies, by "step-.../file"; none without one. Reads them in constant memory."""
    for step in reversed(_steps(ws.checkpoint_folder(name))):
        with contextlib.suppress(_Damaged, OSError):
            entries = _entries(step)
            if all(_measure(step.folder / file) == entry for file, entry in entries.items()):
                return {f"{step.folder.name}/{file}": step.folder / file for file in (*FILES, MANIFEST)}
    return {}


def newest_bytes(ws: Workspace, name: str) -> int:
    """Return the size of the newest checkpoint whose files have their full size, 0 without one."""
    return next((_size(step) for step in reversed(_steps(ws.checkpoint_folder(name))) if _stands(step)), 0)


def iterations(ws: Workspace, name: str) -> tuple[int, ...]:
    """Return the iterations of all checkpoints whose files have their full size, the oldest first."""
    return tuple(sorted({step.iteration for step in _steps(ws.checkpoint_folder(name)) if _stands(step)}))


def version(ws: Workspace, name: str, iteration: int | None = None) -> str | None:
    """Return a text that changes whenever a checkpoint is saved, of this iteration if one is given; None without one.

    Costs one listing of a folder.
    """
    steps = [step for step in _steps(ws.checkpoint_folder(name)) if iteration in (None, step.iteration)]
    if not steps:
        return None
    try:
        return f"{steps[-1].folder.name}.{(steps[-1].folder / MANIFEST).stat().st_mtime_ns}"
    except OSError:
        return steps[-1].folder.name


def _steps(home: Path) -> list[_Step]:
    """Return all folders named like a checkpoint, the newest last."""
    if not home.is_dir():
        return []
    found = [(_STEP.fullmatch(folder.name), folder) for folder in home.iterdir()]
    return sorted(_Step(int(match[1]), int(match[2] or 1), folder) for match, folder in found if match)


def _size(step: _Step) -> int:
    return sum(file.stat().st_size for file in step.folder.iterdir())


# ---- manifest --------------------------------------------------------------------------------------------------------


def _manifest(iteration: int, entries: dict[str, _Entry]) -> str:
    files = {file: {"size": entry.size, "sha256": entry.sha256} for file, entry in entries.items()}
    return json.dumps({"format_version": FORMAT_VERSION, "iteration": iteration, "files": files}, indent=2) + "\n"


def _entries(step: _Step) -> dict[str, _Entry]:
    """Read the manifest. It must match byte for byte what we would write, so that any flipped bit in it is noticed."""
    try:
        text = (step.folder / MANIFEST).read_bytes().decode("utf-8")
        files = json.loads(text)["files"]
        entries = {file: _Entry(int(files[file]["size"]), str(files[file]["sha256"])) for file in FILES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Damaged(f"{MANIFEST}: {error}") from error
    if text != _manifest(step.iteration, entries):
        raise _Damaged(MANIFEST)
    return entries


def _content(step: _Step, entries: dict[str, _Entry], file: str) -> bytes:
    try:
        content = (step.folder / file).read_bytes()
    except OSError as error:
        raise _Damaged(f"{file}: {error}") from error
    if len(content) != entries[file].size or hashlib.sha256(content).hexdigest() != entries[file].sha256:
        raise _Damaged(file)
    return content


def _stands(step: _Step) -> bool:
    """Return whether every file has the size that the manifest states; contents are not read."""
    try:
        entries = _entries(step)
        return all((step.folder / file).stat().st_size == entry.size for file, entry in entries.items())
    except (_Damaged, OSError):
        return False


def _measure(path: Path) -> _Entry:
    with path.open("rb") as file:
        return _Entry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
