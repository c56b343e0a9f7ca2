"""The functions of the product: web and command line call these, and nothing on a lower level.

Functions that need no addition are re-exported from their rooms: books from `corpus.library`, trainings from
`runs.training_run`, the cache of loaded models from `store.model_cache`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, cast

import torch

from config import PRESET_ON_A_CARD, PRESET_WITHOUT_ONE, PRESETS, ModelConfig, SamplingConfig, TrainConfig
from corpus import library
from corpus.copied import Copied, copied_from
from corpus.dataset import split
from corpus.library import (
    DEFAULT_LIMIT_BYTES,
    BookInfo,
    BookNotice,
    Intake,
    Statistics,
    add_book,
    add_example,
    add_files,
    add_text,
    beginning_of,
    book_notices,
    decode_name,
    delete_book,
    edit_book,
    ensure_example,
    example_in,
    example_names,
    example_title,
    get_book,
    list_books,
    preview_as,
    reread_book,
    same_text,
    sample_prompt,
)
from corpus.library import measured as measured_book
from corpus.library import sweep as sweep_books
from corpus.readers.encoding import ENCODINGS
from corpus.readers.formats import endings as book_endings
from engine.details import TokenDetails
from engine.generations import RETRY_AFTER_SECONDS, Generations
from engine.llama_cpp import LlamaCpp
from engine.llama_cpp import is_available as has_llama_cpp
from engine.score import Head, Score, score, surprise
from engine.stream import PLAIN, Extras, NonFiniteLogits
from engine.text import Engine, FinishReason, Origin, Piece, prompt_ids, text_pieces, write
from errors import (
    AZRError,
    DiskBudgetTooSmall,
    DoesNotFit,
    ExportFailed,
    InvalidInput,
    ModelDamaged,
    NoBooks,
    OutOfMemory,
    TooManyDevices,
)
from events import State, TrainingStatus
from exchange import copies, importing, verdicts
from exchange import precision as precisions
from exchange.offers import Offer, offers
from exchange.precision import Precision
from exchange.self_test import ExportStage, verdict_on
from exchange.trash import BookTrash, Deleted, ModelTrash
from exchange.verdicts import Verdict
from formats import exports
from formats.exports import DEFAULT_TYPE, Export, Format
from formats.gguf import NumberType
from formats.lineage import TrainingSummary, books_of
from machine.devices import choose_device, count_devices, has_graphics_card
from machine.memory import lack_named, use_one_heap
from machine.meter import MachineLoad, machine_load
from machine.processes import ending_at_once, joined
from model import Transformer
from runs.forecast import Estimate, Forecast, checkpoint_bytes, estimate, forecast, pace, require_enough_text
from runs.forecast_cache import ForecastCache
from runs.glimpse import Glimpse, glimpse
from runs.history import history
from runs.jobs import JobRunner
from runs.kept_state import require_readable
from runs.log_table import csv_lines
from runs.outlook import Outlook, best_of, outlook, scaled
from runs.past_runs import PastRun, past_runs
from runs.plan import TrainingPlan, can_resume, is_unfinished
from runs.queue import Waiting, read_queue, write_queue
from runs.rehearsal import Pace
from runs.run_log import comparison, rollouts
from runs.run_record import known_config, last_run_name, read_run, status_of, write_run
from runs.suggestion import require_weights
from runs.training_run import train, work
from runs.worker import follow
from store import checkpoint_store, model_store
from store.engines import Engines
from store.model_cache import ModelCache, Version, version_of
from store.model_files import WEIGHTS
from store.model_list import ModelInfo, get_model, list_models, read_config
from store.model_store import LoadedModel
from tokenizer import Tokenizer
from workspace import Workspace, safe_name, suggest_name

_KINDS = {"f32": NumberType.F32, "f16": NumberType.F16, "q8_0": NumberType.Q8_0}
MEASURED_CHARACTERS = 12_000  # about 4,000 tokens
MODEL_LIMIT_BYTES = 8 << 30  # of an imported file

P = TypeVar("P")
T = TypeVar("T")

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "DEFAULT_TYPE",
    "ENCODINGS",
    "MODEL_LIMIT_BYTES",
    "RETRY_AFTER_SECONDS",
    "BookInfo",
    "BookNotice",
    "BookTrash",
    "Copied",
    "Deleted",
    "Engine",
    "Engines",
    "Estimate",
    "Export",
    "ExportStage",
    "Extras",
    "FinishReason",
    "Forecast",
    "ForecastCache",
    "Generations",
    "Glimpse",
    "Head",
    "Intake",
    "JobRunner",
    "MachineLoad",
    "Measured",
    "ModelCache",
    "ModelInfo",
    "ModelTrash",
    "Offer",
    "Origin",
    "Outlook",
    "Pace",
    "PastRun",
    "Piece",
    "Precision",
    "Score",
    "Statistics",
    "TokenDetails",
    "TrainingPlan",
    "TrainingSummary",
    "Verdict",
    "Version",
    "Waiting",
    "add_book",
    "add_example",
    "add_files",
    "add_text",
    "beginning_of",
    "best_of",
    "book_endings",
    "book_notices",
    "comparison",
    "copied",
    "csv_lines",
    "decode_name",
    "delete_book",
    "echo",
    "edit_book",
    "ending_at_once",
    "ensure_example",
    "estimate",
    "example_in",
    "example_names",
    "example_title",
    "follow",
    "forecast",
    "get_book",
    "get_model",
    "glimpse",
    "has_llama_cpp",
    "history",
    "is_unfinished",
    "joined",
    "last_status",
    "list_books",
    "list_models",
    "machine_load",
    "measured_book",
    "models_of_book",
    "name_after",
    "newest_iteration",
    "offers",
    "outlooks",
    "pace",
    "past_runs",
    "preview_as",
    "read_config",
    "read_queue",
    "require_passed",
    "reread_book",
    "rollouts",
    "same_text",
    "sample_prompt",
    "sweep_books",
    "train",
    "use_one_heap",
    "version_of",
    "work",
    "write_queue",
]


# ---- models ----------------------------------------------------------------------------------------------------------


def default_preset() -> Literal["small", "medium"]:
    """Return the preset to preselect: medium where there is a graphics card, small where there is none."""
    return PRESET_ON_A_CARD if has_graphics_card() else PRESET_WITHOUT_ONE


def create_model(workspace: Workspace, name: str, config: ModelConfig, seed: int = 0) -> ModelInfo:
    """Create an untrained model. Raises InvalidName, NameTaken, DoesNotFit, DiskFull."""
    name = safe_name(name)
    _require_fit(estimate(config), field="d_model")
    model = Transformer(config)
    model.initialise(seed)
    return model_store.create(workspace, name, config, model, seed=seed)


def name_after(workspace: Workspace, book: BookInfo) -> str:
    """Return a free name for a model that will learn from a book, called like the book."""
    return importing.free_name(workspace, suggest_name(book.title.replace("/", " ")) or book.name)


def outlooks(
    workspace: Workspace,
    books: tuple[str, ...],
    shapes: Mapping[str, ModelConfig],
    pace_of: Callable[[ModelConfig], Pace],
    *,
    seconds: float | None = None,
    memory_bytes: int | None = None,
) -> dict[str, Outlook]:
    """Return what a training of each size on these books would bring. Raises NoBooks, BookNotFound, and the errors of `pace_of`.

    On a processor the small preset is measured and the others follow from it, on a graphics card each is measured.
    """
    if not books:
        raise NoBooks(field="books")
    characters = [library.get_book(workspace, book).characters for book in books]
    config, small = TrainConfig(), PRESETS[PRESET_WITHOUT_ONE]
    found: dict[str, Outlook] = {}
    for name, shape in shapes.items():
        pace = pace_of(shape) if has_graphics_card() else scaled(pace_of(small), small, shape, config)
        found[name] = outlook(estimate(shape, config, characters), pace, config, seconds, memory_bytes)
    return found


def models_of_book(workspace: Workspace, name: str) -> list[tuple[ModelInfo, TrainingSummary]]:
    """Return the trainings that read a book, with their models, the newest first."""
    found = [(model, each) for model in list_models(workspace) for each in model.lineage if name in each.books]
    return sorted(found, key=lambda pair: pair[1].trained_at, reverse=True)


def delete_model(workspace: Workspace, name: str) -> None:
    """Delete a model and its checkpoints for good; `ModelTrash.put` deletes one that can be brought back. Raises ModelNotFound, DiskFull."""
    checkpoint_store.delete_all(workspace, name)  # first: a new model of this name must never meet them
    model_store.delete(workspace, name)


def import_model(workspace: Workspace, source: Path | BinaryIO, filename: str, name: str | None = None) -> ModelInfo:
    """Store a model that comes from elsewhere: a zip or folder for transformers, a checkpoint's zip or a GGUF file of ours.

    Raises ModelRefused, InvalidName, NameTaken, DoesNotFit, OutOfMemory, DiskFull.
    """

    def require_fit(config: ModelConfig) -> None:
        _require_fit(estimate(config), field="d_model")

    with lack_named("CPU"):
        return importing.import_model(
            workspace, source, filename, name, require_fit=require_fit, require_readable=require_readable
        )


def edit_model(workspace: Workspace, name: str, new_name: str | None = None, notes: str | None = None) -> ModelInfo:
    """Rename a model, or change the notes on it; None leaves as it is. Raises ModelNotFound, InvalidName, NameTaken, DiskFull."""
    if notes is not None:
        model_store.write_notes(workspace, name, notes)
    return get_model(workspace, name) if new_name is None else copies.rename_model(workspace, name, new_name)


def duplicate_model(workspace: Workspace, name: str, new_name: str | None = None) -> ModelInfo:
    """Copy a model with its newest checkpoint. Raises ModelNotFound, InvalidName, NameTaken, DiskFull."""
    copy = copies.duplicate_model(workspace, name, new_name)
    if (record := read_run(workspace, copy.name)) is not None:
        write_run(workspace, copy.name, record | {"number": 0})  # the last run stays that of the original
    return copy


def _require_fit(found: Estimate, *, field: str) -> None:
    if not found.fits:
        available = found.available_bytes or 0
        about = "model" if field == "d_model" else "training"
        raise DoesNotFit(field=field, reason=about, needed_bytes=found.training_bytes, available_bytes=available)


# ---- training ---------------------------------------------------------------------------------------------------------


def prepare_training(workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig) -> TrainingPlan:
    """Check a request within a second.

    Raises ModelNotFound, ModelDamaged, BookNotFound, NoBooks, BookTooSmall, DeviceMissing, TooManyDevices, DoesNotFit,
    DiskBudgetTooSmall.
    """
    shape = read_config(workspace, model)
    name = workspace.model_folder(model).name
    if not books:
        raise NoBooks(field="books")
    names = tuple(dict.fromkeys(library.get_book(workspace, book).name for book in books))
    require_weights(config.book_weights, len(names))
    _require_work_for_all(config)
    _require_fit(estimate(shape, config), field="batch_size")
    _require_budget(checkpoint_bytes(shape, config), config.disk_budget_bytes)
    plan = TrainingPlan(name, names, config, resumed=can_resume(workspace, name, names))
    require_enough_text(workspace, plan, shape.max_seq_len)
    return plan


def _require_budget(needed_bytes: int, budget_bytes: int) -> None:
    if needed_bytes > budget_bytes:
        raise DiskBudgetTooSmall(field="disk_budget_bytes", needed_bytes=needed_bytes, budget_bytes=budget_bytes)


def suggest_iterations(workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig) -> int:
    """Suggest a number of iterations for these books, from their characters and weights.

    Raises ModelNotFound, BookNotFound, NoBooks, WeightsDoNotFit.
    """
    if not books:
        raise NoBooks(field="books")
    characters = [library.get_book(workspace, book).characters for book in books]
    suggested = estimate(read_config(workspace, model), config, characters).suggested_iterations
    assert suggested is not None
    return suggested


def attach_forecast(plan: TrainingPlan, promised: Forecast | None) -> TrainingPlan:
    """Attach the forecast, so that the run can report how far off it was."""
    if promised is None:
        return plan
    return dataclasses.replace(plan, expected_seconds=promised.total_seconds, expected_bytes=promised.training_bytes)


def _require_work_for_all(config: TrainConfig) -> None:
    """Check that each process has a device, a row of every batch and a group of every round. Raises TooManyDevices."""
    most = min(count_devices(choose_device(config.device)), config.batch_size * config.grad_accum_steps)
    if config.self_play.enabled:
        most = min(most, config.self_play.num_prompts)
    if config.devices > most:
        raise TooManyDevices(field="devices", devices=config.devices, most=most)


def last_run(workspace: Workspace) -> TrainingStatus:
    """Return the status of the last training as the disk has it. One that was active when its process died is INTERRUPTED."""
    name = last_run_name(workspace)
    return TrainingStatus() if name is None else status_of(name, read_run(workspace, name))


def last_status(workspace: Workspace, model: str) -> TrainingStatus | None:
    """Return the status of a model's last training as the disk has it; None before the first."""
    record = read_run(workspace, model)
    return None if record is None else status_of(model, record)


def newest_iteration(workspace: Workspace, model: str) -> int:
    """Return the iteration of a model's newest checkpoint, 0 if there is none."""
    return max(kept_checkpoints(workspace, model), default=0)


def kept_checkpoints(workspace: Workspace, model: str) -> tuple[int, ...]:
    """Return the iterations whose checkpoints are kept, the oldest first; each is a version that can write."""
    return checkpoint_store.iterations(workspace, model)


def last_config(workspace: Workspace, model: str) -> TrainConfig | None:
    """Return the settings of a model's last training; None before the first, or if another version wrote settings unknown here.

    A training that time ends is given as one of as many iterations, so that it can be repeated and compared.
    """
    record = read_run(workspace, model)
    config = known_config((record or {}).get("config"))
    if config is None or not config.ends_by_time:
        return config
    status = status_of(model, record)
    last = status.iteration if status.state is State.DONE else status.iterations or status.iteration
    done = max(1, last - status.started_iteration)
    return config.model_copy(update={"iterations": done, "max_minutes": None})


# ---- writing text ------------------------------------------------------------------------------------------------------


def generate(
    workspace: Workspace,
    model: str,
    prompt: str | Sequence[int],
    sampling: SamplingConfig,
    *,
    cache: ModelCache,
    engines: Engines | None = None,
    version: Version = "best",
    extras: Extras = PLAIN,
    texts: int = 1,
    beside_training: bool = False,
    weights: Literal["f32", "f16", "q8_0"] = "f16",
) -> Generator[Piece, None, None]:
    """Generate the continuation of a prompt, a text or token ids, piece by piece.

    With `engines`, the fastest of them writes (store/engines.py), and texts that come together are computed together (`texts` are asked for
    at once); without, the text is written alone by our own loop. `weights` is the number type of the weights; "f32" is left to our own
    loop. Raises ModelNotFound, NoTokenizer, ModelDamaged, CheckpointNotKept, InvalidInput, OutOfMemory.
    """
    _require_runtime(weights)
    loaded, tokenizer = _loaded(workspace, model, cache, version)
    ids = prompt_ids(tokenizer, prompt)
    if engines is None:
        return _damage_named(model, version, write(loaded.model, tokenizer, ids, sampling, extras))
    with _lack_named():
        writers = engines.get(workspace, model, version, cache, beside_training, _KINDS[weights])
    engine, numbers, tokens = writers.stream(ids, sampling, tokenizer.end_of_text, extras, texts)
    origin = Origin(engine, len(ids), min(len(ids), loaded.config.max_seq_len), str(numbers))
    return _damage_named(model, version, text_pieces(tokens, tokenizer, sampling, origin))


def known_precision(workspace: Workspace, model: str) -> Precision | None:
    """Return what fewer bits of a weight cost a model, if that has been measured. Raises ModelNotFound."""
    return precisions.known(workspace, model) if has_llama_cpp() else None


def measured_precision(
    workspace: Workspace, model: str, *, cache: ModelCache, engines: Engines
) -> Generator[Precision | None, None, None]:
    """Yield once what fewer bits of a weight cost a model on the text held out of its last training; None where its books are gone.

    Raises ModelNotFound, NoTokenizer, ModelDamaged, InvalidInput.
    """
    _require_runtime("q8_0")
    found = precisions.known(workspace, model)
    if found is None:
        loaded, tokenizer = _loaded(workspace, model, cache, "best")
        text = _held_out(workspace, model)

        def engine_of(kind: NumberType) -> LlamaCpp:
            engine = engines.get(workspace, model, "best", cache, kind=kind).llama_cpp
            if engine is None:
                raise InvalidInput(field="weights", reason="no_llama_cpp")
            return engine

        found = precisions.measure(workspace, model, text, tokenizer, loaded.model, engine_of)
    yield found


def _held_out(workspace: Workspace, model: str) -> str:
    """Return the beginning of what the model's last training held out of its books; empty where none of them is there."""
    config = last_config(workspace, model) or TrainConfig()
    for name in reversed(books_of(get_model(workspace, model).lineage)):
        with contextlib.suppress(AZRError, OSError):
            return split(library.open_text(workspace, name), config.val_fraction).val[: precisions.CHARACTERS]
    return ""


def _require_runtime(wished: str) -> None:
    """Raise InvalidInput where a number type is asked for that nothing here computes with."""
    if wished == "q8_0" and not has_llama_cpp():
        raise InvalidInput(field="weights", reason="no_llama_cpp")


def score_text(
    workspace: Workspace,
    model: str,
    text: str | Sequence[int],
    *,
    cache: ModelCache,
    version: Version = "best",
    alternatives: int = 5,
    look: Head | None = None,
) -> Generator[Score, None, None]:
    """Yield once what a model thinks of a text that already stands, and where one of its attention heads looks.

    Raises ModelNotFound, NoTokenizer, ModelDamaged, InvalidInput, OutOfMemory.
    """
    loaded, tokenizer = _loaded(workspace, model, cache, version)
    ids = prompt_ids(tokenizer, text)
    found = (score(loaded.model, tokenizer, ids, alternatives, look) for _ in range(1))
    return _damage_named(model, version, found)


def copied(workspace: Workspace, model: str, text: str) -> Generator[tuple[Copied, ...], None, None]:
    """Yield once the phrases of a text that stand in the books of a model; deleted books are not searched. Raises ModelNotFound."""
    yield copied_from(workspace, books_of(get_model(workspace, model).lineage), text)


@dataclass(frozen=True)
class Measured:
    """How well a model predicts a text: the fewer bits for a byte, the better, whatever its vocabulary."""

    model: str
    book: str
    bits_per_byte: float
    bytes: int


def measure(workspace: Workspace, model: str, book: str, *, cache: ModelCache) -> Generator[Measured, None, None]:
    """Yield once how well a model predicts a book: the beginning of what trainings hold out of it.

    Raises ModelNotFound, NoTokenizer, ModelDamaged, BookNotFound, BookDamaged, OutOfMemory.
    """
    text = library.open_text(workspace, book)
    held_out = split(text, TrainConfig().val_fraction).val
    read = (held_out if len(held_out) >= MEASURED_CHARACTERS // 20 else text)[:MEASURED_CHARACTERS]
    loaded, tokenizer = _loaded(workspace, model, cache, "best")
    ids, size = prompt_ids(tokenizer, read), len(read.encode())
    found = (Measured(model, book, surprise(loaded.model, ids) / math.log(2) / size, size) for _ in range(1))
    return _damage_named(model, "best", found)


def echo(
    workspace: Workspace, model: str, prompt: str | Sequence[int], *, cache: ModelCache, alternatives: int | None = None
) -> Generator[Piece, None, None]:
    """Yield once a prompt as if it had been written, with the details of its tokens if `alternatives` is not None.

    Raises ModelNotFound, NoTokenizer, ModelDamaged, InvalidInput, OutOfMemory.
    """
    loaded, tokenizer = _loaded(workspace, model, cache, "best")
    ids = prompt_ids(tokenizer, prompt)
    text = prompt if isinstance(prompt, str) else tokenizer.decode(ids)
    origin = Origin(Engine.TORCH, len(ids), len(ids))
    read = (() if alternatives is None else score(loaded.model, tokenizer, ids, alternatives).tokens for _ in range(1))
    for details in _damage_named(model, "best", read):
        yield Piece(text, 0, details=details, completion=text, finish_reason=FinishReason.LENGTH, origin=origin)


def _loaded(workspace: Workspace, model: str, cache: ModelCache, version: Version) -> tuple[LoadedModel, Tokenizer]:
    with _lack_named():
        loaded = cache.get(workspace, model, version)
    assert loaded.tokenizer is not None
    torch.set_num_threads(1)
    return loaded, loaded.tokenizer


def _damage_named(model: str, version: Version, pieces: Iterator[P]) -> Generator[P, None, None]:
    try:
        with _lack_named():
            yield from pieces
    except NonFiniteLogits as error:
        raise ModelDamaged(name=model, file=WEIGHTS if version == "best" else "checkpoint") from error


@contextlib.contextmanager
def _lack_named() -> Iterator[None]:
    """Inside this block, a lack of memory becomes OutOfMemory with what helps while a text is written."""
    try:
        with lack_named("CPU"):
            yield
    except OutOfMemory as error:
        raise OutOfMemory(device="CPU", reason="generation") from error


# ---- export ------------------------------------------------------------------------------------------------------


def check_export(
    workspace: Workspace, name: str, format: str, kind: str = DEFAULT_TYPE
) -> Generator[ExportStage, None, Verdict | None]:
    """Test an export, unless it is known, and return the verdict; None for the card, which is only text.

    Raises ModelNotFound, ModelDamaged, NoTokenizer, NoCheckpoint, UnsupportedFormat.
    """
    return verdict_on(workspace, name, exports.known_format(format), exports.known_type(kind))


def export_model(workspace: Workspace, name: str, format: str = "hf", kind: str = DEFAULT_TYPE) -> Export:
    """Export a model as one stream of bytes, tested first; `kind` is the number type where the format has several.

    Raises ModelNotFound, ModelDamaged, NoTokenizer, NoCheckpoint, UnsupportedFormat, ExportFailed.
    """
    require_passed(name, _result(check_export(workspace, name, format, kind)))
    with_checkpoint = exports.known_format(format) is Format.CHECKPOINT
    model = model_store.exportable(workspace, name, with_checkpoint=with_checkpoint)
    checked = verdicts.checked(verdicts.all_known(workspace, name))
    return exports.export(dataclasses.replace(model, checked=checked), format, kind)


def require_passed(name: str, verdict: Verdict | None) -> None:
    """Raise ExportFailed for a file that did not pass its test."""
    if verdict is not None and not verdict.passed:
        raise ExportFailed(name=name, format=f"{verdict.format} {verdict.kind or ''}".strip(), reason=verdict.failed[0])


def _result(steps: Generator[object, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(T, end.value)
