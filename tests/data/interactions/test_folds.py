"""Folds of one world: of one shape, with the events of their own, and the figures of arrays that are not padded."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import small_overrides

from transfer.api import compose
from transfer.data import load
from transfer.data.interactions.world import Loaded, asked_users
from transfer.experiment.build import load_world
from transfer.experiment.run import Result, run_batch
from transfer.training import loop
from transfer.training.compiler import executables_of

FOLDS = 3
SPLITS = ("cold_start", "ratio", "cold_items")


def fold(number: int, split: str = "cold_start", **changes: object) -> Loaded:
    loaded = load_world(compose(small_overrides(split=split, split__folds=FOLDS, split__fold=number, **changes)))
    assert isinstance(loaded, Loaded)
    return loaded


@pytest.mark.parametrize("split", SPLITS)
def test_folds_have_one_shape_one_vocabulary_and_events_of_their_own(split: str) -> None:
    folds = [fold(number, split, domain__target_events=4) for number in range(FOLDS)]
    shapes = {str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one.world)) for one in folds}
    assert len(shapes) == 1
    assert all(one.users == folds[0].users and one.items == folds[0].items for one in folds)
    for one in folds:
        counts = one.summary["target"]
        train, valid = one.world.target.train, one.world.valid
        assert int(train.starts[-1]) == int(train.there.sum()) == counts["train"]["events"]
        assert int(train.item_counts.sum()) == counts["train"]["events"]
        assert int(valid.n_events) == int((valid.row < valid.users.shape[1]).sum()) == counts["valid"]["events"]
        assert set(np.asarray(one.world.bridges).tolist()) - {one.world.n_users} == both(one)
    assert len({one.fingerprint for one in folds}) == FOLDS
    assert folds[0].world.sources[0].train.users is folds[1].world.sources[0].train.users, "kept in memory once"


def both(one: Loaded) -> set[int]:
    target, source = (np.diff(side.train.starts) > 0 for side in (one.world.target, one.world.sources[0]))
    return set(np.flatnonzero(target & source).tolist())


def run(number: int, method: str = "cmf") -> Result:
    words = {"split__folds": FOLDS, "split__fold": number, "test": False, "train__steps": 8, "train__keep": "last"}
    return run_batch([compose(small_overrides(method=method, split="cold_start", **words))])[0]


def test_folds_share_their_compiled_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []
    real = loop.stream
    monkeypatch.setattr(loop, "stream", lambda key, name, *rest: traced.append(name) or real(key, name, *rest))
    first = run(0).metrics
    count = len(traced)
    second = run(1).metrics
    assert len(traced) == count > 0
    executables_of.cache_clear()
    assert run(1).metrics == second != first


@pytest.mark.parametrize("method", ["popularity", "user_knn", "ridge_map"])
def test_padding_changes_no_figure_of_a_fold(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    padded = run(2, method).metrics["valid"]
    load._load_folds.cache_clear()
    monkeypatch.setattr(load, "alike", lambda folds: [replace(one, world=jax.device_put(one.world)) for one in folds])
    exact = run(2, method).metrics["valid"]
    load._load_folds.cache_clear()
    assert padded == pytest.approx(exact, rel=1e-5, abs=1e-6)


def test_a_fold_asks_whom_its_readers_alone_would_know() -> None:
    """Readers whose films fell below the core are in the world of all folds by the books that other folds learn from; a
    fold that hides these knows nothing of them, and the test asks nobody like them."""
    for number in range(FOLDS):
        world = fold(number, domain__core=3, domain__target_events=14, domain__source_events=6).world
        films = np.diff(world.sources[0].train.starts)
        for hidden in (world.valid, world.test):
            asked = asked_users(world, hidden)["user"]
            assert len(asked)
            assert (films[asked] > 0).all()
        assert (films == 0).sum() > 10, "there are such readers"
