"""One place chooses self-play's environment, and only the environment knows what the parts of its reward are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import ModelConfig, SelfPlayConfig
from selfplay.factory import make_environment, repetition_window, rollout_tokens
from selfplay.text import TextEnvironment
from tests.selfplay.test_text_environment import decode, encode
from tests.training_kit import SHAPE, changed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("wanted", "window", "tokens"), [(8, 32, 8), (96, 32, 24), (96, 128, 96), (97, 128, 96)])
def test_rollout_leaves_a_quarter_of_the_window_to_its_prompt(wanted: int, window: int, tokens: int) -> None:
    model: ModelConfig = changed(SHAPE, max_seq_len=window)
    assert rollout_tokens(SelfPlayConfig(max_new_tokens=wanted), model) == tokens


def test_environment_of_the_books_fits_the_window_of_the_model(prose: str) -> None:
    config = SelfPlayConfig(environment="text", max_new_tokens=96, prompts=["а" * 100])
    made = make_environment(config, SHAPE, [prose], {}, encode, decode, 0)
    assert isinstance(made, TextEnvironment)
    (own,) = made._own
    assert len(own.tokens) == 32 - 24
    assert made.score(own, encode("б" * 24), finished=False).breakdown["length"] < 1  # it loops


def test_only_the_environment_of_texts_names_the_parts_of_its_reward() -> None:
    """Weights of the parts are settings, which config.py describes and a person sees."""
    sources = [
        path
        for folder in ("learning", "machine", "runs", "web", "static/js", "templates", "engine", "store")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".js", ".html"}
    ] + [ROOT / name for name in ("azr_trainer.py", "events.py", "cli.py", "workflows.py", "selfplay/gate.py")]
    assert len(sources) > 60
    named = [path.name for path in sources if re.search(r"diversity(?!_weight)", path.read_text(encoding="utf-8"))]
    assert named == []


def test_repetition_window_is_a_prompt_of_the_book_and_the_longest_text() -> None:
    config = SelfPlayConfig(max_new_tokens=80)
    long, short = (changed(SHAPE, max_seq_len=length) for length in (128, 32))
    assert [repetition_window(config, model) for model in (long, short)] == [24 + 80, 24 + 24]
