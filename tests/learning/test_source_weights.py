"""Weights of sources: what helps readers whom a map has not seen has one, and what does not has exactly none."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.data.interactions.world import World
from transfer.learning import source_weights
from transfer.program import Params

Floats = NDArray[np.float64]
READERS, FILMS, BOOKS = 240, 24, 12
HP = {"ridge": jnp.float32(3.0), "normalise": jnp.float32(0.25), "source_weight": jnp.float32(1.0)}


@cache
def drawn() -> tuple[Floats, Floats, Floats]:
    """Books by taste, films by the same taste, and films of other people."""
    random = np.random.default_rng(0)
    taste = random.normal(size=(READERS, 3))
    items = random.normal(size=(3, FILMS + BOOKS))
    events = (taste @ items + random.normal(size=(READERS, FILMS + BOOKS)) > 1.2).astype(float)
    books, films = events[:, :BOOKS], events[:, BOOKS:]
    return books, films, films[random.permutation(READERS)]


@partial(jax.jit, static_argnames="count")
def _learn(world: World, count: int | None) -> Params:
    solve = source_weights.learn if count is None else partial(source_weights.forward, count=count)
    return solve(world, {}, HP, jax.random.key(0))


def found(*sources: Floats, count: int | None = None) -> dict[str, Floats]:
    books = drawn()[0]
    events = [interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, *sources)]
    return {name: np.asarray(value, np.float64) for name, value in _learn(world_of(*events), count).items()}


def learnt(*sources: Floats) -> Floats:
    return found(*sources)["weights"]


def unseen_error(weights: Floats, *sources: Floats) -> float:
    """The squared error of a regression that is solved anew without each reader."""
    books = drawn()[0]
    lengths = np.maximum(sum(x.sum(1) for x in sources), 1) ** -0.25
    x = np.hstack([w * source * lengths[:, None] for w, source in zip(weights, sources, strict=True)])
    total, open_left, trained = 0.0, 0.0, np.flatnonzero(books.any(1))
    for reader in trained:
        others = trained[trained != reader]
        y = books - books[others].mean(0)
        open_left += float(np.square(y[reader]).sum())
        gram = x[others].T @ x[others] + float(HP["ridge"]) * np.eye(x.shape[1])
        total += float(np.square(y[reader] - x[reader] @ np.linalg.solve(gram, x[others].T @ y[others])).sum())
    return total / open_left


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
    weights = learnt(*halves)
    error = unseen_error(weights, *halves)
    others = [np.ones(3), np.zeros(3), *np.eye(3), *(weights * (1 - np.eye(3))[:2])]
    assert all(error < unseen_error(other, *halves) - 1e-4 for other in others)
    assert np.abs(error - min(unseen_error(weights * scale, *halves) for scale in (0.8, 1.0, 1.25))) < 2e-3, (
        "near the least"
    )


@pytest.mark.parametrize("count", [1, 2])
def test_forward_takes_the_sources_with_which_the_error_is_least(count: int) -> None:
    _, films, strange = drawn()
    sources = strange, films[:, :8], films[:, 8:]
    taken, order, least = np.zeros(3), [], []
    for _ in range(count):
        errors = [unseen_error(np.maximum(taken, one), *sources) for one in np.eye(3)]
        order.append(min((i for i in range(3) if not taken[i]), key=errors.__getitem__))
        taken[order[-1]] = 1
        least.append(errors[order[-1]])
    mine = found(*sources, count=count)
    assert mine["weights"].tolist() == taken.tolist()
    assert mine["taken"].tolist() == order
    np.testing.assert_allclose(mine["errors"], least, rtol=1e-3)
    assert taken[0] == 0, "strangers are not taken"


@pytest.mark.parametrize("count", [None, 2])
def test_it_says_what_would_be_lost_without_a_source(count: int | None) -> None:
    _, films, strange = drawn()
    sources = strange, films[:, ::2], films[:, 1::2]
    both = found(*sources, count=count)
    error = unseen_error(both["weights"], *sources)
    left_out = [unseen_error(both["weights"] * (1 - one), *sources) / error - 1 for one in np.eye(3)]
    np.testing.assert_allclose(both["without"], left_out, rtol=1e-2, atol=1e-4)
    assert both["without"][0] == 0
    assert both["without"][1:].min() > 0.01


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


def by_hand(weights: Floats, *sources: Floats) -> Floats:
    """nDCG@10 of every training reader by a regression that is solved anew without her."""
    books = drawn()[0]
    trained = np.flatnonzero(books.any(1))
    lengths = np.maximum(sum(x.sum(1) for x in sources), 1) ** -0.25
    x = np.hstack([w * source * lengths[:, None] for w, source in zip(weights, sources, strict=True)])
    own, mine = x[trained], books[trained]
    means = (mine.sum(0) - mine) / (len(trained) - 1)
    grams = own.T @ own - own[:, :, None] * own[:, None] + float(HP["ridge"]) * np.eye(x.shape[1])
    moments = own.T @ mine - own[:, :, None] * mine[:, None] - (own.sum(0) - own)[:, :, None] * means[:, None]
    predicted = means + np.einsum("rf,rfb->rb", own, np.linalg.solve(grams, moments))
    reached = np.zeros(len(books))
    for reader, scores in zip(trained, predicted, strict=True):
        gain = 1 / np.log2(np.arange(10) + 2)
        edges = (scores + edge * books[reader] for edge in (1e-6, -1e-6))  # among equals hers come first, or last
        found = np.mean([books[reader][np.argsort(-edged, kind="stable")[:10]] for edged in edges], axis=0)
        reached[reader] = found @ gain / gain[: int(books[reader].sum())].sum()
    return reached


@pytest.mark.parametrize("kept", ["strange", "films", "part"])
def test_the_choice_is_what_unseen_readers_reach_most_by(kept: str) -> None:
    """Strangers: no source. Films: all alike, or the weights. Films beside many strangers: the weights, surely."""
    _, films, strange = drawn()
    random = np.random.default_rng(1)
    crowd = [films[random.permutation(READERS)] for _ in range(4)]
    sources = {"strange": (strange,), "films": (films,), "part": (films, *crowd)}[kept]
    events = [interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (drawn()[0], *sources)]
    mine = jax.jit(lambda world: source_weights.choose(world, {}, HP, jax.random.key(0)))(world_of(*events))
    trained = drawn()[0].any(1)
    each = [by_hand(weights, *sources) for weights in (np.zeros(len(sources)), np.ones(len(sources)), learnt(*sources))]
    np.testing.assert_allclose(mine["reached"], [of[trained].mean() for of in each], atol=2e-3)
    alone = [(by_hand(one, *sources) - each[0])[trained].mean() for one in np.eye(len(sources))]
    np.testing.assert_allclose(mine["alone"], alone, atol=2e-3)
    best, weights = 0, [np.zeros(len(sources)), np.ones(len(sources)), learnt(*sources)]
    for i in (1, 2):
        gains = (each[i] - each[best])[trained]
        best = i if gains.mean() > (0 if i == 1 else gains.std() / np.sqrt(len(gains))) else best
    np.testing.assert_allclose(mine["weights"], weights[best], atol=1e-5)
    assert best in {"strange": (0,), "films": (1, 2), "part": (2,)}[kept]
