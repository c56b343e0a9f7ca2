"""The list of trainings that travels inside model.safetensors."""

from __future__ import annotations

import dataclasses
import json

import pytest

from formats import lineage
from formats.lineage import TrainingSummary

FIRST = TrainingSummary(100, 3.5, 1.25, ("Война и мир",), "2030-01-02T03:04:05+00:00", 61.5)
SECOND = TrainingSummary(160, 3.1, 1.2, ("Emma",), "2030-02-02T03:04:05+00:00", 90.0, from_iteration=120)
OLD = json.dumps({key: value for key, value in dataclasses.asdict(FIRST).items() if key != "from_iteration"})


def test_an_update_of_the_same_training_replaces_its_own_entry() -> None:
    better = dataclasses.replace(SECOND, iteration=200, val_loss=2.9)
    assert lineage.extended((FIRST, SECOND), better) == (FIRST, better)


def test_other_books_are_another_training() -> None:
    other = dataclasses.replace(SECOND, books=("Emma", "Persuasion"))
    assert lineage.extended((FIRST,), SECOND) == (FIRST, SECOND)
    assert lineage.extended((FIRST, SECOND), other) == (FIRST, SECOND, other)
    assert lineage.extended((), FIRST) == (FIRST,)


def test_the_same_books_again_after_others_are_another_training() -> None:
    again = dataclasses.replace(FIRST, iteration=300, from_iteration=200)
    assert lineage.extended((FIRST, SECOND), again) == (FIRST, SECOND, again)


def test_metadata_gives_the_lineage_back() -> None:
    for trainings in ((), (FIRST,), (FIRST, SECOND)):
        assert lineage.from_metadata(lineage.to_metadata(trainings)) == trainings


def test_the_one_summary_of_an_earlier_version_is_the_first_entry() -> None:
    assert lineage.from_metadata({"azr": OLD}) == (FIRST,)
    assert not lineage.is_list({"azr": OLD}) and not lineage.is_list({})
    assert lineage.is_list(lineage.to_metadata(()))
    assert lineage.from_metadata({}) == ()


@pytest.mark.parametrize("entry", ["5", '[{"iteration": 1}]', "[5]", "{", '{"books": 5}'])
def test_an_entry_that_makes_no_sense_is_refused(entry: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        lineage.from_metadata({"azr": entry})


def test_books_are_those_of_every_training_once() -> None:
    again = dataclasses.replace(SECOND, books=("Persuasion", "Война и мир"))
    assert lineage.books_of((FIRST, SECOND, again)) == ("Война и мир", "Emma", "Persuasion")
