"""Describe tokens for people and programs: their bytes, where their text begins, and how likely they and others were."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

from engine.stream import Token
from tokenizer import END_OF_TEXT, Tokenizer


@dataclass(frozen=True)
class Alternative:
    id: int
    bytes: bytes
    logprob: float

    @property
    def text(self) -> str:
        return readable(self.bytes)


@dataclass(frozen=True)
class TokenDetails:
    """One token of a text. `offset` counts the characters before it; the logprob of a text's very first token is None."""

    id: int
    bytes: bytes
    offset: int
    logprob: float | None
    alternatives: tuple[Alternative, ...]

    @property
    def text(self) -> str:
        return readable(self.bytes)


def describe(token: Token, offset: int, tokenizer: Tokenizer) -> TokenDetails:
    alternatives = tuple(
        Alternative(each, tokenizer.token_bytes(each), logprob) for each, logprob in token.alternatives
    )
    return TokenDetails(token.id, tokenizer.token_bytes(token.id), offset, token.logprob, alternatives)


def readable(token: bytes) -> str:
    """Return the text of a token; half a letter is shown by its bytes, and the one token without any is the end of a text.

    >>> readable("мир".encode()), readable("м".encode()[:1])
    ('мир', 'bytes:\\\\xd0')
    """
    if not token:
        return END_OF_TEXT
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def offsets(ids: Iterable[int], tokenizer: Tokenizer) -> list[int]:
    """Return how many characters of the text are complete before each id."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    found, characters = [], 0
    for token in ids:
        found.append(characters)
        characters += len(decoder.decode(tokenizer.token_bytes(token)))
    return found
