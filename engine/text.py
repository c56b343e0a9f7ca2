"""Text out of tokens: it never splits a character, and it ends at the person's stop strings."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from config import SamplingConfig
from engine.stream import Token
from tokenizer import Tokenizer


@dataclass(frozen=True)
class Piece:
    """Some more text. The last piece carries the reason for the end: "length", "stop" or "eos"."""

    text: str
    tokens: int  # generated so far
    finish_reason: str | None = None


def text_pieces(tokens: Iterator[Token], tokenizer: Tokenizer, sampling: SamplingConfig) -> Iterator[Piece]:
    """Turn tokens into text as they come. A character or a possible stop string is held back until it is whole;
    bytes that make no character (a model in its first minutes writes such) are left out."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    held, count, reason = "", 0, "length"
    for token in tokens:
        if token.id == tokenizer.end_of_text:
            reason = "eos"
            break
        count += 1
        held += decoder.decode(tokenizer.token_bytes(token.id))
        if (found := _first_stop(held, sampling.stop)) is not None:
            yield Piece(held[:found], count, "stop")
            return
        ready = len(held) - _possible_stop(held, sampling.stop)
        yield Piece(held[:ready], count)
        held = held[ready:]
    yield Piece(held + decoder.decode(b"", final=True), count, reason)


def _first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    found = [index for stop in stops if (index := text.find(stop)) >= 0]
    return min(found, default=None)


def _possible_stop(text: str, stops: tuple[str, ...]) -> int:
    """How many last characters of `text` could be the beginning of a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """What the model reads: a text starts after an end-of-text, as books do in training."""
    return [tokenizer.end_of_text, *tokenizer.encode(prompt)]
