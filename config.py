"""Every parameter a person can set: name, type, bounds, default and unit are written here and nowhere else.

The form, the JSON API, the command line and the table in the README are all derived from `parameters(...)`; labels and help
stand in the catalogues under `field.<name>.label` and `field.<name>.help`. The objects are frozen and refuse unknown fields.
Each setting of a training also says what it decides (`Decides`); which settings make a resume exact and which make a forecast
valid follows from that (`names_of`).
Sizes carry the same names everywhere: vocab_size, d_model, num_layers, num_heads, d_ff, max_seq_len.

Not here: what can only be known from the machine (memory, devices) or from the books.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.fields import FieldInfo

from errors import HeadsDoNotDivide

Architecture = Literal["llama", "gpt2"]
Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Optimizer = Literal["muon", "adamw"]

ROPE_THETA = 10_000.0  # base of the rotary positions (Su et al. 2021)
NOT_OFFERED = "not_offered"  # marks a field that no form, option or table shows
SEED_LIMIT = 2**32 - 1
# Past its best a held-out loss does not come back (docs/en/benchmarks.md), but self-play may lift it for a while: its gate needs three
# evaluations to close (selfplay/gate.py) and the model some more to recover. Five are the first number above that.
PATIENCE_EVALUATIONS = 5
PATIENCE_ITERATIONS = 300  # at least: evaluations that follow each other closely differ by chance


class Decides(Flag):
    """What becomes invalid when a setting of a training changes."""

    NOTHING = 0
    NUMBERS = 1  # the weights: a resumed run is exact only while the setting is unchanged
    PACE = 2  # how long an iteration, a self-play round or an evaluation takes: a forecast holds while it is unchanged
    BOTH = NUMBERS | PACE


def _field(default: Any, *, unit: str = "", advanced: bool = False, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={"unit": unit, "advanced": advanced}, **bounds)


def _setting(default: Any, decides: Decides, *, unit: str = "", advanced: bool = False, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={"unit": unit, "advanced": advanced, "decides": decides.value}, **bounds)


def _carried(default: Any, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={NOT_OFFERED: True}, **bounds)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Config):
    """Sizes of a transformer. The bounds only catch typing errors; whether a model fits into memory is checked separately."""

    architecture: Architecture = _field("llama")
    vocab_size: int = _field(8000, unit="tokens", ge=257, le=200_000)  # 256 bytes and <|endoftext|> always exist
    d_model: int = _field(256, ge=8, le=16_384)
    num_layers: int = _field(6, unit="layers", ge=1, le=256)
    num_heads: int = _field(8, unit="heads", ge=1, le=256)
    d_ff: int = _field(1024, ge=8, le=65_536)
    max_seq_len: int = _field(256, unit="tokens", ge=16, le=32_768)
    rope_theta: float = _carried(ROPE_THETA, ge=1, le=1e12)  # other than this in imported models alone

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
PRESET_ON_A_CARD: Literal["medium"] = "medium"
PRESET_WITHOUT_ONE: Literal["small"] = "small"  # a processor needs minutes for it, and hours for medium


class SelfPlayConfig(Config):
    """Text self-play: the model writes as people let it write, is rewarded for diversity and length, and unlearns its loops
    (see docs/en/self-play.md)."""

    enabled: bool = _setting(True, Decides.BOTH)
    environment: Literal["text"] = _setting("text", Decides.BOTH, advanced=True)
    every: int = _setting(5, Decides.NUMBERS, unit="iterations", ge=1, le=100_000)
    prompts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=2000)], ...] = _setting(
        (), Decides.BOTH, max_length=64, strict=False
    )
    num_prompts: int = _setting(16, Decides.BOTH, unit="rollouts", ge=1, le=256, advanced=True)
    max_new_tokens: int = _setting(80, Decides.BOTH, unit="tokens", ge=8, le=4096, advanced=True)
    greedy_share: float = _setting(0.75, Decides.NUMBERS, ge=0, le=1, advanced=True)
    temperature: float = _setting(0.7, Decides.NUMBERS, ge=0, le=10, advanced=True)
    top_k: int = _setting(50, Decides.NUMBERS, unit="tokens", ge=0, le=200_000, advanced=True)  # 0 = off
    top_p: float = _setting(0.9, Decides.NUMBERS, gt=0, le=1, advanced=True)
    diversity_weight: float = _setting(0.5, Decides.NUMBERS, ge=0, le=10, advanced=True)
    length_weight: float = _setting(0.5, Decides.NUMBERS, ge=0, le=10, advanced=True)
    max_grad_share: float = _setting(1.0, Decides.NUMBERS, ge=0, le=10, advanced=True)


FORMER_SELF_PLAY = frozenset({"group_size", "kl_coef", "kl_target", "copy_penalty"})  # settings of earlier versions


def without_former(values: Any) -> Any:
    """Return the settings of a training as an earlier version stored them, without those of self-play that no longer exist."""
    if not isinstance(values, dict) or not isinstance(play := values.get("self_play"), dict):
        return values
    return values | {"self_play": {name: value for name, value in play.items() if name not in FORMER_SELF_PLAY}}


class TrainConfig(Config):
    """One training. `iterations=None` is endless unless `max_minutes` ends it; an iteration is one optimizer step on book text."""

    iterations: int | None = _setting(1000, Decides.NOTHING, unit="iterations", ge=1, le=10**9)
    max_minutes: float | None = _setting(None, Decides.NOTHING, unit="minutes", gt=0, le=525_600, advanced=True)
    book_weights: tuple[Annotated[float, Field(gt=0, le=100)], ...] = _setting(
        (), Decides.BOTH, max_length=1000, strict=False, advanced=True
    )
    batch_size: int = _setting(16, Decides.BOTH, unit="sequences", ge=1, le=4096)
    grad_accum_steps: int = _setting(1, Decides.BOTH, unit="micro-batches", ge=1, le=1024, advanced=True)
    optimizer: Optimizer = _setting("muon", Decides.BOTH, advanced=True)
    bigram_start: bool = _setting(True, Decides.NUMBERS, advanced=True)
    learning_rate: float = _setting(2e-3, Decides.NUMBERS, gt=0, le=1)
    warmup_iterations: int = _setting(10, Decides.NUMBERS, unit="iterations", ge=0, le=10**6, advanced=True)
    weight_decay: float | None = _setting(None, Decides.NUMBERS, ge=0, le=10, advanced=True)
    max_grad_norm: float = _setting(1.0, Decides.NUMBERS, gt=0, le=1e6, advanced=True)
    dropout: float | None = _setting(None, Decides.BOTH, ge=0, lt=1)
    precision: Precision = _setting("auto", Decides.PACE, advanced=True)
    device: Device = _setting("auto", Decides.PACE, advanced=True)
    devices: int = _setting(1, Decides.PACE, unit="devices", ge=1, le=64, advanced=True)
    num_threads: int | None = _setting(None, Decides.PACE, unit="threads", ge=1, le=1024, advanced=True)
    seed: int = _setting(0, Decides.NUMBERS, ge=0, le=SEED_LIMIT, advanced=True)
    val_fraction: float = _setting(0.1, Decides.BOTH, ge=0.01, le=0.5, advanced=True)
    eval_every: int = _setting(100, Decides.NOTHING, unit="iterations", ge=1, le=10**6)
    sample_prompt: Annotated[str, StringConstraints(max_length=2000)] = _setting(
        "Искусственный интеллект", Decides.NOTHING
    )
    checkpoint_every: int = _setting(500, Decides.NOTHING, unit="iterations", ge=1, le=10**6, advanced=True)
    checkpoint_minutes: float = _setting(5.0, Decides.NOTHING, unit="minutes", gt=0, le=10_080, advanced=True)
    keep_checkpoints: int = _setting(2, Decides.NOTHING, unit="checkpoints", ge=1, le=1000, advanced=True)
    disk_budget_bytes: int = _setting(
        20_000_000_000, Decides.NOTHING, unit="bytes", ge=10_000_000, le=10**15, advanced=True
    )
    early_stopping_patience: int | None = _setting(
        None, Decides.NOTHING, unit="evaluations", ge=0, le=10**6, advanced=True
    )
    self_play: SelfPlayConfig = SelfPlayConfig()

    @property
    def ends_by_time(self) -> bool:
        """Return whether time alone ends the training, so that its number of iterations is not known."""
        return self.iterations is None and self.max_minutes is not None

    @property
    def patience(self) -> int | None:
        """Number of evaluations without a better held-out loss after which the training ends; None if it never ends early.

        Not given, it follows from the training: none in an endless one, else PATIENCE_EVALUATIONS, or as many as
        PATIENCE_ITERATIONS have where evaluations are more frequent. 0 is never.
        """
        if self.early_stopping_patience is not None:
            return self.early_stopping_patience or None
        if self.iterations is None and not self.ends_by_time:
            return None
        return max(PATIENCE_EVALUATIONS, -(-PATIENCE_ITERATIONS // self.eval_every))

    def gives_up(self, evaluations: int, iterations: int) -> bool:
        """Return whether to end the training after so many evaluations and iterations without a better held-out loss."""
        if self.patience is None or evaluations < self.patience:
            return False
        return self.early_stopping_patience is not None or iterations >= PATIENCE_ITERATIONS


class SamplingConfig(Config):
    """Settings for sampling text. temperature 0 always takes the likeliest token."""

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


MOODS = {  # by name, settings that a person chooses with one click; MOOD_SETS are the fields that they differ in
    "careful": SamplingConfig(temperature=0.4, top_k=20, top_p=0.8),
    "usual": SamplingConfig(),
    "bold": SamplingConfig(temperature=1.0, top_k=0, top_p=0.95),
}
MOOD_SETS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


# ---- a description of the fields, for whoever shows them ---------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One field as a form, a command line or a table needs it. `kind` is int, float, bool, choice, text, texts or numbers."""

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
    """Return the fields of a configuration in the order of the class, without nested configurations and those not offered."""
    fields = config.model_fields.items()
    return [
        _describe(name, field) for name, field in fields if not isinstance(field.default, Config) and _offered(field)
    ]


def _offered(field: FieldInfo) -> bool:
    return not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(NOT_OFFERED))


def names_of(config: type[Config], decides: Decides) -> frozenset[str]:
    """Return the names of the settings that decide `decides`, without nested configurations."""
    fields = config.model_fields.items()
    return frozenset(name for name, field in fields if (found := decides_of(field)) and decides in found)


def decides_of(field: FieldInfo) -> Decides | None:
    """Return what a field decides; None for fields that are not settings of a training."""
    extra = field.json_schema_extra
    value = extra.get("decides") if isinstance(extra, dict) else None
    return Decides(value) if isinstance(value, int) else None


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
        return "texts" if get_args(get_args(annotation)[0])[0] is str else "numbers", ()
    return {int: "int", float: "float", bool: "bool"}.get(annotation, "text"), ()
