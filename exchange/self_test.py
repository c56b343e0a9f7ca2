"""Test an export before it is offered: make it, read it back, and let another program use it.

The weights are read back with the reader for imports and compared number by number. The tokens of a book are compared with those of
`tokenizers` (hf, checkpoint) or llama.cpp (gguf), and so is a text that llama.cpp writes by always taking the likeliest token, where
PyPI's `xllamacpp` is installed. That runs in a process of its own: whatever happens in it, this one goes on.

A smaller number type rounds, so texts may part where two tokens were nearly as likely; then our model must find the other token as
likely within TOLERANCE. Tests take turns, because each holds a second copy of the model.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import tokenizers
import torch
from torch import Tensor

from corpus import library
from errors import AZRError, ModelRefused
from exchange import verdicts
from exchange.reading import ForeignModel, read_foreign
from exchange.verdicts import Verdict
from formats import exports, llama_cpp
from formats.exports import TYPED, Exportable, Format
from formats.gguf import Q8_BLOCK, NumberType
from formats.gguf_reader import read_gguf
from formats.lineage import books_of
from model import Transformer
from store import model_store
from store.model_store import LoadedModel
from tokenizer import END_OF_TEXT, Tokenizer, cut
from workspace import Workspace, disk_errors, scratch_folder

BOOK_CHARACTERS, PIECE_CHARACTERS = 200_000, 2_000
PROMPT_TOKENS, WRITTEN_TOKENS = 8, 32
TRIES = 3
TOLERANCE = {NumberType.F32: 0.02, NumberType.F16: 0.05, NumberType.BF16: 0.25, NumberType.Q8_0: 0.5}  # nats
SMALLEST_Q8_0 = 127 * 2**-25  # a block's scale is a 16-bit number, and these end at 2**-24
WITHOUT_A_BOOK = "Старый маяк стоял у моря. «Кто там?» — спросил он.\n\nIt was 1905; the sea didn't answer...\n"
_testing = threading.Lock()


class ExportStage(StrEnum):
    WRITING = "writing"
    WEIGHTS = "weights"
    TOKENS = "tokens"
    TEXT = "text"


def verdict_on(
    ws: Workspace, name: str, format: Format, kind: NumberType | None
) -> Generator[ExportStage, None, Verdict | None]:
    """Return the verdict on an export, tested now unless it is known; None for the card, which is only text.

    Raises ModelNotFound, ModelDamaged, NoTokenizer, NoCheckpoint, DiskFull.
    """
    format = verdicts.tested_as(format)
    kind = kind if format in TYPED else None
    if format is Format.CARD:
        return None
    if (known := verdicts.known(ws, name, format, kind)) is not None:
        return known
    with _testing:
        if (known := verdicts.known(ws, name, format, kind)) is not None:
            return known
        found = yield from _test_one_version(ws, name, format, kind)
        verdicts.remember(ws, name, found)
        return found


def _test_one_version(
    ws: Workspace, name: str, format: Format, kind: NumberType | None
) -> Generator[ExportStage, None, Verdict]:
    """Test again where a training published other weights meanwhile: a file compared with them would not pass."""
    for tries_left in reversed(range(TRIES)):
        before = verdicts.version(ws, name, format)
        try:
            found = yield from _test(ws, name, format, kind)
        except FileNotFoundError:
            if (
                verdicts.version(ws, name, format) == before or not tries_left
            ):  # which raises where the model was deleted
                raise
            continue
        if found.passed or not tries_left or verdicts.version(ws, name, format) == before:
            return found
    raise AssertionError("the last try returns or raises")


def _test(ws: Workspace, name: str, format: Format, kind: NumberType | None) -> Generator[ExportStage, None, Verdict]:
    of = verdicts.version(ws, name, format)
    model = model_store.exportable(ws, name, with_checkpoint=format is Format.CHECKPOINT)
    yield ExportStage.WRITING
    export = exports.export(model, format, kind or exports.DEFAULT_TYPE)
    with _scratch(ws) as scratch:
        path = scratch / "export"
        with disk_errors(path), path.open("wb") as file:
            for chunk in export.chunks:
                file.write(chunk)
        loaded = model_store.load(ws, name)
        assert loaded.tokenizer is not None
        yield ExportStage.WEIGHTS
        weights = _compare_weights(path, loaded, kind, scratch)
        yield ExportStage.TOKENS
        text = _book_text(ws, model)
        if kind is None:
            tokens, written = _with_library(model, text, loaded.tokenizer), None
        else:
            yield ExportStage.TEXT
            tokens, written = _with_runtime(path, text, loaded, kind)
        return Verdict(
            format,
            kind,
            of,
            path.stat().st_size,
            weights.equal,
            weights.numbers,
            weights.difference,
            tokens.compared,
            tokens.equal,
            written.passed if written else None,
            written.tokens if written else 0,
            written.equal if written else 0,
        )


@contextlib.contextmanager
def _scratch(ws: Workspace) -> Iterator[Path]:
    """Yield an empty folder beside the models, or where the system keeps such files if that is read-only."""
    if os.access(ws.models, os.W_OK):
        with scratch_folder(ws.models / "test") as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


# ---- weights ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    equal: bool
    numbers: int
    difference: float | None


def _compare_weights(path: Path, loaded: LoadedModel, kind: NumberType | None, scratch: Path) -> _Weights:
    """Read the file back and compare sizes, tokenizer and every weight."""
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    assert loaded.tokenizer is not None
    try:
        found = read_gguf(path) if kind else read_foreign(path, unpacked)
    except ModelRefused:
        return _Weights(False, 0, None)
    ours, theirs = loaded.model.state_dict(), found.weights
    same = found.config == loaded.config and found.tokenizer.to_json() == loaded.tokenizer.to_json()
    if ours.keys() != theirs.keys():
        return _Weights(False, 0, None)
    difference = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    close = all(_is_close(ours[name], theirs[name], kind or NumberType.F32) for name in ours)
    checkpoint_whole = (
        not isinstance(found, ForeignModel) or found.checkpoint is None or _is_finite(found.checkpoint.weights)
    )
    numbers = sum(tensor.numel() for tensor in ours.values())
    return _Weights(same and close and checkpoint_whole, numbers, difference)


def _is_close(ours: Tensor, theirs: Tensor, kind: NumberType) -> bool:
    """Tell whether `theirs` is `ours` as rounded by the number type; vectors may also be exact."""
    difference = (ours - theirs).abs()
    if kind is NumberType.F32:
        return bool((difference == 0).all())
    if kind is NumberType.Q8_0 and ours.dim() == 2 and ours.shape[1] % Q8_BLOCK == 0:
        blocks = ours.reshape(-1, Q8_BLOCK).abs().amax(1, keepdim=True)
        return bool((difference.reshape(-1, Q8_BLOCK) <= blocks * (0.5 / 127 + 2**-10) + SMALLEST_Q8_0).all())
    relative = 2**-8 if kind is NumberType.BF16 else 2**-11
    return bool((difference <= ours.abs() * relative + 2**-24).all())


def _is_finite(weights: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


# ---- tokens and text -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tokens:
    compared: int | None  # None: nobody else could read them
    equal: int


@dataclass(frozen=True)
class _Text:
    passed: bool
    tokens: int
    equal: int


def _book_text(ws: Workspace, model: Exportable) -> str:
    """Return a long piece of the first of the model's books that is there, else a few lines of our own."""
    for book in books_of(model.lineage):
        try:
            return library.open_text(ws, book)[:BOOK_CHARACTERS]
        except (AZRError, OSError):
            continue
    return WITHOUT_A_BOOK


def _compare_tokens(ours: list[list[int]], theirs: list[list[int]]) -> _Tokens:
    equal = sum(len(a) for a, b in zip(ours, theirs, strict=True) if a == b)
    return _Tokens(sum(len(ids) for ids in ours), equal)


def _with_library(model: Exportable, text: str, tokenizer: Tokenizer) -> _Tokens:
    """Compare the tokens that `tokenizers`, and so transformers, reads with the file in the folder."""
    file = next(file for file in model.files if file.name == "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    theirs.encode_special_tokens = True  # as tokenizer_config.json asks for
    pieces = list(cut(text, PIECE_CHARACTERS))
    encoded = theirs.encode_batch(pieces, add_special_tokens=False)
    return _compare_tokens([tokenizer.encode(piece) for piece in pieces], [list(each.ids) for each in encoded])


def _with_runtime(path: Path, text: str, loaded: LoadedModel, kind: NumberType) -> tuple[_Tokens, _Text | None]:
    """Compare tokens and a text with llama.cpp's; nothing is compared where it is not installed or cannot start."""
    assert loaded.tokenizer is not None
    pieces = list(cut(text, PIECE_CHARACTERS))
    context = loaded.config.max_seq_len
    prompt_tokens = min(PROMPT_TOKENS, context // 2)
    prompt = loaded.tokenizer.decode(
        loaded.tokenizer.encode(text[:200].replace(END_OF_TEXT, ""))[:prompt_tokens]
    ).rstrip("\ufffd")
    count = min(WRITTEN_TOKENS, context - prompt_tokens - 4)
    answer = llama_cpp.ask(path, context, pieces, prompt, count)
    if answer is None:
        return _Tokens(None, 0), None
    ours = [[loaded.tokenizer.end_of_text, *loaded.tokenizer.encode(piece)] for piece in pieces]
    if not answer.written:
        return _compare_tokens(ours, answer.ids or [[]] * len(pieces)), _Text(False, 0, 0)
    first = [loaded.tokenizer.end_of_text, *loaded.tokenizer.encode(prompt)]
    return _compare_tokens(ours, answer.ids), _compare_text(loaded.model, first, answer.written, kind)


@torch.no_grad()
def _compare_text(model: Transformer, prompt: list[int], written: list[llama_cpp.Written], kind: NumberType) -> _Text:
    """Follow the runtime's text: each of its tokens must be our likeliest one, or as likely within the tolerance."""
    ids = torch.tensor([prompt + [token.id for token in written]])
    logprobs = model(ids)[0, len(prompt) - 1 : -1].log_softmax(-1)  # (tokens, V)
    best, their = logprobs.max(-1), logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0]
    equal = (best.indices == ids[0, len(prompt) :]).tolist()
    near = bool((best.values - their <= TOLERANCE[kind]).all())
    reported = [
        abs(token.logprob - float(ours))
        for token, ours in zip(written, their, strict=True)
        if token.logprob is not None
    ]
    alike = max(reported, default=0.0) <= TOLERANCE[kind]
    return _Text(near and alike, len(written), equal.index(False) if False in equal else len(equal))
