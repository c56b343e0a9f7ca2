"""Check what a checkpoint from elsewhere says about its training, before any of it is stored.

Not here: its tensors (exchange/reading.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from azr_trainer import TrainerState
from config import TrainConfig

_TRAINER = TypeAdapter(TrainerState)


class _State(BaseModel):
    """What a resumed training reads of a checkpoint; it may hold more."""

    model_config = ConfigDict(strict=True)

    trainer: dict[str, Any]
    books: list[str]
    books_key: str
    held_out_places: int = 1
    circumstances: dict[str, Any]
    config: dict[str, Any]


def require_readable(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a training could not go on from this state: something is missing, or not what it must be."""
    state = _State.model_validate(values)
    known = {name: value for name, value in state.config.items() if name in TrainConfig.model_fields}
    TrainConfig.model_validate(known | {"learning_rate": state.config.get("learning_rate")})
    try:
        trainer = TrainerState.from_json(state.trainer)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"trainer: {error!r}") from error
    # As JSON, because of an object that exists pydantic would believe the types.
    _TRAINER.validate_json(json.dumps(asdict(trainer)), strict=True)
