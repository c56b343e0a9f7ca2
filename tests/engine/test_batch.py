"""Texts that are written together: each is what it would be alone, whatever the others are and whenever they come and go."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch

from config import SamplingConfig
from engine.batch import Batch
from engine.decoder import exact_decoder
from engine.stream import PLAIN, Extras, NonFiniteLogits, Token, stream
from model import Transformer
from tests.training_kit import SHAPE, changed, make_model, wild

SIZE, NO_END = 300, -1
flat = chain.from_iterable
SETTINGS = [
    SamplingConfig(temperature=0, max_new_tokens=20),
    SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=100, seed=1),  # beyond the context
    SamplingConfig(temperature=0.8, top_k=20, max_new_tokens=40, seed=2),
    SamplingConfig(temperature=0.8, top_k=20, max_new_tokens=40, seed=3),
    SamplingConfig(temperature=1.2, min_p=0.1, repetition_penalty=1.5, max_new_tokens=70, seed=4),
    SamplingConfig(temperature=0.9, max_new_tokens=1, seed=5),
]
EXTRAS = [PLAIN, PLAIN, PLAIN, Extras(alternatives=3), PLAIN, Extras(presence_penalty=2.0)]
PROMPTS = [[5], [6] * 31, [7] * 32, [8, 9], [10] * 50, [11, 12, 13]]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return wild(make_model(), std=0.5).eval()


def _at_once(works: list[Callable[[], object]]) -> list[object]:
    """What each returns or raises, all started at once."""
    found: dict[int, object] = {}

    def do(number: int) -> None:
        try:
            found[number] = works[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=do, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[number] for number in range(len(works))]


def _ended(batch: Batch) -> bool:
    deadline = time.monotonic() + 5
    while batch._runs and time.monotonic() < deadline:
        time.sleep(0.001)
    return not batch._runs and not batch._decoder.room


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("most_rows", [1, 3, 32])
def test_each_text_is_what_it_is_alone(architecture: str, most_rows: int) -> None:
    model = wild(make_model(shape=changed(SHAPE, architecture=architecture)), std=0.5).eval()
    batch = Batch(exact_decoder(model, SIZE), NO_END, 1, most_rows)
    wishes = [*zip(PROMPTS, SETTINGS, EXTRAS, strict=True)] * 2
    works = [lambda wish=wish: list(flat(batch.stream(*wish))) for wish in wishes]
    for found, (prompt, sampling, extras) in zip(_at_once(works), wishes, strict=True):
        alone = list(stream(model, prompt, sampling, SIZE, NO_END, extras))
        assert isinstance(found, list)
        assert [token.id for token in found] == [token.id for token in alone]
        assert [token.logprob for token in found] == pytest.approx([token.logprob for token in alone], abs=1e-4)
        assert len(found) == sampling.max_new_tokens
    assert _ended(batch), "the thread and its memory are given up"


def test_text_ends_at_its_end_of_text_while_others_go_on(model: Transformer) -> None:
    alone = [token.id for token in stream(model, PROMPTS[1], SETTINGS[1], SIZE, NO_END)]
    end = alone[10]
    batch = Batch(exact_decoder(model, SIZE), end, 1)
    works = [
        lambda number=number: [token.id for token in flat(batch.stream(PROMPTS[number], SETTINGS[number]))]
        for number in (0, 1)
    ]
    _, found = _at_once(works)  # type: ignore[arg-type]
    assert found == alone[: alone.index(end) + 1]


def test_text_that_is_left_frees_its_row_within_a_token(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, steps = Batch(exact_decoder(model, SIZE), NO_END, 1), []
    original = Batch._step
    monkeypatch.setattr(Batch, "_step", lambda self: steps.append(1) or original(self))
    text = batch.stream([5], changed(SETTINGS[1], max_new_tokens=100_000))
    next(text)
    text.close()
    taken = len(steps)
    assert _ended(batch)
    assert len(steps) <= taken + 1


def test_texts_join_while_others_are_written(model: Transformer) -> None:
    batch = Batch(exact_decoder(model, SIZE), NO_END, 1)
    first = batch.stream([5], changed(SETTINGS[0], max_new_tokens=100_000))
    next(first)
    joined = [token.id for token in flat(batch.stream(PROMPTS[2], SETTINGS[2]))]
    assert joined == [token.id for token in stream(model, PROMPTS[2], SETTINGS[2], SIZE, NO_END)]
    assert isinstance(next(first)[0], Token)
    first.close()
    assert _ended(batch)


def test_damaged_model_is_told_to_everyone_who_waits() -> None:
    model = wild(make_model()).eval()
    with torch.no_grad():
        model.norm.weight.fill_(1e38)
    batch = Batch(exact_decoder(model, SIZE), NO_END, 1)
    found = _at_once([lambda: list(flat(batch.stream([5], SETTINGS[0]))) for _ in range(3)])
    assert [type(each) for each in found] == [NonFiniteLogits] * 3
    assert _ended(batch)


def test_what_stops_the_computing_reaches_every_reader_and_the_next_text_is_written(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(exact_decoder(model, SIZE), NO_END, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_logits", lambda self: 1 / 0)
        found = _at_once([lambda: list(flat(batch.stream([5], SETTINGS[0]))) for _ in range(3)])
    assert [type(each) for each in found] == [ZeroDivisionError] * 3
    assert len(list(flat(batch.stream([5], SETTINGS[0])))) == 20


ENDING = """
import time
import torch
from config import SamplingConfig
from engine.batch import Batch
from engine.decoder import exact_decoder
from tests.training_kit import make_model

class Slow(Batch):
    def _tidy(self):
        super()._tidy()  # the reader has its last token
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            torch.isfinite(torch.zeros(2000)).all(-1)

print(len(list(Slow(exact_decoder(make_model(), 300), -1, 1).stream([5], SamplingConfig(max_new_tokens=1)))))
"""


def test_process_that_ends_right_after_a_text_ends_well() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "1\n", "")
