"""Assemble text from tokens. This is the one place where it is done: web, command line and trainer all read `Piece`s.

Text never splits a character, and it ends at the person's stop strings.
"""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config import SamplingConfig
from engine.details import TokenDetails, describe
from engine.stream import PLAIN, Extras, Token, stream
from errors import InvalidInput
from model import Transformer
from tokenizer import Tokenizer


class FinishReason(StrEnum):
    LENGTH = "length"  # max_new_tokens were written
    STOP = "stop"  # one of the person's stop strings came up
    EOS = "eos"  # the model ended its text


class Engine(StrEnum):
    """What computed a text."""

    TORCH = "torch"  # the model itself: engine/stream.py, engine/batch.py
    NATIVE = "native"  # the C code: engine/native_batch.py
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True)
class Origin:
    """What wrote a text, and how much of the prompt it could read: the context holds only the prompt's end if it is longer."""

    engine: Engine
    prompt_tokens: int
    prompt_tokens_read: int
    weights: str = "f32"  # their number type


@dataclass(frozen=True)
class Piece:
    """The next piece of a text. The last one has a finish reason and the whole completion."""

    text: str
    tokens: int  # generated so far
    tokens_per_second: float | None = None  # since the first token; None until a second one is there
    new_tokens: tuple[Token, ...] = ()  # generated since the piece before
    details: tuple[
        TokenDetails, ...
    ] = ()  # of the tokens whose text has been given out with this piece, if they were asked for
    completion: str = ""
    finish_reason: FinishReason | None = None
    origin: Origin | None = None


def write(
    model: Transformer, tokenizer: Tokenizer, ids: list[int], sampling: SamplingConfig, extras: Extras = PLAIN
) -> Iterator[Piece]:
    """Generate the continuation of a prompt's `ids` (prompt_ids), piece by piece. Raises NonFiniteLogits."""
    tokens = ([token] for token in stream(model, ids, sampling, tokenizer.size, tokenizer.end_of_text, extras))
    origin = Origin(Engine.TORCH, len(ids), min(len(ids), model.config.max_seq_len))
    return text_pieces(tokens, tokenizer, sampling, origin)


def text_pieces(
    tokens: Iterable[Sequence[Token]], tokenizer: Tokenizer, sampling: SamplingConfig, origin: Origin | None = None
) -> Iterator[Piece]:
    """Turn tokens into text as they arrive: a piece for each group that arrives together.

    A character or a possible stop string is held back until it is complete, and so are the details of its tokens. Invalid UTF-8,
    which an untrained model may write, is left out.
    """
    text = _Text(tokenizer, sampling.stop, origin)
    for group in tokens:
        ready = ""
        for place, token in enumerate(group, 1):
            if token.id == tokenizer.end_of_text:
                yield text.last(ready + text.held_back(), FinishReason.EOS, tuple(group[:place]))
                return
            added, stopped = text.add(token)
            ready += added
            if stopped:
                yield text.last(ready, FinishReason.STOP, tuple(group[:place]))
                return
        yield text.piece(ready, tuple(group))
    yield text.last(text.held_back(), FinishReason.LENGTH, ())


class _Text:
    """The text so far: held back, yielded, and its speed."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], origin: Origin | None) -> None:
        self._tokenizer, self._stops, self._origin = tokenizer, stops, origin
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._held = ""
        self._given: list[str] = []
        self._characters_given = self._characters = 0  # given out, and decoded
        self._waiting: deque[tuple[Token, int]] = deque()  # tokens with logprobs and where their text begins
        self._tokens = 0
        self._started_at = 0.0  # perf_counter at the first token, so that reading the prompt does not count

    def add(self, token: Token) -> tuple[str, bool]:
        """Return the text that is ready with this token, and whether a stop string ended it."""
        self._tokens += 1
        if self._tokens == 1:
            self._started_at = time.perf_counter()
        if token.logprob is not None:
            self._waiting.append((token, self._characters))
        decoded = self._decoder.decode(self._tokenizer.token_bytes(token.id))
        self._characters += len(decoded)
        self._held += decoded
        if (found := _first_stop(self._held, self._stops)) is not None:
            return self._held[:found], True
        ready = len(self._held) - _possible_stop(self._held, self._stops)
        text, self._held = self._held[:ready], self._held[ready:]
        return text, False

    def held_back(self) -> str:
        return self._held + self._decoder.decode(b"", final=True)

    def piece(self, text: str, new: tuple[Token, ...]) -> Piece:
        self._give(text)
        return Piece(text, self._tokens, self._tokens_per_second(), new, tuple(self._details()), origin=self._origin)

    def last(self, text: str, reason: FinishReason, new: tuple[Token, ...]) -> Piece:
        self._give(text)
        details, completion = tuple(self._details()), "".join(self._given)
        return Piece(text, self._tokens, self._tokens_per_second(), new, details, completion, reason, self._origin)

    def _give(self, text: str) -> None:
        self._given.append(text)
        self._characters_given += len(text)

    def _details(self) -> Iterator[TokenDetails]:
        """Yield the details of the tokens whose text begins in what has been given out."""
        while self._waiting and self._waiting[0][1] < self._characters_given:
            yield describe(*self._waiting.popleft(), self._tokenizer)

    def _tokens_per_second(self) -> float | None:
        seconds = time.perf_counter() - self._started_at
        return (self._tokens - 1) / seconds if self._tokens > 1 and seconds > 0 else None


def _first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    found = [index for stop in stops if (index := text.find(stop)) >= 0]
    return min(found, default=None)


def _possible_stop(text: str, stops: tuple[str, ...]) -> int:
    """Return how many last characters of `text` could be the beginning of a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return size
    return 0


def prompt_ids(tokenizer: Tokenizer, prompt: str | Sequence[int]) -> list[int]:
    """Return the ids that the model reads: a text starts after an end-of-text, as books do in training; ids are read as they are.

    Raises InvalidInput for ids that the tokenizer does not know, and for no ids at all.
    """
    if isinstance(prompt, str):
        return [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    if not prompt:
        raise InvalidInput(field="prompt", reason="no_tokens")
    for token in prompt:
        if not 0 <= token < tokenizer.size:
            raise InvalidInput(field="prompt", reason="unknown_token", value=token, largest=tokenizer.size - 1)
    return list(prompt)
