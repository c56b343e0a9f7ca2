"""The cache of loaded models: one load for each version, the newest weights, a bounded number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from errors import CheckpointNotKept, ModelNotFound, NoTokenizer
from store import checkpoint_store, model_store

# ---- in and out ------------------------------------------------------------------------------------------------------
from store.model_cache import ModelCache
from tests.store.store_kit import (
    CONFIG,
    NAME,
    a_checkpoint,
    a_model,
    a_summary,
    a_tokenizer,
    create_trained,
    equal_tensors,
)
from workspace import Workspace


def test_version_changes_with_weights_and_tokenizer_only(ws: Workspace) -> None:
    model_store.create(ws, NAME, CONFIG, a_model(), seed=0)
    versions = [model_store.version(ws, NAME)]
    model_store.set_tokenizer(ws, NAME, a_tokenizer())
    versions.append(model_store.version(ws, NAME))
    model_store.publish(ws, NAME, CONFIG, a_model(1).state_dict(), a_summary())
    versions.append(model_store.version(ws, NAME))
    assert len(set(versions)) == 3
    (ws.model_folder(NAME) / "README.md").write_text("mine", encoding="utf-8")
    assert model_store.version(ws, NAME) == versions[-1]


def test_a_snapshot_is_kept_until_new_weights_are_published(trained: Workspace) -> None:
    cache = ModelCache()
    first = cache.get(trained, NAME, "best")
    assert cache.get(trained, NAME, "best") is first
    model_store.publish(trained, NAME, CONFIG, a_model(2).state_dict(), a_summary(200))
    second = cache.get(trained, NAME, "best")
    assert second is not first and second.lineage == (a_summary(200),)


def test_the_snapshot_used_longest_ago_goes_first(ws: Workspace) -> None:
    for name in "abc":
        create_trained(ws, name)
    cache = ModelCache(capacity=2)
    a, b = cache.get(ws, "a"), cache.get(ws, "b")
    assert cache.get(ws, "a") is a
    cache.get(ws, "c")
    assert cache.get(ws, "a") is a and cache.get(ws, "b") is not b


def test_last_is_the_newest_checkpoint_and_best_the_published_one(trained: Workspace) -> None:
    cache = ModelCache()
    best = cache.get(trained, NAME, "best")
    unsaved = cache.get(trained, NAME, "last")
    assert equal_tensors(dict(unsaved.model.state_dict()), dict(best.model.state_dict())), "no checkpoint yet"
    for iteration in (1000, 2000):
        checkpoint_store.save(trained, NAME, a_checkpoint(iteration), keep=2, budget_bytes=10**12)
        last = cache.get(trained, NAME, "last")
        assert equal_tensors(dict(last.model.state_dict()), a_checkpoint(iteration).weights)
        assert cache.get(trained, NAME, "last") is last and last.lineage == () and last.tokenizer
    assert not equal_tensors(dict(best.model.state_dict()), a_checkpoint(2000).weights)


def test_an_iteration_is_its_checkpoint_as_long_as_that_is_kept(trained: Workspace) -> None:
    cache = ModelCache()
    for iteration in (1000, 2000):
        checkpoint_store.save(trained, NAME, a_checkpoint(iteration), keep=2, budget_bytes=10**12)
    older = cache.get(trained, NAME, 1000)
    assert equal_tensors(dict(older.model.state_dict()), a_checkpoint(1000).weights)
    assert cache.get(trained, NAME, 1000) is older
    checkpoint_store.save(trained, NAME, a_checkpoint(3000), keep=2, budget_bytes=10**12)
    with pytest.raises(CheckpointNotKept) as refused:
        cache.get(trained, NAME, 1000)
    assert refused.value.parameters == {"name": NAME, "iteration": 1000, "kept": "2000, 3000"}


def test_a_model_without_tokenizer_cannot_speak(ws: Workspace) -> None:
    model_store.create(ws, NAME, CONFIG, a_model(), seed=0)
    with pytest.raises(NoTokenizer):
        ModelCache().get(ws, NAME, "best")


def test_a_snapshot_of_a_deleted_model_is_not_found(trained: Workspace) -> None:
    cache = ModelCache()
    cache.get(trained, NAME, "best")
    model_store.delete(trained, NAME)
    with pytest.raises(ModelNotFound):
        cache.get(trained, NAME, "best")


def test_many_threads_share_one_snapshot(trained: Workspace) -> None:
    cache = ModelCache()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: id(cache.get(trained, NAME, "best")), range(64)))
    assert len(set(found)) == 1
