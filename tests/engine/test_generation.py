"""Sampling against probabilities worked out by hand, text that never splits a character, and rollouts written as asked."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import pytest
import torch

from config import SamplingConfig
from engine.rollouts import write_rollouts
from engine.sampling import candidates, choose, draw, penalised
from engine.stream import Extras, NonFiniteLogits, Token, stream
from engine.text import Engine, Origin, Piece, prompt_ids, text_pieces, write
from errors import InvalidInput
from tests.training_kit import SHAPE, changed, make_model, wild
from tokenizer import Tokenizer

PLAIN = SamplingConfig(
    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, seed=1, max_new_tokens=20
)
LOGITS = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()  # so that the probabilities are known


def _probabilities(**changes: object) -> list[float]:
    """Of each id, with the likeliest first as in LOGITS."""
    ids, p = candidates(LOGITS.flip(0)[None], changed(PLAIN, **changes))
    return torch.zeros(4).index_add(0, ids[0], p[0]).flip(0).tolist()


# ---- sampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),  # squares
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 9}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_p": 0.74}, [2 / 3, 1 / 3, 0, 0]),  # 0.5 + 0.25 reaches it
        ({"top_p": 0.76}, [5 / 9, 2.5 / 9, 1.5 / 9, 0]),
        ({"min_p": 0.4}, [2 / 3, 1 / 3, 0, 0]),  # at least 0.4 * 0.5
        ({"min_p": 1.0}, [1, 0, 0, 0]),
    ],
)
def test_filter_gives_the_probabilities_worked_out_by_hand(changes: dict[str, object], expected: list[float]) -> None:
    assert _probabilities(**changes) == pytest.approx(expected, abs=1e-6)
    assert _probabilities(**changes) != pytest.approx([expected[0] - 0.01, *expected[1:]], abs=1e-6)


@pytest.mark.parametrize(
    "changes", [{"temperature": 5e-324}, {"temperature": 1e-46}, {"top_p": 5e-324}, {"top_p": 1e-46}]
)
def test_filter_leaves_the_likeliest_token_at_the_smallest_numbers_there_are(changes: dict[str, float]) -> None:
    assert _probabilities(**changes) == [1, 0, 0, 0]


def test_penalty_makes_seen_tokens_less_likely_whatever_their_sign() -> None:
    sampling = changed(PLAIN, repetition_penalty=2.0)
    found = penalised(torch.tensor([2.0, -2.0, 1.0]), sampling, torch.tensor([0, 1, 1]), {}, 0.0, 0.0)
    assert found.tolist() == pytest.approx([1.0, -4.0, 1.0])
    assert found.tolist() != pytest.approx([1.0, -8.0, 1.0])  # counted twice


def test_presence_and_frequency_count_what_was_written_as_openai_defines_them() -> None:
    """logit - count * frequency - (count > 0) * presence"""
    found = penalised(torch.tensor([2.0, -2.0, 1.0]), PLAIN, torch.tensor([0, 1, 2]), {0: 3, 1: 1}, 0.5, 0.25)
    assert found.tolist() == pytest.approx([2.0 - 0.5 - 0.75, -2.0 - 0.5 - 0.25, 1.0])
    assert found.tolist() != pytest.approx([2.0 - 0.75, -2.0 - 0.25, 1.0])


def test_filter_leaves_its_input_alone() -> None:
    before = LOGITS.clone()
    _probabilities(top_k=1, temperature=0.3)
    assert torch.equal(LOGITS, before)


# ---- the stream ------------------------------------------------------------------------------------------------------


def _ids(
    sampling: SamplingConfig, size: int = 300, end_of_text: int = -1, prompt: tuple[int, ...] = (5, 6)
) -> list[int]:
    return [token.id for token in stream(wild(make_model()), list(prompt), sampling, size, end_of_text)]


def test_stream_same_seed_writes_the_same() -> None:
    assert _ids(PLAIN) == _ids(PLAIN)
    assert _ids(PLAIN) != _ids(changed(PLAIN, seed=2))


def test_stream_without_a_seed_writes_something_else_each_time() -> None:
    assert _ids(changed(PLAIN, seed=None)) != _ids(changed(PLAIN, seed=None))


def test_stream_never_writes_an_id_the_tokenizer_does_not_know() -> None:
    many = changed(PLAIN, max_new_tokens=200, temperature=3.0)
    assert max(_ids(many, size=40)) < 40
    assert max(_ids(many, size=300)) >= 40


def test_stream_goes_on_when_the_context_is_full() -> None:
    assert len(_ids(changed(PLAIN, max_new_tokens=100))) == 100 > SHAPE.max_seq_len
    assert len(_ids(changed(PLAIN, max_new_tokens=3), prompt=tuple(range(200)))) == 3


def test_stream_is_what_the_whole_model_says_of_the_text_so_far() -> None:
    """Greedy, read again from the start at every token, until the window is full; then its later half is read again."""
    model, greedy = wild(make_model()), changed(PLAIN, temperature=0.0, max_new_tokens=60)
    context, expected = [5, 6], []
    for _ in range(60):
        token = int(model(torch.tensor([context]))[0, -1].argmax())
        expected.append(token)
        context = [*(context[16:] if len(context) == 32 else context), token]
    found = [token.id for token in stream(model, [5, 6], greedy, 300, -1)]
    assert found == expected
    assert len(set(found)) > 3


@pytest.mark.slow
def test_stream_ends_with_end_of_text() -> None:
    written = _ids(changed(PLAIN, max_new_tokens=500))
    last = written[10]
    assert _ids(changed(PLAIN, max_new_tokens=500), end_of_text=last) == written[: written.index(last) + 1]


@torch.no_grad()
def test_stream_tells_what_the_model_says_before_any_sampling_parameter() -> None:
    model, alone = wild(make_model()), changed(PLAIN, temperature=0.0, repetition_penalty=5.0, max_new_tokens=25)
    tokens = list(stream(model, [5, 6], alone, 40, -1, Extras(alternatives=5)))
    said = model(torch.tensor([[5, 6, *(token.id for token in tokens)]]))[0, 1:-1, :40].log_softmax(-1)  # (T, V)
    for token, logprobs in zip(tokens, said, strict=True):
        assert token.logprob == pytest.approx(float(logprobs[token.id]), abs=1e-4)
        assert [each for each, _ in token.alternatives] == logprobs.topk(5).indices.tolist()
        assert [value for _, value in token.alternatives] == pytest.approx(logprobs.topk(5).values.tolist(), abs=1e-4)
    assert any(token.id != token.alternatives[0][0] for token in tokens), "the penalty changed a choice"


def test_stream_tells_nothing_that_was_not_asked_for() -> None:
    assert next(stream(wild(make_model()), [5], PLAIN, 40, -1)).logprob is None


def test_stream_with_a_presence_penalty_writes_no_token_twice() -> None:
    greedy = changed(PLAIN, temperature=0.0, max_new_tokens=30)
    plain, varied = (
        [token.id for token in stream(wild(make_model()), [5, 6], greedy, 300, -1, Extras(presence_penalty=penalty))]
        for penalty in (0.0, 1000.0)
    )
    assert len(set(varied)) == 30 > len(set(plain))


# ---- text ------------------------------------------------------------------------------------------------------------


def _tokens(ids: list[int], together: int = 1) -> list[list[Token]]:
    tokens = [Token(token, -1.0, ((5, -0.5),)) for token in ids]
    return [tokens[start : start + together] for start in range(0, len(tokens), together)]


def _pieces(tokenizer: Tokenizer, text: str, *stop: str, end: bool = False) -> list[Piece]:
    """The text byte by byte: the hardest way it can come."""
    by_byte = {tokenizer.token_bytes(token): token for token in range(tokenizer.size)}
    ids = [by_byte[bytes([byte])] for byte in text.encode("utf-8")]
    return list(text_pieces(_tokens(ids + [tokenizer.end_of_text] * end), tokenizer, changed(PLAIN, stop=stop)))


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("text", ["мама", "😀 и 👩‍🚀", "naïve 中文 ё"])
def test_text_never_splits_a_character(tokenizer: Tokenizer, text: str) -> None:
    pieces = _pieces(tokenizer, text)
    assert _text(pieces) == text
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert sum(piece.text == "" for piece in pieces) >= len(text.encode()) - len(text)  # they were held back


def test_text_cut_within_a_character_leaves_the_half_out(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("а😀")
    assert _text(list(text_pieces(_tokens(ids[:-2]), tokenizer, PLAIN))) == "а"


def test_text_stops_at_a_string_that_lies_over_the_borders_of_pieces(tokenizer: Tokenizer) -> None:
    pieces = _pieces(tokenizer, "Он сказал: стоп машина. И всё.", "стоп маш", "И всё")
    assert _text(pieces) == "Он сказал: "
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]


def test_text_stops_at_the_earliest_of_several_strings(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("раз два три")
    assert _text(list(text_pieces(_tokens(ids), tokenizer, changed(PLAIN, stop=("три", "два"))))) == "раз "


def test_text_held_back_for_a_stop_string_is_given_out_at_the_end(tokenizer: Tokenizer) -> None:
    pieces = _pieces(tokenizer, "Он сказал: стоп", "стоп машина")
    assert _text(pieces) == "Он сказал: стоп"
    assert _text(pieces[:-1]) == "Он сказал: "
    assert pieces[-1].finish_reason == "length"


def test_text_that_only_looked_like_a_stop_string_is_given_out(tokenizer: Tokenizer) -> None:
    assert _text(_pieces(tokenizer, "столб и стол", "стоп")) == "столб и стол"


def test_text_tells_why_it_ended_and_how_many_tokens_it_took(tokenizer: Tokenizer) -> None:
    ended, cut = _pieces(tokenizer, "abc", end=True)[-1], _pieces(tokenizer, "abc")[-1]
    assert (ended.finish_reason, ended.tokens) == ("eos", 3)
    assert (cut.finish_reason, cut.tokens) == ("length", 3)


def test_last_piece_carries_the_whole_completion_and_no_other_does(tokenizer: Tokenizer) -> None:
    for stop, end in ((), False), (("машина",), False), ((), True):
        pieces = _pieces(tokenizer, "Он сказал: стоп машина 😀", *stop, end=end)
        assert pieces[-1].completion == _text(pieces) != ""
        assert [piece.completion for piece in pieces[:-1]] == [""] * (len(pieces) - 1)


def test_every_generated_token_is_in_one_piece_with_its_logprob(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("мама мыла раму")
    for end in (False, True):
        wanted = _tokens(ids + [tokenizer.end_of_text] * end)
        pieces = text_pieces(wanted, tokenizer, PLAIN)
        assert [list(piece.new_tokens) for piece in pieces if piece.new_tokens] == wanted


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("stop", [(), ("раму",), ("мы", "ра")], ids=str)
def test_tokens_that_come_together_are_the_text_that_they_are_one_by_one(
    tokenizer: Tokenizer, stop: tuple[str, ...], end: bool
) -> None:
    ids = tokenizer.encode("мама мыла раму 😀") + [tokenizer.end_of_text] * end
    sampling = changed(PLAIN, stop=stop)
    one_by_one = list(text_pieces(_tokens(ids), tokenizer, sampling))
    for together in (2, 3, len(ids)):
        pieces = list(text_pieces(_tokens(ids, together), tokenizer, sampling))
        assert [token for piece in pieces for token in piece.new_tokens] == [
            token for piece in one_by_one for token in piece.new_tokens
        ]
        assert [each for piece in pieces for each in piece.details] == [
            each for piece in one_by_one for each in piece.details
        ]
        last, wanted = pieces[-1], one_by_one[-1]
        assert (last.completion, last.tokens, last.finish_reason) == (
            wanted.completion,
            wanted.tokens,
            wanted.finish_reason,
        )
        assert _text(pieces) == _text(one_by_one)


@pytest.mark.parametrize("text", ["мама мыла раму", "😀 стоп машина 👩‍🚀", "naïve 中文"])
@pytest.mark.parametrize("stop", [(), ("стоп маш",), ("ра", "x"), ("中",)], ids=str)
def test_details_come_with_the_text_they_belong_to(tokenizer: Tokenizer, text: str, stop: tuple[str, ...]) -> None:
    """Byte by byte: each token is told once, with the place where its letter begins, and none behind the stop string."""
    pieces, given, told = _pieces(tokenizer, text, *stop), "", []
    for piece in pieces:
        given += piece.text
        told += piece.details
        assert all(details.offset < len(given) for details in told)
    assert b"".join(details.bytes for details in told).decode("utf-8") == given == pieces[-1].completion
    assert [given[details.offset] for details in told] == [letter for letter in given for _ in letter.encode()]


def test_readable_token_shows_half_a_letter_by_its_bytes(tokenizer: Tokenizer) -> None:
    (piece,) = [piece for piece in _pieces(tokenizer, "ё") if piece.text]
    assert [details.text for details in piece.details] == ["bytes:\\xd1", "bytes:\\x91"]
    assert [each.id for each in piece.details[0].alternatives] == [5]


def test_last_piece_tells_how_much_of_the_prompt_was_read(tokenizer: Tokenizer) -> None:
    for prompt, tokens, read in ([7] * 10, 10, 10), ([7] * 50, 50, 32):
        *_, last = write(wild(make_model()), tokenizer, prompt, changed(PLAIN, max_new_tokens=2))
        assert last.origin == Origin(Engine.TORCH, tokens, read)


def test_prompt_ids_that_the_tokenizer_does_not_know_are_refused(tokenizer: Tokenizer) -> None:
    assert prompt_ids(tokenizer, [7, 8]) == [7, 8]
    for ids, reason in ([], "no_tokens"), ([7, tokenizer.size], "unknown_token"), ([-1], "unknown_token"):
        with pytest.raises(InvalidInput) as caught:
            prompt_ids(tokenizer, ids)
        assert (caught.value.field, caught.value.parameters["reason"]) == ("prompt", reason)


def test_speed_is_counted_from_the_first_token_on(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(100.0, 0.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    pieces = list(text_pieces(_tokens(tokenizer.encode("абв")), tokenizer, PLAIN))
    assert pieces[0].tokens_per_second is None
    assert pieces[1].tokens_per_second == pytest.approx(1 / 1.0)  # the second token, read twice since the first


def test_write_is_stream_and_text_in_one(tokenizer: Tokenizer) -> None:
    model = wild(make_model())
    pieces = list(write(model, tokenizer, prompt_ids(tokenizer, "мама"), PLAIN))
    tokens = stream(model, prompt_ids(tokenizer, "мама"), PLAIN, tokenizer.size, tokenizer.end_of_text)
    assert [token for piece in pieces for token in piece.new_tokens] == list(tokens)


def test_stream_of_a_model_that_computes_nan_is_refused() -> None:
    model = wild(make_model())
    with torch.no_grad():
        model.norm.weight.fill_(1e38)  # finite, and yet its logits are not
    with pytest.raises(NonFiniteLogits):
        next(stream(model, [5], PLAIN, 40, -1))


def test_prompt_starts_after_an_end_of_text(tokenizer: Tokenizer) -> None:
    assert prompt_ids(tokenizer, "мама") == [tokenizer.end_of_text, *tokenizer.encode("мама")]
    assert prompt_ids(tokenizer, "") == [tokenizer.end_of_text]


# ---- rollouts --------------------------------------------------------------------------------------------------------

EQUAL = [[5, 6, 7], [8, 9, 10], [11, 12, 13]]
RAGGED = [[5], [8, 9, 10, 20, 21], [11, 12]]
END = 3


def _rollouts(prompts: list[list[int]], seed: int = 1, size: int = 40, greedy: Sequence[bool] = (), **sampling: float):
    ways = greedy or [False] * len(prompts)
    settings = SamplingConfig(**{"max_new_tokens": 12, "temperature": 1.0, "top_k": 0, "top_p": 1.0} | sampling)
    return write_rollouts(wild(make_model()), prompts, ways, settings, size, END, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompts", [EQUAL, RAGGED], ids=["equal", "ragged"])
def test_rollouts_of_greedy_rows_take_the_likeliest_token_each_time(prompts: list[list[int]]) -> None:
    written, model = _rollouts(prompts, greedy=[True, False, True]), wild(make_model())
    for row, is_greedy in enumerate([True, False, True]):
        context, likeliest = list(prompts[row]), []
        for token in written.completions[row]:
            likeliest.append(int(model(torch.tensor([context]))[0, -1, :40].argmax()))
            context.append(token)
        assert (likeliest == written.completions[row]) is is_greedy
        assert written.tokens[row, : len(context)].tolist() == context


def test_rollouts_choose_as_the_sampling_settings_say() -> None:
    """Each token is among the two likeliest, where the text written without the limit leaves them."""
    model = wild(make_model())

    def ranks(**sampling: float) -> list[int]:
        written, found = _rollouts(EQUAL, **sampling), []
        for prompt, completion in zip(EQUAL, written.completions, strict=True):
            logits = model(torch.tensor([prompt + completion]))[0, len(prompt) - 1 : -1, :40]
            found += [int((row > row[token]).sum()) for row, token in zip(logits, completion, strict=True)]
        return found

    assert set(ranks(top_k=2)) == {0, 1}
    assert set(ranks(temperature=0.0)) == {0}
    assert max(ranks(top_p=0.3)) < max(ranks())


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [EQUAL, RAGGED], ids=["equal", "ragged"])
def test_rollouts_end_at_the_end_of_text(prompts: list[list[int]]) -> None:
    seen = set()
    for seed in range(25):
        written = _rollouts(prompts, seed, size=10)
        rows = zip(written.tokens.tolist(), written.starts, written.completions, written.finished, strict=True)
        for tokens, start, completion, finished in rows:
            assert set(tokens[start + len(completion) :]) <= {END}  # padding
            assert completion.count(END) == finished == (completion[-1] == END)
            assert finished or len(completion) == 12
            seen.add(finished)
    assert seen == {True, False}


def test_rollouts_same_generator_state_writes_the_same() -> None:
    first, again, other = _rollouts(RAGGED), _rollouts(RAGGED), _rollouts(RAGGED, seed=2)
    assert first.completions == again.completions
    assert torch.equal(first.tokens, again.tokens)
    assert first.completions != other.completions


def test_rollouts_never_write_an_id_the_tokenizer_does_not_know() -> None:
    assert max(token for completion in _rollouts(EQUAL).completions for token in completion) < 40


def test_rollouts_of_a_long_prompt_keep_its_end() -> None:
    written = _rollouts([list(range(4, 39))])
    assert written.starts == [20]
    assert written.tokens[0, :20].tolist() == list(range(19, 39))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9},
        {"temperature": 1.3, "top_k": 0, "top_p": 0.6},
        {"temperature": 0.9, "top_k": 0, "top_p": 1.0, "min_p": 0.2},
        {"temperature": 0.8, "top_k": 6, "top_p": 0.8, "min_p": 0.1},
    ],
)
def test_choose_draws_with_the_probabilities_of_its_candidates(settings: dict[str, float]) -> None:
    sampling = SamplingConfig(**settings)
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(3))
    chance = torch.arange(0, 1, 1 / 4000, dtype=torch.float64)[:, None]
    rows = logits.expand(len(chance), -1)
    drawn = choose(rows, sampling, torch.zeros(len(chance), dtype=torch.bool), chance)
    expected = torch.zeros(12).index_add(0, *(each[0] for each in candidates(logits, sampling)))
    torch.testing.assert_close(drawn.bincount(minlength=12) / len(chance), expected, rtol=0, atol=1e-3)


def test_draw_takes_each_id_as_often_as_its_probability_says() -> None:
    weights = torch.tensor([[0.0, 0.6, 0.0, 1.0, 0.4, 0.0]])  # they need not add up to one
    drawn = draw(
        weights.expand(40_000, -1),
        torch.rand(40_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    shares = drawn.bincount(minlength=6) / len(drawn)
    torch.testing.assert_close(shares, weights[0] / 2, rtol=0, atol=0.01)  # four standard deviations
    assert shares[[0, 2, 5]].sum() == 0


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 1), (1.0, 2)])
def test_draw_of_the_least_and_the_greatest_random_number_is_an_id(chance: float, expected: int) -> None:
    assert draw(torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[chance]], dtype=torch.float64)).tolist() == [expected]
