"""The formats in which a model leaves the house: a table from a format's name to the function that writes it.

A new format is one function and one line in FORMATS. It gets an `Exportable` and returns a file name, a media type and the
bytes, made while they are read. Everything that can be refused is refused before the first byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config import ModelConfig
from errors import NoTokenizer, UnsupportedFormat
from formats.archive import zip_stream
from formats.card import card
from formats.lineage import Lineage


@dataclass(frozen=True)
class Exportable:
    """A verified model, as exports need it."""

    name: str
    config: ModelConfig
    tokenizer_size: int | None  # None before the first training
    lineage: Lineage
    files: tuple[Path, ...]  # of its Hugging Face folder, in a fixed order


@dataclass(frozen=True)
class Export:
    """An exported file, as a stream."""

    filename: str
    media_type: str
    chunks: Iterator[bytes]


def export(model: Exportable, format: str) -> Export:
    """Export a model in the format of that name. Raises UnsupportedFormat, NoTokenizer."""
    if (write := FORMATS.get(format)) is None:
        raise UnsupportedFormat(field="format", format=format, supported=", ".join(FORMATS))
    return write(model)


def _hf(model: Exportable) -> Export:
    """Zip the Hugging Face folder unchanged."""
    if model.tokenizer_size is None:
        raise NoTokenizer(name=model.name, field="model")
    return Export(f"{model.name}.zip", "application/zip", zip_stream(model.name, model.files))


def _card(model: Exportable) -> Export:
    """Write the model card alone, as it would stand in README.md."""
    text = card(model.name, model.config, model.tokenizer_size, model.lineage)
    return Export(f"{model.name}.md", "text/markdown; charset=utf-8", iter([text.encode("utf-8")]))


FORMATS: Mapping[str, Callable[[Exportable], Export]] = {"hf": _hf, "card": _card}
