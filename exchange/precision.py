"""Measure what fewer bits of a weight cost: the bits per byte that a model reaches on held-out text with each number type.

    models/<name>/precision.json

Measured once for each version of a model, with what writes with that type: llama.cpp rounds what it multiplies as well, not only the
weights. All types see the same PLACES, so their difference is more certain than each figure.

Particular: llama.cpp is asked for the logprobs of the FEW likeliest tokens at a place, and of all where the token is not among them. The
text before a place is what it has read already, so a place costs as much as a token written.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from engine.decoder import Decoder, exact_decoder, fast_decoder
from engine.llama_cpp import LlamaCpp, LlamaCppFailed
from errors import AZRError
from formats.gguf import NumberType
from model import Transformer
from store import model_store
from store.model_files import PRECISION, folder_of
from tokenizer import Tokenizer
from workspace import Workspace, read_json, write_json

PLACES = 256
FEW = 200
CHARACTERS = 20_000  # of held-out text, which hold as many tokens
KINDS = (NumberType.F32, NumberType.F16, NumberType.Q8_0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precision:
    """Bits per byte of held-out text, the mean over `places` tokens, by number type."""

    of: str  # the version of the model and of the runtime
    places: int
    bits_per_byte: dict[str, float]

    @property
    def cost(self) -> float:
        """How many bits per byte Q8_0 costs beyond F16."""
        return self.bits_per_byte[NumberType.Q8_0] - self.bits_per_byte[NumberType.F16]


def known(ws: Workspace, name: str) -> Precision | None:
    """Return what was measured for the model as it is now. Raises ModelNotFound."""
    try:
        record = Precision(**read_json(folder_of(ws, name) / PRECISION))
        return record if record.of == _version(ws, name) and set(record.bits_per_byte) == set(KINDS) else None
    except (OSError, ValueError, TypeError):
        return None


def measure(
    ws: Workspace,
    name: str,
    text: str,
    tokenizer: Tokenizer,
    model: Transformer,
    engine_of: Callable[[NumberType], LlamaCpp],
) -> Precision | None:
    """Measure and store; `engine_of` loads the model into llama.cpp. None for a text of fewer than two tokens."""
    ids = [tokenizer.end_of_text, *tokenizer.encode(text)][: PLACES + 1]
    if len(ids) < 3:
        return None
    of = _version(ws, name)
    found = {
        kind: bits_per_byte(_logprobs(kind, ids, tokenizer.size, model, engine_of), ids, tokenizer) for kind in KINDS
    }
    precision = Precision(of, len(ids) - 1, {str(kind): bits for kind, bits in found.items()})
    try:
        write_json(folder_of(ws, name) / PRECISION, asdict(precision))
    except (OSError, AZRError) as error:  # a folder that cannot be written only costs the measurement again
        _log.warning("what Q8_0 costs %s was not stored: %s", name, error)
    return precision


def bits_per_byte(logprobs: Iterable[float], ids: Sequence[int], tokenizer: Tokenizer) -> float:
    """Return the mean over all `ids` but the first, whose logprobs are given."""
    return -sum(logprobs) / math.log(2) / sum(len(tokenizer.token_bytes(token)) for token in ids[1:])


def _logprobs(
    kind: NumberType, ids: list[int], size: int, model: Transformer, engine_of: Callable[[NumberType], LlamaCpp]
) -> Iterator[float]:
    """Let what writes with a number type say how likely each token is after those before it."""
    native = fast_decoder(model, size) if kind == NumberType.F16 else None
    if kind == NumberType.F32 or native is not None:
        return decoded_logprobs(native or exact_decoder(model, size), ids)
    return llama_cpp_logprobs(engine_of(kind), ids, model.config.max_seq_len, size)


def llama_cpp_logprobs(engine: LlamaCpp, ids: list[int], window: int, size: int) -> Iterator[float]:
    """Yield the logprob of each token but the first. Where the context is full its later half is read again."""
    start = 0
    for place in range(1, len(ids)):
        if place - start > window:
            start += window // 2
        yield _logprob(engine, ids[start:place], ids[place], size)


@torch.inference_mode()
def decoded_logprobs(decoder: Decoder, ids: list[int]) -> Iterator[float]:
    """Yield the same from one of our own decoders."""
    decoder.grow(1)
    start = 0
    for place in range(1, len(ids)):
        if place - start > decoder.window:
            start += decoder.window // 2
            decoder.read_rows(0, [ids[start : place - 1]])
        logits = decoder.step(torch.tensor([ids[place - 1]]), torch.tensor([place - 1 - start]))
        yield float(logits[0].float().log_softmax(-1)[ids[place]])


def _logprob(engine: LlamaCpp, before: list[int], token: int, size: int) -> float:
    for count in (min(FEW, size), size):
        question = {"prompt": before, "max_tokens": 1, "temperature": 0, "logprobs": count, "cache_prompt": True}
        told = engine.ask(question)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        if found := [float(each["logprob"]) for each in told if each["id"] == token]:
            return found[0]
    raise LlamaCppFailed(f"no logprob of token {token}")


def _version(ws: Workspace, name: str) -> str:
    return f"{model_store.version(ws, name)} {importlib.metadata.version('xllamacpp')} {PLACES}"
