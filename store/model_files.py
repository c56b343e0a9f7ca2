"""The files of one model's folder: their names, how each is read, and how damage to one of them is named.

Every reader reports any fault of a file as ModelDamaged with that file's name, and a file that may not be read as AccessDenied.
`undisturbed` makes a read safe against a folder that is deleted or created anew at the same moment.

The weights are compared with their checksum once for each version of the file; this process remembers the result.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from config import ModelConfig
from errors import AccessDenied, ModelDamaged, ModelNotFound
from formats import lineage
from formats.lineage import Lineage
from machine.memory import is_out_of_memory
from store import checksum, tensor_file
from tokenizer import Tokenizer
from workspace import Workspace, read_json

FORMAT_VERSION = 1
MOST_NOTES = 10_000  # characters
GONE = "-"  # the stamp of a missing file
RECORD, WEIGHTS, TOKENIZER, CARD = "azr.json", "model.safetensors", "tokenizer.json", "README.md"
TOKENIZER_CONFIG = "tokenizer_config.json"
NOTES = "notes.txt"  # of the person, on this model
PRECISION = "precision.json"  # what fewer bits of a weight cost it
EXPORT_TESTS = "exports.json"  # what the tests of its exports found

Read = TypeVar("Read")

_verdicts: dict[
    Path, tuple[str, bool]
] = {}  # weights file -> stamp of the version that was read, and whether it is whole
_verdicts_lock = threading.Lock()


def folder_of(ws: Workspace, name: str) -> Path:
    """Return a model's folder. Raises ModelNotFound, InvalidName."""
    folder = ws.model_folder(name)
    if not is_model(folder):
        raise ModelNotFound(name=name, field="model")
    return folder


def is_model(folder: Path) -> bool:
    """Return whether a folder is a model's; one that has lost azr.json is a damaged model."""
    return any((folder / file).exists() for file in (RECORD, WEIGHTS, TOKENIZER))


def stamp(file: Path) -> str:
    """Return a text that changes whenever the file is replaced; it costs one `stat`."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return GONE
    return f"{stat.st_mtime_ns}.{stat.st_size}.{stat.st_ino}"


def undisturbed(ws: Workspace, name: str, read: Callable[[Path], Read]) -> Read:
    """Return what `read` finds in a model's folder; read again if the folder was deleted or created anew meanwhile."""
    while True:
        folder = folder_of(ws, name)
        before = _life_of(folder)
        try:
            found = read(folder)
        except (ModelDamaged, AccessDenied):
            if _life_of(folder) == before != GONE:
                raise
        else:
            if _life_of(folder) == before:
                return found


def _life_of(folder: Path) -> str:
    """Return a text that differs for another model of the same name: azr.json is written once in a model's life."""
    record = stamp(folder / RECORD)
    return stamp(folder) if record == GONE else record


def damage(name: str, file: str) -> ModelDamaged:
    """Return the error for a damaged file of a model, with the way out: a checkpoint holds no sizes and no tokenizer."""
    if file in (RECORD, TOKENIZER):
        return ModelDamaged(name=name, file=file, reason="beyond_checkpoints")
    return ModelDamaged(name=name, file=file)


@contextlib.contextmanager
def damage_named(folder: Path, file: str) -> Iterator[None]:
    """Raise ModelDamaged for any error of a reader in this block; `tokenizers` raises plain Exception.

    A file that only may not be read is AccessDenied: it may be whole, and nothing must be written over it.
    """
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(path=str(folder / file), reason="read") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise  # the file may be whole
        raise damage(folder.name, file) from error


# ---- reading one file ------------------------------------------------------------------------------------------------


def read_record(folder: Path) -> tuple[dict[str, Any], ModelConfig]:
    """Read azr.json. Raises ModelDamaged."""
    with damage_named(folder, RECORD):
        record = read_json(folder / RECORD)
        if record["format_version"] != FORMAT_VERSION or not record["created_at"]:
            raise ValueError(f"format_version {record['format_version']}")
        return record, ModelConfig(**record["config"])


def read_lineage(folder: Path) -> Lineage:
    """Read the trainings of a model from the head of its weights file. Raises ModelDamaged."""
    with damage_named(folder, WEIGHTS):
        return lineage_in(tensor_file.read_metadata(folder / WEIGHTS))


def lineage_in(metadata: dict[str, str]) -> Lineage:
    """Return the trainings named in the metadata of a weights file. Raises ValueError, TypeError or KeyError."""
    if lineage.is_list(metadata) and checksum.KEY not in metadata:
        raise ValueError("the checksum is missing")  # its key was damaged: a file with the list always has a checksum
    return lineage.from_metadata(metadata)


def read_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer | None:
    """Read the tokenizer; None before the first training. Raises ModelDamaged."""
    if not (folder / TOKENIZER).exists():
        return None
    with damage_named(folder, TOKENIZER):
        tokenizer = Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
        if tokenizer.size > config.vocab_size:
            raise ValueError("not this model's tokenizer")
        return tokenizer


def read_tokenizer_size(folder: Path) -> int | None:
    """Read the tokenizer's size from its JSON, ten times as fast as building it. Raises ModelDamaged."""
    if not (folder / TOKENIZER).exists():
        return None
    with damage_named(folder, TOKENIZER):
        return len(read_json(folder / TOKENIZER)["model"]["vocab"])


def read_notes(folder: Path) -> str:
    """Read a person's notes on a model; "" without any, and where they cannot be read."""
    try:
        return (folder / NOTES).read_text(encoding="utf-8", errors="replace")[:MOST_NOTES]
    except OSError:
        return ""


# ---- are the weights whole? ------------------------------------------------------------------------------------------


def remember(folder: Path, version: str, *, whole: bool) -> None:
    """Store in this process whether a version (a stamp) of a model's weights is whole."""
    with _verdicts_lock:
        _verdicts[folder / WEIGHTS] = (version, whole)


def remember_damage(folder: Path, version: str, error: ModelDamaged) -> None:
    """Store that a version is damaged, unless reading failed for another reason: a missing right may be granted later."""
    if not isinstance(error.__cause__, OSError):
        remember(folder, version, whole=False)


def is_verified(folder: Path) -> bool:
    """Return whether the current weights were verified by this process already, whatever the result."""
    with _verdicts_lock:
        known = _verdicts.get(folder / WEIGHTS)
    return known is not None and known[0] == stamp(folder / WEIGHTS)


def verify_weights(folder: Path) -> None:
    """Compare a model's weights with their checksum, reading each version of the file once. Raises ModelDamaged."""
    version = stamp(folder / WEIGHTS)
    with _verdicts_lock:
        known = _verdicts.get(folder / WEIGHTS)
    if known is not None and known[0] == version:
        if not known[1]:
            raise damage(folder.name, WEIGHTS)
        return
    try:
        with damage_named(folder, WEIGHTS):
            tensor_file.verify(folder / WEIGHTS)
    except ModelDamaged as error:
        remember_damage(folder, version, error)
        raise
    remember(folder, version, whole=True)
