"""RLOO on a group worked out by hand, and its symmetries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.advantages import advantages

groups = st.lists(st.floats(-5, 5), min_size=2, max_size=8)


def test_advantages_of_a_written_group() -> None:
    # others' means: (0.5 + 0.3 + 0) / 3, (1 + 0.3 + 0) / 3, (1 + 0.5 + 0) / 3, (1 + 0.5 + 0.3) / 3
    [written] = advantages([[1.0, 0.5, 0.3, 0.0]])
    assert written == pytest.approx([1 - 0.8 / 3, 0.5 - 1.3 / 3, 0.3 - 0.5, -0.6])


def test_advantages_of_close_rewards_stay_small() -> None:
    [close] = advantages([[0.50, 0.52]])
    assert close == pytest.approx([-0.02, 0.02])  # GRPO would make it -1 and +1


def test_advantages_of_equal_rewards_are_none() -> None:
    assert advantages([[0.3, 0.3, 0.3], [1.0, 0.0]]) == [None, [1.0, -1.0]]


def test_advantages_below_the_spread_are_none() -> None:
    assert advantages([[0.500, 0.509]]) == [None]
    assert advantages([[0.500, 0.509]], min_spread=0.001) != [None]


def test_advantages_of_a_lone_rollout_are_none() -> None:
    assert advantages([[0.5]], min_spread=0.0) == [None]


@given(st.data(), groups)
def test_advantages_follow_a_permutation_of_the_rollouts(data: st.DataObject, rewards: list[float]) -> None:
    order = data.draw(st.permutations(range(len(rewards))))
    [straight], [permuted] = advantages([rewards]), advantages([[rewards[i] for i in order]])
    if straight is None:
        assert permuted is None
    else:
        assert permuted == pytest.approx([straight[i] for i in order])


@given(groups)
def test_advantages_of_a_group_sum_to_zero(rewards: list[float]) -> None:
    [found] = advantages([rewards])
    assert found is None or sum(found) == pytest.approx(0, abs=1e-9)


@given(groups, st.floats(-5, 5))
def test_advantages_do_not_see_a_constant_added_to_a_group(rewards: list[float], constant: float) -> None:
    [plain], [shifted] = advantages([rewards], 0.0), advantages([[r + constant for r in rewards]], 0.0)
    assert shifted == pytest.approx(plain, abs=1e-9)
