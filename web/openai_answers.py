"""Put texts into the JSON of OpenAI's API: whole, or chunk by chunk. Both are made from the same pieces, so they say the same."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workflows import FinishReason, Piece, TokenDetails

FINISH_REASONS = {FinishReason.LENGTH: "length", FinishReason.STOP: "stop", FinishReason.EOS: "stop"}


@dataclass
class Text:
    """One of the texts of an answer so far."""

    index: int
    is_first_for_prompt: bool  # its prompt is counted with it
    begins_with_end_of_text: bool  # our addition to a prompt, which nobody has sent and nobody is told of
    echoed: int = 0  # characters of the prompt in front of the completion
    tokens: int = 0
    prompt_tokens: int = 0
    prompt_tokens_read: int = 0  # fewer where the prompt is longer than the context
    begun: bool = False

    def take(self, piece: Piece) -> Piece:
        """Count a piece, and return it with offsets that count from the beginning of the prompt that was echoed."""
        self.tokens = piece.tokens
        if piece.origin is not None:
            self.prompt_tokens = piece.origin.prompt_tokens - self.begins_with_end_of_text
            self.prompt_tokens_read = min(piece.origin.prompt_tokens_read, self.prompt_tokens)
        details = tuple(replace(each, offset=each.offset + self.echoed) for each in piece.details)
        if piece.tokens == 0 and piece.text:
            self.echoed = len(piece.text)
        return replace(piece, details=details)


@dataclass
class Answers(ABC):
    """Makes one answer or all chunks of a stream."""

    model: str
    logprobs: bool
    include_usage: bool = False
    identity: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    prefix = ""
    whole_object = chunk_object = ""

    def whole(self, texts: Sequence[Text], pieces: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        taken = [[text.take(piece) for piece in some] for text, some in zip(texts, pieces, strict=True)]
        choices = [self._choice(text, some) for text, some in zip(texts, taken, strict=True)]
        return self._frame(self.whole_object, choices, taken[0][-1]) | {"usage": _usage(texts)}

    def chunks(self, text: Text, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what to send for a piece: nothing while it says nothing."""
        piece = text.take(piece)
        unused = {"usage": None} if self.include_usage else {}
        for choice in self._deltas(text, piece):
            yield self._frame(self.chunk_object, [choice], piece) | unused
        text.begun = True

    def usage_chunk(self, texts: Sequence[Text], last: Piece) -> dict[str, Any]:
        return self._frame(self.chunk_object, [], last) | {"usage": _usage(texts)}

    @abstractmethod
    def _choice(self, text: Text, pieces: Sequence[Piece]) -> dict[str, Any]: ...

    @abstractmethod
    def _deltas(self, text: Text, piece: Piece) -> Iterator[dict[str, Any]]: ...

    def _frame(self, kind: str, choices: list[dict[str, Any]], piece: Piece) -> dict[str, Any]:
        """`system_fingerprint` says which engine wrote."""
        return {
            "id": f"{self.prefix}-{self.identity}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": piece.origin.engine if piece.origin else None,
            "choices": choices,
        }


class CompletionAnswers(Answers):
    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def _choice(self, text: Text, pieces: Sequence[Piece]) -> dict[str, Any]:
        reason = pieces[-1].finish_reason
        return {
            "index": text.index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": _completion_logprobs(_details(pieces)) if self.logprobs else None,
            "finish_reason": FINISH_REASONS[reason] if reason else None,
        }

    def _deltas(self, text: Text, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.text or piece.finish_reason:
            yield self._choice(text, [piece])


class ChatAnswers(Answers):
    prefix = "chatcmpl"
    whole_object, chunk_object = "chat.completion", "chat.completion.chunk"

    def _choice(self, text: Text, pieces: Sequence[Piece]) -> dict[str, Any]:
        reason = pieces[-1].finish_reason
        assert reason is not None
        content = "".join(piece.text for piece in pieces)
        return {
            "index": text.index,
            "message": {"role": "assistant", "content": content, "refusal": None},
            "logprobs": _chat_logprobs(_details(pieces)) if self.logprobs else None,
            "finish_reason": FINISH_REASONS[reason],
        }

    def _deltas(self, text: Text, piece: Piece) -> Iterator[dict[str, Any]]:
        if not text.begun:
            yield self._delta(text, {"role": "assistant", "content": "", "refusal": None})
        if piece.text:
            logprobs = _chat_logprobs(piece.details) if self.logprobs else None
            yield self._delta(text, {"content": piece.text}) | {"logprobs": logprobs}
        if piece.finish_reason:
            yield self._delta(text, {}) | {"finish_reason": FINISH_REASONS[piece.finish_reason]}

    def _delta(self, text: Text, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": text.index, "delta": delta, "logprobs": None, "finish_reason": None}


def _usage(texts: Sequence[Text]) -> dict[str, int]:
    """Beside OpenAI's three: how many tokens of the prompts the context could hold."""
    firsts = [text for text in texts if text.is_first_for_prompt]
    prompt, completion = sum(text.prompt_tokens for text in firsts), sum(text.tokens for text in texts)
    read = sum(text.prompt_tokens_read for text in firsts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_read": read,
    }


def _details(pieces: Iterable[Piece]) -> list[TokenDetails]:
    return [details for piece in pieces for details in piece.details]


def _completion_logprobs(details: Iterable[TokenDetails]) -> dict[str, Any]:
    """The chosen token stands among the likeliest, even where it is none of them."""
    told = list(details)
    return {
        "tokens": [each.text for each in told],
        "token_logprobs": [each.logprob for each in told],
        "top_logprobs": [
            None
            if each.logprob is None
            else {other.text: other.logprob for other in each.alternatives} | {each.text: each.logprob}
            for each in told
        ],
        "text_offset": [each.offset for each in told],
    }


def _chat_logprobs(details: Iterable[TokenDetails]) -> dict[str, Any]:
    def shown(token: Any) -> dict[str, Any]:
        return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}

    content = [shown(each) | {"top_logprobs": [shown(other) for other in each.alternatives]} for each in details]
    return {"content": content, "refusal": None}
