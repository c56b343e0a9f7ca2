"""Texts that the C code writes together: each is what it is alone, and tokens come with the probabilities that the settings give them."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from itertools import chain

import pytest
import torch

from config import ModelConfig, SamplingConfig
from engine.decoder import Decoder, exact_decoder, fast_decoder
from engine.native_batch import NativeBatch
from engine.sampling import candidates, penalised
from engine.stream import NonFiniteLogits, Token, stream
from kernels import native
from kernels.decode import Choices
from model import Transformer
from tests.training_kit import changed, wild

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")
SHAPE = ModelConfig(vocab_size=300, d_model=64, num_layers=2, num_heads=2, d_ff=96, max_seq_len=32)
SIZE, NO_END = 290, -2
GREEDY = SamplingConfig(temperature=0, max_new_tokens=20)
SETTINGS = [
    GREEDY,
    SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=100, seed=1),  # beyond the context
    SamplingConfig(temperature=0.8, top_k=20, max_new_tokens=40, seed=2),
    SamplingConfig(temperature=1.2, min_p=0.1, repetition_penalty=1.5, max_new_tokens=70, seed=4),
    SamplingConfig(temperature=0.9, max_new_tokens=1, seed=5),
]
PROMPTS = [[5], [6] * 31, [7] * 32, [8, 9], [10] * 50]
flat = chain.from_iterable


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(SHAPE)
    model.initialise(0)
    return wild(model, std=0.15).eval()


def _batch(model: Transformer, end: int = NO_END) -> NativeBatch:
    decoder = fast_decoder(model, SIZE)
    assert decoder is not None
    return NativeBatch(decoder, SIZE, end, 1)


def _together(batch: NativeBatch, wishes: list[tuple[list[int], SamplingConfig]]) -> list[list[int]]:
    found: dict[int, list[int]] = {}

    def read(number: int, prompt: list[int], sampling: SamplingConfig) -> None:
        found[number] = [token.id for token in flat(batch.stream(prompt, sampling))]

    threads = [threading.Thread(target=read, args=(number, *wish)) for number, wish in enumerate(wishes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[number] for number in range(len(wishes))]


def test_each_text_is_what_it_is_alone(model: Transformer) -> None:
    wishes = [*zip(PROMPTS, SETTINGS, strict=True)] * 3
    together = _together(_batch(model), wishes)
    alone = [_together(_batch(model), [wish])[0] for wish in wishes[: len(PROMPTS)]]
    assert together == alone * 3
    assert [len(text) for text in alone] == [sampling.max_new_tokens for sampling in SETTINGS]


def test_greedy_text_is_that_of_the_model_itself(model: Transformer) -> None:
    wanted = [token.id for token in stream(model, PROMPTS[3], GREEDY, SIZE, NO_END)]
    assert _together(_batch(model), [(PROMPTS[3], GREEDY)]) == [wanted]


def test_text_ends_at_its_end_of_text_while_others_go_on(model: Transformer) -> None:
    (text,) = _together(_batch(model), [(PROMPTS[1], SETTINGS[1])])
    end = text[40]
    found, other = _together(_batch(model, end), [(PROMPTS[1], SETTINGS[1]), (PROMPTS[2], SETTINGS[2])])
    assert found == text[: text.index(end) + 1]
    assert len(other) == 40 or other[-1] == end


def test_text_that_is_left_frees_its_row_within_a_token(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, made = _batch(model), []
    run = batch._native.run
    monkeypatch.setattr(batch._native, "run", lambda *given: made.append(run(*given)) or made[-1])  # type: ignore[func-returns-value]
    text = batch.stream([5], changed(GREEDY, max_new_tokens=100_000))
    for _ in range(3):
        next(text)
    text.close()
    taken = len(made)
    deadline = time.monotonic() + 5
    while batch._runs and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not batch._runs and not batch._decoder.room
    assert len(made) <= taken + 1


def test_text_joins_while_another_is_written(model: Transformer) -> None:
    batch = _batch(model)
    first = batch.stream([5], changed(GREEDY, max_new_tokens=100_000))
    next(first)
    assert _together(batch, [(PROMPTS[2], SETTINGS[2])]) == _together(_batch(model), [(PROMPTS[2], SETTINGS[2])])
    assert isinstance(next(first)[0], Token)
    first.close()


def test_damaged_model_is_told_to_everyone_who_waits(model: Transformer) -> None:
    damaged = Transformer(SHAPE)
    damaged.load_state_dict(model.state_dict())
    with torch.no_grad():
        damaged.norm.weight.fill_(1e38)
    batch = _batch(damaged.eval())
    for _ in range(2):
        with pytest.raises(NonFiniteLogits):
            list(batch.stream([5], GREEDY))


# ---- the probabilities -----------------------------------------------------------------------------------------------


def _after(decoder: Decoder, context: list[int]) -> torch.Tensor:
    decoder.grow(1)
    if context[:-1]:
        decoder.read_rows(0, [context[:-1]])
    return decoder.step(torch.tensor(context[-1:]), torch.tensor([len(context) - 1]))[0]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(temperature=1.0, top_k=0, top_p=1.0),
        SamplingConfig(temperature=0.7, top_k=50, top_p=0.9),
        SamplingConfig(temperature=1.5, top_k=0, top_p=0.8),
        SamplingConfig(temperature=2.0, top_k=0, top_p=1.0, min_p=0.2),
        SamplingConfig(temperature=1.0, top_k=5, top_p=1.0, repetition_penalty=0.4),
        SamplingConfig(temperature=9.0, top_k=0, top_p=0.999),  # more are left than are sorted at first
    ],
    ids=str,
)
@torch.inference_mode()
def test_tokens_come_as_often_as_the_settings_say(model: Transformer, sampling: SamplingConfig) -> None:
    """Evenly spread chances draw each token in proportion to its probability, to one draw."""
    draws, context = 4_000, [5, 9, 9, 30]
    logits = _after(exact_decoder(model, SIZE), context)
    ids, p = candidates(penalised(logits, sampling, torch.tensor(context), {}, 0, 0)[None], sampling)
    decoder = fast_decoder(model, SIZE)
    assert decoder is not None
    seen = torch.zeros(1, SIZE, dtype=torch.uint8)
    s = sampling
    settings = torch.tensor([[s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty]], dtype=torch.float64)
    _after(decoder, context)
    found: Counter[int] = Counter()
    stop, tokens, places = torch.ones(1, dtype=torch.int32), torch.tensor(context[-1:]), torch.tensor([3])
    for number in range(draws):
        seen.zero_()[0, context] = 1
        chance = torch.tensor([[(number + 0.5) / draws]], dtype=torch.float64)
        choices = Choices(settings, seen, NO_END)
        found[decoder.run(tokens, places, choices, chance, stop)[0][0]] += 1
    wanted = dict(zip(ids[0].tolist(), (p[0].double() * draws).tolist(), strict=True))
    assert set(found) <= {token for token, times in wanted.items() if times}
    wrong = {
        token: (found[token], times) for token, times in wanted.items() if abs(found[token] - times) > 2 + 0.01 * times
    }
    assert not wrong
    assert math.isclose(sum(wanted.values()), draws, rel_tol=1e-4)
