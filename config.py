"""Every parameter a person can set: name, type, bounds, default and unit are written here and nowhere else.

The form, the JSON API, the command line and the table in the README are all derived from `parameters(...)`; labels and help
stand in the catalogues under `field.<name>.label` and `field.<name>.help`. The objects are frozen and refuse unknown fields.
Sizes carry the same names everywhere: vocab_size, d_model, num_layers, num_heads, d_ff, max_seq_len.

Not here: what can only be known from the machine (memory, devices) or from the books.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.fields import FieldInfo

from errors import HeadsDoNotDivide

Architecture = Literal["llama", "gpt2"]
Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Optimizer = Literal["muon", "adamw"]

SEED_LIMIT = 2**32 - 1


def _field(default: Any, *, unit: str = "", advanced: bool = False, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={"unit": unit, "advanced": advanced}, **bounds)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Config):
    """The shape of a transformer. The bounds keep a typo from asking for a planet; what fits is checked before allocating."""

    architecture: Architecture = _field("llama")
    vocab_size: int = _field(8000, unit="tokens", ge=257, le=200_000)  # 256 bytes and <|endoftext|> always exist
    d_model: int = _field(256, ge=8, le=16_384)
    num_layers: int = _field(6, unit="layers", ge=1, le=256)
    num_heads: int = _field(8, unit="heads", ge=1, le=256)
    d_ff: int = _field(1024, ge=8, le=65_536)
    max_seq_len: int = _field(256, unit="tokens", ge=16, le=32_768)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.num_heads or (self.d_model // self.num_heads) % 2:
            fitting = [h for h in range(1, 257) if self.d_model % h == 0 and (self.d_model // h) % 2 == 0]
            shown = ", ".join(str(h) for h in fitting)
            raise HeadsDoNotDivide(
                field="num_heads" if fitting else "d_model",
                reason="" if fitting else "none",
                d_model=self.d_model,
                num_heads=self.num_heads,
                fitting=shown,
            )
        return self

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads


def _sizes(vocab_size: int, d_model: int, num_layers: int, num_heads: int, d_ff: int, max_seq_len: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
        max_seq_len=max_seq_len,
    )


PRESETS: dict[str, ModelConfig] = {
    "small": _sizes(5000, 128, 4, 4, 512, 128),
    "medium": _sizes(8000, 256, 6, 8, 1024, 256),
    "large": _sizes(15000, 512, 12, 16, 2048, 512),
}
DEFAULT_PRESET = "medium"


class SelfPlayConfig(Config):
    """Text self-play: the model writes, is paid for diversity and length, and learns from the pay (see docs/self_play.md)."""

    enabled: bool = _field(True)
    environment: Literal["text"] = _field("text", advanced=True)
    every: int = _field(10, unit="iterations", ge=1, le=100_000)
    prompts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=2000)], ...] = _field(
        (), max_length=64, strict=False
    )
    num_prompts: int = _field(8, unit="prompts", ge=1, le=256, advanced=True)
    group_size: int = _field(4, unit="rollouts", ge=2, le=64, advanced=True)
    max_new_tokens: int = _field(96, unit="tokens", ge=8, le=4096, advanced=True)
    diversity_weight: float = _field(0.5, ge=0, le=10, advanced=True)
    length_weight: float = _field(0.5, ge=0, le=10, advanced=True)
    kl_coef: float = _field(0.05, unit="reward/nat", ge=0, le=10, advanced=True)
    kl_target: float = _field(0.3, unit="nat/token", gt=0, le=10, advanced=True)
    copy_penalty: float = _field(0.5, ge=0, le=10, advanced=True)
    max_grad_share: float = _field(0.2, ge=0, le=1, advanced=True)


class TrainConfig(Config):
    """One training. `iterations=None` is endless; an iteration is one optimizer step on book text."""

    iterations: int | None = _field(1000, unit="iterations", ge=1, le=10**9)
    batch_size: int = _field(16, unit="sequences", ge=1, le=4096)
    grad_accum_steps: int = _field(1, unit="micro-batches", ge=1, le=1024, advanced=True)
    optimizer: Optimizer = _field("muon", advanced=True)
    bigram_start: bool = _field(True, advanced=True)
    learning_rate: float = _field(2e-3, gt=0, le=1)
    warmup_iterations: int = _field(10, unit="iterations", ge=0, le=10**6, advanced=True)
    weight_decay: float = _field(0.1, ge=0, le=10, advanced=True)
    max_grad_norm: float = _field(1.0, gt=0, le=1e6, advanced=True)
    dropout: float | None = _field(None, ge=0, lt=1)
    precision: Precision = _field("auto", advanced=True)
    device: Device = _field("auto", advanced=True)
    devices: int = _field(1, unit="devices", ge=1, le=64, advanced=True)
    num_threads: int | None = _field(None, unit="threads", ge=1, le=1024, advanced=True)
    seed: int = _field(0, ge=0, le=SEED_LIMIT, advanced=True)
    val_fraction: float = _field(0.1, ge=0.01, le=0.5, advanced=True)
    eval_every: int = _field(100, unit="iterations", ge=1, le=10**6)
    sample_prompt: Annotated[str, StringConstraints(max_length=2000)] = _field("Искусственный интеллект")
    checkpoint_every: int = _field(500, unit="iterations", ge=1, le=10**6, advanced=True)
    checkpoint_minutes: float = _field(5.0, unit="minutes", gt=0, le=10_080, advanced=True)
    keep_checkpoints: int = _field(2, unit="checkpoints", ge=1, le=1000, advanced=True)
    disk_budget_bytes: int = _field(20_000_000_000, unit="bytes", ge=10_000_000, le=10**15, advanced=True)
    early_stopping_patience: int | None = _field(None, unit="evaluations", ge=1, le=10**6, advanced=True)
    self_play: SelfPlayConfig = SelfPlayConfig()


class SamplingConfig(Config):
    """How text is drawn from a model's probabilities. temperature 0 always takes the likeliest token."""

    max_new_tokens: int = _field(200, unit="tokens", ge=1, le=100_000)
    temperature: float = _field(0.7, ge=0, le=10)
    top_k: int = _field(50, unit="tokens", ge=0, le=200_000)  # 0 = off
    top_p: float = _field(0.9, gt=0, le=1)
    min_p: float = _field(0.0, ge=0, le=1)
    repetition_penalty: float = _field(1.0, ge=0.1, le=10)
    seed: int | None = _field(None, ge=0, le=SEED_LIMIT, advanced=True)
    stop: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = _field(
        (), max_length=16, strict=False, advanced=True
    )


# ---- a description of the fields, for whoever shows them ---------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One field as a form, a command line or a table needs it. `kind` is int, float, bool, choice, text or texts."""

    name: str
    kind: str
    default: Any
    unit: str
    advanced: bool
    optional: bool
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    choices: tuple[str, ...] = ()


def parameters(config: type[Config]) -> list[Parameter]:
    """The fields of a configuration in the order of the class, nested configurations left out."""
    fields = config.model_fields.items()
    return [_describe(name, field) for name, field in fields if not isinstance(field.default, Config)]


def _describe(name: str, field: FieldInfo) -> Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    arguments = get_args(field.annotation)
    optional = type(None) in arguments
    kind, choices = _kind(arguments[0] if optional else field.annotation)
    bounds = {type(m): m for m in field.metadata}
    low, high = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    above, below = bounds.get(annotated_types.Gt), bounds.get(annotated_types.Lt)
    return Parameter(
        name=name,
        kind=kind,
        default=field.default,
        unit=str(extra.get("unit", "")),
        advanced=bool(extra.get("advanced")),
        optional=optional,
        minimum=low.ge if low else above.gt if above else None,
        maximum=high.le if high else below.lt if below else None,
        exclusive_minimum=above is not None,
        exclusive_maximum=below is not None,
        choices=choices,
    )


def _kind(annotation: Any) -> tuple[str, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation)
    if get_origin(annotation) is tuple:
        return "texts", ()
    return {int: "int", float: "float", bool: "bool"}.get(annotation, "text"), ()
