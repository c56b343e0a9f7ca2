"""Rollouts that one call of the C code writes, beside those that follow step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from config import ModelConfig, SamplingConfig
from engine.decoder import Decoder, exact_decoder, fast_decoder
from engine.rollouts import Rollouts, write_rollouts
from kernels import native
from model import Transformer
from tests.training_kit import changed, wild

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")
SHAPE = ModelConfig(vocab_size=300, d_model=64, num_layers=2, num_heads=2, d_ff=96, max_seq_len=32)
SIZE, ROWS, NEW = 290, 40, 12
PROMPTS = [list(range(row, row + 1 + row % 5)) for row in range(ROWS)]  # one to five tokens
GREEDY = [row % 4 == 0 for row in range(ROWS)]
SAMPLING = SamplingConfig(max_new_tokens=NEW, temperature=0.8, top_k=20, top_p=0.9)
Writes = Callable[..., Rollouts]
NATIVE, STEP_BY_STEP = fast_decoder, exact_decoder


@pytest.fixture
def model() -> Transformer:
    model = Transformer(SHAPE)
    model.initialise(0)
    return wild(model, std=0.15)


@pytest.fixture
def written(model: Transformer) -> Writes:
    def written(
        make: Callable[[Transformer, int], Decoder | None],
        end_of_text: int = 3,
        part: slice = slice(ROWS),
        **sampling: float,
    ) -> Rollouts:
        settings, generator = changed(SAMPLING, **sampling), torch.Generator().manual_seed(7)
        rows = (PROMPTS[part], GREEDY[part], settings, SIZE, end_of_text, generator, (part.start or 0, ROWS))
        return write_rollouts(model, *rows, make(model, SIZE))

    return written


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.3, "top_k": 0}, {"temperature": 0}], ids=str)
def test_one_call_writes_what_steps_write(written: Writes, sampling: dict[str, float]) -> None:
    fast, slow = written(NATIVE, **sampling), written(STEP_BY_STEP, **sampling)
    same = [mine == other for mine, other in zip(fast.completions, slow.completions, strict=True)]
    assert sum(same) >= 0.9 * ROWS  # float16 may turn a draw
    assert fast.starts == slow.starts == [len(prompt) for prompt in PROMPTS]
    rows = zip(fast.tokens.tolist(), PROMPTS, fast.completions, strict=True)
    assert all(tokens[: len(prompt) + len(found)] == prompt + found for tokens, prompt, found in rows)
    assert len({tuple(found) for found in fast.completions}) == ROWS


def test_a_text_that_ends_ends_no_other(written: Writes) -> None:
    """Any token that a text writes may be taken for the end of text: the text then ends there, and the others go on."""
    endless = written(NATIVE, end_of_text=-9).completions
    end = endless[1][4]
    found = written(NATIVE, end_of_text=end)
    for whole, completion, finished in zip(endless, found.completions, found.finished, strict=True):
        assert completion == (whole[: whole.index(end) + 1] if end in whole else whole)
        assert finished == (end in whole)
    assert set(found.finished) == {True, False}
    padding = found.tokens[1, found.starts[1] + len(found.completions[1]) :]
    assert set(padding.tolist()) == {end}


def test_rows_of_a_part_are_those_of_the_whole(written: Writes) -> None:
    whole, part = written(NATIVE).completions, written(NATIVE, part=slice(10, 25)).completions
    assert part == whole[10:25]


def test_logits_that_are_no_numbers_end_a_text(model: Transformer, written: Writes) -> None:
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    found = written(NATIVE)
    assert found.completions == [[3]] * ROWS
    assert all(found.finished)
