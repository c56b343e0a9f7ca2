"""Scores of a text that stands, against the model's own logits, and attention against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from config import SamplingConfig
from engine.score import MOST_TOKENS, Head, score, surprise
from engine.stream import Extras, stream
from engine.text import prompt_ids
from errors import InvalidInput
from model import KVCache
from tests.training_kit import SHAPE, changed, make_model, wild
from tokenizer import Tokenizer

TEXT = "мама мыла"


@torch.no_grad()
def test_score_is_what_the_model_says_before_each_token(tokenizer: Tokenizer) -> None:
    model, ids = wild(make_model()), prompt_ids(tokenizer, TEXT)
    found = score(model, tokenizer, ids, 3).tokens
    said = model(torch.tensor([ids]))[0, :, : tokenizer.size].log_softmax(-1)  # (T, V)
    assert [details.id for details in found] == ids[1:], "the end-of-text before every text is not shown"
    for details, token, logprobs in zip(found, ids[1:], said, strict=False):
        assert details.logprob == pytest.approx(float(logprobs[token]), abs=1e-4)
        assert [each.id for each in details.alternatives] == logprobs.topk(3).indices.tolist()
    assert b"".join(details.bytes for details in found).decode() == TEXT


def test_first_token_of_ids_has_no_logprob_because_nothing_stands_before_it(tokenizer: Tokenizer) -> None:
    found = score(wild(make_model()), tokenizer, [7, 8], 5).tokens
    assert [details.logprob is None for details in found] == [True, False]


@pytest.mark.parametrize("tokens", [31, 32, 33, 34, 47, 48, 49, 50, 90])
def test_text_longer_than_the_context_is_scored_as_it_would_have_been_written(
    tokenizer: Tokenizer, tokens: int
) -> None:
    model = wild(make_model())
    greedy = SamplingConfig(temperature=0, max_new_tokens=tokens)
    written = list(stream(model, [5], greedy, tokenizer.size, -1, Extras(alternatives=2)))
    found = score(model, tokenizer, [5, *(token.id for token in written)], 2).tokens[1:]
    assert [details.logprob for details in found] == pytest.approx([token.logprob for token in written], abs=1e-4)
    assert [details.id for details in found] == [details.alternatives[0].id for details in found], "all greedy"


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_attention_is_what_the_head_multiplies_its_values_by(tokenizer: Tokenizer, architecture: str) -> None:
    """Torch attends with unit vectors as values: what comes out are the weights."""
    model, ids = wild(make_model(shape=changed(SHAPE, architecture=architecture))), [5, 6, 7, 8]
    seen: list[torch.Tensor] = []
    original = F.scaled_dot_product_attention

    def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append(original(q, k, torch.eye(4).expand(1, SHAPE.num_heads, 4, 4), is_causal=True)[0, 1])
        return original(q, k, v, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, "scaled_dot_product_attention", attended)
        model(torch.tensor([ids]), KVCache(model.config, 1, device=torch.device("cpu"), dtype=torch.float32))
    found = score(model, tokenizer, ids, 0, Head(layer=1, head=1)).attention
    assert torch.allclose(torch.tensor(found), seen[1], atol=1e-5)
    assert not torch.allclose(torch.tensor(found), seen[0], atol=1e-2), "the other layer looks elsewhere"


def test_attention_over_more_than_the_context_is_that_of_the_end(tokenizer: Tokenizer) -> None:
    model, ids, look = make_model(), list(range(5, 45)), Head(layer=1, head=1)
    long, end = score(model, tokenizer, ids, 0, look), score(model, tokenizer, ids[8:], 0, look)
    assert (long.unseen, end.unseen) == (8, 0)
    assert long.attention == end.attention != score(model, tokenizer, ids[:32], 0, look).attention


@pytest.mark.parametrize(
    ("tokens", "look", "field", "reason"),
    [
        (4, Head(2, 0), "layer", "not_there"),
        (4, Head(0, -1), "head", "not_there"),
        (MOST_TOKENS + 1, None, "text", "too_many_tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    tokenizer: Tokenizer, tokens: int, look: Head | None, field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        score(make_model(), tokenizer, [5] * tokens, 5, look)
    assert (caught.value.field, caught.value.parameters["reason"]) == (field, reason)


@torch.no_grad()
def test_surprise_is_the_loss_of_every_token_in_one_context_after_the_other() -> None:
    model, window = wild(make_model()), SHAPE.max_seq_len
    ids = torch.randint(0, SHAPE.vocab_size, (2 * window + 5,), generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for start in (0, window, 2 * window):
        part = ids[start : start + window + 1]
        expected += float(F.cross_entropy(model(part[None, :-1])[0], part[1:], reduction="sum"))
    assert surprise(model, ids.tolist()) == pytest.approx(expected, rel=1e-4)
