"""Read a model that comes from elsewhere: a zip or folder of Hugging Face files, a checkpoint of ours, a GGUF file of ours, alone or
in the zip for Ollama.

Everything is read and checked here before anything is written into the workspace. Whatever does not fit is refused with ModelRefused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Size, Tensor

from config import ModelConfig
from errors import ModelDamaged, ModelRefused
from exchange import unpacking
from formats.foreign_tokenizer import read_tokenizer_json
from formats.gguf_reader import MAGIC, read_gguf
from formats.huggingface_reader import read_config_json, read_weights
from formats.lineage import Lineage, TrainingSummary
from model import count_parameters
from store import checkpoint_store, tensor_file
from store.checkpoint_store import Checkpoint
from store.model_files import lineage_in
from store.model_store import assemble
from store.tensor_file import DamagedTensorFile
from tokenizer import Tokenizer

ZIP = b"PK\x03\x04"
PARTS_OF_A_TRAINING = 6  # weights, moments and averages in one file of a checkpoint, at most
SPARE_BYTES = 10_000_000


@dataclass(frozen=True)
class ForeignModel:
    """A whole model from elsewhere, checked."""

    config: ModelConfig
    weights: dict[str, Tensor]  # our names, float32
    tokenizer: Tokenizer
    lineage: Lineage
    checkpoint: Checkpoint | None = None


def read_foreign(
    source: Path,
    scratch: Path,
    require_fit: Callable[[ModelConfig], None] = lambda config: None,
    require_readable: Callable[[Mapping[str, Any]], None] = lambda state: None,
) -> ForeignModel:
    """Read a file or folder; `scratch` is an empty folder for what is unpacked.

    `require_fit` raises what it likes about the model's sizes, before its weights are unpacked or read, and `require_readable` a ValueError
    about the state of a training, which is then refused. Raises ModelRefused, OSError.
    """

    def most_bytes(config_text: str) -> int:
        config = _config(_json(config_text, unpacking.CONFIG))
        require_fit(config)
        return PARTS_OF_A_TRAINING * 4 * count_parameters(config) + SPARE_BYTES

    if source.is_dir():
        unpacking.gather(source, scratch, most_bytes)
        return _folder(scratch, require_readable)
    with source.open("rb") as file:
        head = file.read(4)
    if head == MAGIC:
        return _gguf(source, require_fit)
    if head == ZIP:
        if (inner := unpacking.unpack_gguf(source, scratch)) is not None:
            return _gguf(inner, require_fit)
        unpacking.unpack(source, scratch, most_bytes)
        return _folder(scratch, require_readable)
    raise ModelRefused(field="file", reason="other_file", found=source.name)


def _gguf(file: Path, require_fit: Callable[[ModelConfig], None]) -> ForeignModel:
    found = read_gguf(file, require_fit)
    trainings = _plausible(found.lineage, file) or (_arrived(),)
    return _checked(ForeignModel(found.config, found.weights, found.tokenizer, trainings))


def _json(text: str, file: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(field="file", reason="damaged", found=file) from error
    if not isinstance(values, dict):
        raise ModelRefused(field="file", reason="damaged", found=file)
    return values


def _config(values: Mapping[str, Any]) -> ModelConfig:
    """Return the sizes of a config.json; values of a kind that none can have are damage."""
    try:
        return read_config_json(values)
    except (TypeError, OverflowError) as error:
        raise ModelRefused(field="file", reason="damaged", found=unpacking.CONFIG) from error


# ---- a folder --------------------------------------------------------------------------------------------------------


def _folder(folder: Path, require_readable: Callable[[Mapping[str, Any]], None]) -> ForeignModel:
    values = _json(_text(folder, unpacking.CONFIG), unpacking.CONFIG)
    config = _config(values)
    tokenizer = read_tokenizer_json(_text(folder, unpacking.TOKENIZER))
    tensors: dict[str, Tensor] = {}
    lineage: Lineage = ()
    for file in sorted(folder.glob("*.safetensors")):
        part, metadata = _tensors(file)
        tensors |= part
        lineage = lineage or _lineage(metadata, file)
    weights = read_weights(config, values, tensors)
    checkpoint = _checkpoint(folder, weights, require_readable)
    return _checked(ForeignModel(config, weights, tokenizer, lineage or (_arrived(),), checkpoint))


def _text(folder: Path, file: str) -> str:
    try:
        return (folder / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelRefused(field="file", reason="not_a_model", found=file) from None
    except UnicodeDecodeError as error:
        raise ModelRefused(field="file", reason="damaged", found=file) from error


def _tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return tensor_file.read(file.read_bytes())
    except DamagedTensorFile as error:
        raise ModelRefused(field="file", reason="damaged", found=file.name) from error


def _lineage(metadata: Mapping[str, str], file: Path) -> Lineage:
    """Return the trainings that our own export lists, each with the types it must have."""
    try:
        found = lineage_in(dict(metadata))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelRefused(field="file", reason="damaged", found=file.name) from error
    return _plausible(found, file)


def _plausible(lineage: Lineage, file: Path) -> Lineage:
    if not all(_is_plausible(training) for training in lineage):
        raise ModelRefused(field="file", reason="damaged", found=file.name)
    return lineage


def _is_plausible(training: TrainingSummary) -> bool:
    counts = (training.iteration, training.from_iteration)
    losses = [loss for loss in (training.val_loss, training.bits_per_byte) if loss is not None]
    return (
        all(type(count) is int and 0 <= count < 2**53 for count in counts)
        and all(isinstance(loss, int | float) for loss in (*losses, training.elapsed_seconds))
        and all(isinstance(text, str) and len(text) <= 300 for text in (*training.books, training.trained_at))
    )


def _arrived() -> TrainingSummary:
    """Return the one entry in the lineage of a model that was trained elsewhere: nothing is known but the day it came."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return TrainingSummary(0, None, None, (), now, 0.0)


def _checkpoint(
    folder: Path, weights: Mapping[str, Tensor], require_readable: Callable[[Mapping[str, Any]], None]
) -> Checkpoint | None:
    """Return the checkpoint beside the model, if there is one that verifies and belongs to it."""
    if not any(folder.glob("step-*")):
        return None
    found, _ = checkpoint_store.latest_in(folder)
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if found is None or {name: tensor.shape for name, tensor in found.weights.items()} != shapes:
        raise ModelRefused(field="file", reason="damaged", found=next(folder.glob("step-*")).name)
    if wrong := [name for name, tensor in found.optimizer.items() if not _belongs(name, tensor, shapes)]:
        raise ModelRefused(field="file", reason="damaged", found=f"{checkpoint_store.OPTIMIZER}: {wrong[0][:80]}")
    try:
        require_readable(found.state)
    except ValueError as error:
        raise ModelRefused(field="file", reason="damaged", found=checkpoint_store.STATE) from error
    return found


def _belongs(name: str, tensor: Tensor, shapes: Mapping[str, Size]) -> bool:
    """Return whether a tensor of an optimizer is one number, or has the shape of the weight whose name stands before or behind a slash."""
    of = (name.partition("/")[2], name.rpartition("/")[0])
    return any(weight in shapes and tensor.shape in (shapes[weight], Size()) for weight in of)


def _checked(model: ForeignModel) -> ForeignModel:
    """Return the model if its parts belong together and its weights are finite numbers. Raises ModelRefused."""
    if model.tokenizer.size > model.config.vocab_size:
        found = f"{model.tokenizer.size} > vocab_size = {model.config.vocab_size}"
        raise ModelRefused(field="file", reason="tokenizer", found=found)
    try:
        assemble(model.config, model.weights)
    except ValueError as error:
        raise ModelRefused(field="file", reason="numbers", found=str(error)) from error
    except (RuntimeError, ModelDamaged) as error:
        raise ModelRefused(field="file", reason="names", found=str(error)[:80]) from error
    return model
