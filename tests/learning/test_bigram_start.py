"""What a new model knows before its first iteration, and who is left as they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import workflows
from config import ModelConfig
from events import Evaluated, Stage, StageBegun
from learning.bigram_start import is_untrained, start_from_bigrams
from model import Transformer
from tests.training_kit import BOOK, OTHER_BOOK, SHAPE, changed, make_model, plan, wild
from workspace import Workspace

NEXT_OF = 4  # tokens that may follow each


def chain(length: int, seed: int) -> Tensor:
    """Tokens of a Markov chain: each of 300 is followed by one of four, the first of them by far the likeliest."""
    draw = torch.Generator().manual_seed(5)
    followers = torch.randint(SHAPE.vocab_size, (SHAPE.vocab_size, NEXT_OF), generator=draw)
    draw = torch.Generator().manual_seed(seed)
    choices = torch.multinomial(torch.tensor([0.85, 0.05, 0.05, 0.05]), length, replacement=True, generator=draw)
    tokens = [0]
    for choice in choices.tolist():
        tokens.append(int(followers[tokens[-1], choice]))
    return torch.tensor(tokens, dtype=torch.int32)


def _loss(model: Transformer, tokens: Tensor) -> float:
    rows = tokens[: 32 * 20 + 1].long()
    with torch.no_grad():
        return float(model.eval().loss(rows[:-1].view(20, 32), rows[1:].view(20, 32)))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_model_predicts_the_pairs_of_text_that_it_has_not_seen(architecture: str) -> None:
    model = make_model(shape=changed(SHAPE, architecture=architecture, d_model=128))
    start_from_bigrams(model, chain(20_000, seed=1))
    frequencies = torch.bincount(chain(20_000, seed=1), minlength=SHAPE.vocab_size) + 0.5
    known = chain(20_000, seed=2).long()
    unigram = -float((frequencies / frequencies.sum()).log()[known].mean())
    assert _loss(model, known) < unigram - 0.5


def test_every_token_keeps_the_size_it_is_created_with_and_its_likeliest_follower_comes_first() -> None:
    model = make_model(shape=changed(SHAPE, d_model=128))
    tokens = chain(20_000, seed=1)
    start_from_bigrams(model, tokens)
    rms = model.embed_tokens.weight.square().mean(dim=1).sqrt()
    assert torch.allclose(rms, torch.full_like(rms, 0.5), rtol=1e-3)
    frequent = torch.bincount(tokens).topk(20).indices
    followers = torch.stack([tokens[1:][tokens[:-1] == token].mode().values for token in frequent])
    with torch.no_grad():
        told = model.eval()(frequent[:, None])[:, 0].argmax(dim=1)
    assert (told == followers).float().mean() > 0.9


def test_start_is_the_same_for_every_seed_and_draws_from_nobody() -> None:
    first, second = make_model(seed=1), make_model(seed=2)
    start_from_bigrams(first, chain(2000, seed=1))
    drawn = torch.get_rng_state()
    start_from_bigrams(second, chain(2000, seed=1))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(first.embed_tokens.weight, second.embed_tokens.weight)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.layers[0].attention.q_proj.weight, second.layers[0].attention.q_proj.weight)


@pytest.mark.parametrize(
    "tokens", [torch.zeros(30, dtype=torch.int32), torch.arange(40, dtype=torch.int32)], ids=["one token", "each once"]
)
@pytest.mark.parametrize("d_model", [8, 1040])
def test_strange_text_and_sizes_give_finite_weights(tokens: Tensor, d_model: int) -> None:
    model = make_model(
        shape=ModelConfig(vocab_size=257, d_model=d_model, num_layers=1, num_heads=2, d_ff=8, max_seq_len=16)
    )
    start_from_bigrams(model, tokens)
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


def test_only_a_head_of_zeros_is_untrained() -> None:
    assert is_untrained(make_model())
    assert not is_untrained(wild(make_model()))


def test_first_training_begins_from_the_pairs_and_tells_so(workspace: Workspace) -> None:
    told = list(workflows.train(workspace, plan(workspace)))
    stages = [event.stage for event in told if isinstance(event, StageBegun)]
    assert stages.index(Stage.TOKENIZING) < stages.index(Stage.COUNTING_PAIRS) < stages.index(Stage.EVALUATING)
    assert _first_val_loss(told) < math.log(SHAPE.vocab_size) - 1


def test_training_may_begin_without_the_pairs(workspace: Workspace) -> None:
    told = list(workflows.train(workspace, plan(workspace, bigram_start=False)))
    assert StageBegun(Stage.COUNTING_PAIRS) not in told
    assert _first_val_loss(told) == pytest.approx(math.log(SHAPE.vocab_size), abs=1e-4)


@pytest.mark.parametrize("book", [BOOK, OTHER_BOOK])
def test_trained_model_keeps_its_words(workspace: Workspace, book: str) -> None:
    """Both where it goes on from a checkpoint and where other books start from what is published."""
    list(workflows.train(workspace, plan(workspace)))
    assert StageBegun(Stage.COUNTING_PAIRS) not in list(workflows.train(workspace, plan(workspace, (book,))))


def _first_val_loss(told: list[object]) -> float:
    return next(event.val_loss for event in told if isinstance(event, Evaluated))
