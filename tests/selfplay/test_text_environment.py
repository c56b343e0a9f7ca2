"""The environment as the trainer uses it, on a page of prose, with bytes and with words for tokens."""

from __future__ import annotations

import random
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reward_table import table
from config import SelfPlayConfig
from selfplay.environment import Environment, Prompt
from selfplay.text import TextEnvironment
from tokenizer import Tokenizer


def encode(text: str) -> list[int]:
    return list(text.encode())


def decode(tokens: list[int]) -> str:
    return bytes(tokens).decode(errors="replace")


ANY_PROMPT = Prompt("", (0,))


class WordTokens:
    """A token is a word with the space before it; a word that is cut off is left out."""

    def __init__(self, text: str) -> None:
        self.pieces = sorted(set(re.findall(r"\s*\S+", text)))

    def encode(self, text: str) -> list[int]:
        return [self.pieces.index(piece) for piece in re.findall(r"\s*\S+", text) if piece in self.pieces]

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.pieces[token] for token in tokens)


def environment(
    book: str, *prompts: str, max_prompt_tokens: int = 24, seed: int = 0, **config: float
) -> TextEnvironment:
    """Bytes for tokens."""
    pay = SelfPlayConfig.model_validate(config)
    return TextEnvironment([book], {}, prompts, pay, encode, decode, seed, max_prompt_tokens=max_prompt_tokens)


@pytest.fixture(scope="module")
def of_bytes(prose: str) -> TextEnvironment:
    return environment(prose)


@pytest.fixture(scope="module")
def of_words(prose: str) -> tuple[TextEnvironment, list[int]]:
    """An environment with words for tokens, and its book in tokens."""
    tokens = WordTokens(prose)
    made = TextEnvironment([prose], {}, (), SelfPlayConfig(max_new_tokens=48), tokens.encode, tokens.decode, 0)
    return made, tokens.encode(prose)


# ---- prompts ---------------------------------------------------------------------------------------------------------


def test_propose_gives_24_tokens_of_the_book(prose: str) -> None:
    rng, made = random.Random(0), environment(prose)
    for prompt in [made.propose(rng) for _ in range(50)]:
        assert len(prompt.tokens) == 24
        assert prompt.text in prose and "\ufffd" not in prompt.text


def test_propose_keeps_passages_of_the_book_within_the_window(prose: str) -> None:
    assert len(environment(prose, max_prompt_tokens=10).propose(random.Random(0)).tokens) == 10


def test_propose_mixes_the_persons_prompts_half_and_half(prose: str) -> None:
    rng, made = random.Random(0), environment(prose, "The future", "AI is")
    texts = [made.propose(rng).text for _ in range(400)]
    own = [text for text in texts if text in ("The future", "AI is")]
    assert 150 < len(own) < 250 and 50 < own.count("AI is") < 150


def test_propose_keeps_the_end_of_a_prompt_that_is_too_long(prose: str) -> None:
    made, rng = environment(prose, "Давным-давно, за горами", max_prompt_tokens=14), random.Random(0)
    own = next(prompt for prompt in iter(lambda: made.propose(rng), None) if prompt.text not in prose)
    assert own.tokens == tuple(encode("Давным-давно, за горами")[-14:])
    assert own.text == " горами"  # twelve bytes, the space, and half an "а" that is not shown


def test_propose_gives_the_same_prompts_for_the_same_seeds(prose: str) -> None:
    def first(seed: int, rng_seed: int) -> list[str]:
        rng, made = random.Random(rng_seed), environment(prose, seed=seed)
        return [made.propose(rng).text for _ in range(10)]

    assert first(0, 0) == first(0, 0)
    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)


def test_propose_never_gives_an_empty_prompt() -> None:
    for text in ("я", "!", "... ...", "да. "):
        assert environment(text).propose(random.Random(0)).tokens


def test_propose_holds_no_more_memory_after_a_thousand_prompts(prose: str) -> None:
    tokenizer, rng = Tokenizer.fit([prose], 400), random.Random(0)
    asked = TextEnvironment([prose], {}, [], SelfPlayConfig(), tokenizer.encode, tokenizer.decode, seed=0)
    asked.propose(rng)
    tracemalloc.start()
    try:
        for _ in range(1000):
            asked.propose(rng)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 50_000  # and not half a kilobyte for each


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_text_environment_is_an_environment(prose: str) -> None:
    made: Environment = environment(prose)
    assert made.propose(random.Random(0)).tokens


def test_score_of_a_written_completion() -> None:
    made = environment("кот и пёс и кот", max_new_tokens=40)  # the book's variety: 0.8 from five words on
    score = made.score(made.propose(random.Random(0)), encode("дом и сад и дом"), finished=False)  # 26 bytes
    assert score.breakdown == {"diversity": 1.0, "length": 26 / 40}
    assert score.reward == pytest.approx((1 + 26 / 40) / 2)
    assert score.copied == 0.0


def test_score_does_not_count_the_end_of_text_token() -> None:
    made = environment("кот и пёс и кот", max_new_tokens=40)
    prompt = made.propose(random.Random(0))
    assert made.score(prompt, [*encode("дом и сад"), 255], True) == made.score(prompt, encode("дом и сад"), False)


@pytest.mark.parametrize(("completion", "finished"), [("", False), ("\0", True), ("... — !", False)])
def test_score_of_a_completion_without_words_has_no_diversity(prose: str, completion: str, finished: bool) -> None:
    made = environment(prose)
    score = made.score(made.propose(random.Random(0)), encode(completion), finished)
    assert score.breakdown["diversity"] == 0.0
    assert score.reward == score.breakdown["length"] / 2 < 0.1


def test_score_weighs_as_configured(prose: str) -> None:
    made = environment(prose, diversity_weight=0.0, length_weight=2.0)
    score = made.score(made.propose(random.Random(0)), encode("и " * 12), finished=False)
    assert score.reward == score.breakdown["length"]


def test_score_sees_what_is_copied(of_words: tuple[TextEnvironment, list[int]]) -> None:
    made, book = of_words
    shuffled = random.Random(0).sample(book[:48], 48)
    assert made.score(ANY_PROMPT, book[:48], False).copied == 1.0
    assert made.score(ANY_PROMPT, shuffled, False).copied == 0.0


def test_score_names_the_tokens_of_a_loop_and_none_of_the_prose(of_words: tuple[TextEnvironment, list[int]]) -> None:
    made, book = of_words
    looped = book[:10] + book[:10]
    score = made.score(ANY_PROMPT, looped, False)
    assert (score.faults, score.repeats) == (tuple(range(13, 20)), tuple(range(3, 10)))
    assert made.score(ANY_PROMPT, book[:48], False).faults == ()
    of_the_prompt = made.score(Prompt("", tuple(book[:10])), book[:10], False)
    assert (of_the_prompt.faults, of_the_prompt.repeats) == (tuple(range(3, 10)), tuple(range(-7, 0)))


def test_score_allows_what_the_book_repeats_as_often_as_the_book_does(prose: str) -> None:
    repeated = {(*encode("said"),): 2}
    made = TextEnvironment([prose], repeated, (), SelfPlayConfig(), encode, decode, 0)
    three_times = encode("said,said;said")
    assert environment(prose).score(ANY_PROMPT, three_times, False).faults == (8, 13)
    assert made.score(ANY_PROMPT, three_times, False).faults == (13,)


def test_book_is_scored_like_a_text_of_the_model(prose: str) -> None:
    book = environment(prose, max_new_tokens=60).book
    assert set(book) == {"reward", "looped", "diversity", "length"}
    low, mean, high = book["reward"]
    assert 0.6 < low <= mean <= high <= 1
    assert environment("кот", max_new_tokens=60).book == {}  # too short for a passage


@given(st.lists(st.integers(0, 255), max_size=200), st.booleans())
def test_score_of_any_tokens_lies_within_0_and_1(of_bytes: TextEnvironment, tokens: list[int], finished: bool) -> None:
    score = of_bytes.score(ANY_PROMPT, tokens, finished)
    figures = [score.reward, *score.breakdown.values(), score.copied, len(score.faults) / max(1, len(tokens))]
    assert all(0 <= figure <= 1 for figure in figures)


@given(st.integers(0, 250), st.integers(1, 8))
def test_score_of_a_loop_is_below_the_prose_it_loops(
    of_words: tuple[TextEnvironment, list[int]], start: int, phrase: int
) -> None:
    made, book = of_words
    real = book[start : start + 48]
    looped = (real[:phrase] * 48)[:48]
    assert made.score(ANY_PROMPT, looped, False).reward < made.score(ANY_PROMPT, real, False).reward - 0.1


# ---- the table of SELF_PLAY ------------------------------------------------------------------------------------------


def test_reward_orders_the_kinds_of_text_as_the_raw_mean_does_not(prose: str) -> None:
    rows = {row.kind: row for row in table(prose, words_each=36, samples=100, seed=0)}
    real, loop = rows["real prose"], rows["looped 5-word phrase"]
    for salad in (rows["random words"], rows["vocabulary in order"]):
        assert salad.raw > real.raw  # the hack that the calibration is there for
        assert salad.reward < real.reward
    assert rows["shuffled words"].reward == pytest.approx(real.reward, abs=0.05)  # only learning from the book sees it
    assert loop.reward < 0.4 < real.reward - 0.4
    assert loop.raw > 0.5 and loop.reward_uncut > 0.5  # half the pay for length alone, were loops not cut


def test_table_takes_its_prose_from_the_places_that_a_training_holds_out(prose: str) -> None:
    book = prose * 9
    licence = "лицензия " * (len(prose) // 9)  # the last tenth of the text
    rows = {row.kind: row for row in table(book + licence, words_each=36, samples=100, seed=0)}
    assert rows["real prose"].diversity > 0.7
