"""Forecast the memory and time of a training: counted at once, or measured by a rehearsal.

`estimate` counts parameters and memory on torch's meta device, which is fast for any size. `pace` rehearses the training on
this machine for a few seconds, and `forecast` derives the time of an epoch and of the whole training from it.

Not here: the rehearsal itself (rehearsal.py), refusing what does not fit (workflows.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from config import ModelConfig, TrainConfig
from corpus import library
from corpus.dataset import fit_tokenizer, may_be_too_small, require_size, split, tokenize
from errors import BookTooSmall
from events import StageBegun
from kernels import native, native_attention
from kernels.attention import LONGEST_KEPT, QUERIES_AT_ONCE
from kernels.head import rows_at_once
from learning.loop_breaking import BYTES_PER_LOGIT
from learning.loop_breaking import ROWS_AT_ONCE as SELF_PLAY_ROWS
from learning.self_play import FIRST_FAULTS
from machine.devices import choose_device, choose_precision
from machine.memory import available_bytes, give_back_unused, held_bytes
from model import Transformer, count_parameters
from runs.plan import TrainingPlan, last_iteration
from runs.rehearsal import Pace, Sample, rehearse
from runs.suggestion import (
    one_reading,
    suggested_iterations,
    tokens_per_iteration,
)
from runs.vocabulary_fit import misfit
from store import checkpoint_store
from store.model_list import read_config
from store.model_store import LoadedModel
from store.restore import load_or_checkpoint
from tokenizer import Characters, Tokenizer
from workspace import Workspace

CHARACTERS_PER_TOKEN = 3.5  # in Russian and English prose with vocabularies of 5,000 to 15,000; a first guess only
PROCESS_BYTES = (
    485_000_000  # Python, torch with its buffers, the remains of a rehearsal, and a book of a million characters
)
RESTING_BYTES = 230_000_000  # of PROCESS_BYTES, held from the start
REHEARSED_BYTES = 370_000_000  # of PROCESS_BYTES, held after the first rehearsal; later trainings start with more (docs/en/benchmarks.md)
Result = TypeVar("Result")
SAMPLE_CHARACTERS = 400_000  # of the books, for a rehearsal


@dataclass(frozen=True)
class Estimate:
    """Size of a model and memory of its training, computed before anything is allocated."""

    parameters: int
    training_bytes: int
    available_bytes: int | None
    fits: bool
    tokens: int | None  # in the chosen books, roughly
    tokens_per_parameter: float | None
    suggested_iterations: int | None  # for the chosen books


def estimate(
    config: ModelConfig, train: TrainConfig | None = None, books_characters: Sequence[int] | None = None
) -> Estimate:
    """Count parameters and memory on torch's meta device, which allocates nothing; `books_characters` are those of each book.

    Raises DeviceMissing, WeightsDoNotFit.
    """
    train = train or TrainConfig()
    parameters = count_parameters(config)
    needed, available = training_bytes(config, train, parameters), available_bytes(choose_device(train.device))
    tokens = None if books_characters is None else round(sum(books_characters) / CHARACTERS_PER_TOKEN)
    read = None if books_characters is None else one_reading(books_characters, train.book_weights)
    return Estimate(
        parameters=parameters,
        training_bytes=needed,
        available_bytes=available,
        fits=available is None or needed - RESTING_BYTES <= available,
        tokens=tokens,
        tokens_per_parameter=None if tokens is None else tokens / parameters,
        suggested_iterations=None
        if read is None
        else _suggested(config, train, parameters, read / CHARACTERS_PER_TOKEN),
    )


def _suggested(config: ModelConfig, train: TrainConfig, parameters: int, tokens: float) -> int:
    read = round(tokens * (1 - train.val_fraction))
    return suggested_iterations(read, parameters, tokens_per_iteration(train, config.max_seq_len))


def training_bytes(config: ModelConfig, train: TrainConfig, parameters: int) -> int:
    """Return the peak memory of a training in bytes, this process included.

    The peak is what is kept plus the larger of a batch's forward and backward pass and a snapshot of what is kept.
    """
    rows = max(train.batch_size, SELF_PLAY_ROWS if train.self_play.enabled else 0)
    rows = -(-rows // train.devices)
    logits = 10 * min(rows * config.max_seq_len, rows_at_once(choose_device(train.device)))  # bytes for each id
    if train.self_play.enabled:
        logits = max(logits, BYTES_PER_LOGIT * SELF_PLAY_ROWS * FIRST_FAULTS)
    learning = (
        4 * parameters + logits * config.vocab_size + rows * config.max_seq_len * _bytes_per_token(config, train)
    )  # with the gradients
    kept = _kept_bytes(config, train, parameters)
    process = PROCESS_BYTES + kept + max(learning, kept)  # a snapshot is never taken during a step
    return process * (train.devices if choose_device(train.device).type == "cpu" else 1)


def checkpoint_bytes(config: ModelConfig, train: TrainConfig) -> int:
    """Return the size of one checkpoint in bytes: everything that is kept between iterations."""
    return _kept_bytes(config, train, count_parameters(config))


def _kept_bytes(config: ModelConfig, train: TrainConfig, parameters: int) -> int:
    """Return the bytes kept between iterations: weights, their average, the optimizer's moments, and the best weights where a training
    without an end comes to know its books."""
    matrices = parameters - 2 * config.vocab_size * config.d_model
    moments = 8 * parameters - (4 * matrices if train.optimizer == "muon" else 0)
    anchor = 4 * parameters if train.iterations is None and train.weight_decay is None else 0
    return 8 * parameters + moments + anchor


def _bytes_per_token(config: ModelConfig, train: TrainConfig) -> int:
    """Return the bytes kept per token for the backward pass; the factors were fitted to measured peaks (docs/en/benchmarks.md)."""
    device = choose_device(train.device)
    precision = choose_precision(train.precision, device)
    size = precision.itemsize
    casts = 8 * config.d_model if size == 2 else 0
    keeps = config.max_seq_len <= LONGEST_KEPT and not native_attention.serves(device, precision, config.head_dim)
    attention = config.num_heads * (config.max_seq_len + QUERIES_AT_ONCE) // 2 if keeps else 0
    inner = 3 if native.serves(device, precision) else 4  # as wide as the feed-forward layer
    return config.num_layers * (size * (14 * config.d_model + inner * config.d_ff + attention) + casts)


# ---- measured --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """Time and memory of a training on this machine."""

    tokens_per_second: float  # on the book alone, as the page shows them
    epoch_seconds: float  # reading all books once; with weights, until the book that weighs most has been read once
    total_seconds: float | None  # until the training ends, with self-play and evaluations; None when endless
    iterations_left: int | None  # until then; fewer than the chosen ones where a stopped training goes on
    epochs: float | None  # how often the books will be read; with weights, the one that weighs most
    epochs_least: float | None  # how often the book that weighs least will be read; without weights as often as all
    train_tokens: int
    tokens_per_parameter: float
    parameters: int
    training_bytes: int
    available_bytes: int | None
    suggested_iterations: int  # for these books
    suggested_seconds: float  # the time that they take
    vocab_hardly_fits: (
        Mapping[str, str | int | float] | None
    )  # {"bytes_per_token", "first"} where it does not suit the books


def pace(workspace: Workspace, plan: TrainingPlan, go_on: Callable[[], None] = lambda: None) -> Pace:
    """Rehearse a plan on a sample of its books and return the time of each part.

    `go_on` is called often and may raise to end the rehearsal. Raises ModelNotFound, ModelDamaged, BookNotFound,
    BookTooSmall, OutOfMemory, and any error of `go_on`.
    """
    loaded = load_or_checkpoint(workspace, plan.model)
    texts = [library.open_text(workspace, book) for book in plan.books]
    tokenizer, sample = _enough(loaded, texts, plan.config, go_on)
    goes_on = loaded.lineage and not plan.resumed
    unfit = misfit(workspace, tokenizer, loaded.lineage[0].books, texts) if goes_on else None
    return dataclasses.replace(rehearse(loaded.model, tokenizer, sample, plan.config, go_on), unfit=unfit)


def pace_of_new(
    workspace: Workspace,
    shape: ModelConfig,
    books: Sequence[str],
    config: TrainConfig,
    go_on: Callable[[], None] = lambda: None,
) -> Pace:
    """Rehearse a model that does not exist yet. Raises BookNotFound, BookTooSmall, OutOfMemory, and any error of `go_on`."""
    model = Transformer(shape)
    model.initialise(config.seed)
    texts = [library.open_text(workspace, book) for book in books]
    tokenizer, sample = _enough(LoadedModel(shape, model, None, ()), texts, config, go_on)
    return rehearse(model, tokenizer, sample, config, go_on)


def _enough(
    loaded: LoadedModel, texts: Sequence[Characters], config: TrainConfig, go_on: Callable[[], None]
) -> tuple[Tokenizer, Sample]:
    """Prepare a sample of the texts, or all of them where a sample is too short. Raises BookTooSmall, and any error of `go_on`."""
    share = min(1.0, SAMPLE_CHARACTERS / max(1, sum(map(len, texts))))
    try:
        return _sampled(loaded, texts, share, config, go_on)
    except BookTooSmall:
        return _sampled(loaded, texts, 1.0, config, go_on)


def _held_beside() -> int:
    """Return the bytes this process holds beyond what `training_bytes` assumes, for instance for loaded models."""
    give_back_unused()
    return max(0, (held_bytes() or 0) - REHEARSED_BYTES)


def require_enough_text(workspace: Workspace, plan: TrainingPlan, max_seq_len: int) -> None:
    """Check the size of short books as the training will, by tokenizing them. Raises BookTooSmall.

    Longer books are left to the training: tokenizing them takes too long for a request.
    """
    characters = sum(library.get_book(workspace, book).characters for book in plan.books)
    if may_be_too_small(characters, max_seq_len, plan.config.val_fraction):
        loaded = load_or_checkpoint(workspace, plan.model)
        texts = [library.open_text(workspace, book) for book in plan.books]
        _sampled(loaded, texts, 1.0, plan.config, lambda: None)


def _sampled(
    loaded: LoadedModel, texts: Sequence[Characters], share: float, config: TrainConfig, go_on: Callable[[], None]
) -> tuple[Tokenizer, Sample]:
    """Prepare the first `share` of each text as a training does. Raises BookTooSmall, and any error of `go_on`."""
    books = tuple(split(text[: round(len(text) * share)], config.val_fraction) for text in texts)
    tokenizer = loaded.tokenizer or _result(fit_tokenizer(books, loaded.config.vocab_size), go_on)
    dataset = _result(tokenize(books, tokenizer), go_on)
    require_size(dataset, loaded.config.max_seq_len)
    return tokenizer, Sample(books, dataset, share)


def _result(steps: Generator[StageBegun, None, Result], go_on: Callable[[], None]) -> Result:
    """Run a generator to its end and return its result; `go_on` is called at every step and may raise."""
    with contextlib.closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            go_on()


def forecast(workspace: Workspace, plan: TrainingPlan, found: Pace) -> Forecast:
    """Derive the forecast of a plan from the measured pace, without a new rehearsal."""
    config, iterations = plan.config, plan.config.iterations
    counted = estimate(read_config(workspace, plan.model), config)
    first = max(checkpoint_store.iterations(workspace, plan.model), default=0)
    suggested = suggested_iterations(found.reading_tokens, counted.parameters, found.tokens_per_iteration)
    last = last_iteration(workspace, plan, first)
    epochs = None if iterations is None else iterations * found.tokens_per_iteration / found.reading_tokens
    weights = config.book_weights or (1.0,)
    return Forecast(
        tokens_per_second=found.tokens_per_second,
        epoch_seconds=found.epoch_seconds(),
        total_seconds=None if last is None else found.seconds(config, first, last),
        iterations_left=None if last is None else last - first,
        epochs=epochs,
        epochs_least=None if epochs is None else epochs * min(weights) / max(weights),
        train_tokens=found.train_tokens,
        tokens_per_parameter=found.train_tokens / counted.parameters,
        parameters=counted.parameters,
        training_bytes=counted.training_bytes + _held_beside(),
        available_bytes=counted.available_bytes,
        suggested_iterations=suggested,
        suggested_seconds=found.seconds(config, first, first + suggested),
        vocab_hardly_fits=found.unfit,
    )
