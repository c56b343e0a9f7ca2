"""The JSON bodies of requests, built on the configurations: bounds and defaults are defined in config.py alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator

import workflows
from config import PRESETS, SEED_LIMIT, Config, ModelConfig, SamplingConfig, TrainConfig
from errors import InvalidInput
from web.answers import shown

C = TypeVar("C", bound=Config)
Preset = Literal["small", "medium", "large"]
Weights = Literal["f32", "f16", "q8_0"]
Name = Annotated[str, StringConstraints(max_length=200)]  # what a name may be is said by workspace.safe_name
Names = Annotated[tuple[Name, ...], Field(strict=False, max_length=1000)]


def _version(value: object) -> workflows.Version:
    """Return the version that a person names. Raises InvalidInput."""
    if (found := workflows.version_of(value)) is None:
        raise InvalidInput(field="version", reason="no_version", value=shown(value))
    return found


Version = Annotated[Literal["best", "last"] | int, BeforeValidator(_version)]


def narrowed(body: Config, to: type[C]) -> C:
    """Return the part of a request that is the configuration it was built on."""
    return to.model_validate({name: getattr(body, name) for name in to.model_fields})


class Shape(ModelConfig):
    """A preset's sizes, or others by name; what is not given comes from the preset.

    Without a preset it is medium where there is a graphics card and small where there is none.
    """

    preset: Preset = Field(default_factory=workflows.default_preset)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset", workflows.default_preset())
        known = isinstance(preset, str) and preset in PRESETS
        return (PRESETS[preset].model_dump() if known else {}) | data


class CreateModel(Shape):
    name: Name
    seed: Annotated[int, Field(ge=0, le=SEED_LIMIT)] = 0


class EstimateShape(Shape):
    """With `model` the shape is that model's, and sizes are ignored."""

    model: Name | None = None
    books: Names = ()
    train: TrainConfig = TrainConfig()


class SuggestModel(Config):
    """`own` are sizes beside the presets; without `minutes` and `memory_bytes` there is no limit but the machine's own."""

    books: Names
    minutes: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    memory_bytes: Annotated[int, Field(gt=0, le=10**15)] | None = None
    own: ModelConfig | None = None


class Train(TrainConfig):
    """With `queue` a training waits until the ones before it have ended."""

    model: Name
    books: Names
    queue: bool = False


class FirstRun(Config):
    """Everything is optional: without books the example book is read, without a name the model is called like its book."""

    books: Names = ()
    name: Name | None = None
    preset: Preset = "small"
    minutes: Annotated[float, Field(gt=0, le=10_080)] = 3.0


class Generate(SamplingConfig):
    model: Name
    prompt: str
    stream: bool = False
    version: Version = "best"
    weights: Weights = "f16"
    logprobs: bool = False


class ScoreText(Config):
    """`layer` and `head` come together, or not at all."""

    model: Name
    text: str
    version: Version = "best"
    layer: int | None = None
    head: int | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> ScoreText:
        if (self.layer is None) != (self.head is None):
            raise InvalidInput(field="layer" if self.layer is None else "head", reason="layer_and_head")
        return self


class FindCopied(Config):
    model: Name
    text: Annotated[str, StringConstraints(max_length=100_000)]


class Measure(Config):
    model: Name
    book: Name


class PastedBook(Config):
    """A text that was pasted; without a title it is called after its first line."""

    title: Annotated[str, StringConstraints(max_length=200)] = ""
    text: str


class ReadAs(Config):
    encoding: Annotated[str, StringConstraints(max_length=40)]


class EditModel(Config):
    name: Name | None = None
    notes: Annotated[str, StringConstraints(max_length=10_000)] | None = None


class DuplicateModel(Config):
    name: Name | None = None


class EditBook(Config):
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    author: Annotated[str, StringConstraints(max_length=200)] | None = None
    language: (
        Annotated[str, StringConstraints(pattern=r"^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*)?$", max_length=35)] | None
    ) = None


# ---- what errors look like, for the API document ---------------------------------------------------------------------


class ErrorDetail(BaseModel):
    field: str | None = None
    message: str


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str | None = None
    details: list[ErrorDetail] | None = None


class ErrorAnswer(BaseModel):
    """Every answer that is not a success has this shape."""

    error: ErrorBody


class OpenAIErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorAnswer(BaseModel):
    """The shape of errors under /v1/."""

    error: OpenAIErrorBody
