"""The formulas against figures worked out by hand, and what must hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay import rewards

unit = st.floats(0, 1)


def test_words_are_lowercased_runs_of_letters_and_digits() -> None:
    assert rewards.words("Скажи-ка, Дядя: 2 слова!") == ["скажи", "ка", "дядя", "2", "слова"]
    assert rewards.words(" ... — !") == []


def test_distinct_n_of_a_written_sentence() -> None:
    sentence = ["кот", "и", "пёс", "и", "кот"]
    assert rewards.distinct_n(sentence, 1) == 3 / 5
    assert rewards.distinct_n(sentence, 2) == 1.0
    assert rewards.distinct_n(["a", "b", "a", "b"], 2) == pytest.approx(2 / 3)


def test_distinct_n_of_fewer_than_n_words_is_one() -> None:
    assert rewards.distinct_n(["кот"], 2) == 1.0
    assert rewards.distinct_n([], 1) == 1.0


def test_variety_is_the_mean_of_distinct_1_and_2() -> None:
    assert rewards.variety(["кот", "и", "пёс", "и", "кот"]) == pytest.approx((3 / 5 + 1) / 2)


@pytest.mark.parametrize(
    ("d", "mu", "sd", "expected"),
    [
        (0.90, 0.90, 0.05, 1.0),
        (0.86, 0.90, 0.05, 1.0),  # within one sd
        (0.80, 0.90, 0.05, 1 - 0.05 / 0.90),  # too monotonous
        (1.00, 0.90, 0.05, 1 - 0.05 / 0.90),  # too varied costs as much
        (0.80, 0.90, 0.0, 1 - 0.1 / 0.90),
        (1.00, 0.30, 0.0, 0.0),  # clipped
    ],
)
def test_diversity_score_of_written_figures(d: float, mu: float, sd: float, expected: float) -> None:
    assert rewards.diversity_score(d, mu, sd) == pytest.approx(expected)


def test_useful_tokens_end_where_a_4_gram_stands_for_the_third_time() -> None:
    assert rewards.useful_tokens([1, 2, 3, 4, 5] * 5) == 10
    assert rewards.useful_tokens([7] * 9) == 2
    assert rewards.useful_tokens([1, 2, 3, 4, 5] * 2) == 10  # twice is not a loop
    assert rewards.useful_tokens([1, 2, 3, 9, 1, 2, 3, 8, 1, 2, 3, 7]) == 12  # three tokens are not a loop
    assert rewards.useful_tokens([]) == 0


def test_useful_tokens_count_what_stands_before_a_late_loop() -> None:
    assert rewards.useful_tokens([*range(100, 120), *([1, 2, 3, 4, 5] * 3)]) == 30


def test_length_score_is_the_useful_share_and_never_above_one() -> None:
    assert rewards.length_score(list(range(24)), 96) == 0.25
    assert rewards.length_score(list(range(200)), 96) == 1.0
    assert rewards.length_score([1, 2, 3, 4, 5] * 20, 100) == 0.1
    assert rewards.length_score([], 96) == 0.0


def test_reward_is_the_weighted_mean() -> None:
    assert rewards.reward(0.75, 0.62, 0.5, 0.5) == pytest.approx(0.685)  # the user's own example, 0.69
    assert rewards.reward(0.75, 0.62, 2.0, 2.0) == pytest.approx(0.685)
    assert rewards.reward(0.8, 0.2, 3.0, 1.0) == pytest.approx(0.65)
    assert rewards.reward(0.8, 0.2, 0.0, 0.0) == 0.0


@given(unit, unit, st.floats(0, 10), st.floats(0, 10))
def test_reward_of_scores_within_0_and_1_stays_there(diversity: float, length: float, a: float, b: float) -> None:
    assert -1e-12 <= rewards.reward(diversity, length, a, b) <= 1 + 1e-12


@given(st.lists(st.sampled_from("абв"), max_size=60), st.floats(0.01, 1), st.floats(0, 0.5))
def test_diversity_score_of_any_words_lies_within_0_and_1(items: list[str], mu: float, sd: float) -> None:
    assert 0 <= rewards.diversity_score(rewards.variety(items), mu, sd) <= 1


@given(st.lists(st.integers(0, 3), max_size=80))
def test_useful_tokens_hold_no_4_gram_three_times(tokens: list[int]) -> None:
    useful = rewards.useful_tokens(tokens)
    before = tokens[: useful + 3]  # the third occurrence starts at `useful` and needs a fourth token
    grams = [tuple(before[i : i + 4]) for i in range(len(before) - 3)]
    assert all(grams.count(gram) < 3 for gram in grams)
