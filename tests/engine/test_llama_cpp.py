"""llama.cpp as an engine: the same tokens and the same distribution as our own loop, and texts that come together or are left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from config import SamplingConfig
from engine import llama_cpp
from engine.llama_cpp import LlamaCpp, LlamaCppFailed
from engine.sampling import candidates, penalised
from engine.stream import Extras, stream
from formats.gguf import NUMBER_DIGITS, SPARE_CONTEXT, NumberType, engine_file
from model import Transformer
from tests.training_kit import SHAPE, changed, make_model, wild
from tokenizer import Tokenizer

pytest.importorskip("xllamacpp", reason="the optional runtime is not installed")

WINDOW = SHAPE.max_seq_len
PLAIN = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, seed=1, max_new_tokens=20)
GREEDY = changed(PLAIN, temperature=0.0)
NO_END = -1
MakeEngine = Callable[..., LlamaCpp]


@pytest.fixture(scope="module")
def make_engine(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> MakeEngine:
    def make(model: Transformer, slots: int = 4, path: Path | None = None) -> LlamaCpp:
        path = path or tmp_path_factory.mktemp("engine") / "model.gguf"
        path.write_bytes(b"".join(engine_file(model.config, model.state_dict(), tokenizer, NumberType.F32).chunks))
        window = model.config.max_seq_len
        return LlamaCpp(path, window, window + SPARE_CONTEXT, slots, 1, NUMBER_DIGITS)

    return make


@pytest.fixture(scope="module")
def model() -> Transformer:
    return wild(make_model(), std=0.5).eval()


@pytest.fixture(scope="module")
def engine(make_engine: MakeEngine, model: Transformer) -> LlamaCpp:
    return make_engine(model)


def _ids(engine: LlamaCpp, prompt: list[int], sampling: SamplingConfig, end_of_text: int = NO_END) -> list[int]:
    return [token.id for group in engine.stream(prompt, sampling, end_of_text) for token in group]


PROMPTS = [[5, 6], list(range(20, 20 + WINDOW - 1)), list(range(20, 20 + WINDOW)), [7, 8] * WINDOW]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_greedy_text_is_that_of_our_own_loop_token_for_token(
    make_engine: MakeEngine, tokenizer: Tokenizer, architecture: str
) -> None:
    """In float32, past the end of the context and with a penalty."""
    model = wild(make_model(shape=changed(SHAPE, architecture=architecture)), std=0.5).eval()
    engine = make_engine(model)
    for prompt in PROMPTS:
        for penalty in (1.0, 1.3):
            sampling = changed(GREEDY, max_new_tokens=3 * WINDOW, repetition_penalty=penalty)
            expected = [token.id for token in stream(model, prompt, sampling, tokenizer.size, tokenizer.end_of_text)]
            assert _ids(engine, prompt, sampling, tokenizer.end_of_text) == expected
            assert len(set(expected)) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.7, "top_k": 8},
        {"top_p": 0.6, "temperature": 0.8},
        {"min_p": 0.25},
        {"top_k": 12, "top_p": 0.8, "min_p": 0.1, "temperature": 1.4},
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.5, "top_k": 20},
    ],
    ids=str,
)
def test_sampling_has_the_distribution_of_our_own(
    engine: LlamaCpp, model: Transformer, tokenizer: Tokenizer, changes: dict[str, float]
) -> None:
    """Chi-square of 1,000 first tokens; a wrong order of the filters or another penalty fails by far."""
    draws, prompt = 1000, [5, 6, 5, 9]
    sampling = changed(PLAIN, max_new_tokens=1, **changes)
    with torch.no_grad():
        logits = model(torch.tensor([prompt]))[0, -1, : tokenizer.size]
    logits = penalised(logits, sampling, torch.tensor(prompt), {}, 0.0, 0.0)
    expected = torch.zeros(tokenizer.size).index_add(0, *(each[0] for each in candidates(logits[None], sampling)))
    drawn = _drawn(engine, prompt, sampling, draws)
    observed = torch.tensor(drawn).bincount(minlength=tokenizer.size)
    assert observed[expected == 0].sum() == 0, "an id that is ruled out was written"
    assert _chi_square(observed, expected * draws) < 5
    other = changed(sampling, temperature=2.5 * sampling.temperature)
    elsewhere = torch.zeros(tokenizer.size).index_add(0, *(each[0] for each in candidates(logits[None], other)))
    assert _chi_square(observed, elsewhere * draws) > 8, "the control"


def _drawn(engine: LlamaCpp, prompt: list[int], sampling: SamplingConfig, draws: int) -> list[int]:
    return [_ids(engine, prompt, changed(sampling, seed=seed))[0] for seed in range(draws)]


def _chi_square(observed: torch.Tensor, expected: torch.Tensor) -> float:
    """How many standard deviations the statistic lies above its mean; rare ids count as one."""
    common = expected >= 5
    pairs = [*zip(observed[common].tolist(), expected[common].tolist(), strict=True)]
    if (rest := float(expected[~common].sum())) > 1:
        pairs.append((int(observed[~common].sum()), rest))
    statistic, freedom = sum((o - e) ** 2 / e for o, e in pairs), max(1, len(pairs) - 1)
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


def test_seed_repeats_the_text_and_another_one_does_not(engine: LlamaCpp) -> None:
    long = changed(PLAIN, max_new_tokens=3 * WINDOW)
    assert _ids(engine, [5], long) == _ids(engine, [5], long)
    assert _ids(engine, [5], long) != _ids(engine, [5], changed(long, seed=2))
    assert _ids(engine, [5], changed(long, seed=None)) != _ids(engine, [5], changed(long, seed=None))
    largest = changed(long, seed=2**32 - 1)
    assert _ids(engine, [5], largest) == _ids(engine, [5], largest), "the seed that llama.cpp takes for none"


def test_text_ends_with_end_of_text(make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    model = wild(make_model(), std=0.3).eval()
    with torch.no_grad():
        model.lm_head.weight[tokenizer.end_of_text] = model.lm_head.weight[:200].mean(0)
    engine, end = make_engine(model), tokenizer.end_of_text
    texts = [
        _ids(engine, [5], changed(PLAIN, seed=seed, temperature=2.0, max_new_tokens=2000), end) for seed in range(3)
    ]
    assert all(text[-1] == end and end not in text[:-1] and len(text) < 2000 for text in texts)


def test_texts_that_come_together_are_written_together(engine: LlamaCpp) -> None:
    """More of them than slots; each is what it is alone."""
    alone = [_ids(engine, [5 + number], changed(GREEDY, max_new_tokens=60)) for number in range(9)]
    together: dict[int, list[int]] = {}

    def write(number: int) -> None:
        together[number] = _ids(engine, [5 + number], changed(GREEDY, max_new_tokens=60))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(9)] == alone
    assert engine.slots == 4


def test_text_that_is_left_stops_within_a_token(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(wild(make_model(shape=changed(SHAPE, max_seq_len=4096))).eval())
    taken: list[bool] = []
    original = llama_cpp._Request.take

    def take(self: llama_cpp._Request, answer: dict[str, object]) -> bool:
        taken.append(original(self, answer))
        return taken[-1]

    monkeypatch.setattr(llama_cpp._Request, "take", take)
    text = engine.stream([5], changed(PLAIN, max_new_tokens=4000), NO_END)
    next(text)
    text.close()
    deadline = time.monotonic() + 5
    while not taken[-1] and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert taken.index(True) == len(taken) - 1 < 1000, "the first token after leaving was the last"


def test_request_that_is_refused_is_an_error_and_not_a_short_text(engine: LlamaCpp) -> None:
    with pytest.raises(LlamaCppFailed):
        _ids(engine, [10**6], PLAIN)


@pytest.mark.parametrize(
    ("extras", "served"),
    [
        (Extras(), True),
        (Extras(alternatives=0), False),
        (Extras(presence_penalty=0.1), False),
        (Extras(frequency_penalty=-0.1), False),
    ],
)
def test_what_means_something_else_in_llama_cpp_is_left_to_our_own_loop(extras: Extras, served: bool) -> None:
    assert llama_cpp.serves(extras) is served


@pytest.mark.slow
def test_engine_that_is_freed_unused_ends(make_engine: MakeEngine, model: Transformer, tmp_path: Path) -> None:
    """In a process of its own, because one that waits for ever cannot be ended from inside."""
    make_engine(model, path=(path := tmp_path / "model.gguf"))
    script = f"""
from pathlib import Path
from engine.llama_cpp import LlamaCpp
for _ in range(40):
    LlamaCpp(Path({str(path)!r}), {WINDOW}, {WINDOW + SPARE_CONTEXT}, 1, 1, {NUMBER_DIGITS})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_slots_fit_into_the_memory_that_is_meant_for_them() -> None:
    assert [llama_cpp.slots_within(size, 100) for size in (1, 10, 60, 1000)] == [32, 10, 1, 1]


def test_switch_in_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not llama_cpp.is_available(), "off in the tests"
    monkeypatch.setenv("AZR_LLAMA_CPP", "1")
    assert llama_cpp.is_available()


def test_process_waits_for_the_thread_of_a_text(engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would end a daemon in the middle of llama.cpp's C++, which aborts."""
    run, daemons = llama_cpp._Request.run, []

    def told(*arguments: Any) -> None:
        daemons.append(threading.current_thread().daemon)
        run(*arguments)

    monkeypatch.setattr(llama_cpp._Request, "run", told)
    assert len(_ids(engine, [5], PLAIN)) == 20
    assert daemons == [False]
