"""Which tokens of a text are loops, counted by hand, and where they stand in its characters."""

from __future__ import annotations

import pytest

from selfplay.loops import loop_places, spans


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], {}),
        ([1, 2, 3, 4, 1, 2, 3, 4], {7: 3}),
        ([1, 2, 3, 4, 1, 2, 3, 4, 1], {7: 3, 8: 4}),
        ([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4], {7: 3, 8: 4, 9: 5, 10: 6, 11: 3}),
        ([1, 1, 1, 1, 1, 1], {4: 3, 5: 3}),
        ([1, 2, 3], {}),
    ],
)
def test_loop_places_end_a_4_gram_that_stood_before(tokens: list[int], expected: dict[int, int]) -> None:
    assert loop_places(tokens, 0, {}) == expected


def test_loop_places_count_what_the_prompt_said() -> None:
    assert loop_places([1, 2, 3, 4, 9, 1, 2, 3, 4], 4, {}) == {8: 3}
    assert loop_places([1, 1, 1, 1, 1, 1, 2], 6, {}) == {}  # a loop of the prompt is not the model's


def test_loop_places_allow_what_the_book_repeats_as_often_as_the_book_does() -> None:
    said = [7, 8, 7, 9]
    tokens = [*said, 1, *said, 2, *said]
    assert list(loop_places(tokens, 0, {})) == [8, 13]
    assert loop_places(tokens, 0, {(7, 8, 7, 9): 2}) == {13: 3}
    assert loop_places(tokens, 0, {(7, 8, 7, 9): 3}) == {}


def test_spans_join_tokens_side_by_side() -> None:
    borders = [0, 2, 4, 6, 8, 10]
    assert spans([1, 2, 4], borders) == ((2, 6), (8, 10))
    assert spans([], borders) == ()


def test_spans_leave_out_a_token_without_a_character_of_its_own() -> None:
    assert spans([1], [0, 3, 3, 5]) == ()
    assert spans([1, 2], [0, 3, 3, 5]) == ((3, 5),)
