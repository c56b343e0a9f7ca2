"""Keep what the tests of a model's exports found, so that each costs once for each version of the model.

    models/<name>/exports.json

A verdict is believed only while the files it is about are the same, and the runtime that tested them.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import threading
from dataclasses import dataclass
from typing import Any

from errors import AZRError
from formats import llama_cpp
from formats.card import Checked
from formats.exports import TYPED, Format
from formats.gguf import NumberType
from store import checkpoint_store, model_store
from store.model_files import EXPORT_TESTS, folder_of
from workspace import Workspace, read_json, write_json

EXPORTERS = 1  # counts changes to the exporters and their tests; verdicts of others are forgotten
_log = logging.getLogger(__name__)
_writing = threading.Lock()


@dataclass(frozen=True)
class Verdict:
    """What the test of one file found. `text` is None where it was not compared: no runtime, or the weights are the same."""

    format: Format
    kind: NumberType | None
    of: str  # the version of the model and of whatever tested it
    bytes: int
    weights: bool
    numbers: int  # compared
    difference: float | None  # the largest between a weight and its copy; None for a file that cannot be read back
    tokens: int | None  # of a book's text, compared; None where nobody else could read it
    tokens_equal: int
    text: bool | None
    text_tokens: int  # written greedily by both
    text_equal: int  # before they part

    @property
    def failed(self) -> tuple[str, ...]:
        """Return what did not pass: "weights", "tokens", "text"."""
        wrong_tokens = self.tokens is not None and self.tokens_equal < self.tokens * (1 - UNEQUAL_TOKENS)
        found = {"weights": not self.weights, "tokens": wrong_tokens, "text": self.text is False}
        return tuple(check for check, wrong in found.items() if wrong)

    @property
    def passed(self) -> bool:
        return not self.failed


UNEQUAL_TOKENS = (
    0.001  # a book may hold characters that programs class differently; more than this is another tokenizer
)


def tested_as(format: Format) -> Format:
    """Return the format whose test counts: Ollama's zip holds the GGUF file as it is."""
    return Format.GGUF if format is Format.OLLAMA else format


def version(ws: Workspace, name: str, format: Format) -> str:
    """Return a text that changes whenever a verdict on this export becomes void. Raises ModelNotFound."""
    parts = [str(EXPORTERS), model_store.version(ws, name)]
    if format is Format.CHECKPOINT:
        parts.append(str(checkpoint_store.version(ws, name)))
    if format in TYPED:
        parts.append(importlib.metadata.version("xllamacpp") if llama_cpp.is_installed() else "-")
    return " ".join(parts)


def known(ws: Workspace, name: str, format: Format, kind: NumberType | None) -> Verdict | None:
    """Return the verdict on an export of the model as it is now, or None."""
    format, found = tested_as(format), all_known(ws, name)
    return next((each for each in found if each.format is format and each.kind == kind), None)


def all_known(ws: Workspace, name: str) -> list[Verdict]:
    """Return every verdict that is still true of the model."""
    try:
        records = read_json(folder_of(ws, name) / EXPORT_TESTS)
        found = [_verdict(record) for record in records]
        return [each for each in found if each.of == version(ws, name, each.format)]
    except (OSError, ValueError, TypeError, KeyError, AZRError):
        return []


def remember(ws: Workspace, name: str, verdict: Verdict) -> None:
    """Store a verdict in place of an earlier one; a folder that cannot be written only costs the test again."""
    same = (verdict.format, verdict.kind)
    with _writing:
        kept = [each for each in all_known(ws, name) if (each.format, each.kind) != same]
        try:
            write_json(folder_of(ws, name) / EXPORT_TESTS, [dataclasses.asdict(each) for each in (*kept, verdict)])
        except (OSError, AZRError) as error:
            _log.warning("the test of an export of %s was not stored: %s", name, error)


def checked(verdicts: list[Verdict]) -> tuple[Checked, ...]:
    """Return the lines for the card."""
    return tuple(
        Checked(
            f"{each.format} {each.kind or ''}".strip(),
            each.passed,
            each.difference,
            each.tokens_equal,
            each.tokens,
            each.text,
        )
        for each in verdicts
    )


def _verdict(record: dict[str, Any]) -> Verdict:
    kind = record["kind"] and NumberType(record["kind"])
    return Verdict(**record | {"format": Format(record["format"]), "kind": kind})
