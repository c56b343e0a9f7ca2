"""Parameters: what is refused, what every field tells of itself, and what the presets promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from config import (
    PRESETS,
    Config,
    Decides,
    ModelConfig,
    SamplingConfig,
    SelfPlayConfig,
    TrainConfig,
    decides_of,
    names_of,
    parameters,
)
from errors import HeadsDoNotDivide
from model import count_parameters

CONFIGS: list[type[Config]] = [ModelConfig, TrainConfig, SelfPlayConfig, SamplingConfig]
every_config = pytest.mark.parametrize("config", CONFIGS)
FIELDS = [(config, parameter) for config in CONFIGS for parameter in parameters(config)]
NUMBERS = [(config, p) for config, p in FIELDS if p.kind in ("int", "float")]
WITHOUT_UNIT = {
    "d_model", "d_ff", "learning_rate", "weight_decay", "max_grad_norm", "dropout", "seed", "val_fraction",
    "diversity_weight", "length_weight", "greedy_share", "max_grad_share", "temperature", "top_p", "min_p", "repetition_penalty",
}  # fmt: skip


def _id(value: object) -> str:
    return getattr(value, "__name__", "") or getattr(value, "name", "")


@every_config
def test_config_refuses_a_field_it_does_not_know(config: type[Config]) -> None:
    with pytest.raises(ValidationError):
        config(learning_rat=1)
    assert config()


@every_config
def test_config_is_frozen(config: type[Config]) -> None:
    name = next(iter(config.model_fields))
    with pytest.raises(ValidationError):
        setattr(config(), name, 1)


@every_config
def test_config_round_trips_through_json(config: type[Config]) -> None:
    assert config.model_validate_json(config().model_dump_json()) == config()


@pytest.mark.parametrize(("config", "parameter"), [f for f in FIELDS if f[1].kind == "float"], ids=_id)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_refused(config: type[Config], parameter: object, value: float) -> None:
    with pytest.raises(ValidationError):
        config(**{parameter.name: value})


@pytest.mark.parametrize(("config", "parameter"), NUMBERS, ids=_id)
def test_number_has_bounds_that_hold(config: type[Config], parameter: object) -> None:
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    for bound, step, exclusive in (
        (parameter.minimum, -1, parameter.exclusive_minimum),
        (parameter.maximum, 1, parameter.exclusive_maximum),
    ):
        with pytest.raises(ValidationError):
            config(**{parameter.name: bound + step})
        if parameter.name in ("d_model", "num_heads"):
            continue  # tied to each other
        if exclusive:
            with pytest.raises(ValidationError):
                config(**{parameter.name: bound})
        else:
            config(**{parameter.name: bound})


@pytest.mark.parametrize(("config", "parameter"), NUMBERS, ids=_id)
def test_number_tells_its_unit_unless_it_has_none(config: type[Config], parameter: object) -> None:
    assert bool(parameter.unit) != (parameter.name in WITHOUT_UNIT)


@pytest.mark.parametrize(("config", "parameter"), [f for f in FIELDS if f[1].kind == "choice"], ids=_id)
def test_choice_lists_its_default_and_refuses_others(config: type[Config], parameter: object) -> None:
    assert parameter.default in parameter.choices
    with pytest.raises(ValidationError):
        config(**{parameter.name: "something else"})


@pytest.mark.parametrize("value", ["16", 16.5, True])
def test_whole_number_is_not_made_of_anything_else(value: object) -> None:
    with pytest.raises(ValidationError):
        TrainConfig(batch_size=value)


def test_parameters_leave_nested_configurations_out() -> None:
    assert "self_play" not in [parameter.name for parameter in parameters(TrainConfig)]
    optional = {parameter.name for parameter in parameters(TrainConfig) if parameter.optional}
    assert optional == {
        "iterations",
        "max_minutes",
        "weight_decay",
        "dropout",
        "num_threads",
        "early_stopping_patience",
    }


@pytest.mark.parametrize(
    ("d_model", "num_heads", "fits"), [(32, 2, True), (32, 3, False), (32, 32, False), (24, 8, False), (24, 4, True)]
)
def test_heads_divide_the_width_into_even_parts(d_model: int, num_heads: int, fits: bool) -> None:
    if fits:
        assert ModelConfig(d_model=d_model, num_heads=num_heads).head_dim == d_model // num_heads
        return
    with pytest.raises(ValidationError) as error:
        ModelConfig(d_model=d_model, num_heads=num_heads)
    cause = error.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, HeadsDoNotDivide)
    assert (cause.code, cause.field) == ("heads_do_not_divide", "num_heads")
    for heads in str(cause.parameters["fitting"]).split(", "):
        assert ModelConfig(d_model=d_model, num_heads=int(heads))


@pytest.mark.parametrize(
    ("preset", "parameters_", "least", "most"),
    [("small", 2_329_728, 2e6, 5e6), ("medium", 10_390_784, 10e6, 30e6), ("large", 65_704_448, 50e6, 200e6)],
)
def test_preset_has_as_many_parameters_as_promised(preset: str, parameters_: int, least: float, most: float) -> None:
    assert count_parameters(PRESETS[preset]) == parameters_
    assert least <= parameters_ <= most


# ---- what settings decide ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TrainConfig, SelfPlayConfig])
def test_every_setting_of_a_training_declares_what_it_decides(config: type[Config]) -> None:
    own = {name: field for name, field in config.model_fields.items() if not isinstance(field.default, Config)}
    assert [name for name, field in own.items() if decides_of(field) is None] == []


def test_setting_that_declares_nothing_is_noticed() -> None:
    assert decides_of(ModelConfig.model_fields["d_model"]) is None


def test_settings_that_change_the_weights_and_those_that_change_the_pace() -> None:
    free = set(TrainConfig.model_fields) - {"self_play"} - names_of(TrainConfig, Decides.NUMBERS)
    assert free == {
        "iterations", "max_minutes", "eval_every", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints", "disk_budget_bytes",
        "sample_prompt", "early_stopping_patience", "device", "devices", "precision", "num_threads",
    }  # fmt: skip
    assert names_of(SelfPlayConfig, Decides.NUMBERS) == set(SelfPlayConfig.model_fields)
    assert names_of(TrainConfig, Decides.PACE) == {
        "batch_size", "grad_accum_steps", "optimizer", "dropout", "precision", "device", "devices", "num_threads",
        "val_fraction", "book_weights",
    }  # fmt: skip
    assert names_of(SelfPlayConfig, Decides.PACE) == {
        "enabled", "environment", "num_prompts", "max_new_tokens", "prompts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "patience"),
    [
        ({}, 5),
        ({"eval_every": 10}, 30),
        ({"iterations": None}, None),
        ({"iterations": None, "max_minutes": 3.0}, 5),
        ({"early_stopping_patience": 0}, None),
        ({"early_stopping_patience": 2}, 2),
        ({"iterations": None, "early_stopping_patience": 2}, 2),
    ],
)
def test_patience_follows_from_the_training_unless_it_is_given(settings: dict[str, Any], patience: int | None) -> None:
    assert TrainConfig(**settings).patience == patience
