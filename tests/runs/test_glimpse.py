"""What a card shows of a model: one sentence, and a short curve."""

from __future__ import annotations

import pytest

import workflows
from runs.glimpse import POINTS, sentence_of
from tests.training_kit import MODEL, plan
from workspace import Workspace


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Да. Старик чинил лодку у реки. Внук спал.", "Старик чинил лодку у реки."),
        ("Старик\nчинил  лодку у реки! Да", "Старик чинил лодку у реки!"),
        ("«Куда плывёт эта лодка?» Он", "«Куда плывёт эта лодка?»"),
        ("без конца", "без конца"),
        ("слово " * 40, "слово " * 22 + "слово…"),
        ("", ""),
    ],
)
def test_sentence_is_whole_and_of_a_length_to_read(text: str, sentence: str) -> None:
    assert sentence_of(text) == sentence


def test_glimpse_is_empty_before_the_first_training_and_follows_it(workspace: Workspace) -> None:
    assert workflows.glimpse(workspace, MODEL) == workflows.Glimpse("", ())
    list(workflows.train(workspace, plan(workspace, iterations=3)))
    found = workflows.glimpse(workspace, MODEL)
    sample = workflows.history(workspace, MODEL)["samples"][-1]
    assert found.sentence.rstrip("…") in " ".join((sample["prompt"] + sample["text"]).split())
    assert found.sentence
    assert len(found.losses) == 3 < POINTS
