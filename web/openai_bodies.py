"""The bodies of OpenAI's API, and what they ask for in our own words.

Sampling parameters keep our bounds, and OpenAI's defaults: temperature 1 and nothing filtered. `top_k`, `min_p` and
`repetition_penalty` may be given as well. null stands for "not given". Parameters that only label a request are ignored, and so are tools
that a model may use: none here does. Those that would change the text in a way that no model here can are refused by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from config import SEED_LIMIT, Config, SamplingConfig
from errors import InvalidInput
from web.schemas import Name
from workflows import Extras

MOST_TEXTS = 16  # in one request: prompts times n
MOST_ALTERNATIVES = 20
IGNORED = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
    | {"verbosity", "parallel_tool_calls", "functions", "tools"}
)
REFUSED = frozenset(
    {"audio", "function_call", "logit_bias", "response_format", "suffix", "tool_choice", "web_search_options"}
)
RENAMED = {"max_completion_tokens": "max_tokens", "repeat_penalty": "repetition_penalty"}  # as llama.cpp calls it
HARMLESS: tuple[object, ...] = ("", [], {}, "none", "auto", {"type": "text"})  # values of REFUSED that ask for nothing

Penalty = Annotated[float, Field(ge=-2, le=2)]


class StreamOptions(Config):
    include_usage: bool = False
    include_obfuscation: bool = False  # nothing is padded here


class OpenAIBody(SamplingConfig, ABC):
    """What both kinds of completion share."""

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    model: Name
    n: int = Field(1, ge=1, le=MOST_TEXTS)
    temperature: float = Field(1.0, ge=0, le=10)
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(0, ge=0, le=200_000)
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field((), max_length=4, strict=False)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0

    @model_validator(mode="before")
    @classmethod
    def _in_our_words(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {name: value for name, value in data.items() if value is not None and name not in IGNORED}
        for name in REFUSED & given.keys():
            if given.pop(name) not in HARMLESS:
                raise InvalidInput(field=name, reason="refused_suffix" if name == "suffix" else "refused")
        if given.pop("best_of", given.get("n", 1)) not in (1, given.get("n", 1)):
            raise InvalidInput(field="best_of", reason="refused_best_of")
        if isinstance(given.get("stop"), str):
            given["stop"] = [given["stop"]] if given["stop"] else []
        if type(given.get("seed")) is int:
            given["seed"] &= SEED_LIMIT  # OpenAI's may be negative or have 64 bits
        for theirs, ours in RENAMED.items():
            if theirs in given:
                given[ours] = given.pop(theirs)
        return given

    def sampling(self, text: int) -> SamplingConfig:
        """Return the settings for one of the texts; with a seed each has another one, so that they differ."""
        seed = None if self.seed is None else (self.seed + text) & SEED_LIMIT
        values = {name: getattr(self, name) for name in SamplingConfig.model_fields}
        return SamplingConfig.model_validate(values | {"seed": seed, "top_p": self.top_p or 1e-9})

    def extras(self) -> Extras:
        return Extras(self.alternatives(), self.presence_penalty, self.frequency_penalty)

    @abstractmethod
    def alternatives(self) -> int | None:
        """Return how many of the likeliest tokens are asked for at each place; None where no logprobs are."""

    @property
    def texts(self) -> int:
        """Return how many texts the request asks for."""
        return self.n


class Completions(OpenAIBody):
    """POST /v1/completions. `prompt` is a text, several texts, token ids, or several lists of them. Token ids are read as they are; a text is read after an end-of-text, as books are in training."""

    max_new_tokens: int = Field(16, alias="max_tokens", ge=0, le=100_000)
    prompt: tuple[str | tuple[int, ...], ...]
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    echo: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_by_one(cls, data: Any) -> Any:
        given = data.get("prompt") if isinstance(data, dict) else None
        return data if given is None else data | {"prompt": _prompts(given)}

    @model_validator(mode="after")
    def _few_texts(self) -> Completions:
        if self.texts > MOST_TEXTS:
            raise InvalidInput(field="prompt", reason="too_many_texts", texts=self.texts, most=MOST_TEXTS)
        return self

    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def texts(self) -> int:
        return len(self.prompt) * self.n


def _prompts(given: Any) -> tuple[str | tuple[int, ...], ...]:
    """Return the prompts one by one. Raises InvalidInput for what is neither text nor token ids.

    "a" -> ("a",); ["a", "b"] -> ("a", "b"); [1, 2] -> ((1, 2),); [[1], [2]] -> ((1,), (2,))
    """
    if isinstance(given, str):
        return (given,)
    if _are(int, given):
        return (tuple(given),)
    if _are(str, given):
        return tuple(given)
    if isinstance(given, list) and all(_are(int, each) for each in given):
        return tuple(tuple(each) for each in given)
    raise InvalidInput(field="prompt", reason="prompt_type")


def _are(kind: type, given: Any) -> bool:
    return isinstance(given, list) and all(type(each) is kind for each in given)


class Message(Config):
    """What is said counts, not by whom: these models learned no dialogue. `content` is a text or a list of text parts."""

    model_config = ConfigDict(extra="ignore")

    role: Annotated[str, Field(max_length=40)]
    content: str = ""

    @model_validator(mode="before")
    @classmethod
    def _one_text(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        content = data.get("content")
        if isinstance(content, list):
            content = "".join(_text_of(part) for part in content)
        return data | {"content": "" if content is None else content}


def _text_of(part: Any) -> str:
    """Return the text of one part of a message. Raises InvalidInput for pictures, sounds and files."""
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        raise InvalidInput(field="messages", reason="only_text")
    return text


class ChatCompletions(OpenAIBody):
    """POST /v1/chat/completions. The template of our models: each message is a paragraph, as `CHAT_TEMPLATE` in formats/gguf.py has it."""

    max_new_tokens: int = Field(SamplingConfig().max_new_tokens, alias="max_tokens", ge=1, le=100_000)
    messages: tuple[Message, ...] = Field(strict=False, min_length=1, max_length=10_000)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_ALTERNATIVES)

    @property
    def prompt(self) -> str:
        return "\n\n".join(message.content for message in self.messages if message.content)

    def alternatives(self) -> int | None:
        return self.top_logprobs if self.logprobs else None
