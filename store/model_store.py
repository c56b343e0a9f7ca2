"""The models of a workspace: each one a Hugging Face folder as it stands, with azr.json for what only we need.

Particular: a training's result is committed by replacing one file. model.safetensors carries the summary of its own
training in its metadata, so weights and figures can never disagree, whatever is interrupted. tokenizer.json is written
last of its group: where it stands, the files that belong to it stand too. The card (README.md) follows and may lag
behind.

Reading keeps no file open or mapped, draws nothing from the global random generator (a training may be using it), and
turns whatever is wrong with a file into ModelDamaged with that file's name.

Not here: checkpoints (checkpoint_store), figures over time (run_log), other formats (export).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from config import ModelConfig
from errors import AZRError, ModelDamaged, ModelNotFound, NameTaken, NoTokenizer
from formats import huggingface
from formats.card import Results, card
from model import Rotary, Transformer, count_parameters
from store import tensor_file
from tokenizer import Tokenizer
from workspace import (
    TEMPORARY_PREFIX,
    Workspace,
    disk_errors,
    new_folder,
    read_json,
    remove,
    replace_atomic,
    safe_name,
    write_atomic,
)

FORMAT_VERSION = 1
GONE = "-"  # the stamp of a file that is not there
RECORD, WEIGHTS, TOKENIZER, CARD = "azr.json", "model.safetensors", "tokenizer.json", "README.md"

Read = TypeVar("Read")

_log = logging.getLogger(__name__)
_creating = threading.Lock()  # of two names that differ only in case, one wins


@dataclass(frozen=True)
class TrainingSummary:
    """What the published weights have come to."""

    iteration: int
    val_loss: float | None  # nats per token
    bits_per_byte: float | None
    books: tuple[str, ...]
    trained_at: str  # ISO 8601, UTC
    elapsed_seconds: float  # of training in all runs


@dataclass(frozen=True)
class ModelInfo:
    """A model as lists show it; figures are those of the published weights."""

    name: str
    config: ModelConfig
    parameters: int
    created_at: str
    trained: bool
    tokenizer_size: int | None
    iteration: int
    val_loss: float | None
    bits_per_byte: float | None
    books: tuple[str, ...]
    bytes: int  # of the folder, checkpoints not counted


@dataclass(frozen=True)
class LoadedModel:
    config: ModelConfig
    model: Transformer  # in eval mode, on the CPU, float32
    tokenizer: Tokenizer | None
    summary: TrainingSummary | None


# ---- writing ---------------------------------------------------------------------------------------------------------


def create(ws: Workspace, name: str, config: ModelConfig, model: Transformer, *, seed: int) -> ModelInfo:
    """Store an untrained model under a new name. Raises NameTaken, InvalidName, DiskFull."""
    record = {
        "format_version": FORMAT_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "lineage": [],
    }
    name = safe_name(name)
    with _creating:
        path = ws.model_folder(name)
        if path.exists():
            raise NameTaken(field="name", name=path.name)
        with new_folder(path) as folder:
            _put(folder, RECORD, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
            _put(folder, "config.json", huggingface.config_json(config, None))
            _put(folder, "generation_config.json", huggingface.generation_config_json(config, None))
            _put(folder, CARD, card(name, config, None, None))
            tensor_file.write(folder / WEIGHTS, _foreign(config, model.state_dict()))
    return get_model(ws, name)


def set_tokenizer(ws: Workspace, name: str, tokenizer: Tokenizer) -> None:
    """Give a model its tokenizer, once and for good. Raises ModelNotFound, ModelDamaged, DiskFull."""
    folder = folder_of(ws, name)
    _, config = _record(folder)
    assert not (folder / TOKENIZER).exists(), "a tokenizer is frozen once it stands"
    assert tokenizer.size <= config.vocab_size
    write_atomic(folder / "config.json", huggingface.config_json(config, tokenizer))
    write_atomic(folder / "generation_config.json", huggingface.generation_config_json(config, tokenizer))
    write_atomic(folder / "tokenizer_config.json", huggingface.tokenizer_config_json(config))
    write_atomic(folder / TOKENIZER, tokenizer.to_json())


def publish(
    ws: Workspace, name: str, config: ModelConfig, weights: Mapping[str, Tensor], summary: TrainingSummary
) -> None:
    """Make `weights` (our names) the model's own, with their summary, in one step. Raises ModelNotFound, DiskFull."""
    folder = folder_of(ws, name)
    tensors, metadata = _foreign(config, weights), {"azr": json.dumps(dataclasses.asdict(summary), allow_nan=False)}
    replace_atomic(folder / WEIGHTS, lambda path: tensor_file.write(path, tensors, metadata))
    results = Results(summary.iteration, summary.val_loss, summary.bits_per_byte, summary.books)
    try:
        write_atomic(folder / CARD, card(folder.name, config, _tokenizer_size(folder), results))
    except (OSError, AZRError) as error:
        _log.warning("the card of %s was not renewed: %s", folder.name, error)


def delete(ws: Workspace, name: str) -> None:
    """Remove a model's folder, also a damaged one's. Raises ModelNotFound, DiskFull."""
    folder = ws.model_folder(name)
    try:
        with disk_errors(folder):
            remove(folder)
    except FileNotFoundError:
        raise ModelNotFound(name=name, field="model") from None


def _put(folder: Path, file: str, text: str) -> None:
    (folder / file).write_bytes(text.encode("utf-8"))


def _foreign(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = huggingface.to_huggingface(config, weights)
    return {name: tensor.detach().to(torch.float32) for name, tensor in tensors.items()}


# ---- lists -----------------------------------------------------------------------------------------------------------


def list_models(ws: Workspace) -> list[ModelInfo]:
    """All readable models, the oldest first. A damaged one is left out with a warning in the log."""
    found = []
    for folder in ws.models.iterdir() if ws.models.is_dir() else ():
        if folder.name.startswith(TEMPORARY_PREFIX) or not (folder / RECORD).is_file():
            continue
        try:
            found.append(get_model(ws, folder.name))
        except AZRError as error:
            _log.warning("%s is left out of the list: %s", folder.name, error)
    return sorted(found, key=lambda info: (info.created_at, info.name))


def get_model(ws: Workspace, name: str) -> ModelInfo:
    """Raises ModelNotFound, ModelDamaged."""
    return _undisturbed(ws, name, _info)


def _info(folder: Path) -> ModelInfo:
    record, config = _record(folder)
    with damage_named(folder, WEIGHTS):
        summary = _summary(tensor_file.read_metadata(folder / WEIGHTS))
    return ModelInfo(
        name=folder.name,
        config=config,
        parameters=count_parameters(config),
        created_at=str(record["created_at"]),
        trained=summary is not None,
        tokenizer_size=_tokenizer_size(folder),
        iteration=summary.iteration if summary else 0,
        val_loss=summary.val_loss if summary else None,
        bits_per_byte=summary.bits_per_byte if summary else None,
        books=summary.books if summary else (),
        bytes=_size(folder),
    )


def version(ws: Workspace, name: str) -> str:
    """Changes whenever the weights or the tokenizer change; costs two `stat`s. Raises ModelNotFound."""
    folder = folder_of(ws, name)
    return f"{_stamp(folder / WEIGHTS)}/{_stamp(folder / TOKENIZER)}"


def files(ws: Workspace, name: str) -> list[Path]:
    """The files of a model that can speak, in a fixed order. Raises ModelNotFound, NoTokenizer."""
    folder = folder_of(ws, name)
    if not (folder / TOKENIZER).is_file():
        raise NoTokenizer(name=folder.name, field="model")
    return sorted(file for file in folder.iterdir() if not file.name.startswith(TEMPORARY_PREFIX))


def _stamp(file: Path) -> str:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return GONE
    return f"{stat.st_mtime_ns}.{stat.st_size}.{stat.st_ino}"


def _size(folder: Path) -> int:
    """Bytes of a folder's files; one that vanishes while we look does not count."""
    size = 0
    with contextlib.suppress(FileNotFoundError):
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                size += file.stat().st_size
    return size


# ---- reading ---------------------------------------------------------------------------------------------------------


def load(ws: Workspace, name: str) -> LoadedModel:
    """The published model, ready to use and owned by the caller. Raises ModelNotFound, ModelDamaged."""
    return _undisturbed(ws, name, _load)


def _load(folder: Path) -> LoadedModel:
    _, config = _record(folder)
    with damage_named(folder, WEIGHTS):
        tensors, metadata = tensor_file.read((folder / WEIGHTS).read_bytes())
        model = assemble(config, huggingface.from_huggingface(config, tensors))
        summary = _summary(metadata)
    return LoadedModel(config, model, _tokenizer(folder, config), summary)


def assemble(config: ModelConfig, weights: Mapping[str, Tensor]) -> Transformer:
    """A model in eval mode made of `weights` (our names) themselves, not of copies.

    Built on torch's meta device: initialising would be slow and would draw from the random generator a training relies
    on. Raises RuntimeError when names or shapes do not match.
    """
    with torch.device("meta"):
        model = Transformer(config)
    if model.rotary is not None:
        model.rotary = Rotary(config.head_dim, config.max_seq_len)  # its tables are computed, never stored
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval()


def folder_of(ws: Workspace, name: str) -> Path:
    folder = ws.model_folder(name)
    if not (folder / RECORD).is_file():
        raise ModelNotFound(name=name, field="model")
    return folder


def _undisturbed(ws: Workspace, name: str, read: Callable[[Path], Read]) -> Read:
    """What `read` finds in a model's folder; it looks again when the folder was deleted, or made anew, under its eyes."""
    while True:
        folder = folder_of(ws, name)
        before = _stamp(folder / RECORD)  # written once in a model's life
        try:
            found = read(folder)
        except ModelDamaged:
            if _stamp(folder / RECORD) == before != GONE:
                raise
        else:
            if _stamp(folder / RECORD) == before:
                return found


def _record(folder: Path) -> tuple[dict[str, Any], ModelConfig]:
    with damage_named(folder, RECORD):
        record = read_json(folder / RECORD)
        if record["format_version"] != FORMAT_VERSION or not record["created_at"]:
            raise ValueError(f"format_version {record['format_version']}")
        return record, ModelConfig(**record["config"])


def _summary(metadata: Mapping[str, str]) -> TrainingSummary | None:
    if "azr" not in metadata:
        return None
    fields = json.loads(metadata["azr"])
    return TrainingSummary(**fields | {"books": tuple(fields["books"])})


def _tokenizer(folder: Path, config: ModelConfig) -> Tokenizer | None:
    if not (folder / TOKENIZER).exists():
        return None
    with damage_named(folder, TOKENIZER):
        tokenizer = Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
        if tokenizer.end_of_text is None or tokenizer.size > config.vocab_size:
            raise ValueError("not this model's tokenizer")
        return tokenizer


def _tokenizer_size(folder: Path) -> int | None:
    """Read from the JSON: building the tokenizer takes ten times as long."""
    if not (folder / TOKENIZER).exists():
        return None
    with damage_named(folder, TOKENIZER):
        return len(read_json(folder / TOKENIZER)["model"]["vocab"])


@contextlib.contextmanager
def damage_named(folder: Path, file: str) -> Iterator[None]:
    """Whatever a broken file makes its reader raise becomes ModelDamaged; `tokenizers` raises plain Exception."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ModelDamaged(name=folder.name, file=file) from error
