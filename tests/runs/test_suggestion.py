"""How many iterations are suggested for a text."""

from __future__ import annotations

import pytest

import workflows
from errors import BookNotFound, NoBooks, WeightsDoNotFit
from runs.suggestion import suggested_iterations
from tests.training_kit import BOOK, MODEL, OTHER_BOOK, TRAINING
from workspace import Workspace

SMALL, PER_ITERATION = 2_300_000, 16 * 128  # parameters and tokens of the small preset


@pytest.mark.parametrize(
    ("train_tokens", "iterations"),
    [
        (90_000, 180),  # a novel of 670 kB in Russian: best after 100 to 200 iterations (docs/en/defaults.md)
        (269_627, 530),  # tinyshakespeare: 2.0938 bits per byte after 540, 2.1044 after 600
        (300, 50),  # a page
        (30_000_000, 22_000),  # a library: 20 tokens a parameter
        (500_000_000, 240_000),  # more than the model can take up is still read once
    ],
)
def test_suggested_iterations_are_a_few_readings(train_tokens: int, iterations: int) -> None:
    assert suggested_iterations(train_tokens, SMALL, PER_ITERATION) == iterations


def test_workflow_suggests_iterations_for_books_of_a_model(workspace: Workspace) -> None:
    assert workflows.suggest_iterations(workspace, MODEL, (BOOK,), TRAINING) > 0
    twice = TRAINING.model_copy(update={"batch_size": 1})
    once = TRAINING.model_copy(update={"batch_size": 2})
    assert workflows.suggest_iterations(workspace, MODEL, (BOOK,), twice) == pytest.approx(
        2 * workflows.suggest_iterations(workspace, MODEL, (BOOK,), once), rel=0.1
    )


def test_suggestion_counts_readings_of_the_book_that_weighs_most(workspace: Workspace) -> None:
    books = (BOOK, OTHER_BOOK)  # of one size
    weighed = TRAINING.model_copy(update={"batch_size": 1, "book_weights": (3.0, 1.0)})
    alike = TRAINING.model_copy(update={"batch_size": 1, "book_weights": (2.0, 2.0)})
    suggested = workflows.suggest_iterations(workspace, MODEL, books, weighed)
    assert suggested == pytest.approx(
        (1 + 1 / 3) / 2 * workflows.suggest_iterations(workspace, MODEL, books, alike), rel=0.05
    )
    with pytest.raises(WeightsDoNotFit):
        workflows.suggest_iterations(workspace, MODEL, (BOOK,), weighed)


def test_suggestion_needs_books_that_exist(workspace: Workspace) -> None:
    with pytest.raises(NoBooks):
        workflows.suggest_iterations(workspace, MODEL, (), TRAINING)
    with pytest.raises(BookNotFound):
        workflows.suggest_iterations(workspace, MODEL, ("нет такой",), TRAINING)
