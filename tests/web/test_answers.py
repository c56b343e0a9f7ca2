"""Values on their way out: always JSON, always UTF-8."""

from __future__ import annotations

import json
import math

import pytest

from config import PRESETS
from events import Evaluated, State, TrainingStatus
from web.answers import JSONAnswer, plain, to_json


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_null_however_deep(value: float) -> None:
    assert to_json({"a": [{"b": (value, 1.5)}]}) == '{"a":[{"b":[null,1.5]}]}'
    assert plain(Evaluated(1, value, 2.0, 5.0, False, 1.0))["val_loss"] is None


def test_half_a_character_leaves_as_a_question_mark() -> None:
    assert to_json({"name": "a\ud800b"}) == '{"name":"a?b"}'
    assert JSONAnswer({"\udfff": 1}).body == b'{"?":1}'


def test_characters_stay_themselves() -> None:
    assert JSONAnswer({"имя": "поэт 🙂"}).body == '{"имя":"поэт 🙂"}'.encode()


def test_states_and_configurations_are_plain_values() -> None:
    status = json.loads(to_json(TrainingStatus(state=State.DONE, books=("a",))))
    assert (status["state"], status["books"], status["config"]) == ("done", ["a"], None)
    assert plain(PRESETS)["small"]["d_model"] == 128
