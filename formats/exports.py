"""The formats in which a model leaves the house: a table from a format to the function that writes it.

A new format is one function and one line in FORMATS. It gets an `Exportable` and returns a file name, a media type and the
bytes, made while they are read: nothing is kept on disk, so an interrupted download leaves nothing. Everything that can be refused
is refused before the first byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from torch import Tensor

from config import ModelConfig
from errors import NoCheckpoint, NoTokenizer, UnsupportedFormat
from formats.archive import Content, zip_stream
from formats.card import Checked, card
from formats.gguf import GGUFFile, NumberType, gguf_file
from formats.lineage import Lineage
from formats.ollama import MODELFILE, modelfile
from tokenizer import Tokenizer

CARD = "README.md"


class Format(StrEnum):
    HF = "hf"
    GGUF = "gguf"
    OLLAMA = "ollama"
    CHECKPOINT = "checkpoint"
    CARD = "card"


TYPED = frozenset({Format.GGUF, Format.OLLAMA})  # formats that exist in every number type
DEFAULT_TYPE = NumberType.F16


@dataclass(frozen=True)
class Exportable:
    """A verified model, as exports need it."""

    name: str
    config: ModelConfig
    tokenizer_size: int | None  # None before the first training
    lineage: Lineage
    files: tuple[Path, ...]  # of its Hugging Face folder, in a fixed order
    load: Callable[[], tuple[Mapping[str, Tensor], Tokenizer | None]]  # weights under our names, and the tokenizer
    checkpoint: Mapping[
        str, Path
    ]  # files of the newest checkpoint that verifies, by their place in the checkpoints' folder
    checked: tuple[Checked, ...] = ()  # what the tests of its exports found


@dataclass(frozen=True)
class Export:
    """An exported file, as a stream. `size` is known where nothing is compressed."""

    filename: str
    media_type: str
    chunks: Iterator[bytes]
    size: int | None = None


def export(model: Exportable, format: str, kind: str = DEFAULT_TYPE) -> Export:
    """Export a model in the format and number type of these names. Raises UnsupportedFormat, NoTokenizer, NoCheckpoint."""
    return FORMATS[known_format(format)](model, known_type(kind))


def known_format(name: str) -> Format:
    """Return the format of that name. Raises UnsupportedFormat."""
    if name not in set(Format):
        raise UnsupportedFormat(field="format", format=name, supported=", ".join(Format))
    return Format(name)


def known_type(name: str) -> NumberType:
    """Return the number type of that name. Raises UnsupportedFormat."""
    if name not in set(NumberType):
        raise UnsupportedFormat(field="type", format=name, supported=", ".join(NumberType))
    return NumberType(name)


def _hf(model: Exportable, kind: NumberType) -> Export:
    """Zip the Hugging Face folder, which has one number type: float32."""
    _require_tokenizer(model)
    return Export(f"{model.name}.zip", "application/zip", zip_stream(_folder(model)))


def _folder(model: Exportable) -> dict[str, Content]:
    files: dict[str, Content] = {f"{model.name}/{path.name}": path for path in model.files}
    return files | {f"{model.name}/{CARD}": _card_of(model)}


def _gguf(model: Exportable, kind: NumberType) -> Export:
    file = _file(model, kind)
    return Export(f"{model.name}-{kind}.gguf", "application/octet-stream", file.chunks, file.size)


def _ollama(model: Exportable, kind: NumberType) -> Export:
    """Zip a GGUF file with the Modelfile that names it; its name is plain, because Ollama reads it from a line of text."""
    inside = f"model-{kind}.gguf"
    entries: dict[str, Content] = {
        f"{model.name}/{inside}": _file(model, kind).chunks,
        f"{model.name}/{MODELFILE}": modelfile(model.config, inside).encode("utf-8"),
        f"{model.name}/{CARD}": _card_of(model),
    }
    return Export(f"{model.name}-ollama-{kind}.zip", "application/zip", zip_stream(entries))


def _file(model: Exportable, kind: NumberType) -> GGUFFile:
    _require_tokenizer(model)
    weights, tokenizer = model.load()
    assert tokenizer is not None
    return gguf_file(model.name, model.config, weights, tokenizer, kind, model.lineage)


def _checkpoint(model: Exportable, kind: NumberType) -> Export:
    """Zip the Hugging Face folder and the newest checkpoint that verifies, to go on training on another machine."""
    _require_tokenizer(model)
    if not model.checkpoint:
        raise NoCheckpoint(name=model.name, field="model")
    entries = {f"models/{name}": content for name, content in _folder(model).items()}
    entries |= {f"checkpoints/{model.name}/{place}": path for place, path in model.checkpoint.items()}
    return Export(f"{model.name}-checkpoint.zip", "application/zip", zip_stream(entries))


def _card(model: Exportable, kind: NumberType) -> Export:
    """Write the model card alone, as it would stand in README.md."""
    return Export(f"{model.name}.md", "text/markdown; charset=utf-8", iter([_card_of(model)]))


def _card_of(model: Exportable) -> bytes:
    text = card(model.name, model.config, model.tokenizer_size, model.lineage, model.checked)
    return text.encode("utf-8")


def _require_tokenizer(model: Exportable) -> None:
    if model.tokenizer_size is None:
        raise NoTokenizer(name=model.name, field="model")


FORMATS: Mapping[Format, Callable[[Exportable, NumberType], Export]] = {
    Format.HF: _hf,
    Format.GGUF: _gguf,
    Format.OLLAMA: _ollama,
    Format.CHECKPOINT: _checkpoint,
    Format.CARD: _card,
}
