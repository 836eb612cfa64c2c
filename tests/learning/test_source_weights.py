"""Weights of sources: what helps readers whom a map has not seen has one, and what does not has exactly none."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.learning import source_weights

Floats = NDArray[np.float64]
READERS, FILMS, BOOKS = 240, 24, 12
HP = {"ridge": jnp.float32(3.0), "normalise": jnp.float32(0.25)}


@cache
def drawn() -> tuple[Floats, Floats, Floats]:
    """Books by taste, films by the same taste, and films of other people."""
    random = np.random.default_rng(0)
    taste = random.normal(size=(READERS, 3))
    items = random.normal(size=(3, FILMS + BOOKS))
    events = (taste @ items + random.normal(size=(READERS, FILMS + BOOKS)) > 1.2).astype(float)
    books, films = events[:, :BOOKS], events[:, BOOKS:]
    return books, films, films[random.permutation(READERS)]


@jax.jit
def _learn(world: object) -> jax.Array:
    return source_weights.learn(world, {}, HP, jax.random.key(0))["weights"]  # type: ignore[arg-type]


def learnt(*sources: Floats) -> Floats:
    books = drawn()[0]
    events = [interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, *sources)]
    return np.asarray(_learn(world_of(*events)), np.float64)


def unseen_error(weights: Floats, *sources: Floats) -> float:
    """The squared error of a regression that is solved anew without each reader."""
    books = drawn()[0]
    lengths = np.maximum(sum(x.sum(1) for x in sources), 1) ** -0.25
    x = np.hstack([w * source * lengths[:, None] for w, source in zip(weights, sources, strict=True)])
    y = books - books[books.any(1)].mean(0)
    total, trained = 0.0, np.flatnonzero(books.any(1))
    for reader in trained:
        others = trained[trained != reader]
        gram = x[others].T @ x[others] + float(HP["ridge"]) * np.eye(x.shape[1])
        total += float(np.square(y[reader] - x[reader] @ np.linalg.solve(gram, x[others].T @ y[others])).sum())
    return total / float(np.square(y[trained]).sum())


def test_a_source_of_the_same_taste_has_a_weight_and_one_of_others_exactly_none() -> None:
    _, films, strange = drawn()
    both = learnt(strange, films)
    assert both[0] == 0
    assert both[1] > 0.3
    assert learnt(strange).tolist() == [0], "useless and alone"
    assert learnt(films)[0] > 0.3


def test_the_weights_are_better_for_unseen_readers_than_all_none_or_one_source() -> None:
    _, films, strange = drawn()
    halves = films[:, ::2], films[:, 1::2], strange
    found = learnt(*halves)
    error = unseen_error(found, *halves)
    others = [np.ones(3), np.zeros(3), *np.eye(3), *(found * (1 - np.eye(3))[:2])]
    assert all(error < unseen_error(weights, *halves) - 1e-4 for weights in others)
    assert np.abs(error - min(unseen_error(found * scale, *halves) for scale in (0.8, 1.0, 1.25))) < 2e-3, "near the least"


def test_a_map_with_learnt_weights_reads_no_useless_source() -> None:
    """The numbers that a method reads are its own times what was learnt."""
    hp = {"source_weight": jnp.float32(2.0), "source_weight_2": jnp.float32(0.5)}
    done = {"sources": {"weights": jnp.array([0.0, 0.8])}}
    read = source_weights.with_learnt(hp, done)
    assert {name: round(float(value), 6) for name, value in read.items()} == {
        "source_weight": 2,
        "source_weight_1": 0,
        "source_weight_2": 0.4,
    }
    assert source_weights.with_learnt(hp, {}) is hp
