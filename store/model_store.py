"""Create, publish, load and delete models, each a Hugging Face folder with an azr.json for our own data.

A training's result is committed by replacing one file: model.safetensors carries the model's lineage and its own checksum
in its metadata, so an interruption cannot make weights, figures and checksum disagree. tokenizer.json is the last of its group
to be written, so if it exists, the others do. The card (README.md) is written afterwards and may be older.

Loading keeps no file open or mapped and draws nothing from the global random generator, which a training may be using.

Not here: lists (model_list), reading single files (model_files), checkpoints (checkpoint_store), other formats (formats).
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from config import ModelConfig
from errors import AccessDenied, AZRError, ModelDamaged, ModelNotFound, NameTaken
from formats import huggingface, lineage
from formats.card import card
from formats.exports import Exportable
from formats.lineage import Lineage, TrainingSummary
from model import Rotary, Transformer
from store import checkpoint_store, tensor_file
from store.model_files import (
    CARD,
    EXPORT_TESTS,
    FORMAT_VERSION,
    NOTES,
    PRECISION,
    RECORD,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    damage,
    damage_named,
    folder_of,
    lineage_in,
    read_lineage,
    read_record,
    read_tokenizer,
    read_tokenizer_size,
    remember,
    remember_damage,
    stamp,
    undisturbed,
)
from store.model_list import ModelInfo, get_model
from tokenizer import Tokenizer
from workspace import (
    TEMPORARY_PREFIX,
    Workspace,
    disk_errors,
    move,
    new_folder,
    remove,
    replace_atomic,
    safe_name,
    temporary_beside,
    write_atomic,
)

_log = logging.getLogger(__name__)
_creating = threading.Lock()  # so that only one of two names that differ in case is created


@dataclass(frozen=True)
class LoadedModel:
    config: ModelConfig
    model: Transformer  # in eval mode, on the CPU, float32
    tokenizer: Tokenizer | None
    lineage: Lineage  # of these weights; empty for an untrained model and for a checkpoint's weights


# ---- writing ---------------------------------------------------------------------------------------------------------


def create(ws: Workspace, name: str, config: ModelConfig, model: Transformer, *, seed: int) -> ModelInfo:
    """Store an untrained model under a new name. Raises NameTaken, InvalidName, DiskFull."""
    return _put_model(ws, name, config, model.state_dict(), None, (), seed)


def add(
    ws: Workspace,
    name: str,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    trainings: Lineage,
) -> ModelInfo:
    """Store a model that was made elsewhere under a new name. Raises NameTaken, InvalidName, DiskFull."""
    return _put_model(ws, name, config, weights, tokenizer, trainings, seed=0)


def _put_model(
    ws: Workspace,
    name: str,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer | None,
    trainings: Lineage,
    seed: int,
) -> ModelInfo:
    record = {
        "format_version": FORMAT_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "config": config.model_dump(mode="json"),
    }
    name = safe_name(name)
    with _creating:
        path = ws.model_folder(name)
        if path.exists():
            raise NameTaken(field="name", name=path.name)
        with new_folder(path) as folder:
            _put(folder, RECORD, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
            _put(folder, "config.json", huggingface.config_json(config, tokenizer))
            _put(folder, "generation_config.json", huggingface.generation_config_json(config, tokenizer))
            if tokenizer is not None:
                _put(folder, TOKENIZER_CONFIG, huggingface.tokenizer_config_json(config))
                _put(folder, TOKENIZER, tokenizer.to_json())
            _put(folder, CARD, card(name, config, tokenizer.size if tokenizer else None, trainings))
            tensor_file.write_sealed(folder / WEIGHTS, _foreign(config, weights), lineage.to_metadata(trainings))
    return get_model(ws, name)


def set_tokenizer(ws: Workspace, name: str, tokenizer: Tokenizer) -> None:
    """Store the tokenizer of a model, which never changes afterwards. Raises ModelNotFound, ModelDamaged, DiskFull."""
    folder = folder_of(ws, name)
    _, config = read_record(folder)
    assert not (folder / TOKENIZER).exists(), "a tokenizer is never replaced"
    assert tokenizer.size <= config.vocab_size
    write_atomic(folder / "config.json", huggingface.config_json(config, tokenizer))
    write_atomic(folder / "generation_config.json", huggingface.generation_config_json(config, tokenizer))
    write_atomic(folder / TOKENIZER_CONFIG, huggingface.tokenizer_config_json(config))
    write_atomic(folder / TOKENIZER, tokenizer.to_json())


def publish(
    ws: Workspace, name: str, config: ModelConfig, weights: Mapping[str, Tensor], summary: TrainingSummary
) -> None:
    """Replace the model's weights by `weights` (our names) and append `summary` to its lineage, in one step.

    Raises ModelNotFound, DiskFull, AccessDenied.
    """
    folder = folder_of(ws, name)
    trainings = lineage.extended(_lineage_so_far(folder), summary)
    tensors, metadata = _foreign(config, weights), lineage.to_metadata(trainings)
    replace_atomic(folder / WEIGHTS, lambda path: tensor_file.write_sealed(path, tensors, metadata))
    remember(folder, stamp(folder / WEIGHTS), whole=True)
    _renew_texts(folder, config, trainings)


def rename(ws: Workspace, name: str, new_name: str) -> None:
    """Give a model another name; its card follows. Raises ModelNotFound, InvalidName, NameTaken, DiskFull."""
    new_name = safe_name(new_name)
    with _creating:
        folder, target = folder_of(ws, name), ws.model_folder(new_name)
        if target.exists() and target != folder:
            raise NameTaken(field="name", name=target.name)
        move(folder, ws.models / new_name)
    renamed = ws.models / new_name
    with contextlib.suppress(AZRError):
        _renew_texts(renamed, read_record(renamed)[1], _lineage_so_far(renamed))


def duplicate(ws: Workspace, name: str, new_name: str) -> None:
    """Copy a model as it stands to a new name. Raises ModelNotFound, InvalidName, NameTaken, ModelDamaged, DiskFull."""
    source = folder_of(ws, name)
    record, config = read_record(source)
    record |= {"created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    new_name = safe_name(new_name)
    with _creating:
        target = ws.model_folder(new_name)
        if target.exists():
            raise NameTaken(field="name", name=target.name)
        with new_folder(target) as folder:
            for file in source.iterdir():
                if (
                    file.is_file()
                    and not file.name.startswith(TEMPORARY_PREFIX)
                    and file.name not in (EXPORT_TESTS, PRECISION)
                ):
                    shutil.copyfile(file, folder / file.name)
            _put(folder, RECORD, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    _renew_texts(target, config, _lineage_so_far(target))


def write_notes(ws: Workspace, name: str, notes: str) -> None:
    """Store a person's notes on a model; they stay here when it is exported. Raises ModelNotFound, DiskFull."""
    write_atomic(folder_of(ws, name) / NOTES, notes)


def set_aside(ws: Workspace, name: str) -> tuple[str, Path]:
    """Hide a model, damaged or not, under a temporary name; return its name and where it lies. Raises ModelNotFound, DiskFull."""
    folder = ws.model_folder(name)
    if not folder.exists():
        raise ModelNotFound(name=name, field="model")
    place = temporary_beside(folder)
    move(folder, place)
    return folder.name, place


def bring_back(ws: Workspace, place: Path, name: str) -> None:
    """Give a hidden model a name that is free; its card follows. Raises NameTaken, DiskFull."""
    with _creating:
        target = ws.model_folder(name)
        if target.exists():
            raise NameTaken(field="name", name=target.name)
        move(place, target)
    with contextlib.suppress(AZRError):
        _renew_texts(target, read_record(target)[1], _lineage_so_far(target))


def delete(ws: Workspace, name: str) -> None:
    """Remove the folder of a model, damaged or not. Raises ModelNotFound, DiskFull."""
    folder = ws.model_folder(name)
    try:
        with disk_errors(folder):
            remove(folder)
    except FileNotFoundError:
        raise ModelNotFound(name=name, field="model") from None


def _lineage_so_far(folder: Path) -> Lineage:
    try:
        return read_lineage(folder)
    except ModelDamaged as error:
        _log.warning("the earlier trainings of %s cannot be read and are no longer listed: %s", folder.name, error)
        return ()


def _renew_texts(folder: Path, config: ModelConfig, trainings: Lineage) -> None:
    """Rewrite the card and the tokenizer's settings; a failure is only logged, because the weights are committed already."""
    try:
        write_atomic(folder / CARD, card(folder.name, config, read_tokenizer_size(folder), trainings))
        settings, file = huggingface.tokenizer_config_json(config), folder / TOKENIZER_CONFIG
        if file.exists() and file.read_text(encoding="utf-8") != settings:  # written by an earlier version
            write_atomic(file, settings)
    except (OSError, ValueError, AZRError) as error:
        _log.warning("the card of %s was not renewed: %s", folder.name, error)


def _put(folder: Path, file: str, text: str) -> None:
    (folder / file).write_bytes(text.encode("utf-8"))


def _foreign(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = huggingface.to_huggingface(config, weights)
    return {name: tensor.detach().to(torch.float32) for name, tensor in tensors.items()}


# ---- reading ---------------------------------------------------------------------------------------------------------


def version(ws: Workspace, name: str) -> str:
    """Return a text that changes whenever the weights or the tokenizer change. Raises ModelNotFound."""
    folder = folder_of(ws, name)
    return f"{stamp(folder / WEIGHTS)}/{stamp(folder / TOKENIZER)}"


def load(ws: Workspace, name: str) -> LoadedModel:
    """Load the published model and verify it; the caller owns it. Raises ModelNotFound, ModelDamaged."""
    return undisturbed(ws, name, _load)


def load_with(ws: Workspace, name: str, weights: Mapping[str, Tensor], source: str) -> LoadedModel:
    """Load a model with other weights (our names) than the published ones; ModelDamaged calls their file `source`.

    Raises ModelNotFound, ModelDamaged.
    """

    def read(folder: Path) -> LoadedModel:
        _, config = read_record(folder)
        with damage_named(folder, source):
            model = assemble(config, weights)
        return LoadedModel(config, model, read_tokenizer(folder, config), ())

    return undisturbed(ws, name, read)


def _load(folder: Path) -> LoadedModel:
    _, config = read_record(folder)
    before = stamp(folder / WEIGHTS)
    try:
        with damage_named(folder, WEIGHTS):
            tensors, metadata = tensor_file.read((folder / WEIGHTS).read_bytes())
            model = assemble(config, huggingface.from_huggingface(config, tensors))
            trainings = lineage_in(metadata)
    except ModelDamaged as error:
        remember_damage(folder, before, error)
        raise
    remember(folder, before, whole=True)
    return LoadedModel(config, model, read_tokenizer(folder, config), trainings)


def assemble(config: ModelConfig, weights: Mapping[str, Tensor]) -> Transformer:
    """Return a model in eval mode that uses the tensors in `weights` (our names) without copying them.

    It is built on torch's meta device, because initialising is slow and would draw from the random generator that a training
    relies on. Raises RuntimeError when names or shapes do not match, ValueError when a weight is not a finite number.
    """
    with torch.device("meta"):
        model = Transformer(config)
    if model.rotary is not None:
        model.rotary = Rotary(
            config.head_dim, config.max_seq_len, config.rope_theta
        )  # its tables are not among the weights
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} is not finite")
    return model.eval()


def exportable(ws: Workspace, name: str, *, with_checkpoint: bool = False) -> Exportable:
    """Return the model for an export, after verifying its weights, and its newest checkpoint where that is wanted.

    Raises ModelNotFound, ModelDamaged, AccessDenied.
    """

    def load_parts() -> tuple[Mapping[str, Tensor], Tokenizer | None]:
        loaded = load(ws, name)
        return loaded.model.state_dict(), loaded.tokenizer

    info = get_model(ws, name)
    if info.denied is not None:
        raise AccessDenied(path=info.denied, reason="read")
    if info.damaged is not None or info.config is None:
        raise damage(info.name, info.damaged or RECORD)
    folder = folder_of(ws, info.name)
    files = (file for file in folder.iterdir() if file.is_file() and not _is_ours_alone(file))
    checkpoint = checkpoint_store.newest_files(ws, info.name) if with_checkpoint else {}
    return Exportable(
        info.name, info.config, info.tokenizer_size, info.lineage, tuple(sorted(files)), load_parts, checkpoint
    )


def _is_ours_alone(file: Path) -> bool:
    return file.name.startswith(TEMPORARY_PREFIX) or file.name in (EXPORT_TESTS, PRECISION, NOTES)
