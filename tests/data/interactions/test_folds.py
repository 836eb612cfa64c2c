"""Folds of one world: of one shape, with the events of their own, and the figures of arrays that are not padded."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import small_overrides

from transfer.api import compose
from transfer.data import load
from transfer.data.interactions import events
from transfer.data.interactions.folds import OF_ROW, _laid_out
from transfer.data.interactions.world import Loaded, asked_users
from transfer.experiment.build import load_world
from transfer.experiment.run import Result, program_of, run_batch
from transfer.training import loop
from transfer.training.compiler import executables_of, shapes_of

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


@pytest.mark.parametrize("split", SPLITS)
def test_a_fit_on_all_folds_has_their_shape_and_the_content_of_a_world_of_its_own(split: str) -> None:
    folded = {"domain__target_events": 4, "split__folds": FOLDS, "split__valid": 0}
    everything, one = (
        load_world(compose(small_overrides(split=split, **folded, split__fold=number))) for number in (None, 0)
    )
    plain = load_world(compose(small_overrides(split=split, domain__target_events=4, split__valid=0)))
    assert everything.fingerprint == plain.fingerprint != one.fingerprint
    assert everything.users == plain.users
    assert shapes_of(everything.world) == shapes_of(one.world) != shapes_of(plain.world)
    train = everything.world.target.train
    assert int(train.starts[-1]) == int(train.there.sum()) == plain.world.target.train.users.shape[0]
    assert not int(everything.world.valid.n_events)
    assert asked_users(everything.world, everything.world.test).keys() == asked_users(plain.world, plain.world.test).keys()


def test_hidden_parts_in_other_chunks_have_the_same_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CHUNK_SCORES", 400)
    plain = load_world(compose(small_overrides(split="cold_start", split__valid=0))).world.test
    assert plain.users.shape[0] > 2
    other = _laid_out(plain, 2, 40)
    for name, of_row in OF_ROW.items():
        if getattr(plain, name) is None:
            continue
        told = []
        for part in (plain, other):
            row = np.asarray(getattr(part, name))
            there = row < part.users.shape[1]
            user = np.take_along_axis(np.asarray(part.users), np.where(there, row, 0), axis=1)[there]
            told.append(sorted(zip(user, *(np.asarray(getattr(part, of))[there] for of in of_row), strict=True)))
        assert told[0] == told[1]
    assert other.users.shape == (2, 40)


def test_a_fit_on_all_folds_compiles_nothing_but_what_lists_hold() -> None:
    """And its figures are those of the same fit without room for folds."""
    words = {"split__folds": FOLDS, "split__valid": 0, "split": "cold_start", "method": "ease"}
    config = compose(small_overrides(**words, split__fold=1, test=False))
    run_batch([config])
    key = program_of(config, load_world(config).world)
    before = set(executables_of(*key))
    everything = compose(small_overrides(**words, split__fold=None))
    assert program_of(everything, load_world(everything).world) == key, "one place for both"
    found = run_batch([everything])[0]
    assert set(executables_of(*key)) == before, "nothing new"
    plain = run_batch([compose(small_overrides(**words | {"split__folds": None}))])[0]
    assert found.metrics == plain.metrics
    assert set(run_batch([config])[0].metrics["valid"]) < set(found.metrics["test"]), "hits alone, while one tunes"


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
