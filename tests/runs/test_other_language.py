"""A model that learned Russian goes on with an English book: hard for it at first, and no reason to stop."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import workflows
from config import ModelConfig, TrainConfig
from corpus import library
from errors import Diverged
from events import Evaluated, IterationDone, ModelPublished, Notice
from store import model_list
from tests.training_kit import MODEL, QUIET
from workspace import Workspace

BOOKS = Path(__file__).parent.parent / "data" / "other_language"
RUSSIAN, ENGLISH = "first_ru", "second_en"
VOCAB_SIZE = 1000
SETTINGS = TrainConfig(  # a constant weight decay leaves the first model as sure of itself as it can be
    iterations=300, eval_every=50, weight_decay=0.1, device="cpu", precision="float32", num_threads=1, self_play=QUIET
)


def _workspace(folder: Path, architecture: str) -> Workspace:
    workspace = Workspace(folder)
    workspace.prepare()
    shape = ModelConfig(
        vocab_size=VOCAB_SIZE,
        d_model=64,
        num_layers=2,
        num_heads=2,
        d_ff=128,
        max_seq_len=64,
        architecture=architecture,
    )
    workflows.create_model(workspace, MODEL, shape)
    for name in (RUSSIAN, ENGLISH):
        library.add_book(workspace, f"{name}.txt", io.BytesIO((BOOKS / f"{name}.txt").read_bytes()))
    return workspace


def _train(workspace: Workspace, book: str, into: list[Any] | None = None, **changes: Any) -> list[Any]:
    config = SETTINGS.model_copy(update=changes)
    told = [] if into is None else into
    for event in workflows.train(workspace, workflows.prepare_training(workspace, MODEL, (book,), config)):
        told.append(event)
    return told


def _losses(told: list[Any]) -> list[float]:
    return [event.loss for event in told if isinstance(event, IterationDone)]


def _codes(told: list[Any]) -> set[str]:
    return {event.code for event in told if isinstance(event, Notice)}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def russian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a model that knows the Russian book."""
    workspace = _workspace(tmp_path_factory.mktemp(request.param), request.param)
    _train(workspace, RUSSIAN, iterations=100, batch_size=8)
    return workspace.root


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_goes_on_with_a_book_in_another_language(russian: Path, tmp_path: Path, optimizer: str) -> None:
    workspace = Workspace(shutil.copytree(russian, tmp_path / "copy"))
    told = _train(workspace, ENGLISH, iterations=50, eval_every=25, batch_size=8, optimizer=optimizer)
    losses = _losses(told)
    assert losses[0] > 1.5 * math.log(VOCAB_SIZE)  # hopeless at first
    assert len(losses) == 50
    assert losses[-1] < 0.5 * losses[0]
    assert not _codes(told) & {"spike_skipped", "non_finite_skipped", "went_back"}
    assert model_list.get_model(workspace, MODEL).last_books == (ENGLISH,)
    published = [event.iteration for event in told if isinstance(event, ModelPublished)]
    assert published == [125, 150]  # never at 100, before the first step


@pytest.mark.slow
def test_rate_that_is_far_too_high_is_caught_in_another_language_too(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path, "llama")
    _train(workspace, RUSSIAN, iterations=120)
    told: list[Any] = []
    with pytest.raises(Diverged):
        _train(workspace, ENGLISH, told, iterations=100, learning_rate=4.0, warmup_iterations=20)
    assert {"spike_skipped", "went_back"} <= _codes(told)


@pytest.mark.slow
def test_vocabulary_that_hardly_fits_the_next_book_is_said_once_before_its_first_iteration(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path, "llama")
    _train(workspace, RUSSIAN, iterations=10, eval_every=5)
    half = (BOOKS / f"{RUSSIAN}.txt").read_text(encoding="utf-8")[:6000]
    library.add_book(workspace, "half.txt", io.BytesIO(half.encode()))
    first, same, other = (_train(workspace, book, iterations=2, eval_every=5) for book in (RUSSIAN, "half", ENGLISH))
    assert "vocab_hardly_fits" not in _codes(first) | _codes(same)
    names = [event.code if isinstance(event, Notice) else type(event).__name__ for event in other]
    assert names.index("vocab_hardly_fits") < names.index("IterationDone")
    (notice,) = (event for event in other if isinstance(event, Notice) and event.code == "vocab_hardly_fits")
    assert 1 <= notice.parameters["bytes_per_token"] < 0.5 * notice.parameters["first"]
    run = workflows.train(workspace, workflows.prepare_training(workspace, MODEL, (ENGLISH,), SETTINGS))
    early = [next(run) for _ in range(20)]
    run.close()
    assert "vocab_hardly_fits" not in _codes(early)  # it goes on with the same book


@pytest.mark.slow
def test_forecast_says_before_the_start_that_the_vocabulary_hardly_fits(tmp_path: Path) -> None:
    workspace = _workspace(tmp_path, "llama")
    _train(workspace, RUSSIAN, iterations=10, eval_every=5)
    found = {}
    for book in (RUSSIAN, ENGLISH):
        plan = workflows.prepare_training(workspace, MODEL, (book,), SETTINGS)
        found[book] = workflows.forecast(workspace, plan, workflows.pace(workspace, plan)).vocab_hardly_fits
    assert found[RUSSIAN] is None
    assert 1 <= found[ENGLISH]["bytes_per_token"] < 0.5 * found[ENGLISH]["first"]


@pytest.mark.slow
def test_run_that_takes_no_step_publishes_nothing_and_names_no_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = _workspace(tmp_path, "llama")
    _train(workspace, RUSSIAN, iterations=20, eval_every=10)
    before = model_list.get_model(workspace, MODEL)
    monkeypatch.setattr("learning.loss_guard.LossGuard.judge", lambda *_: "spike")
    told: list[Any] = []
    with pytest.raises(Diverged):
        _train(workspace, ENGLISH, told, iterations=20, eval_every=1)
    assert any(isinstance(event, Evaluated) for event in told)
    assert not any(isinstance(event, ModelPublished) for event in told)
    assert model_list.get_model(workspace, MODEL) == before
